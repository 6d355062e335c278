#include "config/scenario.hpp"

#include "config/app_file.hpp"
#include "config/expand.hpp"
#include "config/naming.hpp"
#include "config/scenario.pb.h"
#include "config/scenario_file.hpp"
#include "config/schema_reader.hpp"
#include "config/spelling.hpp"
#include "config/text_file.hpp"
#include "config/toml_tree.hpp"
#include "config/units.hpp"

#include "messages/wire/app.pb.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <tuple>

#include <fmt/format.h>

namespace astra {

namespace {

using namespace std::chrono_literals;

constexpr nanoseconds longest_run = 24h;
constexpr std::uint64_t mebibyte = 1024 * 1024;

/// What a kind of fault happens to, and what must be said about it.
struct fault_rule {
  enum class victims {
    machines,
    nodes,
    /// Machines whose process has a name that others know it by: nodes and schedulers.
    names,
    links,
    halves,
    app,
  };
  enum class lasting { maybe, always };

  const char* kind;
  victims on;
  lasting duration;
  /// What `amount` counts, with an example; empty: it says nothing.
  const char* amount = "";
  double least = 0;
  double most = 0;
};

using victims = fault_rule::victims;
using lasting = fault_rule::lasting;

constexpr std::array fault_rules{
    fault_rule{"crash", victims::machines, lasting::maybe},
    fault_rule{"power", victims::machines, lasting::maybe},
    fault_rule{"stop", victims::machines, lasting::maybe},
    fault_rule{"stall", victims::machines, lasting::always},
    fault_rule{"cut", victims::links, lasting::always},
    fault_rule{"partition", victims::halves, lasting::always},
    fault_rule{"slow_link", victims::links, lasting::always, "times the latency, such as amount = 10", 0.01, 1e6},
    fault_rule{"drift", victims::machines, lasting::always, "ppm that clocks run fast, such as amount = 200", -5e5,
               5e5},
    fault_rule{"slow_disk", victims::machines, lasting::always, "ms that storing takes, such as amount = 300", 0, 6e5},
    fault_rule{"full_disk", victims::machines, lasting::always},
    fault_rule{"process_crash", victims::nodes, lasting::maybe},
    fault_rule{"process_hang", victims::nodes, lasting::always},
    fault_rule{"interference", victims::machines, lasting::always, "busy cores, such as amount = 3", 0, 1e5},
    fault_rule{"drain", victims::nodes, lasting::maybe},
    fault_rule{"scale", victims::app, lasting::maybe, "replicas, such as amount = 4", 0, 1e6},
    fault_rule{"update", victims::app, lasting::maybe, "1: servers of the new version are never ready in time", 0, 1},
    fault_rule{"delete", victims::app, lasting::maybe},
    fault_rule{"no_spawn", victims::nodes, lasting::always},
    fault_rule{"twin", victims::names, lasting::maybe},
};

const fault_rule* find_rule(const std::string& kind) {
  auto found = std::find_if(fault_rules.begin(), fault_rules.end(), [&](auto& rule) { return rule.kind == kind; });
  return found == fault_rules.end() ? nullptr : &*found;
}

std::string join(const std::vector<std::string>& words) {
  std::string result;
  for (auto& word : words)
    result += (result.empty() ? "" : ", ") + word;
  return result.empty() ? "none" : result;
}

std::string show(nanoseconds value) {
  return value < 0ns ? "a negative duration" : quote(format_fine_duration(value));
}

std::string at(const char* list, std::size_t i) {
  return fmt::format("{}[{}]", list, i);
}

/// Collects the rules that are not kept.
class rule_book {
public:
  void add(std::string key, std::string message, std::vector<std::string> related = {}) {
    broken_.push_back({std::move(key), std::move(message), std::move(related)});
  }

  void add_all(std::vector<broken_rule> rules, const std::string& prefix) {
    for (auto& rule : rules) {
      for (auto& related : rule.related)
        related = prefix + related;
      add(prefix + rule.key, std::move(rule.message), std::move(rule.related));
    }
  }

  void between(const std::string& key, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value < least || value > most)
      add(key, fmt::format("must be between {} and {}, not {}", least, most, value));
  }

  void real_between(const std::string& key, double value, double least, double most) {
    if (!std::isfinite(value) || value < least || value > most)
      add(key, fmt::format("must be between {} and {}, not {}", least, most, value));
  }

  void share(const std::string& key, double value) {
    if (!std::isfinite(value) || value < 0 || value > 1)
      add(key, fmt::format("must be between 0 and 1, not {}; it is a share", value));
  }

