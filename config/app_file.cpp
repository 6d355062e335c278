#include "config/app_file.hpp"

#include "config/label_expression.hpp"
#include "config/load.hpp"
#include "config/naming.hpp"
#include "config/placeholders.hpp"
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
  result.set_weight("fast");
  result.mutable_resources()->set_cpu(1000);
  result.mutable_resources()->set_memory(512 * mebibyte);
  result.mutable_placement()->set_strategy("spread");
  result.set_priority(0);
  result.set_preempt_notice(30'000);
  result.set_gang(false);
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

/// What an [update] leaves out; an app without one has these, too.
schema::AppUpdate default_update() {
  schema::AppUpdate result;
  result.set_max_unavailable(0);
  result.set_max_surge(1);
  result.set_canary(0);
  result.set_canary_for(60'000);
  result.set_ready_for(0);
  result.set_progress(600'000);
  result.set_on_failure("halt");
  return result;
}

/// What a [scale] leaves out.
schema::AppScale default_scale() {
  schema::AppScale result;
  result.set_min(1);
  result.set_target_utilisation(0);
  result.set_target_queue(0);
  result.set_up_after(10'000);
  result.set_down_after(300'000);
  return result;
}

/// What a [federation] leaves out.
schema::AppFederation default_federation() {
  schema::AppFederation result;
  result.set_clusters(1);
  result.set_min_workers(1);
  result.set_head_lease(10'000);
  for (auto role : {result.mutable_head(), result.mutable_worker()}) {
    role->set_ready_timeout(30'000);
    role->set_stop_grace(5'000);
  }
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
  void command(const Texts& command, const std::string& key = "command") {
    if (command.empty()) {
      add(key, "missing; name the program and its arguments, such as command = [\"tesseract\", \"-\", \"-\"]");
      return;
    }
    if (command.Get(0).empty())
      add(key + "[0]", "is empty; name the program to start", {key});
    for (int i = 0; i < command.size(); ++i)
      no_nul(key + "[" + std::to_string(i) + "]", command.Get(i));
  }

  template <class Texts>
  void environment(const Texts& env, const std::string& table = "env") {
    std::set<std::string> names;
    for (auto& entry : env) {
      auto equals = entry.find('=');
      auto name = entry.substr(0, equals);
      auto key = table + "." + key_part(name);
      if (equals == std::string::npos)
        add(table, "\"" + name + "\" has no value; write NAME=value");
      else if (auto problem = variable_problem(name); !problem.empty())
        add(key, problem, {table});
      else if (!names.insert(name).second)
        add(key, "is given twice; keep one", {table});
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

/// @param table of the resources, such as "federation.head.resources".
void check_accelerators(const std::string& table, const pb::Resources& resources, rule_book& rules) {
  std::set<std::string> kinds;
  for (auto& accelerator : resources.accelerators()) {
    auto key = table + ".accelerators." + key_part(accelerator.kind());
    if (auto problem = name_problem(accelerator.kind()); !problem.empty())
      rules.add(key, problem, {table + ".accelerators"});
    else if (!kinds.insert(accelerator.kind()).second)
      rules.add(key, "is given twice; keep one");
    rules.between(key, accelerator.count(), 1, 1024);
  }
}

constexpr std::string_view content_prefix = "content.";
constexpr std::string_view url_suffix = ".url";

/// Everything in which {content.NAME} and {content.NAME.url} are replaced, with its key.
template <class Function>
void for_each_word(const pb::AppSpec& spec, Function function) {
  auto commands = [&](const std::string& key, auto& command) {
    for (int i = 0; i < command.size(); ++i)
      function(fmt::format("{}[{}]", key, i), command.Get(i));
  };
  auto pairs = [&](const std::string& key, auto& entries) {
    for (auto& entry : entries)
      function(key + "." + key_part(entry.substr(0, entry.find('='))), entry);
  };
  commands("command", spec.has_server() ? spec.server().command() : spec.per_request().command());
  pairs("env", spec.has_server() ? spec.server().env() : spec.per_request().env());
  pairs("actor.args", spec.actor().args());
  if (!spec.actor().library().empty())
    function("actor.library", spec.actor().library());
  if (!spec.has_federation())
    return;
  for (auto [name, role] : {std::pair{"federation.head", &spec.federation().head()},
                            std::pair{"federation.worker", &spec.federation().worker()}}) {
    commands(std::string{name} + ".command", role->command());
    pairs(std::string{name} + ".env", role->env());
  }
}

void check_contents(const pb::AppSpec& spec, rule_book& rules) {
  std::set<std::string> names;
  for (int i = 0; i < spec.contents_size(); ++i) {
    auto key = fmt::format("content[{}]", i);
    content_reference reference;
    if (auto problem = parse_content_reference(spec.contents(i), reference); !problem.empty())
      rules.add(key, problem);
    else if (reference.version == 0)
      rules.add(key, fmt::format("\"{}\" names no version, and replicas would not all have the same; write such as "
                                 "\"{}@1\" (astra model list shows what there is)",
                                 spec.contents(i), reference.name));
    else if (!names.insert(reference.name).second)
      rules.add(key, fmt::format("\"{}\" is named twice; {{content.{}}} could stand for either", reference.name,
                                 reference.name));
  }
  rules.between("content", static_cast<std::uint64_t>(spec.contents_size()), 0, 32);
  rules.between("prefetch", spec.prefetch(), 0, 1000);
  if (spec.contents_size() == 0 && spec.prefetch() > 0)
    rules.add("prefetch", "there is nothing to fetch ahead: the app has no content", {"content"});
  if (spec.contents_size() == 0 && spec.stream_content())
    rules.add("stream_content", "there is nothing to stream: the app has no content", {"content"});
  if (spec.stream_content() && spec.has_actor())
    rules.add("stream_content", "an actor app has its files when it starts; only processes read them while they come",
              {"kind"});
  for_each_word(spec, [&](const std::string& key, const std::string& word) {
    for (auto& placeholder : placeholders_in(word)) {
      if (!placeholder.starts_with(content_prefix))
        continue;
      auto name = placeholder.substr(content_prefix.size());
      // A name may end so itself.
      if (name.ends_with(url_suffix) && names.count(name) == 0)
        name.resize(name.size() - url_suffix.size());
      if (!name.empty() && names.count(name) == 0)
        rules.add(key,
                  fmt::format("{{{}}}: \"{}\" is not in content; add it there, such as content = [\"{}@1\"]",
                              placeholder, name, name),
                  {"content"});
    }
  });
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

void check_library(const std::string& library, rule_book& rules) {
  if (library.find('\0') != std::string::npos)
    rules.add("actor.library", "holds the character \\u0000; remove it");
  else if (!library.empty() && !library.starts_with('/') && !library.starts_with("{content."))
    rules.add("actor.library",
              fmt::format("\"{}\" is neither a content, such as \"my-actors@1\", nor a path that begins "
                          "with '/' on the nodes",
                          library));
}

void check_kind(const pb::AppSpec& spec, rule_book& rules) {
  switch (spec.kind_case()) {
  case pb::AppSpec::kPerRequest:
    rules.command(spec.per_request().command());
    rules.environment(spec.per_request().env());
    rules.size_between("output.limit", spec.per_request().output_limit_bytes(), 1, 64 * mebibyte);
    break;
  case pb::AppSpec::kServer:
    if (!spec.has_federation())
      rules.command(spec.server().command());
    else if (!spec.server().command().empty())
      rules.add("command", "says nothing for a federated app with mode = \"server\": its heads serve; remove it",
                {"federation"});
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
    check_library(spec.actor().library(), rules);
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

pb::Resources to_resources(const schema::AppResources& file) {
  pb::Resources result;
  result.set_cpu_milli(file.cpu());
  result.set_memory_bytes(file.memory());
  auto& accelerators = file.accelerators();
  for (auto& [kind, count] : std::map<std::string, std::uint32_t>{accelerators.begin(), accelerators.end()}) {
    auto& entry = *result.add_accelerators();
    entry.set_kind(kind);
    entry.set_count(count);
  }
  return result;
}

void to_file(const pb::Resources& resources, schema::AppResources& file) {
  file.set_cpu(resources.cpu_milli());
  file.set_memory(resources.memory_bytes());
  for (auto& accelerator : resources.accelerators())
    (*file.mutable_accelerators())[accelerator.kind()] = accelerator.count();
}

/// The schema refuses other words.
pb::WeightFormula to_weight(const std::string& word) {
  if (word == "flat")
    return pb::WEIGHT_FLAT;
  if (word == "even")
    return pb::WEIGHT_EVEN;
  return word == "fast" ? pb::WEIGHT_FAST : pb::WEIGHT_SEED;
}

const char* to_word(pb::WeightFormula weight) {
  switch (weight) {
  case pb::WEIGHT_FLAT:
    return "flat";
  case pb::WEIGHT_FAST:
    return "fast";
  case pb::WEIGHT_EVEN:
    return "even";
  default:
    return "seed";
  }
}

pb::UpdatePolicy to_update(const schema::AppUpdate& file) {
  auto full = default_update();
  full.MergeFrom(file);
  pb::UpdatePolicy result;
  result.set_max_unavailable(full.max_unavailable());
  result.set_max_surge(full.max_surge());
  result.set_canary(full.canary());
  result.set_canary_for_ms(static_cast<std::uint64_t>(full.canary_for()));
  result.set_ready_for_ms(static_cast<std::uint64_t>(full.ready_for()));
  result.set_progress_ms(static_cast<std::uint64_t>(full.progress()));
  result.set_on_failure(full.on_failure() == "rollback" ? pb::UPDATE_ROLLBACK : pb::UPDATE_HALT);
  return result;
}

void to_file(const pb::UpdatePolicy& update, schema::AppUpdate& file) {
  file.set_max_unavailable(update.max_unavailable());
  file.set_max_surge(update.max_surge());
  file.set_canary(update.canary());
  file.set_canary_for(static_cast<std::int64_t>(update.canary_for_ms()));
  file.set_ready_for(static_cast<std::int64_t>(update.ready_for_ms()));
  file.set_progress(static_cast<std::int64_t>(update.progress_ms()));
  file.set_on_failure(update.on_failure() == pb::UPDATE_ROLLBACK ? "rollback" : "halt");
}

pb::ScalePolicy to_scale(const schema::AppScale& file) {
  auto full = default_scale();
  full.MergeFrom(file);
  pb::ScalePolicy result;
  result.set_min(full.min());
  result.set_max(full.max());
  result.set_target_utilisation(full.target_utilisation());
  result.set_target_queue_ms(static_cast<std::uint64_t>(full.target_queue()));
  result.set_up_after_ms(static_cast<std::uint64_t>(full.up_after()));
  result.set_down_after_ms(static_cast<std::uint64_t>(full.down_after()));
  return result;
}

void to_file(const pb::ScalePolicy& scale, schema::AppScale& file) {
  file.set_min(scale.min());
  file.set_max(scale.max());
  file.set_target_utilisation(scale.target_utilisation());
  file.set_target_queue(static_cast<std::int64_t>(scale.target_queue_ms()));
  file.set_up_after(static_cast<std::int64_t>(scale.up_after_ms()));
  file.set_down_after(static_cast<std::int64_t>(scale.down_after_ms()));
}

/// @param app What a role without resources of its own has.
pb::ClusterRole to_role(const schema::AppClusterRole& file, const schema::AppResources& app) {
  pb::ClusterRole result;
  *result.mutable_command() = file.command();
  join_pairs(file.env(), result.mutable_env());
  auto resources = app;
  if (file.resources().accelerators_size() > 0)
    resources.clear_accelerators();
  resources.MergeFrom(file.resources());
  *result.mutable_resources() = to_resources(resources);
  result.set_ready_port(file.ready_port());
  result.set_ready_line(file.ready_line());
  result.set_ready_timeout_ms(static_cast<std::uint64_t>(file.ready_timeout()));
  result.set_stop_grace_ms(static_cast<std::uint64_t>(file.stop_grace()));
  return result;
}

void to_file(const pb::ClusterRole& role, schema::AppClusterRole& file) {
  *file.mutable_command() = role.command();
  split_pairs(role.env(), file.mutable_env());
  to_file(role.resources(), *file.mutable_resources());
  if (!role.ready_port().empty())
    file.set_ready_port(role.ready_port());
  if (!role.ready_line().empty())
    file.set_ready_line(role.ready_line());
  file.set_ready_timeout(static_cast<std::int64_t>(role.ready_timeout_ms()));
  file.set_stop_grace(static_cast<std::int64_t>(role.stop_grace_ms()));
}

pb::Federation to_federation(const schema::AppFederation& file, const schema::AppResources& app) {
  auto full = default_federation();
  full.MergeFrom(file);
  pb::Federation result;
  result.set_clusters(full.clusters());
  result.set_workers(full.workers());
  result.set_min_workers(full.min_workers());
  *result.mutable_ports() = full.ports();
  *result.mutable_head() = to_role(full.head(), app);
  *result.mutable_worker() = to_role(full.worker(), app);
  result.set_head_lease_ms(static_cast<std::uint64_t>(full.head_lease()));
  return result;
}

void to_file(const pb::Federation& federation, schema::AppFederation& file) {
  file.set_clusters(federation.clusters());
  file.set_workers(federation.workers());
  file.set_min_workers(federation.min_workers());
  *file.mutable_ports() = federation.ports();
  to_file(federation.head(), *file.mutable_head());
  to_file(federation.worker(), *file.mutable_worker());
  file.set_head_lease(static_cast<std::int64_t>(federation.head_lease_ms()));
}

void check_update(const pb::AppSpec& spec, rule_book& rules) {
  auto& update = spec.update();
  if (update.max_unavailable() == 0 && update.max_surge() == 0)
    rules.add("update.max_surge", "is 0 like update.max_unavailable, so that no replica could be replaced; allow one",
              {"update.max_unavailable", "update"});
  rules.between("update.max_unavailable", update.max_unavailable(), 0, 1'000'000);
  rules.between("update.max_surge", update.max_surge(), 0, 1'000'000);
  rules.between("update.canary", update.canary(), 0, 1'000'000);
  rules.duration_between("update.canary_for", update.canary_for_ms(), 0);
  rules.duration_between("update.ready_for", update.ready_for_ms(), 0);
  rules.duration_between("update.progress", update.progress_ms(), 0);
  auto least = std::max(update.ready_for_ms(), update.canary() > 0 ? update.canary_for_ms() : 0);
  if (update.progress_ms() != 0 && update.progress_ms() <= least)
    rules.add("update.progress", "is not longer than update.ready_for and update.canary_for: every update would fail",
              {"update.ready_for", "update.canary_for"});
  if (!pb::UpdateFailure_IsValid(update.on_failure()))
    rules.add("update.on_failure", "unknown value; use \"halt\" or \"rollback\"");
}

void check_scale(const pb::AppSpec& spec, rule_book& rules) {
  auto& scale = spec.scale();
  rules.between("scale.max", scale.max(), 1, 1'000'000);
  if (scale.min() > scale.max())
    rules.add("scale.min", fmt::format("is more than scale.max, {}", scale.max()), {"scale.max"});
  if (scale.target_utilisation() == 0 && scale.target_queue_ms() == 0)
    rules.add("scale.target_utilisation", "missing, like scale.target_queue; name what the number is to follow",
              {"scale"});
  rules.between("scale.target_utilisation", scale.target_utilisation(), 0, 100);
  rules.duration_between("scale.target_queue", scale.target_queue_ms(), 0);
  rules.duration_between("scale.up_after", scale.up_after_ms(), 1);
  rules.duration_between("scale.down_after", scale.down_after_ms(), 1);
}

/// Nobody would notice a misspelt one before the command fails.
void check_placeholders(const std::string& key, const std::string& text, const pb::AppSpec& spec, rule_book& rules) {
  auto& ports = spec.federation().ports();
  for (auto& name : placeholders_in(text)) {
    auto is = [&](const char* known) { return name == known; };
    if (is("node_ip") || is("head_ip") || is("cpus") || is("gpus") || is("memory") || is("scratch") || is("cluster")
        || is("slot"))
      continue;
    if (name.starts_with(content_prefix))
      continue;
    std::string port;
    for (auto prefix : {"port.", "head.port."})
      if (name.starts_with(prefix))
        port = name.substr(std::string_view{prefix}.size());
    if (port.empty())
      rules.add(
          key,
          fmt::format("{{{}}} stands for nothing; there are {{node_ip}}, {{head_ip}}, {{port.NAME}}, "
                      "{{head.port.NAME}}, {{cpus}}, {{gpus}}, {{memory}}, {{scratch}}, {{cluster}} and {{slot}}; "
                      "write {{{{{}}}}} for the text itself",
                      name, name),
          {"federation"});
    else if (std::find(ports.begin(), ports.end(), port) == ports.end())
      rules.add(key, fmt::format("{{{}}}: \"{}\" is not in federation.ports; add it there", name, port),
                {"federation.ports"});
  }
}

template <class Texts>
void check_placeholders(const std::string& command_key, const Texts& command, const std::string& env_key,
                        const Texts& env, const pb::AppSpec& spec, rule_book& rules) {
  for (int i = 0; i < command.size(); ++i)
    check_placeholders(fmt::format("{}[{}]", command_key, i), command.Get(i), spec, rules);
  for (auto& entry : env)
    check_placeholders(env_key + "." + key_part(entry.substr(0, entry.find('='))), entry, spec, rules);
}

void check_role(const std::string& key, const pb::ClusterRole& role, const pb::AppSpec& spec, rule_book& rules) {
  check_placeholders(key + ".command", role.command(), key + ".env", role.env(), spec, rules);
  if (role.resources().cpu_milli() < 1 || role.resources().cpu_milli() > 100'000'000)
    rules.add(key + ".resources.cpu",
              "must be between 0.001 and 100000 cores, not " + format_cores(role.resources().cpu_milli()));
  rules.size_between(key + ".resources.memory", role.resources().memory_bytes(), mebibyte, 1024 * 1024 * gibibyte);
  check_accelerators(key + ".resources", role.resources(), rules);
  rules.command(role.command(), key + ".command");
  rules.environment(role.env(), key + ".env");
  rules.duration_between(key + ".ready_timeout", role.ready_timeout_ms(), 1);
  rules.duration_between(key + ".stop_grace", role.stop_grace_ms(), 0);
  auto& ports = spec.federation().ports();
  if (!role.ready_port().empty() && std::find(ports.begin(), ports.end(), role.ready_port()) == ports.end())
    rules.add(key + ".ready_port", "\"" + role.ready_port() + "\" is not in federation.ports; add it there",
              {"federation.ports"});
}

void check_federation(const pb::AppSpec& spec, rule_book& rules) {
  auto& federation = spec.federation();
  rules.between("federation.clusters", federation.clusters(), 0, 100'000);
  rules.between("federation.workers", federation.workers(), 1, 1000);
  if (federation.min_workers() > federation.workers())
    rules.add("federation.min_workers", fmt::format("is more than federation.workers, {}", federation.workers()),
              {"federation.workers"});
  rules.between("federation.ports", static_cast<std::uint64_t>(federation.ports_size()), 0, 32);
  for (int i = 0; i < federation.ports_size(); ++i)
    if (auto problem = name_problem(federation.ports(i)); !problem.empty())
      rules.add(fmt::format("federation.ports[{}]", i), problem);
    else if (std::find(federation.ports().begin(), federation.ports().begin() + i, federation.ports(i))
             != federation.ports().begin() + i)
      rules.add(fmt::format("federation.ports[{}]", i), "is listed twice; keep one");
  rules.duration_between("federation.head_lease", federation.head_lease_ms(), 1000);
  check_placeholders("command", spec.per_request().command(), "env", spec.per_request().env(), spec, rules);
  if (spec.has_server()) {
    auto& ports = federation.ports();
    if (std::find(ports.begin(), ports.end(), "http") == ports.end())
      rules.add("federation.ports", "has no \"http\", on which a head answers the requests of mode = \"server\"",
                {"mode", "federation"});
  }
  check_role("federation.head", federation.head(), spec, rules);
  check_role("federation.worker", federation.worker(), spec, rules);
  if (spec.has_actor())
    rules.add("federation", "says nothing for an actor; use kind = \"process\"", {"kind"});
  if (spec.has_scale())
    rules.add("scale", "says nothing for a federated app; change federation.clusters or federation.workers",
              {"federation"});
  if (spec.gang())
    rules.add("gang", "says nothing for a federated app: its clusters are placed one by one; remove it",
              {"federation"});
  if (spec.has_update())
    rules.add("update",
              "says nothing for a federated app: one cluster is replaced after the other, each when its "
              "successor serves; remove it",
              {"federation"});
}

/// "name@version" is short for the content and its directory.
void set_library(const std::string& library, pb::AppSpec& spec, std::vector<broken_rule>& broken) {
  auto& actor = *spec.mutable_actor();
  if (library.empty() || names_library_file(library) || library.starts_with('{')) {
    actor.set_library(library);
    return;
  }
  content_reference reference;
  auto problem = parse_content_reference(library, reference);
  if (problem.empty() && reference.version == 0)
    problem =
        fmt::format("\"{0}\" names no version; write such as \"{0}@1\" for a content (astra model list shows what "
                    "there is), or \"./{0}\" for a path",
                    library);
  if (!problem.empty()) {
    broken.push_back({"actor.library", problem, {}});
    return;
  }
  actor.set_library("{content." + reference.name + "}");
  auto& contents = *spec.mutable_contents();
  for (auto& other : contents) {
    content_reference known;
    if (!parse_content_reference(other, known).empty() || known.name != reference.name)
      continue;
    if (other != library)
      broken.push_back(
          {"actor.library",
           fmt::format("\"{}\" is not the version that content names, \"{}\"; write the same", library, other),
           {"content"}});
    return;
  }
  contents.Add(std::string{library});
  std::sort(contents.begin(), contents.end());
}

} // namespace

pb::AppSpec to_spec(const schema::AppFile& file, std::vector<broken_rule>& broken) {
  auto full = default_app_file();
  full.MergeFrom(file);
  check_shape(file, full.kind(), full.mode(), broken);

  pb::AppSpec spec;
  spec.set_name(full.name());
  spec.set_replicas(full.replicas());
  *spec.mutable_per_replica() = to_resources(full.resources());
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
  spec.set_priority(full.priority());
  if (full.preempt_notice() != default_app_file().preempt_notice())
    spec.set_preempt_notice_ms(static_cast<std::uint64_t>(full.preempt_notice()));
  spec.set_business(full.business());
  spec.set_gang(full.gang());
  if (file.has_update())
    *spec.mutable_update() = to_update(file.update());
  if (file.has_scale())
    *spec.mutable_scale() = to_scale(file.scale());
  if (file.has_federation()) {
    *spec.mutable_federation() = to_federation(file.federation(), full.resources());
    // What is counted of such an app.
    spec.set_replicas(spec.federation().clusters());
  }
  spec.set_concurrency(full.concurrency());
  spec.set_request_timeout_ms(static_cast<std::uint64_t>(full.timeout()));
  spec.set_idempotent(full.idempotent());
  spec.set_queue_limit(full.queue_limit());
  spec.set_hedge_after_ms(static_cast<std::uint64_t>(full.hedge()));
  spec.set_weight(to_weight(full.weight()));
  *spec.mutable_contents() = full.content();
  std::sort(spec.mutable_contents()->begin(), spec.mutable_contents()->end());
  spec.set_prefetch(full.prefetch());
  spec.set_stream_content(full.stream_content());
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
    set_library(full.actor().library(), spec, broken);
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
  result.set_weight(to_word(spec.weight()));
  *result.mutable_content() = spec.contents();
  if (spec.prefetch() > 0)
    result.set_prefetch(spec.prefetch());
  if (spec.stream_content())
    result.set_stream_content(true);
  if (spec.hedge_after_ms() > 0)
    result.set_hedge(static_cast<std::int64_t>(spec.hedge_after_ms()));
  to_file(spec.per_replica(), *result.mutable_resources());
  for (auto& label : spec.require())
    (*result.mutable_require()->mutable_labels())[label.key()] = label.value();
  *result.mutable_groups() = spec.groups();
  if (spec.has_placement())
    to_file(spec.placement(), *result.mutable_placement());
  result.set_priority(spec.priority());
  if (spec.has_preempt_notice_ms())
    result.set_preempt_notice(static_cast<std::int64_t>(spec.preempt_notice_ms()));
  if (!spec.business().empty())
    result.set_business(spec.business());
  result.set_gang(spec.gang());
  if (spec.has_update())
    to_file(spec.update(), *result.mutable_update());
  if (spec.has_scale())
    to_file(spec.scale(), *result.mutable_scale());
  if (spec.has_federation())
    to_file(spec.federation(), *result.mutable_federation());
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
    if (!spec.actor().library().empty())
      result.mutable_actor()->set_library(spec.actor().library());
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
  rules.duration_between("hedge", spec.hedge_after_ms(), 0);
  if (spec.hedge_after_ms() > 0 && !spec.idempotent())
    rules.add("hedge", "starts work twice, which needs idempotent = true", {"idempotent"});
  if (!pb::WeightFormula_IsValid(spec.weight()))
    rules.add("weight", "unknown value; use \"seed\", \"flat\" or \"fast\"");
  if (spec.per_replica().cpu_milli() < 1 || spec.per_replica().cpu_milli() > 100'000'000)
    rules.add("resources.cpu",
              "must be between 0.001 and 100000 cores, not " + format_cores(spec.per_replica().cpu_milli()));
  rules.size_between("resources.memory", spec.per_replica().memory_bytes(), mebibyte, 1024 * 1024 * gibibyte);
  check_accelerators("resources", spec.per_replica(), rules);
  for (int i = 0; i < spec.groups_size(); ++i)
    if (auto problem = name_problem(spec.groups(i)); !problem.empty())
      rules.add(fmt::format("groups[{}]", i), problem);
  check_contents(spec, rules);
  check_labels(spec, rules);
  check_placement(spec, rules);
  rules.between("priority", spec.priority(), 0, 1000);
  rules.duration_between("preempt_notice", spec.preempt_notice_ms(), 0);
  if (auto problem = spec.business().empty() ? std::string{} : name_problem(spec.business()); !problem.empty())
    rules.add("business", problem);
  if (spec.has_update())
    check_update(spec, rules);
  if (spec.has_scale())
    check_scale(spec, rules);
  if (spec.has_federation())
    check_federation(spec, rules);
  check_restart(spec.restart(), rules);
  check_kind(spec, rules);
  return rules.take();
}

} // namespace astra
