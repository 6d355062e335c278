#include "runtime/cli/commands/commands.hpp"

#include "runtime/cli/human.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <utility>

namespace astra {
namespace {

milliseconds age_of(const json& node) {
  return milliseconds{static_cast<std::int64_t>(count_in(node, "age_ms"))};
}

std::string cores_of(const json& node) {
  return fmt::format("{}/{}", human_number(number_in(node, "cores_reserved")), human_number(number_in(node, "cores")));
}

std::string memory_of(const json& node) {
  return fmt::format("{} / {}", human_bytes(count_in(node, "memory_reserved_bytes")),
                     human_bytes(count_in(node, "memory_bytes")));
}

std::string accelerators_of(const json& node) {
  std::string out;
  for (const auto& accelerator : list_in(node, "accelerators"))
    out += fmt::format("{}{} x {} (coefficient {})", out.empty() ? "" : ", ", count_in(accelerator, "count"),
                       text_in(accelerator, "kind"), human_number(number_in(accelerator, "coefficient")));
  return out;
}

std::string labels_of(const json& node) {
  std::string out;
  for (const auto& [key, value] : list_in(node, "labels").items())
    out += fmt::format("{}{}={}", out.empty() ? "" : ", ", key,
                       value.is_string() ? value.get<std::string>() : value.dump());
  return out;
}

} // namespace

const command_text node_text = {"List, show and drain nodes", "", ""};

const command_text node_list_text = {
    "List all nodes with their state, capacity and load",
    "CORES and MEMORY are reserved by replicas / offered.  UTIL is the busy share of the cores.  AGE is the time since "
    "the node's last heartbeat.  HOME is the Resource it beats to.  With -o json all fields, exact.",
    "astra node list\nastra node list -o json",
};

const command_text node_show_text = {"Show one node with its replicas", "", "astra node show node-1"};

const command_text node_drain_text = {
    "Take a node out of service",
    "The node accepts no more work from this moment on and finishes what it has begun.",
    "astra node drain node-1",
};

int list_nodes(command_context& context) {
  return context.show("/v1/nodes", render_nodes);
}

int show_node(command_context& context, const std::string& name) {
  return context.show("/v1/nodes/" + percent_encoded(name), render_node);
}

int drain_node(command_context& context, const std::string& name) {
  auto answer = context.ask("POST", fmt::format("/v1/nodes/{}/drain", percent_encoded(name)));
  if (!answer)
    return context.fail(answer.error());
  if (context.options.format == output_format::json)
    context.out() << pretty(*answer);
  else
    context.out() << fmt::format("node {} is draining; {} running and {} queued will be finished\n", name,
                                 counted(count_in(*answer, "running"), "request"), count_in(*answer, "queued"));
  return exit_ok;
}

std::string render_nodes(const json& answer, bool colour) {
  text_table table{{{"NAME"},
                    {"STATE"},
                    {"CORES", align::right},
                    {"MEMORY", align::right},
                    {"UTIL", align::right},
                    {"RUN", align::right},
                    {"QUEUE", align::right},
                    {"REPLICAS", align::right},
                    {"AGE", align::right},
                    {"HOME"},
                    {"REASON"}}};
  for (const auto& node : list_in(answer, "nodes")) {
    auto state = text_in(node, "state");
    table.add({text_in(node, "name"),
               {state, tone_of_state(state)},
               cores_of(node),
               memory_of(node),
               human_share(number_in(node, "utilisation")),
               std::to_string(count_in(node, "running")),
               std::to_string(count_in(node, "queued")),
               std::to_string(list_in(node, "replicas").size()),
               human_duration(age_of(node)),
               text_in(node, "home"),
               text_in(node, "reason")});
  }
  return table.empty() ? "no nodes yet; start one with 'astra run -c node.toml'\n" : table.render(colour);
}

std::string render_node(const json& node, bool colour) {
  std::string out;
  auto line = [&](std::string_view title, const std::string& text) {
    if (!text.empty())
      out += fmt::format("{}{}\n", paint(fmt::format("{:<13}", title), tone::title, colour), text);
  };
  auto state = printable(text_in(node, "state"));
  auto reason = printable(text_in(node, "reason"));
  line("name", printable(text_in(node, "name")));
  line("state", paint(state, tone_of_state(state), colour) + (reason.empty() ? "" : ": " + reason));
  line("last beat", fmt::format("{} ago, to {}", human_duration(age_of(node)), printable(text_in(node, "home"))));
  line("address", printable(text_in(node, "address")));
  line("cores", fmt::format("{} reserved, {} busy", cores_of(node), human_share(number_in(node, "utilisation"))));
  line("memory", memory_of(node) + " reserved");
  line("accelerators", printable(accelerators_of(node)));
  line("labels", printable(labels_of(node)));
  line("capacity", printable(text_in(node, "capacity_origin")));
  line("limits", printable(text_in(node, "limits_backend")));
  line("requests", fmt::format("{} running, {} queued, {} done, {} failed", count_in(node, "running"),
                               count_in(node, "queued"), count_in(node, "done"), count_in(node, "failed")));
  text_table replicas{{{"REPLICA"}, {"STATE"}, {"REASON"}}};
  for (const auto& replica : list_in(node, "replicas")) {
    auto replica_state = text_in(replica, "state");
    replicas.add({fmt::format("{}/{}", text_in(replica, "app"), count_in(replica, "index")),
                  {replica_state, tone_of_state(replica_state)},
                  text_in(replica, "reason")});
  }
  out += replicas.empty() ? "no replicas\n" : "\n" + replicas.render(colour);
  return out;
}

} // namespace astra