  bool duration(const std::string& key, nanoseconds value, nanoseconds least, nanoseconds most) {
    if (value >= least && value <= most)
      return true;
    add(key, "must be between " + show(least) + " and " + show(most) + ", not " + show(value));
    return false;
  }

  /// `least` <= `most`, which stand at their keys.
  void ordered(const std::string& key, nanoseconds most, const std::string& least_key, nanoseconds least) {
    if (least > most)
      add(key, show(most) + " is shorter than " + least_key + " = " + show(least) + "; make it at least as long",
          {key.substr(0, key.rfind('.') + 1) + least_key});
  }

  void name(const std::string& key, const std::string& name, const std::string& example) {
    if (name.empty())
      add(key, "missing; give a name, such as " + example);
    else if (auto problem = name_problem(name); !problem.empty())
      add(key, problem);
  }

  void unknown(const std::string& key, const std::string& what, const std::string& word,
               const std::vector<std::string>& known, std::vector<std::string> related = {}) {
    auto meant = closest(word, known);
    add(key,
        "there is no " + what + " " + quote(word)
            + (meant ? "; did you mean '" + *meant + "'?" : "; there are: " + join(known)),
        std::move(related));
  }

  std::vector<broken_rule> take() { return std::move(broken_); }

private:
  std::vector<broken_rule> broken_;
};

bool has(const scenario_machines& machines, process_role role) {
  return std::find(machines.roles.begin(), machines.roles.end(), role) != machines.roles.end();
}

/// What the file says about machines, for looking up what targets mean.
class machine_index {
public:
  explicit machine_index(const std::vector<scenario_machines>& machines) : machines_(machines) {}

  /// The groups of which at least one machine matches a target such as "node-3", "node-*", "role:node", "zone:a",
  /// "*".
  std::vector<const scenario_machines*> match(const std::string& target) const {
    std::vector<const scenario_machines*> result;
    for (auto& group : machines_)
      if (matches(group, target))
        result.push_back(&group);
    return result;
  }

  /// The group that has a machine of exactly this name.
  const scenario_machines* find(const std::string& name) const {
    for (auto& group : machines_)
      if (is_member(group, name))
        return &group;
    return nullptr;
  }

  bool has_role(process_role role) const {
    return std::any_of(machines_.begin(), machines_.end(), [&](auto& group) { return has(group, role); });
  }

  /// Whether some machine has a node of its own, that can run something.
  bool has_node() const { return std::any_of(machines_.begin(), machines_.end(), is_node); }

  static bool is_node(const scenario_machines& group) { return has(group, process_role::node) && group.crowd == 0; }

  bool has_name() const { return std::any_of(machines_.begin(), machines_.end(), is_name); }

  static bool is_name(const scenario_machines& group) { return is_node(group) || has(group, process_role::scheduler); }

  /// Everything that a target can say, the groups' machines in short.
  std::string targets() const {
    std::vector<std::string> words;
    for (auto& group : machines_)
      words.push_back(group.count == 1 ? group.name + "-1"
                                       : fmt::format("{0}-1 to {0}-{1}, {0}-*", group.name, group.count));
    auto more = wide_targets();
    words.insert(words.end(), more.begin(), more.end());
    return join(words);
  }

  /// What may have been meant by a target that matches nothing.
  std::vector<std::string> candidates(const std::string& target) const {
    auto result = wide_targets();
    auto dash = target.rfind('-');
    for (auto& group : machines_) {
      result.push_back(group.name + "-*");
      auto same_number = group.name + (dash == std::string::npos ? "-1" : target.substr(dash));
      if (is_member(group, same_number))
        result.push_back(same_number);
    }
    return result;
  }

  std::vector<std::string> names_with(process_role role) const {
    std::vector<std::string> result;
    for (auto& group : machines_)
      if (has(group, role))
        for (std::uint32_t i = 1; i <= std::min(group.count, 100u); ++i)
          result.push_back(group.name + "-" + std::to_string(i));
    return result;
  }

private:
  static bool is_member(const scenario_machines& group, const std::string& name) {
    if (!name.starts_with(group.name + "-"))
      return false;
    std::uint32_t number = 0;
    auto begin = name.data() + group.name.size() + 1;
    auto end = name.data() + name.size();
    auto [stop, error] = std::from_chars(begin, end, number);
    return error == std::errc{} && stop == end && *begin != '0' && number <= group.count;
  }

