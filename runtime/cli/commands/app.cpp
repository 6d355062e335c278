#include "runtime/cli/commands/commands.hpp"

#include "config/load.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "messages/wire.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/cli/human.hpp"
#include "runtime/cli/spec_json.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace astra {
namespace {

using namespace std::chrono_literals;

constexpr auto wait_poll = 200ms;

std::string path_of(const std::string& app) {
  return "/v1/apps/" + percent_encoded(app);
}

milliseconds ms_in(const json& object, const char* key) {
  return milliseconds{static_cast<std::int64_t>(count_in(object, key))};
}

// "3/6 ready, 2 starting, 1 failed"
std::string replica_counts(const json& app) {
  auto text = fmt::format("{}/{} ready", count_in(app, "ready"), count_in(app, "replicas"));
  for (auto state : {"starting", "pending", "failed"})
    if (auto count = count_in(app, state); count > 0)
      text += fmt::format(", {} {}", count, state);
  return text;
}

// "running, 2 of 6 replaced"; empty: none is under way.
std::string rollout_of(const json& app) {
  const auto& rollout = list_in(app, "rollout");
  if (!rollout.is_object() || rollout.empty())
    return {};
  return fmt::format("{}, {} of {} replaced", text_in(rollout, "phase"), count_in(rollout, "updated"),
                     count_in(rollout, "total"));
}

bool halted(const json& app) {
  const auto& rollout = list_in(app, "rollout");
  auto phase = rollout.is_object() ? text_in(rollout, "phase") : std::string{};
  return phase == "halted" || phase == "rolling back";
}

// "cpu 0.5, memory 256 MiB, 1 x t4"
std::string resources_of(const json& per_replica) {
  auto text = fmt::format("cores {}", human_number(number_in(per_replica, "cpu_milli") / 1000.0));
  if (auto memory = count_in(per_replica, "memory_bytes"); memory > 0)
    text += ", memory " + human_bytes(memory);
  for (const auto& accelerator : list_in(per_replica, "accelerators"))
    text += fmt::format(", {} x {}", count_in(accelerator, "count"), text_in(accelerator, "kind"));
  return text;
}

std::string joined(const json& words) {
  std::string text;
  for (const auto& word : words)
    text += (text.empty() ? "" : " ") + (word.is_string() ? word.get<std::string>() : word.dump());
  return text;
}

// What the app does, by kind: "tesseract stdin stdout, for every request".
std::string work_of(const json& spec) {
  if (spec.contains("per_request"))
    return joined(list_in(spec["per_request"], "command")) + ", for every request";
  if (spec.contains("server"))
    return joined(list_in(spec["server"], "command")) + ", as a server";
  if (spec.contains("actor"))
    return "actor " + text_in(spec["actor"], "type");
  return {};
}

// Every value of a JSON tree under its dotted path.
void flatten(const json& value, const std::string& path, std::map<std::string, std::string>& out) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, field] : value.items())
      flatten(field, path.empty() ? key : path + "." + key, out);
  } else {
    out[path] = value.is_string() ? value.get<std::string>() : value.dump();
  }
}

// Replicas that serve as the app was before.
std::size_t outdated_in(const json& app) {
  const auto& replicas = list_in(app, "replicas_detail");
  auto counts = [](auto& replica) { return flag_in(replica, "outdated") && text_in(replica, "state") == "ready"; };
  return static_cast<std::size_t>(std::count_if(replicas.begin(), replicas.end(), counts));
}

