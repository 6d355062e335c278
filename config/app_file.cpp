#include "config/app_file.hpp"

#include "config/label_expression.hpp"
#include "config/load.hpp"
#include "config/naming.hpp"
#include "config/schema.pb.h"
#include "config/schema_reader.hpp"
#include "config/toml_tree.hpp"
#include "config/units.hpp"

#include "messages/wire/app.pb.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace astra {

namespace {

constexpr std::uint64_t kibibyte = 1024;
constexpr std::uint64_t mebibyte = 1024 * kibibyte;
constexpr std::uint64_t gibibyte = 1024 * mebibyte;
/// Of each list of a placement.
constexpr int rules_max = 16;
constexpr std::uint64_t longest_ms = 24ull * 3600 * 1000;

/// What an app file leaves out.
schema::AppFile default_app_file() {
  schema::AppFile result;
  result.set_replicas(1);
  result.set_kind("process");
  result.set_mode("per-request");
  result.set_concurrency(1);
  result.set_timeout(30'000);
  result.set_idempotent(false);
  result.set_queue_limit(64);
  result.mutable_resources()->set_cpu(1000);
  result.mutable_resources()->set_memory(512 * mebibyte);
  result.mutable_placement()->set_strategy("spread");
  result.mutable_restart()->set_backoff_min(100);
  result.mutable_restart()->set_backoff_max(30'000);
  result.mutable_restart()->set_healthy_after(60'000);
  result.mutable_restart()->set_budget(5);
  result.mutable_restart()->set_budget_window(60'000);
  result.mutable_output()->set_limit(16 * mebibyte);
  result.mutable_server()->set_path("/");
  result.mutable_server()->set_ready_timeout(30'000);
  result.mutable_server()->set_stop_grace(5'000);
  return result;
}

using text_map = google::protobuf::Map<std::string, std::string>;

std::map<std::string, std::string> sorted(const text_map& map) {
  return {map.begin(), map.end()};
}

/// NAME=value, sorted.
template <class Out>
void join_pairs(const text_map& map, Out* out) {
  for (auto& [name, value] : sorted(map))
    out->Add(name + "=" + value);
}

/// The other way round.
template <class Texts>
void split_pairs(const Texts& pairs, text_map* out) {
  for (auto& pair : pairs) {
    auto equals = pair.find('=');
    (*out)[pair.substr(0, equals)] = equals == std::string::npos ? "" : pair.substr(equals + 1);
  }
}

/// Keys and tables that say nothing for the kind and mode of this app.
void check_shape(const schema::AppFile& file, const std::string& kind, const std::string& mode,
                 std::vector<broken_rule>& broken) {
  auto refuse = [&](bool present, const char* key, const std::string& where) {
    if (present)
      broken.push_back({key, "says nothing for this app: it is for " + where + "; remove it or change the kind", {}});
  };
  auto is_actor = kind == "actor";
  refuse(is_actor && file.has_mode(), "mode", "kind = \"process\"");
  refuse(is_actor && file.command_size() > 0, "command", "kind = \"process\"");
  refuse(is_actor && file.env_size() > 0, "env", "kind = \"process\"");
  refuse(!is_actor && file.has_actor(), "actor", "kind = \"actor\"");
  refuse((is_actor || mode != "server") && file.has_server(), "server", "kind = \"process\" with mode = \"server\"");
  refuse((is_actor || mode == "server") && file.has_output(), "output",
         "kind = \"process\" with mode = \"per-request\"");
}

class rule_book {
public:
  void add(std::string key, std::string message, std::vector<std::string> related = {}) {
    broken_.push_back({std::move(key), std::move(message), std::move(related)});
  }

  void between(const std::string& key, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value < least || value > most)
      add(key, fmt::format("must be between {} and {}, not {}", least, most, value));
  }

  void duration_between(const std::string& key, std::uint64_t value_ms, std::uint64_t least_ms) {
    if (value_ms >= least_ms && value_ms <= longest_ms)
      return;
    auto show = [](std::uint64_t ms) {
      return "\"" + format_duration(milliseconds{std::min<std::uint64_t>(ms, INT64_MAX / 1000)}) + "\"";
    };
    add(key, "must be between " + show(least_ms) + " and \"24h\", not " + show(value_ms));
  }

  void size_between(const std::string& key, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value < least || value > most)
      add(key, fmt::format("must be between \"{}\" and \"{}\", not \"{}\"", format_size(least), format_size(most),
                           format_size(value)));
  }

  /// A program and its arguments.
  template <class Texts>
  void command(const Texts& command) {
    if (command.empty()) {
      add("command", "missing; name the program and its arguments, such as command = [\"tesseract\", \"-\", \"-\"]");
      return;
    }
    if (command.Get(0).empty())
      add("command[0]", "is empty; name the program to start", {"command"});
    for (int i = 0; i < command.size(); ++i)
      no_nul("command[" + std::to_string(i) + "]", command.Get(i));
  }

  template <class Texts>
  void environment(const Texts& env) {
    std::set<std::string> names;
    for (auto& entry : env) {
      auto equals = entry.find('=');
      auto name = entry.substr(0, equals);
      auto key = "env." + key_part(name);
      if (equals == std::string::npos)
        add("env", "\"" + name + "\" has no value; write NAME=value");
      else if (auto problem = variable_problem(name); !problem.empty())
        add(key, problem, {"env"});
      else if (!names.insert(name).second)
        add(key, "is given twice; keep one", {"env"});
      no_nul(key, entry);
    }
  }

  void http_path(const std::string& key, const std::string& path) {
    auto plain = [](char c) { return c > ' ' && c < 0x7f; };
    if (!path.starts_with('/') || !std::all_of(path.begin(), path.end(), plain))
      add(key, "\"" + path + "\" is not a path; start it with '/' and use no spaces");
  }

  std::vector<broken_rule> take() { return std::move(broken_); }

private:
  void no_nul(const std::string& key, const std::string& text) {
    if (text.find('\0') != std::string::npos)
      add(key, "holds the character \\u0000; remove it");
  }

  std::vector<broken_rule> broken_;
};

void check_accelerators(const pb::Resources& resources, rule_book& rules) {
  std::set<std::string> kinds;
  for (auto& accelerator : resources.accelerators()) {
    auto key = "resources.accelerators." + key_part(accelerator.kind());
    if (auto problem = name_problem(accelerator.kind()); !problem.empty())
      rules.add(key, problem, {"resources.accelerators"});
    else if (!kinds.insert(accelerator.kind()).second)
      rules.add(key, "is given twice; keep one");
    rules.between(key, accelerator.count(), 1, 1024);
  }
}

void check_labels(const pb::AppSpec& spec, rule_book& rules) {
  std::set<std::string> keys;
  for (auto& label : spec.require()) {
    auto key = "require.labels." + key_part(label.key());
    if (auto problem = label_problem(label.key(), label.value()); !problem.empty())
      rules.add(key, problem, {"require.labels"});
    else if (!keys.insert(label.key()).second)
      rules.add(key, "is given twice; keep one");
  }
}

void check_affinity(const std::string& key, const pb::AffinityRule& rule, rule_book& rules) {
  if (rule.app().empty())
    rules.add(key + ".app", "missing; name the other app, such as app = \"cache\"", {key});
  else if (auto problem = app_name_problem(rule.app()); !problem.empty())
    rules.add(key + ".app", problem);
  if (rule.label().empty())
    return;
  if (auto problem = label_problem(rule.label(), {}); !problem.empty())
    rules.add(key + ".label", problem);
}

void check_placement(const pb::AppSpec& spec, rule_book& rules) {
  auto& placement = spec.placement();
  auto at = [](const char* list, int i) { return fmt::format("placement.{}[{}]", list, i); };
  for (int i = 0; i < placement.require_size(); ++i)
    if (auto problem = problem_of(placement.require(i)); !problem.empty())
      rules.add(at("require", i), problem);
  for (int i = 0; i < placement.tolerate_size(); ++i)
    if (auto problem = taint_problem(to_text(placement.tolerate(i))); !problem.empty())
      rules.add(at("tolerate", i), problem);
  std::set<std::string> spread_over;
  for (int i = 0; i < placement.spread_size(); ++i) {
    auto& rule = placement.spread(i);
    auto key = at("spread", i);
    if (rule.label().empty())
      rules.add(key + ".label", "missing; name a label of the nodes, such as label = \"zone\"", {key});
    else if (auto problem = label_problem(rule.label(), {}); !problem.empty())
      rules.add(key + ".label", problem);
    else if (!spread_over.insert(rule.label()).second)
      rules.add(key + ".label", "\"" + rule.label() + "\" is spread over twice; keep one");
    rules.between(key + ".max_skew", rule.max_skew(), 1, 1'000'000);
  }
  auto few = [&](const char* list, int count) {
    if (count > rules_max)
      rules.add(fmt::format("placement.{}", list), fmt::format("has {} entries; use at most {}", count, rules_max));
  };
  few("require", placement.require_size());
  few("tolerate", placement.tolerate_size());
  few("spread", placement.spread_size());
  few("affinity", placement.affinity_size());
  few("anti_affinity", placement.anti_affinity_size());
  for (int i = 0; i < placement.affinity_size(); ++i) {
    check_affinity(at("affinity", i), placement.affinity(i), rules);
    // Its first replica would have no place.
    if (placement.affinity(i).app() == spec.name() && !spec.name().empty())
      rules.add(at("affinity", i) + ".app", "is this app itself; name another one, or use strategy = \"pack\"");
  }
  for (int i = 0; i < placement.anti_affinity_size(); ++i)
    check_affinity(at("anti_affinity", i), placement.anti_affinity(i), rules);
  if (!pb::PlacementStrategy_IsValid(placement.strategy()))
    rules.add("placement.strategy", "unknown value; use \"spread\" or \"pack\"");
}

void check_restart(const pb::RestartPolicy& restart, rule_book& rules) {
  rules.duration_between("restart.backoff_min", restart.backoff_min_ms(), 1);
  rules.duration_between("restart.backoff_max", restart.backoff_max_ms(), 1);
  if (restart.backoff_max_ms() < restart.backoff_min_ms())
    rules.add("restart.backoff_max", "is shorter than restart.backoff_min; make it at least as long",
              {"restart.backoff_min"});
  rules.duration_between("restart.healthy_after", restart.healthy_after_ms(), 1);
  rules.between("restart.budget", restart.budget(), 0, 10'000);
  rules.duration_between("restart.budget_window", restart.budget_window_ms(), 1);
}

void check_kind(const pb::AppSpec& spec, rule_book& rules) {
  switch (spec.kind_case()) {
  case pb::AppSpec::kPerRequest:
    rules.command(spec.per_request().command());
    rules.environment(spec.per_request().env());
    rules.size_between("output.limit", spec.per_request().output_limit_bytes(), 1, 64 * mebibyte);
    break;
  case pb::AppSpec::kServer:
    rules.command(spec.server().command());
    rules.environment(spec.server().env());
    rules.http_path("server.path", spec.server().path());
    if (!spec.server().ready_path().empty())
      rules.http_path("server.ready_path", spec.server().ready_path());
    rules.duration_between("server.ready_timeout", spec.server().ready_timeout_ms(), 1);
    rules.duration_between("server.stop_grace", spec.server().stop_grace_ms(), 0);
    break;
  case pb::AppSpec::kActor:
    if (spec.actor().type().empty())
      rules.add("actor.type", "missing; name the registered actor, such as type = \"echo\"", {"actor", "kind"});
    else if (auto problem = name_problem(spec.actor().type()); !problem.empty())
      rules.add("actor.type", problem);
    for (auto& arg : spec.actor().args())
      if (arg.find('=') == std::string::npos || arg.starts_with('='))
        rules.add("actor.args", "\"" + arg + "\" is not NAME=value");
    break;
  case pb::AppSpec::KIND_NOT_SET:
    rules.add("kind", "missing; an app is per_request, server or actor");
    break;
  }
}

void to_affinity(const schema::AppAffinity& from, pb::AffinityRule& to) {
  to.set_app(from.app());
  to.set_label(from.label());
}

void to_affinity(const pb::AffinityRule& from, schema::AppAffinity& to) {
  to.set_app(from.app());
  if (!from.label().empty())
    to.set_label(from.label());
}

pb::Placement to_placement(const schema::AppPlacement& file, std::vector<broken_rule>& broken) {
  pb::Placement result;
  auto note = [&](const char* list, int i, const std::string& problem) {
    if (!problem.empty())
      broken.push_back({fmt::format("placement.{}[{}]", list, i), problem, {}});
    return problem.empty();
  };
  for (int i = 0; i < file.require_size(); ++i) {
    pb::LabelExpression expression;
    if (note("require", i, parse_label_expression(file.require(i), expression)))
      *result.add_require() = std::move(expression);
  }
  for (int i = 0; i < file.tolerate_size(); ++i) {
    pb::Toleration toleration;
    if (note("tolerate", i, parse_toleration(file.tolerate(i), toleration)))
      *result.add_tolerate() = std::move(toleration);
  }
  for (auto& entry : file.spread()) {
    auto& rule = *result.add_spread();
    rule.set_label(entry.label());
    rule.set_max_skew(entry.has_max_skew() ? entry.max_skew() : 1);
  }
  for (auto& entry : file.affinity())
    to_affinity(entry, *result.add_affinity());
  for (auto& entry : file.anti_affinity())
    to_affinity(entry, *result.add_anti_affinity());
  if (file.strategy() == "pack")
    result.set_strategy(pb::PLACEMENT_PACK);
  return result;
}

void to_file(const pb::Placement& placement, schema::AppPlacement& file) {
  for (auto& expression : placement.require())
    file.add_require(to_text(expression));
  for (auto& toleration : placement.tolerate())
    file.add_tolerate(to_text(toleration));
  for (auto& rule : placement.spread()) {
    auto& entry = *file.add_spread();
    entry.set_label(rule.label());
    entry.set_max_skew(rule.max_skew());
  }
  for (auto& rule : placement.affinity())
    to_affinity(rule, *file.add_affinity());
  for (auto& rule : placement.anti_affinity())
    to_affinity(rule, *file.add_anti_affinity());
  if (placement.strategy() == pb::PLACEMENT_PACK)
    file.set_strategy("pack");
}

} // namespace

pb::AppSpec to_spec(const schema::AppFile& file, std::vector<broken_rule>& broken) {
  auto full = default_app_file();
  full.MergeFrom(file);
  check_shape(file, full.kind(), full.mode(), broken);

  pb::AppSpec spec;
  spec.set_name(full.name());
  spec.set_replicas(full.replicas());
  auto& resources = *spec.mutable_per_replica();
  resources.set_cpu_milli(full.resources().cpu());
  resources.set_memory_bytes(full.resources().memory());
  auto& accelerators = full.resources().accelerators();
  for (auto& [kind, count] : std::map<std::string, std::uint32_t>{accelerators.begin(), accelerators.end()}) {
    auto& entry = *resources.add_accelerators();
    entry.set_kind(kind);
    entry.set_count(count);
  }
  for (auto& [key, value] : sorted(full.require().labels())) {
    auto& label = *spec.add_require();
    label.set_key(key);
    label.set_value(value);
  }
  *spec.mutable_groups() = full.groups();
  std::sort(spec.mutable_groups()->begin(), spec.mutable_groups()->end());
  // Who says nothing of it runs the spec that an older version runs.
  if (auto placement = to_placement(full.placement(), broken); placement.ByteSizeLong() > 0)
    *spec.mutable_placement() = std::move(placement);
  spec.set_concurrency(full.concurrency());
  spec.set_request_timeout_ms(static_cast<std::uint64_t>(full.timeout()));
  spec.set_idempotent(full.idempotent());
  spec.set_queue_limit(full.queue_limit());
  // The one formula there is; the schema refuses other words.
  spec.set_weight(pb::WEIGHT_SEED);
  auto& restart = *spec.mutable_restart();
  restart.set_backoff_min_ms(static_cast<std::uint64_t>(full.restart().backoff_min()));
  restart.set_backoff_max_ms(static_cast<std::uint64_t>(full.restart().backoff_max()));
  restart.set_healthy_after_ms(static_cast<std::uint64_t>(full.restart().healthy_after()));
  restart.set_budget(full.restart().budget());
  restart.set_budget_window_ms(static_cast<std::uint64_t>(full.restart().budget_window()));
  if (full.kind() == "actor") {
    auto& actor = *spec.mutable_actor();
    actor.set_type(full.actor().type());
    join_pairs(full.actor().args(), actor.mutable_args());
  } else if (full.mode() == "server") {
    auto& server = *spec.mutable_server();
    *server.mutable_command() = full.command();
    join_pairs(full.env(), server.mutable_env());
    server.set_path(full.server().path());
    server.set_ready_path(full.server().ready_path());
    server.set_ready_timeout_ms(static_cast<std::uint64_t>(full.server().ready_timeout()));
    server.set_stop_grace_ms(static_cast<std::uint64_t>(full.server().stop_grace()));
  } else {
    auto& per_request = *spec.mutable_per_request();
    *per_request.mutable_command() = full.command();
    join_pairs(full.env(), per_request.mutable_env());
    per_request.set_output_limit_bytes(full.output().limit());
  }
  return spec;
}

schema::AppFile to_file(const pb::AppSpec& spec) {
  schema::AppFile result;
  result.set_name(spec.name());
  result.set_replicas(spec.replicas());
  result.set_concurrency(spec.concurrency());
  result.set_timeout(static_cast<std::int64_t>(spec.request_timeout_ms()));
  result.set_idempotent(spec.idempotent());
  result.set_queue_limit(spec.queue_limit());
  auto& resources = *result.mutable_resources();
  resources.set_cpu(spec.per_replica().cpu_milli());
  resources.set_memory(spec.per_replica().memory_bytes());
  for (auto& accelerator : spec.per_replica().accelerators())
    (*resources.mutable_accelerators())[accelerator.kind()] = accelerator.count();
  for (auto& label : spec.require())
    (*result.mutable_require()->mutable_labels())[label.key()] = label.value();
  *result.mutable_groups() = spec.groups();
  if (spec.has_placement())
    to_file(spec.placement(), *result.mutable_placement());
  auto& restart = *result.mutable_restart();
  restart.set_backoff_min(static_cast<std::int64_t>(spec.restart().backoff_min_ms()));
  restart.set_backoff_max(static_cast<std::int64_t>(spec.restart().backoff_max_ms()));
  restart.set_healthy_after(static_cast<std::int64_t>(spec.restart().healthy_after_ms()));
  restart.set_budget(spec.restart().budget());
  restart.set_budget_window(static_cast<std::int64_t>(spec.restart().budget_window_ms()));
  switch (spec.kind_case()) {
  case pb::AppSpec::kPerRequest:
    *result.mutable_command() = spec.per_request().command();
    split_pairs(spec.per_request().env(), result.mutable_env());
    result.mutable_output()->set_limit(spec.per_request().output_limit_bytes());
    break;
  case pb::AppSpec::kServer: {
    result.set_mode("server");
    *result.mutable_command() = spec.server().command();
    split_pairs(spec.server().env(), result.mutable_env());
    auto& server = *result.mutable_server();
    server.set_path(spec.server().path());
    if (!spec.server().ready_path().empty())
      server.set_ready_path(spec.server().ready_path());
    server.set_ready_timeout(static_cast<std::int64_t>(spec.server().ready_timeout_ms()));
    server.set_stop_grace(static_cast<std::int64_t>(spec.server().stop_grace_ms()));
    break;
  }
  case pb::AppSpec::kActor:
    result.set_kind("actor");
    result.mutable_actor()->set_type(spec.actor().type());
    split_pairs(spec.actor().args(), result.mutable_actor()->mutable_args());
    break;
  case pb::AppSpec::KIND_NOT_SET:
    break;
  }
  remove_equal(result, default_app_file());
  return result;
}

std::vector<broken_rule> app_rules(const pb::AppSpec& spec) {
  rule_book rules;
  if (spec.name().empty())
    rules.add("name", "missing; give the app a name, such as name = \"ocr\"");
  else if (auto problem = app_name_problem(spec.name()); !problem.empty())
    rules.add("name", problem);
  rules.between("replicas", spec.replicas(), 0, 1'000'000);
  rules.between("concurrency", spec.concurrency(), 1, 10'000);
  rules.duration_between("timeout", spec.request_timeout_ms(), 1);
  rules.between("queue_limit", spec.queue_limit(), 0, 1'000'000);
  if (!pb::WeightFormula_IsValid(spec.weight()))
    rules.add("weight", "unknown value; use \"seed\"");
  if (spec.per_replica().cpu_milli() < 1 || spec.per_replica().cpu_milli() > 100'000'000)
    rules.add("resources.cpu",
              "must be between 0.001 and 100000 cores, not " + format_cores(spec.per_replica().cpu_milli()));
  rules.size_between("resources.memory", spec.per_replica().memory_bytes(), mebibyte, 1024 * 1024 * gibibyte);
  check_accelerators(spec.per_replica(), rules);
  for (int i = 0; i < spec.groups_size(); ++i)
    if (auto problem = name_problem(spec.groups(i)); !problem.empty())
      rules.add(fmt::format("groups[{}]", i), problem);
  check_labels(spec, rules);
  check_placement(spec, rules);
  check_restart(spec.restart(), rules);
  check_kind(spec, rules);
  return rules.take();
}

} // namespace astra