  static bool matches(const scenario_machines& group, const std::string& target) {
    if (target.starts_with("role:"))
      return std::any_of(group.roles.begin(), group.roles.end(),
                         [&](auto role) { return target.substr(5) == to_string(role); });
    if (target.starts_with("zone:")) {
      auto used = std::min<std::size_t>(group.zones.size(), group.count);
      auto end = group.zones.begin() + static_cast<std::ptrdiff_t>(used);
      return std::find(group.zones.begin(), end, target.substr(5)) != end;
    }
    return target == "*" || target == group.name + "-*" || is_member(group, target);
  }

  std::vector<std::string> wide_targets() const {
    std::set<std::string> roles;
    std::set<std::string> zones;
    for (auto& group : machines_) {
      for (auto role : group.roles)
        roles.insert("role:" + to_string(role));
      for (std::size_t i = 0; i < group.zones.size() && i < group.count; ++i)
        zones.insert("zone:" + group.zones[i]);
    }
    std::vector<std::string> result{roles.begin(), roles.end()};
    result.insert(result.end(), zones.begin(), zones.end());
    return result;
  }

  const std::vector<scenario_machines>& machines_;
};

/// All the rules of one scenario.
class checker {
public:
  checker(const scenario& what, const std::vector<std::string>* invariants)
    : what_(what), invariants_(invariants), index_(what.machines) {
    for (auto& app : what.apps)
      if (app.spec)
        apps_.push_back(app.spec->name());
  }

  std::vector<broken_rule> run() {
    check_top();
    check_machines();
    check_network();
    check_contents();
    check_apps();
    for (std::size_t i = 0; i < what_.load.size(); ++i)
      check_load(what_.load[i], at("load", i) + ".");
    check_swarm();
    for (std::size_t i = 0; i < what_.faults.size(); ++i)
      check_fault(what_.faults[i], at("faults", i) + ".");
    check_checks();
    check_options();
    return rules_.take();
  }

private:
  void check_top() {
    rules_.name("name", what_.name, "name = \"smoke\"");
    constexpr auto most = static_cast<std::uint64_t>(INT64_MAX);
    rules_.between("seeds.first", what_.first_seed, 0, most);
    if (what_.seeds < 1 || what_.seeds > most - std::min(what_.first_seed, most - 1))
      rules_.add("seeds.count", fmt::format("must be at least 1, and the last seed below 2^63, not {}", what_.seeds));
    rules_.duration("horizon", what_.horizon, 1ns, longest_run);
    rules_.duration("quiet", what_.quiet, 1ns, longest_run);
    rules_.between("depth", what_.depth, 0, 1000);
    rules_.duration("step_max", what_.step_max, 0ns, 1s);
    rules_.duration("restart_after", what_.restart_after, 0ns, longest_run);
    std::set<std::string> seen;
    for (std::size_t i = 0; i < what_.sometimes.size(); ++i) {
      if (what_.sometimes[i].empty())
        rules_.add(at("sometimes", i), "is empty; name a log event, such as \"resource.fence\"", {"sometimes"});
      else if (!seen.insert(what_.sometimes[i]).second)
        rules_.add(at("sometimes", i), quote(what_.sometimes[i]) + " is listed twice; keep one", {"sometimes"});
    }
  }

  void check_machines() {
    std::set<std::string> names;
    for (std::size_t i = 0; i < what_.machines.size(); ++i) {
      auto& group = what_.machines[i];
      auto key = at("machines", i) + ".";
      rules_.name(key + "name", group.name, "name = \"node\"");
      if (!group.name.empty() && !names.insert(group.name).second)
        rules_.add(key + "name", quote(group.name) + " names two groups of machines; give each a name of its own");
      auto longest_name = group.name + "-" + std::to_string(group.count);
      if (name_problem(group.name).empty() && !name_problem(longest_name).empty())
        rules_.add(key + "name", "makes machine " + name_problem(longest_name));
      rules_.between(key + "count", group.count, 1, 1'000'000);
      if (group.roles.empty())
        rules_.add(key + "roles", "missing; say what these machines are, such as roles = [\"node\"]; there are: node, "
                                  "resource, scheduler, gateway");
      rules_.between(key + "cores", group.cpu_milli, 1, 100'000'000);
      if (group.memory_bytes < mebibyte || group.memory_bytes > mebibyte << 30)
        rules_.add(key + "memory",
                   "must be between \"1MiB\" and \"1024TiB\", not " + quote(format_size(group.memory_bytes)));
      check_labels(group, key);
      check_crowd(group, key);
      rules_.real_between(key + "interference.cores", group.interference_cores, 0, 1e5);
      rules_.real_between(key + "interference.swing", group.interference_swing, 0, 1e5);
      if (group.interference_swing > group.interference_cores)
        rules_.add(
            key + "interference.swing",
            fmt::format("swings below 0 cores; make it at most interference.cores = {}", group.interference_cores),
            {key + "interference.cores"});
    }
    if (!index_.has_role(process_role::resource))
      rules_.add("machines", "there is no Resource; give some machines roles = [\"resource\"]");
  }