// Waits until the gateway knows the app as `spec` with every replica ready, and none that serves as it was before.
int wait_until_ready(command_context& context, const pb::AppSpec& spec, milliseconds limit) {
  auto start = context.environment.now();
  auto live = context.environment.err_is_terminal;
  // Where the app stands, as told last.
  std::string standing;
  auto narrate = [&](const std::string& text, milliseconds passed) {
    if (live)
      *context.environment.err << fmt::format("\r\033[Kapp {}: {}  {}", spec.name(), text, human_duration(passed))
                               << std::flush;
    else if (text != standing)
      context.say(fmt::format("app {}: {}", spec.name(), text));
    standing = text;
  };
  auto finish_line = [&] {
    if (live)
      *context.environment.err << "\r\033[K" << std::flush;
  };
  for (;;) {
    auto answer = context.ask("GET", path_of(spec.name()));
    auto passed = std::chrono::duration_cast<milliseconds>(context.environment.now() - start);
    if (answer) {
      pb::AppSpec known;
      auto is_current = spec_from_json(list_in(*answer, "spec"), known) && encode(known) == encode(spec);
      auto rollout = rollout_of(*answer);
      if (is_current && halted(*answer)) {
        finish_line();
        return context.fail(exit_unreachable,
                            fmt::format("app '{}': {}", spec.name(), printable(text_in(*answer, "reason"))));
      }
      auto outdated = outdated_in(*answer);
      if (is_current && rollout.empty() && outdated == 0
          && count_in(*answer, "ready") >= count_in(*answer, "replicas")) {
        finish_line();
        context.say(
            fmt::format("app {} is ready: {} after {}", spec.name(), replica_counts(*answer), human_duration(passed)));
        return exit_ok;
      }
      auto reason = printable(text_in(*answer, "reason"));
      narrate(fmt::format("{}{}{}{}", is_current ? replica_counts(*answer) : "the scheduler has not taken it over yet",
                          rollout.empty() ? "" : "; update " + rollout,
                          is_current && outdated > 0 ? fmt::format("; {} still of the previous spec", outdated) : "",
                          reason.empty() ? "" : "; " + reason),
              passed);
    } else if (exit_code_of(answer.error()) != exit_not_found) {
      // Not found: the word of the new app has not come to the gateway yet.
      finish_line();
      return context.fail(answer.error());
    }
    if (passed >= limit) {
      finish_line();
      return context.fail(exit_unreachable,
                          fmt::format("app '{}' is not ready after {}: {}; see 'astra app show {}'", spec.name(),
                                      human_duration(limit),
                                      standing.empty() ? "the gateway does not know it yet" : standing, spec.name()));
    }
    context.environment.sleep(std::min<milliseconds>(wait_poll, limit - passed));
  }
}

} // namespace

std::string state_of_app(const json& app) {
  if (flag_in(app, "deleting"))
    return "deleting";
  if (halted(app))
    return "degraded";
  if (auto rollout = rollout_of(app); !rollout.empty())
    return "updating";
  if (count_in(app, "ready") >= count_in(app, "replicas"))
    return "ready";
  return count_in(app, "ready") > 0 ? "degraded" : count_in(app, "failed") > 0 ? "failed" : "starting";
}

const command_text app_text = {"List, show, apply and delete apps", "", ""};

const command_text app_list_text = {
    "List all apps with their replicas",
    "READY is ready / wanted replicas; REASON tells why fewer are ready.",
    "astra app list\nastra app list --where 'state != ready' --sort -failed\nastra app list -o name",
};

const command_text app_show_text = {"Show one app: what it is and where each replica stands", "", "astra app show ocr"};

const command_text app_apply_text = {
    "Create or change an app from its file",
    "The file is checked here first: a problem is told with its place and its cure, exit code 78, and nothing is sent. "
    " "
    "--wait returns when every replica is ready, or with exit code 5 and the reason when the time is over. --plan "
    "refuses "
    "with exit code 6 when the plan of that index is not what applying would do now.",
    "astra app apply ocr.toml\nastra app apply ocr.toml --wait 60s\nastra app apply ocr.toml --plan "
    "3-9f2c1a-71ab02-04de55",
};

const command_text app_delete_text = {"Stop an app and forget it", "", "astra app delete ocr"};

const listing& app_listing() {
  static const listing what{"apps",
                            "app",
                            "name",
                            {"name", "kind", "state", "replicas", "ready", "starting", "pending", "failed", "reason",
                             "scheduler", "deleting", "idempotent", "concurrency", "request_timeout_ms", "rollout",
                             "scaled_to", "scale_reason"},
                            render_apps};
  return what;
}

