#include "runtime/cli/commands/commands.hpp"

#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace astra {

const command_text router_text = {"Look into the routers", "", ""};

const command_text router_table_text = {
    "Show an app's nodes as its router sees them",
    "Every node with its weight and the terms that it is made of, its credit in the weighted round robin, its slots "
    "and "
    "what has been sent to it.  OUT tells why a node gets nothing now.",
    "astra router table ocr\nastra router table ocr --where 'in_flight > 0' --sort -weight --watch",
};

const listing& router_listing() {
  static const listing what{"rows",
                            "node",
                            "name",
                            {"node", "name", "address", "weight", "credit", "terms", "slots", "in_flight", "picked",
                             "served", "out_reason", "near"},
                            render_router_table};
  return what;
}

int show_router_table(command_context& context, const std::string& app, const list_options& options) {
  return print_list(context, router_listing(), options,
                    [&] { return context.ask("GET", "/v1/routers/" + percent_encoded(app)); });
}

std::string render_router_table(const json& table, bool colour) {
  const auto& rows = list_in(table, "rows");
  // The terms differ by formula: a column for each name, in the order in which they first appear.
  std::vector<std::string> terms;
  for (const auto& row : rows)
    for (const auto& term : list_in(row, "terms").items())
      if (std::find(terms.begin(), terms.end(), term.key()) == terms.end())
        terms.push_back(term.key());
  std::vector<table_column> columns = {{"NODE"}, {"WEIGHT", align::right}};
  for (const auto& term : terms)
    columns.push_back({term, align::right});
  for (auto title : {"CREDIT", "SLOTS", "IN FLIGHT", "PICKED", "SERVED"})
    columns.push_back({title, align::right});
  auto any_near = std::any_of(rows.begin(), rows.end(), [](auto& row) { return row.value("near", false); });
  if (any_near)
    columns.push_back({"NEAR"});
  columns.push_back({"OUT"});
  text_table nodes{std::move(columns)};
  for (const auto& row : rows) {
    std::vector<table_cell> cells;
    cells.emplace_back(text_in(row, "name"));
    cells.emplace_back(human_number(number_in(row, "weight")));
    for (const auto& term : terms)
      cells.emplace_back(human_number(number_in(list_in(row, "terms"), term.c_str())));
    cells.emplace_back(human_number(number_in(row, "credit")));
    for (auto key : {"slots", "in_flight", "picked", "served"})
      cells.emplace_back(std::to_string(count_in(row, key)));
    if (any_near)
      cells.emplace_back(row.value("near", false) ? "yes" : "");
    cells.emplace_back(text_in(row, "out_reason"), tone::warning);
    nodes.add(std::move(cells));
  }
  auto again = std::string{};
  for (auto key : {"retries", "hedges"})
    if (auto count = count_in(table, key); count > 0)
      again += fmt::format("   {} {}", count, key);
  return fmt::format("app {}   formula {}   order {}   {} taken   {} answered   {} waiting{}\n{}",
                     printable(text_in(table, "app")), printable(text_in(table, "formula")),
                     printable(text_in(table, "order")), counted(count_in(table, "requests"), "request"),
                     count_in(table, "answered"), count_in(table, "waiting"), again,
                     nodes.empty() ? "no node can serve it now\n" : nodes.render(colour));
}

const command_text router_pick_text = {
    "Show which nodes an app's next requests would be offered to",
    "A dry run: nothing is sent, and no turn is used up.  A node that has no free slot when its turn comes passes the "
    "request on to the next one.",
    "astra router pick ocr --n 20",
};

int show_router_picks(command_context& context, const std::string& app, std::uint32_t count) {
  return context.show(fmt::format("/v1/routers/{}/picks?n={}", percent_encoded(app), count), render_router_picks);
}

std::string render_router_picks(const json& picks, bool colour) {
  auto& list = list_in(picks, "picks");
  auto head = fmt::format("app {}   formula {}   order {}\n", printable(text_in(picks, "app")),
                          printable(text_in(picks, "formula")), printable(text_in(picks, "order")));
  if (list.empty())
    return head + fmt::format("nobody: {}\n", printable(text_in(picks, "reason")));
  std::vector<std::pair<std::string, std::size_t>> shares;
  std::string turns;
  for (auto& pick : list) {
    auto node = printable(pick.is_string() ? pick.get<std::string>() : std::string{});
    turns += (turns.empty() ? "" : " ") + node;
    auto share = std::find_if(shares.begin(), shares.end(), [&](auto& entry) { return entry.first == node; });
    if (share == shares.end())
      share = shares.insert(shares.end(), {node, 0});
    ++share->second;
  }
  std::stable_sort(shares.begin(), shares.end(), [](auto& a, auto& b) { return a.second > b.second; });
  text_table table{{{"NODE"}, {"TURNS", align::right}, {"SHARE", align::right}}};
  for (auto& [node, count] : shares)
    table.add(
        {table_cell{node}, table_cell{std::to_string(count)},
         table_cell{fmt::format("{:.1f} %", 100.0 * static_cast<double>(count) / static_cast<double>(list.size()))}});
  return head + turns + "\n\n" + table.render(colour);
}

} // namespace astra