  void check_labels(const scenario_machines& group, const std::string& key) {
    for (auto& [label, value] : group.labels) {
      auto place = key + "labels." + key_part(label);
      if (auto problem = label_problem(label, value); !problem.empty())
        rules_.add(place, problem, {key + "labels"});
      else if (label == "zone" && !group.zones.empty())
        rules_.add(place, "is set by zones too; remove it", {key + "zones"});
    }
    for (std::size_t i = 0; i < group.taints.size(); ++i)
      if (auto problem = taint_problem(group.taints[i]); !problem.empty())
        rules_.add(key + at("taints", i), problem, {key + "taints"});
    std::set<std::string> seen;
    for (std::size_t i = 0; i < group.zones.size(); ++i) {
      auto place = key + at("zones", i);
      if (auto problem = name_problem(group.zones[i]); !problem.empty())
        rules_.add(place, problem, {key + "zones"});
      else if (!seen.insert(group.zones[i]).second)
        rules_.add(place, quote(group.zones[i]) + " is listed twice; keep one", {key + "zones"});
    }
  }

  void check_crowd(const scenario_machines& group, const std::string& key) {
    if (group.crowd == 0)
      return;
    rules_.between(key + "crowd", group.crowd, 1, 100'000);
    if (group.roles != std::vector{process_role::node} && !group.roles.empty())
      rules_.add(key + "crowd", "a crowd stands for nodes and has no other role; write roles = [\"node\"]",
                 {key + "roles"});
  }

  void check_network() {
    auto& network = what_.network;
    rules_.duration("network.latency_min", network.latency_min, 1ns, 1min);
    rules_.duration("network.latency_max", network.latency_max, 1ns, 1min);
    rules_.ordered("network.latency_max", network.latency_max, "latency_min", network.latency_min);
    rules_.share("network.tail", network.tail);
    rules_.duration("network.tail_max", network.tail_max, 0ns, 1min);
    if (network.tail > 0)
      rules_.ordered("network.tail_max", network.tail_max, "latency_max", network.latency_max);
    for (auto [key, value] : {std::pair{"network.loss", network.loss},
                              {"network.duplicate", network.duplicate},
                              {"network.overtake", network.overtake}}) {
      rules_.share(key, value);
      if (value > 0 && network.mode == network_mode::stream)
        rules_.add(key, "says nothing for a stream; write mode = \"datagram\" or remove it", {"network.mode"});
    }
  }

  void check_contents() {
    constexpr std::uint64_t slowest = 1024;
    constexpr std::uint64_t fastest = std::uint64_t{1} << 40;
    auto& network = what_.network;
    if (network.uplink_bytes_per_s < slowest || network.uplink_bytes_per_s > fastest)
      rules_.add("network.uplink", "must be between \"1KiB\" and \"1TiB\" per second, not "
                                       + quote(format_size(network.uplink_bytes_per_s)));
    if (network.downlink_bytes_per_s > 0
        && (network.downlink_bytes_per_s < slowest || network.downlink_bytes_per_s > fastest))
      rules_.add("network.downlink", "must be between \"1KiB\" and \"1TiB\" per second, or \"0B\" for no bound, not "
                                         + quote(format_size(network.downlink_bytes_per_s)));
    if (network.content_limit_bytes_per_s > 0
        && (network.content_limit_bytes_per_s < slowest || network.content_limit_bytes_per_s > fastest))
      rules_.add("network.content_limit", "must be between \"1KiB\" and \"1TiB\" per second, or \"0B\" for none, not "
                                              + quote(format_size(network.content_limit_bytes_per_s)));
    std::set<std::string> names;
    for (std::size_t i = 0; i < what_.contents.size(); ++i)
      check_content(what_.contents[i], at("contents", i) + ".", names);
    if (!what_.contents.empty() && !index_.has_role(process_role::gateway))
      rules_.add("contents", "there is no gateway to publish them with; give some machine roles = [\"gateway\"]",
                 {"machines"});
  }

  void check_content(const scenario_content& content, const std::string& key, std::set<std::string>& names) {
    rules_.name(key + "name", content.name, "name = \"llama\"");
    if (!content.name.empty() && !names.insert(content.name).second)
      rules_.add(key + "name", quote(content.name) + " is the name of two contents; give each a name of its own");
    if (content.bytes < mebibyte || content.bytes > mebibyte << 20)
      rules_.add(key + "size", "must be between \"1MiB\" and \"1TiB\", not " + quote(format_size(content.bytes)));
    if (auto group = content.node.empty() ? nullptr : index_.find(content.node);
        !content.node.empty() && (!group || !machine_index::is_node(*group)))
      rules_.unknown(key + "node", "machine with a node", content.node, index_.names_with(process_role::node),
                     {"machines"});
    if (content.node.empty() && !index_.has_node())
      rules_.add(key.substr(0, key.size() - 1), "there is no node to publish it; give some machines roles = [\"node\"]",
                 {"machines"});
    inside(key + "at", content.at, "the content is published");
    check_targets(content.fetch, key, "fetch", {"fetch", victims::nodes, lasting::maybe});
  }

  void check_apps() {
    std::set<std::string> names;
    for (std::size_t i = 0; i < what_.apps.size(); ++i) {
      auto& app = what_.apps[i];
      auto key = at("apps", i) + ".";
      if (!app.spec) {
        rules_.add(key + "name", "has no spec");
        continue;
      }
      rules_.add_all(app_rules(*app.spec), key);
      if (!names.insert(app.spec->name()).second)
        rules_.add(key + "name", quote(app.spec->name()) + " is the name of two apps; give each a name of its own",
                   {key + "file"});
      check_behaviour(app.behaviour, key + "behaviour.");
      if (!app.from_file)
        inside(key + "apply_at", app.apply_at, "the app is applied");
      check_scheduler(app.scheduler, key + "scheduler");
    }
    if (!what_.apps.empty() && !index_.has_role(process_role::scheduler))
      rules_.add("apps", "there is no scheduler for them; give some machine roles = [\"scheduler\"]", {"machines"});
  }

  void check_scheduler(const std::string& name, const std::string& key) {
    if (name.empty())
      return;
    auto group = index_.find(name);
    if (!group)
      rules_.unknown(key, "machine", name, index_.names_with(process_role::scheduler), {"machines"});
    else if (!has(*group, process_role::scheduler))
      rules_.add(key,
                 quote(name) + " has no scheduler role; there are: " + join(index_.names_with(process_role::scheduler)),
                 {"machines"});
  }

  void check_behaviour(const scenario_behaviour& behaviour, const std::string& key) {
    rules_.duration(key + "start_min", behaviour.start_min, 0ns, longest_run);
    rules_.duration(key + "start_max", behaviour.start_max, 0ns, longest_run);
    rules_.ordered(key + "start_max", behaviour.start_max, "start_min", behaviour.start_min);
    rules_.duration(key + "service_min", behaviour.service_min, 1ns, longest_run);
    rules_.duration(key + "service_max", behaviour.service_max, 1ns, longest_run);
    rules_.ordered(key + "service_max", behaviour.service_max, "service_min", behaviour.service_min);
    rules_.share(key + "crash", behaviour.crash);
    rules_.share(key + "hang", behaviour.hang);
    rules_.share(key + "outgrow", behaviour.outgrow);
    auto sum = behaviour.crash + behaviour.hang + behaviour.outgrow;
    if (sum > 1 && behaviour.crash <= 1 && behaviour.hang <= 1 && behaviour.outgrow <= 1)
      rules_.add(key + "crash", fmt::format("crash, hang and outgrow together are {}; make them at most 1", sum),
                 {key + "hang", key + "outgrow"});
  }

  void check_load(const scenario_load& load, const std::string& key) {
    known_app(key + "app", load.app);
    if (!std::isfinite(load.per_s) || load.per_s <= 0 || load.per_s > 1e6)
      rules_.add(key + "per_s", fmt::format("must be above 0 and at most 1000000, not {}", load.per_s));
    inside(key + "from", load.from, "the load starts");
    if (rules_.duration(key + "until", load.until, 0ns, longest_run) && load.until > 0ns) {
      if (load.until <= load.from)
        rules_.add(key + "until", show(load.until) + " is not after from = " + show(load.from) + "; make it later",
                   {key + "from"});
      if (load.until > what_.horizon)
        rules_.add(key + "until",
                   show(load.until) + " is after the horizon of " + show(what_.horizon)
                       + "; make it earlier, or remove it",
                   {"horizon"});
    }
    rules_.duration(key + "deadline", load.deadline, 0ns, longest_run);
    rules_.share(key + "impatient", load.impatient);
    if (!index_.has_role(process_role::gateway))
      rules_.add(key.substr(0, key.size() - 1),
                 "there is no gateway to send requests to; give some machine "
                 "roles = [\"gateway\"]",
                 {"machines"});
  }

  void check_swarm() {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < what_.swarm.size(); ++i) {
      auto& kind = what_.swarm[i];
      auto rule = find_rule(kind);
      if (!rule)
        rules_.unknown(at("swarm", i), "kind of fault", kind, fault_kinds(), {"swarm"});
      else if (!seen.insert(kind).second)
        rules_.add(at("swarm", i), quote(kind) + " is listed twice; keep one", {"swarm"});
      else if (rule->on == victims::app && what_.apps.empty())
        rules_.add(at("swarm", i), quote(kind) + " needs an app; write [[apps]], or remove it", {"apps", "swarm"});
      else if (rule->on == victims::nodes && !index_.has_node())
        rules_.add(at("swarm", i), quote(kind) + " needs a node; give some machines roles = [\"node\"]",
                   {"machines", "swarm"});
      else if (rule->on == victims::names && !index_.has_name())
        rules_.add(at("swarm", i), quote(kind) + " needs a node or a scheduler; give some machines roles = [\"node\"]",
                   {"machines", "swarm"});
    }
    rules_.between("swarm_faults", what_.swarm_faults, 0, 10'000);
  }

  void check_fault(const scenario_fault& fault, const std::string& key) {
    if (fault.kind.empty())
      return rules_.add(key + "kind",
                        "missing; say what happens, such as kind = \"crash\"; there are: " + join(fault_kinds()));
    auto rule = find_rule(fault.kind);
    if (!rule)
      return rules_.unknown(key + "kind", "kind of fault", fault.kind, fault_kinds());
    inside(key + "at", fault.at, "the fault begins");
    check_duration(fault, *rule, key);
    check_amount(fault, *rule, key);
    check_victims(fault, *rule, key);
  }

  void check_duration(const scenario_fault& fault, const fault_rule& rule, const std::string& key) {
    if (!rules_.duration(key + "duration", fault.duration, 0ns, longest_run))
      return;
    if (rule.duration == lasting::always && fault.duration == 0ns)
      rules_.add(key + "duration", "missing; say how long, such as duration = \"3s\"", {key + "kind"});
  }

  void check_amount(const scenario_fault& fault, const fault_rule& rule, const std::string& key) {
    std::string amount = rule.amount;
    auto scale = fault.kind == "scale";
    if (amount.empty()) {
      if (fault.amount != 0)
        nothing(key + "amount", fault.kind);
    } else if (fault.kind == "update") {
      if (fault.amount != 0 && fault.amount != 1)
        rules_.add(key + "amount", fmt::format("must be 0 or 1, not {}; {}", fault.amount, amount));
    } else if (fault.amount == 0 && !scale) {
      rules_.add(key + "amount", "missing, or 0; say how many " + amount, {key + "kind"});
    } else {
      rules_.real_between(key + "amount", fault.amount, rule.least, rule.most);
      if (scale && std::isfinite(fault.amount) && fault.amount != std::floor(fault.amount))
        rules_.add(key + "amount", fmt::format("must be a whole number of replicas, not {}", fault.amount));
    }
  }

  void check_victims(const scenario_fault& fault, const fault_rule& rule, const std::string& key) {
    auto of_app = rule.on == victims::app;
    auto on_links = rule.on == victims::links;
    if (of_app)
      known_app(key + "app", fault.app);
    else if (!fault.app.empty())
      nothing(key + "app", fault.kind);
    if (of_app && !fault.targets.empty())
      nothing(key + "targets", fault.kind);
    if (!of_app && fault.targets.empty())
      rules_.add(key + "targets",
                 "missing; say which machines, such as targets = [\"node-1\"]; there are: " + index_.targets(),
                 {key + "kind"});
    if (on_links && fault.others.empty())
      rules_.add(key + "others",
                 "missing; say which machines are at the other end, such as others = "
                 "[\"role:resource\"]; there are: "
                     + index_.targets(),
                 {key + "kind"});
    if (!on_links && rule.on != victims::halves && !fault.others.empty())
      nothing(key + "others", fault.kind);
    if (!on_links && rule.on != victims::halves && fault.both_ways)
      nothing(key + "both_ways", fault.kind);
    check_targets(fault.targets, key, "targets", rule);
    check_targets(fault.others, key, "others", {"", victims::machines, lasting::maybe});
    if (rule.on == victims::halves)
      for (std::size_t i = 0; i < fault.others.size(); ++i)
        if (std::find(fault.targets.begin(), fault.targets.end(), fault.others[i]) != fault.targets.end())
          rules_.add(key + at("others", i), quote(fault.others[i]) + " is on both sides of the partition; keep one",
                     {key + "others"});
  }

  void check_targets(const std::vector<std::string>& targets, const std::string& key, const char* list,
                     const fault_rule& rule) {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      auto place = key + at(list, i);
      if (!seen.insert(targets[i]).second) {
        rules_.add(place, quote(targets[i]) + " is listed twice; keep one", {key + list});
        continue;
      }
      auto groups = index_.match(targets[i]);
      if (groups.empty()) {
        auto meant = closest(targets[i], index_.candidates(targets[i]));
        rules_.add(place,
                   quote(targets[i]) + " matches no machine; " + (meant ? "did you mean '" + *meant + "'?  T" : "t")
                       + "here are: " + index_.targets(),
                   {key + list, "machines"});
      } else if (rule.on == victims::nodes && std::none_of(groups.begin(), groups.end(), [](auto group) {
                   return machine_index::is_node(*group);
                 })) {
        rules_.add(place,
                   quote(targets[i]) + " has no node of its own, which a " + rule.kind
                       + " needs; write a machine with roles = [\"node\"] and without crowd",
                   {key + list, "machines"});
      } else if (rule.on == victims::names && std::none_of(groups.begin(), groups.end(), [](auto group) {
                   return machine_index::is_name(*group);
                 })) {
        rules_.add(place,
                   quote(targets[i]) + " has neither a node of its own nor a scheduler, of which a " + rule.kind
                       + " needs one; write a machine with roles = [\"node\"] and without crowd",
                   {key + list, "machines"});
      }
    }
  }