int list_apps(command_context& context, const list_options& options) {
  return print_list(context, app_listing(), options, [&] {
    auto answer = context.ask("GET", "/v1/apps");
    if (answer && answer->contains("apps") && (*answer)["apps"].is_array())
      for (auto& app : (*answer)["apps"])
        app["state"] = state_of_app(app);
    return answer;
  });
}

int show_app(command_context& context, const std::string& name) {
  return context.show(path_of(name), render_app);
}

exit_code read_app_file(command_context& context, const std::string& file, pb::AppSpec& spec) {
  auto config = load_app_config(file, context.environment.variables);
  if (!config.spec) {
    for (const auto& problem : config.problems)
      context.say(printable(to_string(problem)));
    context.fail(exit_bad_config,
                 fmt::format("{} in {}; nothing was sent", counted(config.problems.size(), "problem"), file));
    return exit_bad_config;
  }
  spec = std::move(*config.spec);
  return exit_ok;
}

int apply_app_file(command_context& context, const apply_options& options) {
  pb::AppSpec spec;
  if (auto code = read_app_file(context, options.file, spec); code != exit_ok)
    return code;
  auto wanted = spec_to_json(spec);
  auto before = context.ask("GET", path_of(spec.name()));
  if (!before && exit_code_of(before.error()) != exit_not_found)
    return context.fail(before.error());
  auto target = path_of(spec.name());
  if (!options.plan.empty())
    target += "?plan=" + percent_encoded(options.plan);
  auto answer = context.ask("PUT", target, wanted.dump(), "application/json");
  if (!answer) {
    // The gateway knows rules that this version does not.
    auto refused = answer.error() == errc::invalid_argument;
    return context.fail(refused ? exit_bad_config : exit_code_of(answer.error()), error_text(answer.error()));
  }
  if (context.options.format == output_format::json) {
    context.out() << pretty(*answer);
  } else {
    context.out() << fmt::format("app {}: {}\n", spec.name(), printable(text_in(*answer, "message")));
    pb::AppSpec known;
    if (before && spec_from_json(list_in(*before, "spec"), known))
      for (const auto& change : spec_changes(spec_to_json(known), wanted))
        context.out() << "  " << printable(change) << '\n';
  }
  context.out().flush();
  return options.wait ? wait_until_ready(context, spec, *options.wait) : exit_ok;
}

int delete_app_named(command_context& context, const std::string& name) {
  return context.print(context.ask("DELETE", path_of(name)), [&](const json& answer, bool) {
    return fmt::format("app {}: {}\n", name, printable(text_in(answer, "message")));
  });
}

std::string render_apps(const json& answer, bool colour) {
  text_table table{{{"NAME"}, {"KIND"}, {"STATE"}, {"READY", align::right}, {"REASON"}}};
  for (const auto& app : list_in(answer, "apps")) {
    auto state = state_of_app(app);
    table.add({text_in(app, "name"),
               text_in(app, "kind"),
               {state, tone_of_state(state)},
               fmt::format("{}/{}", count_in(app, "ready"), count_in(app, "replicas")),
               text_in(app, "reason").empty() && !rollout_of(app).empty() ? "update " + rollout_of(app)
                                                                          : text_in(app, "reason")});
  }
  return table.empty() ? "no apps yet; create one with 'astra app apply FILE'\n" : table.render(colour);
}

