#include "runtime/cli/commands/quota.hpp"

#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace astra {
namespace {

std::string amount(const json& dimension, const char* key) {
  return text_in(dimension, "unit") == "bytes" ? human_bytes(count_in(dimension, key))
                                               : human_number(number_in(dimension, key));
}

} // namespace

const command_text quota_text = {"Show the quotas of businesses", "", ""};

const command_text quota_list_text = {
    "List what the apps of each business may have, and what of it is left",
    "One row for each business and for what its quota limits: cores, memory, kinds of cards.  IN USE is what runs.  "
    "GIVEN OUT is promised to claims that not every Resource sees running yet; for about a second what has just "
    "started "
    "is in both.  KEEPER is the Resource that grants the others their part.  REASON tells what is not fine: what is "
    "used "
    "up and who has waited for it for how long, why nothing is given out, and Resources whose files disagree.",
    "astra quota list\nastra quota list --where 'left == 0' -o csv",
};

const listing& quota_listing() {
  // A row for each business and for what its quota limits, as in the table.
  auto take = [](const json& answer) {
    auto rows = json::array();
    for (const auto& quota : list_in(answer, "quotas"))
      for (const auto& dimension : list_in(quota, "dimensions")) {
        json row = {{"business", text_in(quota, "business")}, {"group", text_in(quota, "group")}};
        row.update(dimension);
        for (auto key : {"keeper", "used_up", "waiting", "reason"})
          if (quota.contains(key))
            row[key] = quota[key];
        rows.push_back(std::move(row));
      }
    return rows;
  };
  auto put = [](json& answer, json rows) {
    auto quotas = json::array();
    for (const auto& row : rows) {
      auto is_same = [&](const json& quota) {
        return text_in(quota, "business") == text_in(row, "business")
               && text_in(quota, "group") == text_in(row, "group");
      };
      if (quotas.empty() || !is_same(quotas.back())) {
        const auto& all = list_in(answer, "quotas");
        auto whole = *std::find_if(all.begin(), all.end(), is_same);
        whole["dimensions"] = json::array();
        quotas.push_back(std::move(whole));
      }
      auto dimension = json::object();
      for (auto key : {"dimension", "unit", "limit", "in_use", "given_out", "leased", "left"})
        if (row.contains(key))
          dimension[key] = row[key];
      quotas.back()["dimensions"].push_back(std::move(dimension));
    }
    answer["quotas"] = std::move(quotas);
  };
  static const listing what{"quotas",
                            "quota",
                            "business",
                            {"business", "group", "dimension", "unit", "limit", "in_use", "given_out", "leased", "left",
                             "keeper", "used_up", "waiting", "reason"},
                            render_quotas,
                            take,
                            put};
  return what;
}

int list_quotas(command_context& context, const list_options& options) {
  return print_list(context, quota_listing(), options, [&] { return context.ask("GET", "/v1/quotas"); });
}

std::string render_quotas(const json& answer, bool colour) {
  const auto& quotas = list_in(answer, "quotas");
  std::string first_group = quotas.empty() ? "" : text_in(quotas.front(), "group");
  auto several_groups = false;
  for (const auto& quota : quotas)
    several_groups |= text_in(quota, "group") != first_group;
  text_table table{{{"BUSINESS"},
                    {several_groups ? "GROUP" : ""},
                    {"WHAT"},
                    {"LIMIT", align::right},
                    {"IN USE", align::right},
                    {"GIVEN OUT", align::right},
                    {"LEFT", align::right},
                    {"KEEPER"},
                    {"REASON"}}};
  for (const auto& quota : quotas) {
    table_cell reason{text_in(quota, "reason"), tone::warning};
    for (const auto& dimension : list_in(quota, "dimensions")) {
      auto used_up = number_in(dimension, "left") <= 0;
      table.add({text_in(quota, "business"),
                 several_groups ? text_in(quota, "group") : "",
                 text_in(dimension, "dimension"),
                 amount(dimension, "limit"),
                 amount(dimension, "in_use"),
                 amount(dimension, "given_out"),
                 {amount(dimension, "left"), used_up ? tone::warning : tone::plain},
                 text_in(quota, "keeper"),
                 reason});
      // Once for each business.
      reason.text.clear();
    }
  }
  auto out = table.empty() ? "no business has a quota; give it one with [[resource.quotas]] in the files of the "
                             "Resources\n"
                           : table.render(colour);
  for (const auto& silent : list_in(answer, "unreachable"))
    out += fmt::format("{} does not answer: {}\n", printable(text_in(silent, "address")),
                       paint(printable(text_in(silent, "reason")), tone::warning, colour));
  return out;
}

std::string quota_summary(const json& quotas, bool colour) {
  std::string used_up;
  std::string others;
  std::size_t count = 0;
  for (const auto& quota : quotas) {
    auto business = printable(text_in(quota, "business"));
    const auto& gone = list_in(quota, "used_up");
    std::uint64_t replicas = 0;
    for (const auto& wait : list_in(quota, "waiting"))
      replicas += count_in(wait, "replicas");
    if (gone.empty() && replicas == 0) {
      if (auto reason = printable(text_in(quota, "reason")); !reason.empty())
        others += fmt::format("; {}: {}", business, reason);
      continue;
    }
    ++count;
    std::string text;
    for (const auto& dimension : list_in(quota, "dimensions"))
      if (number_in(dimension, "left") <= 0)
        text += fmt::format("{}{} {} of {}", text.empty() ? "" : ", ", printable(text_in(dimension, "dimension")),
                            amount(dimension, "in_use"), amount(dimension, "limit"));
    if (replicas > 0)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", counted(replicas, "replica"),
                          replicas == 1 ? "waits" : "wait");
    used_up += fmt::format("{}{} ({})", used_up.empty() ? "" : ", ", business, text);
  }
  auto out = quotas.size() == 1 ? std::string{"1 business"} : fmt::format("{} businesses", quotas.size());
  if (count > 0)
    out += ", " + paint(fmt::format("{} used up: {}", count, used_up), tone::warning, colour);
  return others.empty() ? out : out + paint(others, tone::warning, colour);
}

} // namespace astra