  void check_checks() {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < what_.checks.size(); ++i) {
      auto& check = what_.checks[i];
      auto key = at("checks", i) + ".";
      if (check.invariant.empty())
        rules_.add(key + "invariant", "missing; name an invariant");
      else if (!seen.insert(check.invariant).second)
        rules_.add(key + "invariant", quote(check.invariant) + " is given twice; keep one");
      else if (invariants_
               && std::find(invariants_->begin(), invariants_->end(), check.invariant) == invariants_->end())
        rules_.unknown(key + "invariant", "invariant", check.invariant, *invariants_);
      rules_.duration(key + "bound", check.bound, 0ns, longest_run);
      if (check.off && check.why.empty())
        rules_.add(key + "why", "missing; say why the invariant is off in this scenario", {key + "off"});
      if (check.off && check.bound > 0ns)
        rules_.add(key + "bound", "says nothing for an invariant that is off; remove it", {key + "off"});
      if (!check.off && !check.why.empty())
        rules_.add(key + "why", "says nothing for an invariant that is on; write off = true, or remove it",
                   {key + "off"});
    }
  }

  /// The rules of a process, for one that has every role.
  void check_options() {
    auto process = what_.options;
    process.name = "scenario";
    process.roles.assign(all_process_roles.begin(), all_process_roles.end());
    process.state_dir = "/state";
    process.node.resources = {"127.0.0.1:9700"};
    for (auto& rule : astra::validate(process))
      rules_.add(rule.key, rule.message, rule.related);
  }