std::string render_app(const json& app, bool colour) {
  std::string out;
  auto line = [&](std::string_view title, const std::string& text) {
    if (!text.empty())
      out += fmt::format("{}{}\n", paint(fmt::format("{:<13}", title), tone::title, colour), text);
  };
  const auto& spec = list_in(app, "spec");
  auto state = state_of_app(app);
  auto reason = printable(text_in(app, "reason"));
  line("name", printable(text_in(app, "name")));
  line("kind", printable(text_in(app, "kind")));
  line("state", paint(state, tone_of_state(state), colour) + (reason.empty() ? "" : ": " + reason));
  line("replicas", replica_counts(app));
  line("scaled to", printable(text_in(app, "scale_reason")));
  line("update", printable(rollout_of(app)));
  line("runs", printable(work_of(spec)));
  line("per replica", fmt::format("{}, concurrency {}", printable(resources_of(list_in(spec, "per_replica"))),
                                  count_in(app, "concurrency")));
  std::string labels;
  for (const auto& label : list_in(spec, "require"))
    labels += fmt::format("{}{}={}", labels.empty() ? "" : ", ", text_in(label, "key"), text_in(label, "value"));
  line("requires", printable(labels));
  line("requests", fmt::format("deadline {}, {}", human_duration(ms_in(app, "request_timeout_ms")),
                               flag_in(app, "idempotent") ? "idempotent: may be started twice"
                                                          : "not idempotent: never started twice"));
  line("scheduler", printable(text_in(app, "scheduler")));
  line("note", printable(text_in(app, "note")));
  text_table clusters{{{"CLUSTER"}, {"STATE"}, {"HEAD"}, {"PORTS"}, {"WORKERS", align::right}, {"REASON"}}};
  for (const auto& cluster : list_in(app, "clusters")) {
    auto cluster_state = text_in(cluster, "state");
    auto head = text_in(cluster, "head_host");
    if (auto node = text_in(cluster, "head_node"); !node.empty())
      head = node + (head.empty() ? "" : " (" + head + ")");
    std::string ports;
    for (const auto& [port_name, number] : list_in(cluster, "head_ports").items())
      ports += fmt::format("{}{}={}", ports.empty() ? "" : " ", port_name, number.dump());
    clusters.add({text_in(cluster, "cluster"),
                  {cluster_state, tone_of_state(cluster_state)},
                  head,
                  ports,
                  fmt::format("{}/{}", count_in(cluster, "workers_ready"), count_in(cluster, "workers")),
                  text_in(cluster, "reason")});
  }
  if (!clusters.empty())
    out += "\n" + clusters.render(colour);
  auto federated = !clusters.empty();
  text_table replicas{{{federated ? "MEMBER" : "REPLICA", align::right},
                       {"STATE"},
                       {"NODE"},
                       {"RESTARTS", align::right},
                       {"IN STATE", align::right},
                       {"REASON"}}};
  for (const auto& replica : list_in(app, "replicas_detail")) {
    auto replica_state = text_in(replica, "state");
    auto of_cluster = text_in(replica, "cluster");
    auto slot = count_in(replica, "slot");
    replicas.add({federated && !of_cluster.empty()
                      ? of_cluster + (slot == 0 ? std::string{" head"} : fmt::format(" {}", slot))
                      : std::to_string(count_in(replica, "index")),
                  {replica_state, tone_of_state(replica_state)},
                  text_in(replica, "node"),
                  std::to_string(count_in(replica, "restarts")),
                  human_duration(ms_in(replica, "in_state_ms")),
                  text_in(replica, "reason")});
  }
  if (!replicas.empty())
    out += "\n" + replicas.render(colour);
  return out;
}

std::vector<std::string> spec_changes(const json& before, const json& after) {
  std::map<std::string, std::string> old_values, new_values;
  flatten(before, "", old_values);
  flatten(after, "", new_values);
  std::vector<std::string> changes;
  for (const auto& [path, value] : new_values) {
    auto old = old_values.find(path);
    if (old == old_values.end())
      changes.push_back(fmt::format("{}: {} (new)", path, value));
    else if (old->second != value)
      changes.push_back(fmt::format("{}: {} -> {}", path, old->second, value));
  }
  for (const auto& [path, value] : old_values)
    if (!new_values.contains(path))
      changes.push_back(fmt::format("{}: {} (removed)", path, value));
  return changes;
}

} // namespace astra
