#include "runtime/cli/commands/commands.hpp"

#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>

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
    "Nodes by state, cores and memory, apps that are not as they should be and why, the Resources with the age of what "
    "is known from them, and the command to try next.",
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
  const auto& requests = list_in(status, "requests");
  line("requests", fmt::format("{} running   {} queued", count_in(requests, "running"), count_in(requests, "queued")));

  const auto& resources = list_in(status, "resources");
  std::size_t lost = 0;
  text_table ages{{{"  RESOURCE"}, {"STATE"}, {"VIEW AGE", align::right}}};
  for (const auto& resource : resources) {
    auto is_lost = flag_in(resource, "lost");
    lost += is_lost ? 1 : 0;
    ages.add({"  " + text_in(resource, "name"),
              is_lost ? table_cell{"lost", tone::bad} : table_cell{"in view", tone::good},
              human_duration(ms_in(resource, "age_ms"))});
  }
  line("resources", fmt::format("{} of {} in view", resources.size() - lost, resources.size()));
  if (!ages.empty())
    out += ages.render(colour);

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
  out += fmt::format("{}{}\n", paint("next       ", tone::faint, colour), next_command(status));
  return out;
}

} // namespace astra