  void known_app(const std::string& key, const std::string& app) {
    if (app.empty())
      rules_.add(key, "missing; name an app; there are: " + join(apps_), {key.substr(0, key.rfind('.')), "apps"});
    else if (std::find(apps_.begin(), apps_.end(), app) == apps_.end())
      rules_.unknown(key, "app", app, apps_, {"apps"});
  }

  void inside(const std::string& key, nanoseconds value, const std::string& what) {
    if (rules_.duration(key, value, 0ns, longest_run) && value >= what_.horizon)
      rules_.add(key,
                 what + " at " + show(value) + ", which is not before the horizon of " + show(what_.horizon)
                     + "; make it earlier, or the horizon longer",
                 {"horizon"});
  }

  void nothing(const std::string& key, const std::string& kind) {
    rules_.add(key, "says nothing for a " + kind + "; remove it");
  }

  const scenario& what_;
  const std::vector<std::string>* invariants_;
  machine_index index_;
  std::vector<std::string> apps_;
  rule_book rules_;
};

/// Keys that a process's file has and a scenario has not.
const std::map<std::string, std::string>& reserved_keys() {
  static const std::map<std::string, std::string> keys{
      {"caf", "a simulation has a scheduler of its own; remove it"},
      {"capacity", "machines differ; write cores and memory in [[machines]] instead"},
      {"gateway.listen", "the simulator gives every machine its address; remove it"},
      {"include", "a scenario stands in one file; only apps may name others; remove it"},
      {"log", "the log of a simulation is its trace; remove it"},
      {"net.listen", "the simulator gives every machine its address; remove it"},
      {"node.labels", "machines differ; write labels in [[machines]] instead"},
      {"node.taints", "machines differ; write taints in [[machines]] instead"},
      {"resources", "all machines know all Resources; remove it"},
      {"roles", "machines differ; write roles in [[machines]] instead"},
      {"scheduler.apps", "write [[apps]] with file = \"FILE\" instead"},
      {"state_dir", "simulated machines have disks of their own; remove it"},
      {"store.directory", "simulated machines have disks of their own; remove it"},
      {"store.listen", "the simulator gives every machine its address; remove it"},
  };
  return keys;
}

