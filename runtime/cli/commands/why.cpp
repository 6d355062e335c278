#include "runtime/cli/commands/commands.hpp"

#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace astra {
namespace {

constexpr std::string_view forms = "write app/NAME, replica/APP/INDEX or node/NAME";

/// What is asked about.
struct why_target {
  std::string kind;
  std::string name;
  std::optional<std::uint32_t> index;
};

std::optional<why_target> read_target(std::string_view text) {
  why_target result;
  auto slash = text.find('/');
  if (slash == std::string_view::npos)
    return std::nullopt;
  result.kind = text.substr(0, slash);
  auto name = text.substr(slash + 1);
  if (result.kind == "replica") {
    auto last = name.rfind('/');
    if (last == std::string_view::npos)
      return std::nullopt;
    auto digits = name.substr(last + 1);
    std::uint32_t index = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error != std::errc{} || end != digits.data() + digits.size())
      return std::nullopt;
    result.index = index;
    name = name.substr(0, last);
  } else if (result.kind != "app" && result.kind != "node") {
    return std::nullopt;
  }
  result.name = name;
  return name.empty() ? std::nullopt : std::optional{result};
}

/// "replica 3", "head of cluster 9c1f", "worker 2 of cluster 9c1f"
std::string replica_name(const json& replica) {
  auto cluster = text_in(replica, "cluster");
  if (cluster.empty())
    return fmt::format("replica {}", count_in(replica, "index"));
  auto slot = count_in(replica, "slot");
  return (slot == 0 ? std::string{"head"} : fmt::format("worker {}", slot)) + " of cluster " + cluster;
}

/// "replica 3 on n2: backing_off: exit code 1"
std::string replica_line(const json& replica) {
  auto node = text_in(replica, "node");
  auto reason = text_in(replica, "reason");
  return printable(fmt::format("{}{}: {}{}", replica_name(replica), node.empty() ? "" : " on " + node,
                               text_in(replica, "state"), reason.empty() ? "" : ": " + reason));
}

/// Those that do not serve, or not as they should.
std::string cluster_lines(const json& app) {
  std::string out;
  for (const auto& cluster : list_in(app, "clusters"))
    if (auto reason = text_in(cluster, "reason"); !reason.empty() || text_in(cluster, "state") != "serving")
      out += printable(fmt::format("cluster {}: {}{}, {} of {} workers ready", text_in(cluster, "cluster"),
                                   text_in(cluster, "state"), reason.empty() ? "" : ": " + reason,
                                   count_in(cluster, "workers_ready"), count_in(cluster, "workers")))
             + "\n";
  return out;
}

/// When nothing is wrong.
std::string all_well(const json& app) {
  if (const auto& clusters = list_in(app, "clusters"); !clusters.empty()) {
    auto serving = std::count_if(clusters.begin(), clusters.end(),
                                 [](auto& cluster) { return text_in(cluster, "state") == "serving"; });
    return fmt::format("{}, {} serving", counted(clusters.size(), "cluster"), serving);
  }
  auto replicas = count_in(app, "replicas");
  return replicas == 1 ? std::string{"its replica is ready"} : fmt::format("all {} replicas are ready", replicas);
}

/// Counts of reasons and the smallest change.
std::string placement_lines(const json& app) {
  std::string out;
  const auto& report = list_in(app, "placement");
  if (report.empty())
    return out;
  out += fmt::format("a place for one more: {} of {} nodes\n", count_in(report, "fitting"), count_in(report, "nodes"));
  for (const auto& reason : list_in(report, "reasons")) {
    auto nearest = text_in(reason, "nearest");
    auto text = text_in(reason, "text");
    auto told = nearest.empty() || text.find(nearest) != std::string::npos;
    // What is in the way whatever the node, such as a quota, counts none.
    auto count = count_in(reason, "nodes");
    auto nodes = count > 0 ? std::to_string(count) : "";
    out += printable(fmt::format("  {:>9} {}{}", nodes, text, told ? "" : "; " + nearest + " comes closest"));
    out += '\n';
  }
  std::string changes;
  for (const auto& change : list_in(report, "changes"))
    changes += (changes.empty() ? "" : ", and ") + text_in(change, "text");
  if (!changes.empty())
    out += printable(fmt::format("smallest change that makes one, on {}: {}", text_in(report, "node"), changes)) + "\n";
  return out;
}

} // namespace

const command_text why_text = {
    "Tell why an app, a replica or a node is not as it should be",
    "For replicas that have no place it counts what is in the way on how many nodes, and names the smallest change "
    "that "
    "would give one more replica a place.",
    "astra why app/ocr\nastra why replica/ocr/3\nastra why node/node-7",
};

std::string render_why_app(const json& app, std::optional<std::uint32_t> index, bool colour) {
  std::string out;
  auto name = printable(text_in(app, "name"));
  auto waits = false;
  auto found = false;
  std::string lines;
  // What a lost node held and what runs elsewhere by now is nothing that is wrong.
  std::set<std::string> ready;
  for (const auto& replica : list_in(app, "replicas_detail"))
    if (text_in(replica, "state") == "ready")
      ready.insert(replica_name(replica));
  for (const auto& replica : list_in(app, "replicas_detail")) {
    auto state = text_in(replica, "state");
    if (index && count_in(replica, "index") != *index)
      continue;
    found = true;
    waits |= state == "planned";
    auto replaced = state == "unknown" && ready.count(replica_name(replica)) != 0;
    if (index || (state != "ready" && !replaced))
      lines += replica_line(replica) + "\n";
  }
  if (!index) {
    auto reason = printable(text_in(app, "reason"));
    out += fmt::format("{}: {}\n", paint(name, tone::title, colour), reason.empty() ? all_well(app) : reason);
    out += cluster_lines(app);
  }
  if (auto note = printable(text_in(app, "note")); !note.empty())
    out += "note: " + note + "\n";
  if (index && !found)
    out += fmt::format("{} has no replica {}: it has {}, from 0\n", name, *index, count_in(app, "replicas"));
  out += lines;
  if (!index || waits)
    out += placement_lines(app);
  return out;
}

std::string render_why_node(const json& node, bool colour) {
  auto state = printable(text_in(node, "state"));
  auto reason = printable(text_in(node, "reason"));
  auto out = fmt::format("{}: {}{}\n", printable(text_in(node, "name")), paint(state, tone_of_state(state), colour),
                         reason.empty() ? "" : ": " + reason);
  std::string taints;
  for (const auto& taint : list_in(node, "taints"))
    taints += (taints.empty() ? "" : ", ") + taint.get<std::string>();
  if (!taints.empty())
    out += "only apps that tolerate its taints are placed there: " + printable(taints) + "\n";
  for (const auto& replica : list_in(node, "replicas"))
    if (auto why = text_in(replica, "reason"); !why.empty())
      out += printable(fmt::format("replica {}/{}: {}: {}", text_in(replica, "app"), count_in(replica, "index"),
                                   text_in(replica, "state"), why))
             + "\n";
  return out;
}

int tell_why(command_context& context, const std::string& what) {
  auto target = read_target(what);
  if (!target)
    return context.fail(exit_usage, fmt::format("'{}' names nothing that can be asked about; {}", what, forms));
  if (target->kind == "node")
    return context.show("/v1/nodes/" + percent_encoded(target->name), render_why_node);
  return context.show(
      "/v1/apps/" + percent_encoded(target->name),
      [index = target->index](const json& app, bool colour) { return render_why_app(app, index, colour); });
}

} // namespace astra
