#pragma once

#include "config/load.hpp"
#include "config/options.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace astra::pb {
class AppSpec;
} // namespace astra::pb

// What a simulation is told: machines, network, apps, load, faults and what must hold.  Filled from a TOML file
// (config/scenarios/); the defaults here are the only ones.

namespace astra {

using std::chrono::nanoseconds;

/// Equal machines, each of which runs one process.  They are called "<name>-1" to "<name>-<count>".
struct scenario_machines {
  std::string name;
  std::vector<process_role> roles;
  std::uint32_t count = 1;
  /// What a node offers.
  std::uint32_t cpu_milli = 4000;
  std::uint64_t memory_bytes = std::uint64_t{8} << 30;
  /// Sorted by key.
  std::vector<std::pair<std::string, std::string>> labels;
  /// As node_options::taints.
  std::vector<std::string> taints;
  /// Zones, handed out in turn; each becomes a label "zone" too.  Empty: all machines are in one zone "".
  std::vector<std::string> zones;
  /// 0: each machine runs one node actor.  Otherwise one actor per machine speaks for this many nodes, which beat and
  /// run nothing: for clusters of a million.
  std::uint32_t crowd = 0;
  /// Busy cores of strangers on each machine: average, and how far it swings.
  double interference_cores = 0.0;
  double interference_swing = 0.0;
  /// The Resource group that Resources are in, nodes and aggregators join, and schedulers and gateways have as home.
  std::string resource_group = default_group;
};

enum class network_mode : std::uint8_t {
  /// Connections: in order, complete, or closed.
  stream,
  /// Single messages may be lost, doubled and overtaken: harsher than any real network of ours.
  datagram,
};

struct scenario_network {
  network_mode mode = network_mode::stream;
  /// One way.  Drawn log-uniformly between the two.
  nanoseconds latency_min{std::chrono::microseconds{200}};
  nanoseconds latency_max{std::chrono::milliseconds{3}};
  /// Share of messages that take up to `tail_max`.
  double tail = 0.01;
  nanoseconds tail_max{std::chrono::milliseconds{200}};
  /// Shares of messages, in datagram mode only.
  double loss = 0.0;
  double duplicate = 0.0;
  double overtake = 0.0;
  /// Bytes per second of each node's contents, to and from others; a downlink of 0: no bound.
  std::uint64_t uplink_bytes_per_s = 125'000'000;
  std::uint64_t downlink_bytes_per_s = 125'000'000;
  /// What an operator allows all nodes together to send of contents, set when the first one is published; 0: no limit.
  std::uint64_t content_limit_bytes_per_s = 0;
};

/// A content that a node publishes, and that others fetch.
struct scenario_content {
  /// Of the model; its first version.
  std::string name;
  std::uint64_t bytes = std::uint64_t{64} << 20;
  /// Name of the machine whose node publishes it; empty: the first one with a node.
  std::string node;
  nanoseconds at{std::chrono::seconds{5}};
  /// Machines whose nodes fetch it as soon as it is published, as fault targets have them; empty: those that need it.
  std::vector<std::string> fetch;
};

/// How the processes of an app behave.
struct scenario_behaviour {
  /// From the launch until the process answers.
  nanoseconds start_min{std::chrono::milliseconds{20}};
  nanoseconds start_max{std::chrono::milliseconds{500}};
  /// Of one request.  Drawn log-uniformly.
  nanoseconds service_min{std::chrono::milliseconds{20}};
  nanoseconds service_max{std::chrono::milliseconds{800}};
  /// Share of launches (per-request mode) or of requests (server mode) that end in a crash, never end, or outgrow the
  /// memory limit.
  double crash = 0.0;
  double hang = 0.0;
  double outgrow = 0.0;
};

struct scenario_app {
  std::shared_ptr<const pb::AppSpec> spec;
  scenario_behaviour behaviour;
  /// Name of the machine whose scheduler gets it; empty: the first machine with the scheduler role.
  std::string scheduler;
  /// Known to the scheduler process from its start, as an app file is; otherwise applied over the API at this time.
  bool from_file = true;
  nanoseconds apply_at{0};
};

/// Requests of clients, spread over all gateways.
struct scenario_load {
  std::string app;
  double per_s = 1.0;
  nanoseconds from{0};
  /// 0: until the quiet phase.
  nanoseconds until{0};
  /// 0: the app's request timeout.
  nanoseconds deadline{0};
  /// Share of clients that go away before their answer.
  double impatient = 0.0;
};

/// One fault or one act of an operator.
///
/// | kind | targets | what happens |
/// |---|---|---|
/// | crash | machines | the process dies (kill -9), its host answers; back after `duration` |
/// | power | machines | the machine vanishes without a word; back after `duration` |
/// | stop | machines | SIGTERM: an orderly end with a drain; back after `duration` |
/// | stall | machines | SIGSTOP, SIGCONT after `duration` |
/// | cut | targets -> others | nothing passes from one to the other for `duration`; `both_ways` or one way |
/// | partition | targets \| others | cut both ways; no others: from everybody else |
/// | slow_link | targets -> others | `amount` times the latency for `duration` |
/// | drift | machines | their clocks run `amount` ppm fast (negative: slow) for `duration` |
/// | slow_disk | machines | storing takes `amount` ms for `duration` |
/// | full_disk | machines | storing fails for `duration` |
/// | process_crash | nodes | processes of apps there die |
/// | process_hang | nodes | processes of apps there stop answering for `duration` |
/// | interference | machines | `amount` cores are taken by strangers for `duration` |
/// | drain | nodes | an operator drains the node over the API; back (restarted) after `duration` |
/// | scale | app | the app is applied again with `amount` replicas |
/// | update | app | the app is applied again with another spec hash |
/// | delete | app | the app is deleted; applied again after `duration`, if that is not 0 |
/// | no_spawn | nodes | no process can be started there for `duration`, as when there are too many |
/// | twin | nodes, schedulers | a second process with the same names runs on a machine of its own for `duration` |
///
/// What says nothing for a kind stays at its default.  A process_crash, scale or update is over at once; checks make
/// allowance for its duration.  A crash, power, stop or drain without one leaves the machine to `restart_after`, a twin
/// without one stays until the quiet phase.
struct scenario_fault {
  std::string kind;
  nanoseconds at{0};
  nanoseconds duration{0};
  /// "node-3" (a machine), "node-*" (a group), "role:node", "zone:a", "*" (all).
  std::vector<std::string> targets;
  std::vector<std::string> others;
  double amount = 0.0;
  bool both_ways = false;
  std::string app;
};

struct scenario_check {
  /// Name of an invariant.
  std::string invariant;
  /// Its bound, where it has one; 0: its own.
  nanoseconds bound{0};
  /// Off: not checked in this scenario, for the reason that `why` gives.
  bool off = false;
  std::string why;
};

/// Which runnable actor goes next.
enum class schedule_policy : std::uint8_t {
  /// Drawn per seed: 25 % fifo, 25 % random, 50 % pctcp.
  mixed,
  fifo,
  random,
  /// Priorities per actor (Burckhardt et al., ASPLOS 2010).
  pct,
  /// Priorities per causal chain (Ozkan et al., OOPSLA 2018).
  pctcp,
};

struct scenario {
  std::string name;
  /// What the scenario proves, in a sentence.
  std::string about;
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 100;
  /// Faults and load happen in this time; then everything is healed, and within `quiet` all must converge.
  nanoseconds horizon{std::chrono::seconds{30}};
  nanoseconds quiet{std::chrono::seconds{20}};
  schedule_policy policy = schedule_policy::mixed;
  /// Priority changes of pct and pctcp in one run.
  std::uint32_t depth = 3;
  /// Each step of an actor takes up to this long, so that actors of one machine race; 0: no time.
  nanoseconds step_max{0};
  /// A process that ended is started again after this, as a service manager would; 0: never.
  nanoseconds restart_after{std::chrono::seconds{2}};
  std::vector<scenario_machines> machines;
  scenario_network network;
  /// Without any, nodes have no store at all.
  std::vector<scenario_content> contents;
  std::vector<scenario_app> apps;
  std::vector<scenario_load> load;
  /// Kinds of fault that the seed chooses from (each on with probability 1/2), and how many of them per run at most.
  std::vector<std::string> swarm;
  std::uint32_t swarm_faults = 12;
  /// Faults that always happen.
  std::vector<scenario_fault> faults;
  std::vector<scenario_check> checks;
  /// Log events ("resource.fence") or fault x state pairs that at least one of `seeds` runs must reach.
  std::vector<std::string> sometimes;
  /// Options of the roles, where they differ from their defaults.
  process_options options;
};

struct scenario_config {
  /// Null when there are problems.
  std::unique_ptr<scenario> value;
  std::vector<config_problem> problems;
};

/// Reads a scenario file strictly and checks it; never stops at the first problem.  With `invariants`, the checks must
/// name some of them.
scenario_config load_scenario(const std::string& path, const environment_lookup& environment,
                              const std::vector<std::string>* invariants = nullptr);

/// The same for a text; `name` stands in for the file in problems, and app files are looked for beside it.
scenario_config parse_scenario(const std::string& text, const std::string& name,
                               const std::vector<std::string>* invariants = nullptr);

/// The rules between the values of a scenario that were not read from a file; keys as in the file.  Empty: good.
std::vector<broken_rule> validate(const scenario& what, const std::vector<std::string>* invariants = nullptr);

/// A file that load_scenario reads back to the same scenario: what shrinking and interactive sessions save.
/// @pre `validate(what)` returned no rule.
std::string write_scenario(const scenario& what);

/// Every kind of fault, in the order of the table above.
const std::vector<std::string>& fault_kinds();

} // namespace astra