/// Lays what an app says in the scenario over the app file that it names.
class app_files {
public:
  explicit app_files(const environment_lookup& environment) : environment_(environment) {}

  void put_in(toml_value& root) {
    auto entry = std::find_if(root.entries.begin(), root.entries.end(), [](auto& e) { return e.key == "apps"; });
    if (entry == root.entries.end())
      return;
    for (std::size_t i = 0; i < entry->value.items.size(); ++i)
      put_in(entry->value.items[i], at("apps", i));
  }

  std::vector<config_problem> problems;
  /// Apps whose file is not good, so that nothing more can be said about them.
  std::set<std::string> failed;

private:
  void put_in(toml_value& app, const std::string& key) {
    auto file = app.find("file");
    if (!file || file->value.type != toml_value::kind::text)
      return;
    auto expanded = expand(file->value.text, environment_);
    if (!expanded.problem.empty())
      return;
    auto place = file->value.at;
    auto path = (std::filesystem::path{place.file}.parent_path() / expanded.text).lexically_normal().string();
    auto found = load_app_config(path, environment_).problems;
    for (auto& problem : found) {
      if (problem.line == 0)
        problem = {place.file, place.line, place.column, key + ".file", path + " " + problem.message};
      problems.push_back(problem);
    }
    if (!found.empty()) {
      failed.insert(key);
      return;
    }
    auto whole = parse_toml(read_text_file(path).text, path).root;
    overlay(whole, app);
    app = std::move(whole);
  }

