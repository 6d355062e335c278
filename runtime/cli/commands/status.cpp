#include "runtime/cli/commands/commands.hpp"

#include "runtime/cli/commands/quota.hpp"
#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

namespace astra {
namespace {

milliseconds ms_in(const json& object, const char* key) {
  return milliseconds{static_cast<std::int64_t>(count_in(object, key))};
}

// A gateway that has heard from no Resource yet writes null.
std::string view_age(const json& cluster) {
  auto known = cluster.is_object() && cluster.contains("view_age_ms") && cluster["view_age_ms"].is_number();
  return known ? human_duration(ms_in(cluster, "view_age_ms")) : "unknown: no Resource heard yet";
}

std::string nodes_line(const json& nodes, bool colour) {
  std::string line;
  for (auto state : {"online", "suspect", "draining", "offline"}) {
    auto count = count_in(nodes, state);
    auto text = fmt::format("{} {}", count, state);
    line +=
        fmt::format("{}{}", line.empty() ? "" : "   ", count > 0 ? paint(text, tone_of_state(state), colour) : text);
  }
  return line;
}

std::string cores_line(const json& cores) {
  auto total = number_in(cores, "total");
  auto busy = number_in(cores, "busy");
  return fmt::format("{} total   {} reserved   {} busy{}", human_number(total),
                     human_number(number_in(cores, "reserved")), human_number(busy),
                     total > 0 ? fmt::format(" ({})", human_share(busy / total)) : "");
}

// What a Resource said of itself; an empty object when it said nothing.
const json& report_of(const json& views, const std::string& name) {
  static const json none = json::object();
  for (const auto& report : list_in(views, "reports"))
    if (text_in(report, "resource") == name)
      return report;
  return none;
}

std::string of_report(const json& views, const std::string& name, const char* key) {
  const auto& report = report_of(views, name);
  return report.empty() ? "" : std::to_string(count_in(report, key));
}

std::string up_for(const json& views, const std::string& name) {
  const auto& report = report_of(views, name);
  return report.empty() ? "" : human_duration(ms_in(report, "uptime_ms"));
}

// Nodes at home there, by its own word.
std::string own_nodes(const json& views, const std::string& name) {
  for (const auto& shard : list_in(report_of(views, name), "shards"))
    if (text_in(shard, "origin") == name)
      return std::to_string(count_in(shard, "nodes"));
  return "";
}

// It answers nobody, and its last word is older than its peers would wait for.  When all Resources of a group are gone,
// nobody is left to call them lost.
bool is_silent(const json& views, const std::string& name, milliseconds age) {
  return views.is_object() && report_of(views, name).empty() && age >= std::chrono::seconds{3};
}

// Whether the Resources see the same cluster, and who is the furthest behind what they hand out.
std::string views_part(const json& views, bool colour) {
  std::string out;
  auto line = [&](std::string_view title, std::string_view text) {
    out += fmt::format("{}{}\n", paint(fmt::format("{:<11}", title), tone::title, colour), text);
  };
  const auto& reports = list_in(views, "reports");
  std::uint64_t furthest = 0;
  text_table table{{{"  SHARD"}, {"SEEN BY"}, {"DIFFERENCE"}}};
  for (const auto& difference : list_in(views, "differences")) {
    auto behind = text_in(difference, "kind") == "behind";
    // Some versions are always on their way.
    if (behind)
      furthest = std::max(furthest, count_in(difference, "versions_behind"));
    else
      table.add({"  " + text_in(difference, "shard"),
                 text_in(difference, "resource"),
                 {text_in(difference, "detail"),
                  text_in(difference, "kind") == "contradiction" ? tone::bad : tone::warning}});
  }
  auto good = reports.size() == 1 ? std::string{"one Resource, nothing to compare"}
                                  : fmt::format("the views of {} agree", counted(reports.size(), "Resource"));
  auto summary = reports.empty() ? paint("no Resource answers", tone::bad, colour)
                 : table.empty() ? paint(good, tone::good, colour)
                                 : paint("the Resources do not agree", tone::warning, colour);
  line("views", fmt::format("{}{}", summary,
                            furthest > 0 ? fmt::format("   at most {} on the way", counted(furthest, "version")) : ""));
  if (!table.empty())
    out += table.render(colour);
  for (const auto& silent : list_in(views, "unreachable"))
    line("", fmt::format("{} does not answer: {}", printable(text_in(silent, "address")),
                         paint(printable(text_in(silent, "reason")), tone::warning, colour)));
  const json* slowest = nullptr;
  std::string at;
  for (const auto& report : reports)
    for (const auto& one : list_in(report, "slowest"))
      if (slowest == nullptr || count_in(one, "behind_ms") > count_in(*slowest, "behind_ms")) {
        slowest = &one;
        at = text_in(report, "resource");
      }
  if (slowest != nullptr)
    line("slowest", count_in(*slowest, "versions_behind") == 0
                        ? std::string{"no subscriber was behind at its last renewal"}
                        : fmt::format("{} was {} and {} behind {}, {} ago", printable(text_in(*slowest, "name")),
                                      counted(count_in(*slowest, "versions_behind"), "version"),
                                      human_duration(ms_in(*slowest, "behind_ms")), printable(at),
                                      human_duration(ms_in(*slowest, "renewed_ms_ago"))));
  return out;
}

// Apps that have fewer replicas ready than wanted, or a reason why something is not as it should be.
bool is_fine(const json& app) {
  return count_in(app, "ready") >= count_in(app, "replicas") && text_in(app, "reason").empty();
}

std::string next_command(const json& status) {
  const auto& nodes = list_in(status, "nodes");
  for (const auto& app : list_in(status, "apps"))
    if (!is_fine(app))
      return fmt::format("astra app show {}", printable(text_in(app, "name")));
  if (count_in(nodes, "suspect") + count_in(nodes, "draining") + count_in(nodes, "offline") > 0)
    return "astra node list";
  if (list_in(status, "apps").empty())
    return "astra app apply FILE";
  return fmt::format("astra invoke {} < FILE", printable(text_in(list_in(status, "apps").front(), "name")));
}

} // namespace

const command_text status_text = {
    "Show the whole cluster on one screen",
    "Nodes by state, cores, memory and cards, apps that are not as they should be and why, the Resources with the age "
    "of what "
    "is known from them, whether they see the same cluster, the subscriber that is the furthest behind, quotas if "
    "there "
    "are any, and the command to try next.",
    "astra status\nastra status -o json",
};

int show_status(command_context& context) {
  return context.show("/v1/status", render_status);
}

std::string render_status(const json& status, bool colour) {
  std::string out;
  auto line = [&](std::string_view title, std::string_view text) {
    out += fmt::format("{}{}\n", paint(fmt::format("{:<11}", title), tone::title, colour), text);
  };
  const auto& cluster = list_in(status, "cluster");
  auto uptime = milliseconds{std::llround(number_in(cluster, "uptime_s") * 1000.0)};
  line("cluster", fmt::format("gateway {}   version {}   up {}   view age {}", printable(text_in(cluster, "gateway")),
                              printable(text_in(cluster, "version")), human_duration(uptime), view_age(cluster)));
  line("nodes", nodes_line(list_in(status, "nodes"), colour));
  line("cores", cores_line(list_in(status, "cores")));
  const auto& memory = list_in(status, "memory");
  line("memory", fmt::format("{} total   {} reserved", human_bytes(count_in(memory, "total_bytes")),
                             human_bytes(count_in(memory, "reserved_bytes"))));
  const auto& cards = list_in(status, "cards");
  if (count_in(cards, "total") > 0)
    line("cards", fmt::format("{} total   {} reserved", count_in(cards, "total"), count_in(cards, "reserved")));
  const auto& requests = list_in(status, "requests");
  line("requests", fmt::format("{} running   {} queued", count_in(requests, "running"), count_in(requests, "queued")));

  const auto& resources = list_in(status, "resources");
  std::size_t lost = 0;
  const auto& views = list_in(status, "views");
  const auto& groups = list_in(status, "groups");
  text_table ages{{{"  RESOURCE"},
                   {"STATE"},
                   {"VIEW AGE", align::right},
                   {"NODES", align::right},
                   {"SUBSCRIBERS", align::right},
                   {"UP", align::right},
                   {groups.size() > 1 ? "GROUP" : ""}}};
  for (const auto& resource : resources) {
    auto is_lost = flag_in(resource, "lost");
    lost += is_lost ? 1 : 0;
    ages.add({"  " + text_in(resource, "name"),
              is_lost ? table_cell{"lost", tone::bad}
              : is_silent(views, text_in(resource, "name"), ms_in(resource, "age_ms"))
                  ? table_cell{"silent", tone::warning}
                  : table_cell{"in view", tone::good},
              human_duration(ms_in(resource, "age_ms")), own_nodes(views, text_in(resource, "name")),
              of_report(views, text_in(resource, "name"), "subscribers"), up_for(views, text_in(resource, "name")),
              groups.size() > 1 ? text_in(resource, "group") : ""});
  }
  line("resources", fmt::format("{} of {} in view", resources.size() - lost, resources.size()));
  if (!ages.empty())
    out += ages.render(colour);

  if (groups.size() > 1) {
    text_table table{{{"  GROUP"},
                      {"ONLINE", align::right},
                      {"SUSPECT", align::right},
                      {"DRAINING", align::right},
                      {"OFFLINE", align::right},
                      {"CORES", align::right},
                      {"RESERVED", align::right}}};
    for (const auto& group : groups) {
      auto number = [&](const char* key) { return std::to_string(count_in(group, key)); };
      table.add({"  " + text_in(group, "name"), number("online"), number("suspect"), number("draining"),
                 number("offline"), human_number(number_in(group, "cores")),
                 human_number(number_in(group, "cores_reserved"))});
    }
    line("groups", counted(groups.size(), "Resource group"));
    out += table.render(colour);
  }

  if (views.is_object())
    out += views_part(views, colour);

  const auto& schedulers = list_in(status, "schedulers");
  std::size_t online = 0;
  text_table silent{{{"  SCHEDULER"}, {"STATE"}, {"REASON"}}};
  for (const auto& scheduler : schedulers) {
    auto state = text_in(scheduler, "state");
    if (state == "online")
      ++online;
    else
      silent.add({"  " + text_in(scheduler, "name"), {state, tone::warning}, text_in(scheduler, "reason")});
  }
  line("schedulers", fmt::format("{} of {} online", online, schedulers.size()));
  if (!silent.empty())
    out += silent.render(colour);

  const auto& apps = list_in(status, "apps");
  std::size_t fine = 0;
  text_table troubled{{{"  APP"}, {"READY", align::right}, {"REASON"}}};
  for (const auto& app : apps) {
    if (is_fine(app)) {
      ++fine;
      continue;
    }
    troubled.add({"  " + text_in(app, "name"),
                  {fmt::format("{}/{}", count_in(app, "ready"), count_in(app, "replicas")), tone::warning},
                  text_in(app, "reason")});
  }
  auto not_fine = fmt::format("{} not ready", apps.size() - fine);
  line("apps",
       fmt::format("{} ready   {}", fine, apps.size() > fine ? paint(not_fine, tone::warning, colour) : not_fine));
  if (!troubled.empty())
    out += troubled.render(colour);
  if (const auto& quotas = list_in(status, "quotas"); !quotas.empty())
    line("quotas", quota_summary(quotas, colour));
  out += fmt::format("{}{}\n", paint("next       ", tone::faint, colour), next_command(status));
  return out;
}

} // namespace astra