  const environment_lookup& environment_;
};

scenario_config check_document(toml_document document, const std::string& name, const environment_lookup& environment,
                               const std::vector<std::string>* invariants) {
  scenario_config result;
  auto& problems = result.problems;
  if (document.error)
    problems.push_back({name, document.error->at.line, document.error->at.column, {}, document.error->message});
  app_files files{environment};
  files.put_in(document.root);
  schema::ScenarioFile file;
  auto findings = read_schema(file, document.root, environment, reserved_keys());
  problems.insert(problems.end(), files.problems.begin(), files.problems.end());
  problems.insert(problems.end(), findings.problems.begin(), findings.problems.end());
  findings.failed.insert(files.failed.begin(), files.failed.end());
  if (!document.error) {
    std::vector<broken_rule> broken;
    auto what = std::make_unique<scenario>(to_scenario(file, broken));
    auto more = validate(*what, invariants);
    broken.insert(broken.end(), more.begin(), more.end());
    auto found = to_problems(broken, findings, name);
    problems.insert(problems.end(), found.begin(), found.end());
    if (problems.empty())
      result.value = std::move(what);
  }
  auto place = [&](const config_problem& p) {
    return std::tuple{p.file != name, p.file, p.line, p.column, p.key, p.message};
  };
  std::sort(problems.begin(), problems.end(), [&](auto& a, auto& b) { return place(a) < place(b); });
  auto same = [&](auto& a, auto& b) { return place(a) == place(b); };
  problems.erase(std::unique(problems.begin(), problems.end(), same), problems.end());
  return result;
}

} // namespace

scenario_config load_scenario(const std::string& path, const environment_lookup& environment,
                              const std::vector<std::string>* invariants) {
  auto file = read_text_file(path);
  if (!file.problem.empty()) {
    scenario_config result;
    result.problems.push_back({path, 0, 0, {}, file.problem});
    return result;
  }
  return check_document(parse_toml(file.text, path), path, environment, invariants);
}

scenario_config parse_scenario(const std::string& text, const std::string& name,
                               const std::vector<std::string>* invariants) {
  return check_document(parse_toml(text, name), name, {}, invariants);
}

std::vector<broken_rule> validate(const scenario& what, const std::vector<std::string>* invariants) {
  return checker{what, invariants}.run();
}

std::string write_scenario(const scenario& what) {
  return write_schema(to_file(what));
}

const std::vector<std::string>& fault_kinds() {
  static const auto kinds = [] {
    std::vector<std::string> result;
    for (auto& rule : fault_rules)
      result.emplace_back(rule.kind);
    return result;
  }();
  return kinds;
}

} // namespace astra
