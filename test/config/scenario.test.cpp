#include "config/scenario.hpp"
#include "config/app_file.hpp"

#include "messages/wire/app.pb.h"
#include "test/config/config_files.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <regex>
#include <tuple>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

const std::filesystem::path scenarios = std::filesystem::path{ASTRA_SOURCE_DIR} / "config" / "scenarios";

std::vector<std::filesystem::path> scenario_files() {
  std::vector<std::filesystem::path> result;
  for (auto& entry : std::filesystem::directory_iterator{scenarios})
    if (entry.path().extension() == ".toml")
      result.push_back(entry.path());
  std::sort(result.begin(), result.end());
  return result;
}

// What each struct holds, for comparing all of it.  The structured bindings do not compile when a field is missing.

auto fields(const scenario_machines& x) {
  auto& [name, roles, count, cpu, memory, labels, taints, zones, crowd, cores, swing, group] = x;
  return std::tie(name, roles, count, cpu, memory, labels, taints, zones, crowd, cores, swing, group);
}

auto fields(const scenario_network& x) {
  auto& [mode, latency_min, latency_max, tail, tail_max, loss, duplicate, overtake, uplink, downlink, limit] = x;
  return std::tie(mode, latency_min, latency_max, tail, tail_max, loss, duplicate, overtake, uplink, downlink, limit);
}

auto fields(const scenario_content& x) {
  auto& [name, bytes, node, at, fetch] = x;
  return std::tie(name, bytes, node, at, fetch);
}

auto fields(const store_options& x) {
  auto& [enabled, directory, bytes, listen, upload, download, share, nat, order, floor] = x;
  return std::tie(enabled, directory, bytes, listen, upload, download, share, nat, order, floor);
}

auto fields(const scenario_behaviour& x) {
  auto& [start_min, start_max, service_min, service_max, crash, hang, outgrow] = x;
  return std::tie(start_min, start_max, service_min, service_max, crash, hang, outgrow);
}

auto fields(const scenario_load& x) {
  auto& [app, per_s, from, until, deadline, impatient] = x;
  return std::tie(app, per_s, from, until, deadline, impatient);
}

auto fields(const scenario_fault& x) {
  auto& [kind, at, duration, targets, others, amount, both_ways, app] = x;
  return std::tie(kind, at, duration, targets, others, amount, both_ways, app);
}

auto fields(const scenario_check& x) {
  auto& [invariant, bound, off, why] = x;
  return std::tie(invariant, bound, off, why);
}

auto fields(const net_options& x) {
  auto& [cluster, listen, advertise, edge, insecure, heartbeat, timeout, dial_timeout, edge_timeout, sessions, rate] =
      x;
  return std::tie(cluster, listen, advertise, edge, insecure, heartbeat, timeout, dial_timeout, edge_timeout, sessions,
                  rate);
}

auto fields(const node_options& x) {
  auto& [name, resources, aggregators, heartbeat, home_silence, cpu, memory, origin, accelerators, labels, taints,
         slot_hold, queue, wait, backend] = x;
  CHECK(accelerators.empty());
  return std::tie(name, resources, aggregators, heartbeat, home_silence, cpu, memory, origin, labels, taints, slot_hold,
                  queue, wait, backend);
}

auto fields(const aggregator_options& x) {
  auto& [name, resources, tick, heartbeat, home_silence, claim_timeout] = x;
  return std::tie(name, resources, tick, heartbeat, home_silence, claim_timeout);
}

auto fields(const resource_options& x) {
  auto& [name, group, peers, heartbeat, suspect, evict, sweep, liveness, claims, load, forget, orphan, claim, peer,
         chunk, events, quotas] = x;
  return std::tie(name, group, peers, heartbeat, suspect, evict, sweep, liveness, claims, load, forget, orphan, claim,
                  peer, chunk, events, quotas);
}

auto fields(const scheduler_options& x) {
  auto& [name, resources, groups, app_files, heartbeat, plan, claim_timeout, replace_per_s, standby, takeover,
         claim_log] = x;
  CHECK(groups.empty());
  return std::tie(name, resources, app_files, heartbeat, plan, claim_timeout, replace_per_s, standby, takeover,
                  claim_log);
}

auto fields(const router_options& x) {
  auto& [resources, groups, refresh, tries, admission, wait, ejection, slow_start, errors, latency, outlier, budget,
         budget_min, near, share] = x;
  return std::tie(resources, refresh, tries, admission, wait, ejection, slow_start, errors, latency, outlier, budget,
                  budget_min, near, share);
}

auto fields(const gateway_options& x) {
  auto& [listen, body, header, connections, idle, anonymous, ca_dir, apps, keep, bytes, limit] = x;
  return std::tie(listen, body, header, connections, idle, anonymous, ca_dir, apps, keep, bytes, limit);
}

template <class T>
void check_lists(const std::vector<T>& a, const std::vector<T>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    CHECK(fields(a[i]) == fields(b[i]));
}

void check_equal(const scenario& a, const scenario& b) {
  auto plain = [](const scenario& x) {
    auto& [name, about, first, seeds, horizon, quiet, policy, depth, step, restart, machines, network, contents, apps,
           load, swarm, swarm_faults, faults, checks, sometimes, options] = x;
    return std::tie(name, about, first, seeds, horizon, quiet, policy, depth, step, restart, swarm, swarm_faults,
                    sometimes);
  };
  CHECK(plain(a) == plain(b));
  check_lists(a.machines, b.machines);
  CHECK(fields(a.network) == fields(b.network));
  check_lists(a.contents, b.contents);
  check_lists(a.load, b.load);
  check_lists(a.faults, b.faults);
  check_lists(a.checks, b.checks);
  REQUIRE(a.apps.size() == b.apps.size());
  for (std::size_t i = 0; i < a.apps.size(); ++i) {
    auto& [spec, behaviour, scheduler, from_file, apply_at] = a.apps[i];
    auto& other = b.apps[i];
    CHECK(spec->DebugString() == other.spec->DebugString());
    CHECK(fields(behaviour) == fields(other.behaviour));
    CHECK(std::tie(scheduler, from_file, apply_at) == std::tie(other.scheduler, other.from_file, other.apply_at));
  }
  CHECK(fields(a.options.net) == fields(b.options.net));
  CHECK(fields(a.options.node) == fields(b.options.node));
  CHECK(fields(a.options.resource) == fields(b.options.resource));
  CHECK(fields(a.options.aggregator) == fields(b.options.aggregator));
  CHECK(fields(a.options.scheduler) == fields(b.options.scheduler));
  CHECK(fields(a.options.router) == fields(b.options.router));
  CHECK(fields(a.options.gateway) == fields(b.options.gateway));
  CHECK(fields(a.options.store) == fields(b.options.store));
  CHECK(a.options.shutdown_timeout == b.options.shutdown_timeout);
}

/// Draws good scenarios in which any field may differ from its default.
class scenario_maker {
public:
  explicit scenario_maker(std::uint64_t seed) : random_(seed) {}

  scenario make() {
    scenario result;
    result.name = "s" + std::to_string(number(0, 99));
    result.about = text();
    maybe([&] { result.first_seed = number(0, INT64_MAX / 2); });
    maybe([&] { result.seeds = number(1, INT64_MAX / 2); });
    result.horizon = duration(10s, 1h);
    maybe([&] { result.quiet = duration(1ns, 1h); });
    result.policy = static_cast<schedule_policy>(number(0, 4));
    result.depth = static_cast<std::uint32_t>(number(0, 1000));
    maybe([&] { result.step_max = duration(0ns, 1s); });
    maybe([&] { result.restart_after = duration(0ns, 1min); });
    for (auto n = number(1, 3); n > 0; --n)
      result.machines.push_back(machines(n));
    result.machines.front().roles = {process_role::node, process_role::resource, process_role::scheduler,
                                     process_role::gateway};
    result.machines.front().crowd = 0;
    result.network = network();
    for (auto n = number(0, 2); n > 0; --n)
      result.contents.push_back(content(n, result));
    for (auto n = number(0, 3); n > 0; --n)
      result.apps.push_back(app(n, result));
    if (!result.apps.empty())
      for (auto n = number(0, 3); n > 0; --n)
        result.load.push_back(load(result));
    maybe([&] { result.swarm = {"crash", "partition"}; });
    maybe([&] { result.swarm_faults = static_cast<std::uint32_t>(number(1, 100)); });
    for (auto n = number(0, 6); n > 0; --n)
      if (auto one = fault(result); one.app.empty() || !result.apps.empty())
        result.faults.push_back(one);
    maybe([&] { result.checks.push_back({"one-holder", duration(0ns, 1h), false, {}}); });
    maybe([&] { result.checks.push_back({"converge", 0ns, true, text() + "."}); });
    maybe([&] { result.sometimes = {"resource.fence", "crash x " + text()}; });
    options(result.options);
    return result;
  }

private:
  std::uint64_t number(std::uint64_t least, std::uint64_t most) {
    return std::uniform_int_distribution<std::uint64_t>{least, most}(random_);
  }

  template <class F>
  void maybe(F f) {
    if (number(0, 1) == 0)
      f();
  }

  nanoseconds duration(nanoseconds least, nanoseconds most) {
    auto span = static_cast<std::uint64_t>((most - least).count());
    // Coarse ones too.
    auto grain = std::uint64_t{number(0, 1) == 0 ? 1u : 1'000'000u};
    return least + nanoseconds{number(0, span / grain) * grain};
  }

  /// Nothing that ends in a zero only.
  double real(double least, double most) { return std::uniform_real_distribution<double>{least, most}(random_); }

  std::string text() {
    static const std::vector<std::string> pieces{"a",  "$", "${HOME}", "\"", "\\",  "\n",
                                                 "\t", "'", "é",       "#",  " = ", "\x01"};
    std::string result;
    for (auto n = number(0, 6); n > 0; --n)
      result += pieces[number(0, pieces.size() - 1)];
    return result;
  }

  scenario_machines machines(std::uint64_t i) {
    scenario_machines result;
    result.name = "m" + std::to_string(i);
    result.roles = {process_role::node};
    result.count = static_cast<std::uint32_t>(number(1, 20));
    maybe([&] { result.cpu_milli = static_cast<std::uint32_t>(number(1, 64'000)); });
    maybe([&] { result.memory_bytes = number(1 << 20, 1ull << 40); });
    maybe([&] { result.labels = {{"tier", "a$b"}, {"x.y", "\"z\""}}; });
    maybe([&] { result.taints = {"spot", "dedicated=\"db\""}; });
    maybe([&] { result.zones = {"a", "b"}; });
    maybe([&] { result.crowd = static_cast<std::uint32_t>(number(0, 1000)); });
    maybe([&] { result.interference_cores = real(0, 4); });
    maybe([&] { result.interference_swing = result.interference_cores / 3; });
    return result;
  }

  scenario_network network() {
    scenario_network result;
    maybe([&] {
      result.mode = network_mode::datagram;
      result.loss = real(0, 1);
      result.duplicate = real(0, 1);
      result.overtake = real(0, 1);
    });
    maybe([&] {
      result.latency_min = duration(1ns, 1s);
      result.latency_max = duration(1s, 2s);
      result.tail_max = duration(2s, 3s);
    });
    maybe([&] { result.tail = real(0, 1); });
    maybe([&] { result.uplink_bytes_per_s = number(1024, 1ull << 30); });
    maybe([&] { result.downlink_bytes_per_s = number(0, 1) * number(1024, 1ull << 30); });
    maybe([&] { result.content_limit_bytes_per_s = number(1024, 1ull << 30); });
    return result;
  }

  scenario_content content(std::uint64_t i, const scenario& what) {
    scenario_content result;
    result.name = "c" + std::to_string(i);
    maybe([&] { result.bytes = number(1 << 20, 1ull << 40); });
    auto first = what.machines.front().name;
    maybe([&] { result.node = first + "-1"; });
    maybe([&] { result.at = duration(0ns, 4s); });
    maybe([&] { result.fetch = {first + "-*", "role:node"}; });
    return result;
  }

  scenario_app app(std::uint64_t i, const scenario& what) {
    scenario_app result;
    auto spec = std::make_shared<pb::AppSpec>();
    auto kind = number(0, 2);
    auto base = parse_app_config(kind == 0   ? "name = \"a\"\nkind = \"actor\"\nactor = { type = \"echo\" }"
                                 : kind == 1 ? "name = \"a\"\ncommand = [\"x\"]"
                                             : "name = \"a\"\nmode = \"server\"\ncommand = [\"x\"]",
                                 "app.toml");
    REQUIRE(base.spec);
    *spec = *base.spec;
    spec->set_name("app-" + std::to_string(i));
    maybe([&] { spec->set_replicas(static_cast<std::uint32_t>(number(0, 100))); });
    maybe([&] { spec->set_concurrency(static_cast<std::uint32_t>(number(1, 100))); });
    maybe([&] { spec->set_request_timeout_ms(number(1, 100'000)); });
    maybe([&] { spec->set_idempotent(true); });
    maybe([&] { spec->set_queue_limit(0); });
    maybe([&] { spec->mutable_per_replica()->set_cpu_milli(static_cast<std::uint32_t>(number(1, 9999))); });
    maybe([&] { spec->mutable_per_replica()->set_memory_bytes(number(1 << 20, 1 << 30)); });
    maybe([&] {
      auto& accelerator = *spec->mutable_per_replica()->add_accelerators();
      accelerator.set_kind("t4.x");
      accelerator.set_count(3);
    });
    maybe([&] {
      auto& label = *spec->add_require();
      label.set_key("zone");
      label.set_value("a${b}");
    });
    maybe([&] {
      auto& placement = *spec->mutable_placement();
      auto& expression = *placement.add_require();
      expression.set_key("disk");
      expression.set_operation(pb::LABEL_NOT_IN);
      for (auto n = number(1, 3); n > 0; --n)
        expression.add_values("v" + std::to_string(n) + " ${x} \"'\\ é");
      auto& toleration = *placement.add_tolerate();
      toleration.set_key("spot");
      maybe([&] { toleration.set_value("a=$b"); });
      auto& spread = *placement.add_spread();
      spread.set_label("zone");
      spread.set_max_skew(static_cast<std::uint32_t>(number(1, 9)));
      placement.add_affinity()->set_app("other");
      auto& apart = *placement.add_anti_affinity();
      apart.set_app(spec->name());
      apart.set_label("zone");
      maybe([&] { placement.set_strategy(pb::PLACEMENT_PACK); });
    });
    maybe([&] { spec->mutable_restart()->set_backoff_max_ms(number(100, 100'000)); });
    maybe([&] { spec->mutable_restart()->set_budget(0); });
    if (kind == 0) {
      maybe([&] { spec->mutable_actor()->add_args("init=4=" + text()); });
    } else if (kind == 1) {
      maybe([&] { spec->mutable_per_request()->add_command(text()); });
      maybe([&] { spec->mutable_per_request()->add_env("A=" + text()); });
      maybe([&] { spec->mutable_per_request()->set_output_limit_bytes(number(1, 1000)); });
    } else {
      maybe([&] { spec->mutable_server()->add_env("A="); });
      maybe([&] { spec->mutable_server()->set_ready_path("/r"); });
      maybe([&] { spec->mutable_server()->set_stop_grace_ms(0); });
    }
    result.spec = spec;
    if (kind != 0)
      maybe([&] {
        result.behaviour.start_min = duration(0ns, 1s);
        result.behaviour.start_max = duration(1s, 2s);
        result.behaviour.service_min = duration(1ns, 1s);
        result.behaviour.service_max = duration(1s, 2s);
        result.behaviour.crash = real(0, 0.3);
        result.behaviour.hang = real(0, 0.3);
        result.behaviour.outgrow = real(0, 0.3);
      });
    maybe([&] { result.scheduler = what.machines.front().name + "-1"; });
    maybe([&] {
      result.from_file = false;
      result.apply_at = number(0, 1) == 0 ? 0ns : duration(0ns, 5s);
    });
    return result;
  }

  scenario_load load(const scenario& what) {
    scenario_load result;
    result.app = what.apps.front().spec->name();
    maybe([&] { result.per_s = real(0.1, 1000); });
    maybe([&] { result.per_s = std::floor(result.per_s + 1); });
    maybe([&] { result.from = duration(0ns, 4s); });
    maybe([&] { result.until = duration(5s, 10s); });
    maybe([&] { result.deadline = duration(0ns, 10s); });
    maybe([&] { result.impatient = real(0, 1); });
    return result;
  }

  scenario_fault fault(const scenario& what) {
    scenario_fault result;
    result.kind = fault_kinds()[number(0, fault_kinds().size() - 1)];
    result.at = duration(0ns, 9s);
    auto is = [&](std::initializer_list<const char*> kinds) {
      return std::find(kinds.begin(), kinds.end(), result.kind) != kinds.end();
    };
    auto first = what.machines.front().name;
    if (is({"scale", "update", "delete"})) {
      result.app = what.apps.empty() ? "none" : what.apps.back().spec->name();
      if (result.kind == "scale")
        result.amount = static_cast<double>(number(0, 3));
      maybe([&] { result.duration = duration(0ns, 10s); });
      return result;
    }
    result.duration = duration(1ns, 10s);
    result.targets = {first + "-1", "role:node", "*"};
    if (is({"cut", "slow_link"})) {
      result.others = {first + "-*"};
      maybe([&] { result.both_ways = true; });
    }
    if (result.kind == "partition")
      maybe([&] { result.both_ways = true; });
    if (result.kind == "partition")
      maybe([&] { result.others = {first + "-*"}; });
    if (is({"slow_link", "slow_disk", "interference"}))
      result.amount = real(0.1, 50);
    if (result.kind == "drift")
      result.amount = real(-1000, 1000);
    return result;
  }

  void options(process_options& o) {
    maybe([&] { o.net.heartbeat = 100ms; });
    maybe([&] { o.net.dial_timeout = 3001ms; });
    maybe([&] { o.node.heartbeat = o.resource.heartbeat = o.aggregator.heartbeat = o.scheduler.heartbeat = 500ms; });
    maybe([&] { o.node.drain_wait = 3s; });
    maybe([&] { o.node.queue_per_slot = 0; });
    maybe([&] { o.resource.sweep = 50ms; });
    maybe([&] { o.resource.forget_after = 3min; });
    maybe([&] { o.scheduler.replace_per_s = 7; });
    maybe([&] { o.scheduler.plan = 30ms; });
    maybe([&] { o.router.retry_budget = real(0, 1); });
    maybe([&] { o.router.no_replica_wait = 0ms; });
    maybe([&] { o.router.slow_start = 0ms; });
    maybe([&] { o.router.outlier_errors = 3; });
    maybe([&] { o.router.outlier_latency = real(2, 10); });
    maybe([&] { o.router.outlier_ejection = 7s; });
    maybe([&] { o.router.near = {"zone=a"}; });
    maybe([&] { o.router.share = "2/5"; });
    maybe([&] { o.aggregator.tick = 100ms; });
    maybe([&] { o.gateway.connections_max = 3; });
    maybe([&] { o.gateway.body_limit_bytes = 5000; });
    maybe([&] { o.gateway.task_keep = 90s; });
    maybe([&] { o.gateway.task_limit = 12; });
    maybe([&] { o.shutdown_timeout = 1234ms; });
    maybe([&] { o.store.bytes_max = 12'345'678; });
    maybe([&] { o.store.upload_bytes_per_s = 1'000'000; });
  }

  std::mt19937_64 random_;
};

std::string show_rules(const std::vector<broken_rule>& rules) {
  std::string result;
  for (auto& rule : rules)
    result += rule.key + ": " + rule.message + "\n";
  return result;
}

const std::string good = "name = \"s\"\n"
                         "horizon = \"30s\"\n"
                         "machines = [\n"
                         "  { name = \"resource\", roles = [\"resource\"], count = 2 },\n"
                         "  { name = \"node\", roles = [\"node\"], count = 3, zones = [\"a\", \"b\"] },\n"
                         "  { name = \"brain\", roles = [\"scheduler\", \"gateway\"] },\n"
                         "]\n"
                         "apps = [ { name = \"ocr\", command = [\"ocr\"] } ]\n";

struct broken_text {
  std::string text;
  /// "line:column: key: ".
  std::string place;
  std::string words;
};

std::string fault(const std::string& rest) {
  return good + "[[faults]]\n" + rest + "\n";
}

const std::vector<broken_text> broken_texts = {
    // What is appended to the good text starts at line 9.
    {good + "horizn = \"3s\"\n", "9:1: horizn: ", "unknown key; did you mean 'horizon'?"},
    {good + "name = \"x\"\n", "9:8: ", "key 'name' is given twice; keep one"},
    {good + "quiet = 20\n", "9:9: quiet: ", "must be a duration in quotes, such as \"200us\", not the number 20"},
    {good + "quiet = \"20\"\n", "9:9: quiet: ", "has no unit; write \"20s\""},
    {good + "quiet = \"0s\"\n", "9:9: quiet: ", "must be between \"1ns\" and \"1d\", not \"0s\""},
    {good + "quiet = \"0.5ns\"\n", "9:9: quiet: ", "finer than ns"},
    {good + "policy = \"pcct\"\n", "9:10: policy: ", "did you mean 'pct'?"},
    {good + "seeds = 0\n", "9:9: seeds.count: ", "must be at least 1"},
    {good + "seeds = \"many\"\n", "9:9: seeds: ", "must be a whole number"},
    {good + "seeds = [1, 2]\n", "9:9: seeds: ", "must be a table"},
    {good + "seeds = { frist = 3 }\n", "9:11: seeds.frist: ", "did you mean 'first'?"},
    {good + "seeds = { first = 9223372036854775807, count = 2 }\n", "9:48: seeds.count: ", "last seed"},
    {good + "step_max = \"2s\"\n", "9:12: step_max: ", "must be between \"0s\" and \"1s\", not \"2s\""},
    {good + "swarm = [\"crush\"]\n", "9:10: swarm[0]: ", "there is no kind of fault \"crush\"; did you mean 'crash'?"},
    {good + "swarm = [\"crash\", \"crash\"]\n", "9:19: swarm[1]: ", "listed twice"},
    {good + "swarm_faults = 20000\n", "9:16: swarm_faults: ", "between 0 and 10000"},
    {good + "sometimes = [\"\"]\n", "9:14: sometimes[0]: ", "is empty"},
    {good + "about = 3\n", "9:9: about: ", "must be text in quotes"},
    {"horizon = \"1s\"\nmachines = [{ name = \"r\", roles = [\"resource\"] }]\n", "1:1: name: ", "missing"},
    {"name = \"s\"\n", "1:1: machines: ", "there is no Resource"},
    {"name = \"s\"\n[[machines]]\nname = \"n\"\nroles = [\"node\"]\n", "2:1: machines: ", "there is no Resource"},
    {good + "include = [\"x\"]\n", "9:1: include: ", "remove it"},
    // Contents.
    {good + "[[contents]]\n", "9:1: contents[0].name: ", "missing; give a name, such as name = \"llama\""},
    {good + "[[contents]]\nname = \"a\"\n[[contents]]\nname = \"a\"\n", "12:8: contents[1].name: ", "two contents"},
    {good + "[[contents]]\nname = \"a\"\nsize = \"1KiB\"\n", "11:8: contents[0].size: ", "between \"1MiB\""},
    {good + "[[contents]]\nname = \"a\"\nnode = \"nod-1\"\n", "11:8: contents[0].node: ", "did you mean 'node-1'?"},
    {good + "[[contents]]\nname = \"a\"\nnode = \"brain-1\"\n", "11:8: contents[0].node: ", "machine with a node"},
    {good + "[[contents]]\nname = \"a\"\nat = \"1m\"\n", "11:6: contents[0].at: ", "not before the horizon"},
    {good + "[[contents]]\nname = \"a\"\nfetch = [\"brain-1\"]\n",
     "11:10: contents[0].fetch[0]: ", "has no node of its own"},
    {good + "network = { uplink = \"3B\" }\n", "9:22: network.uplink: ", "between \"1KiB\""},
    {good + "store = { directory = \"/x\" }\n", "9:11: store.directory: ", "remove it"},
    // Machines.
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\n[[machines]]\nname = \"r\"\nroles = "
     "[\"node\"]\n",
     "6:8: machines[1].name: ", "names two groups"},
    {"name = \"s\"\n[[machines]]\nname = \"r 1\"\nroles = [\"resource\"]\n",
     "3:8: machines[0].name: ", "at position 2"},
    {"name = \"s\"\n[[machines]]\nroles = [\"resource\"]\n", "2:1: machines[0].name: ", "missing; give a name"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\n", "2:1: machines[0].roles: ", "missing; say what these machines are"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resourc\"]\n",
     "4:10: machines[0].roles[0]: ", "did you mean 'resource'?"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\ncount = 0\n",
     "5:9: machines[0].count: ", "must be between 1 and 1000000, not 0"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\ncrowd = 5\n",
     "5:9: machines[0].crowd: ", "write roles = [\"node\"]"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\nmemory = \"1KiB\"\n",
     "5:10: machines[0].memory: ", "between \"1MiB\""},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\nzones = [\"a\"]\nlabels = { zone = \"b\" }\n",
     "6:19: machines[0].labels.zone: ", "set by zones too"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\ninterference = { cores = 1, swing = 2 }\n",
     "5:37: machines[0].interference.swing: ", "at most interference.cores = 1"},
    // Network.
    {good + "[network]\nlatency_min = \"5ms\"\n", "10:15: network.latency_max: ", "shorter than latency_min = \"5ms\""},
    {good + "[network]\nloss = 0.1\n", "10:8: network.loss: ", "write mode = \"datagram\""},
    {good + "[network]\nmode = \"datagram\"\nloss = 1.5\n", "11:8: network.loss: ", "must be between 0 and 1, not 1.5"},
    {good + "[network]\ntail_max = \"1ms\"\n", "10:12: network.tail_max: ", "shorter than latency_max"},
    {good + "[network]\nlatency = \"1ms\"\n", "10:1: network.latency: ", "did you mean 'latency_m"},
    // Apps.
    {good + "[[apps]]\nname = \"x\"\n", "9:1: ", "key 'apps' is given twice; keep one"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\n[[apps]]\nname = \"a\"\ncommand = [\"a\"]\n",
     "5:1: apps: ", "there is no scheduler"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nfile = "
     "\"none.toml\"\n",
     "6:8: apps[0].file: ", "none.toml cannot be opened"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"a\"\n",
     "5:1: apps[0].command: ", "missing; name the program"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"A\"\n"
     "command = [\"a\"]\n",
     "6:8: apps[0].name: ", "lower-case"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"a\"\n"
     "kind = \"actor\"\nactor = { type = \"echo\" }\n[apps.behaviour]\ncrash = 0.1\n",
     "9:1: apps[0].behaviour: ", "for the processes of kind"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"a\"\n"
     "kind = \"actor\"\nactor = { type = \"tally\", library = \"tally@1\" }\n",
     "8:37: apps[0].actor.library: ", "those of a simulation have no files"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"a\"\n"
     "command = [\"a\"]\nscheduler = \"q-1\"\n",
     "8:13: apps[0].scheduler: ", "there is no machine \"q-1\""},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"a\"\n"
     "command = [\"a\"]\nreplica = 3\n",
     "8:1: apps[0].replica: ", "did you mean 'replicas'?"},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"a\"\n"
     "command = [\"a\"]\napply_at = \"30s\"\n",
     "8:12: apps[0].apply_at: ", "not before the horizon of \"30s\""},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"a\"\n"
     "command = [\"a\"]\n[apps.behaviour]\nstart_min = \"1s\"\nstart_max = \"1ms\"\n",
     "10:13: apps[0].behaviour.start_max: ", "shorter than start_min = \"1s\""},
    {"name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\", \"scheduler\"]\n[[apps]]\nname = \"a\"\n"
     "command = [\"a\"]\n[apps.behaviour]\ncrash = 0.6\nhang = 0.6\n",
     "9:9: apps[0].behaviour.crash: ", "at most 1"},
    // Load.
    {good + "[[load]]\napp = \"orc\"\n", "10:7: load[0].app: ", "there is no app \"orc\"; did you mean 'ocr'?"},
    {good + "[[load]]\nper_s = 2\n", "9:1: load[0].app: ", "missing; name an app; there are: ocr"},
    {good + "[[load]]\napp = \"ocr\"\nper_s = 0\n", "11:9: load[0].per_s: ", "above 0"},
    {good + "[[load]]\napp = \"ocr\"\nfrom = \"5s\"\nuntil = \"4s\"\n", "12:9: load[0].until: ", "not after from"},
    {good + "[[load]]\napp = \"ocr\"\nuntil = \"1m\"\n", "11:9: load[0].until: ", "after the horizon of \"30s\""},
    {good + "[[load]]\napp = \"ocr\"\nimpatient = 2\n", "11:13: load[0].impatient: ", "between 0 and 1"},
    // Faults.
    {fault("at = \"1s\""), "9:1: faults[0].kind: ", "missing; say what happens"},
    {fault("kind = \"crsh\""), "10:8: faults[0].kind: ", "did you mean 'crash'?"},
    {fault("kind = \"bogus\""), "10:8: faults[0].kind: ", "there are: crash, power, stop"},
    {fault("kind = \"crash\""), "10:8: faults[0].targets: ", "missing; say which machines"},
    {fault("kind = \"crash\"\ntargets = [\"node-4\"]"), "11:12: faults[0].targets[0]: ", "node-1 to node-3, node-*"},
    {fault("kind = \"crash\"\ntargets = [\"noed-3\"]"), "11:12: faults[0].targets[0]: ", "did you mean 'node-3'?"},
    {fault("kind = \"crash\"\ntargets = [\"zone:c\"]"), "11:12: faults[0].targets[0]: ", "zone:a, zone:b"},
    {fault("kind = \"crash\"\ntargets = [\"role:worker\"]"),
     "11:12: faults[0].targets[0]: ", "role:gateway, role:node"},
    {fault("kind = \"crash\"\ntargets = \"node-1\""), "11:11: faults[0].targets: ", "must be a list in brackets"},
    {fault("kind = \"crash\"\ntargets = [\"node-1\"]\nat = \"30s\""),
     "12:6: faults[0].at: ", "not before the horizon of \"30s\""},
    {fault("kind = \"crash\"\ntargets = [\"node-1\"]\namount = 3"),
     "12:10: faults[0].amount: ", "says nothing for a crash"},
    {fault("kind = \"crash\"\ntargets = [\"node-1\"]\nothers = [\"node-2\"]"),
     "12:10: faults[0].others: ", "says nothing for a crash"},
    {fault("kind = \"crash\"\ntargets = [\"node-1\"]\nseeds = 3"), "12:1: faults[0].seeds: ", "at the top of the file"},
    {fault("kind = \"stall\"\ntargets = [\"node-1\"]"), "10:8: faults[0].duration: ", "missing; say how long"},
    {fault("kind = \"cut\"\nduration = \"1s\"\ntargets = [\"node-1\"]"),
     "10:8: faults[0].others: ", "at the other end"},
    {fault("kind = \"partition\"\nduration = \"1s\"\ntargets = [\"node-1\"]\nothers = [\"node-1\"]"),
     "13:11: faults[0].others[0]: ", "on both sides"},
    {fault("kind = \"drift\"\nduration = \"1s\"\ntargets = [\"node-1\"]"),
     "10:8: faults[0].amount: ", "say how many ppm that clocks run fast"},
    {fault("kind = \"drift\"\nduration = \"1s\"\ntargets = [\"node-1\"]\namount = 1000000"),
     "13:10: faults[0].amount: ", "must be between -500000 and 500000"},
    {fault("kind = \"drain\"\ntargets = [\"role:resource\"]"), "11:12: faults[0].targets[0]: ", "no node of its own"},
    {fault("kind = \"twin\"\ntargets = [\"role:resource\"]"),
     "11:12: faults[0].targets[0]: ", "neither a node of its own nor a scheduler"},
    {fault("kind = \"twin\"\ntargets = [\"brain-1\"]\nothers = [\"node-1\"]"),
     "12:10: faults[0].others: ", "says nothing for a twin"},
    {fault("kind = \"scale\"\napp = \"ocr\""), "10:8: faults[0].amount: ", "how many replicas"},
    {fault("kind = \"scale\"\napp = \"ocr\"\namount = 1.5"), "12:10: faults[0].amount: ", "whole number"},
    {fault("kind = \"scale\"\namount = 2"), "9:1: faults[0].app: ", "missing; name an app; there are: ocr"},
    {fault("kind = \"stall\"\nduration = \"1s\"\ntargets = [\"node-1\"]\nboth_ways = true"),
     "13:13: faults[0].both_ways: ", "says nothing for a stall"},
    {"name = \"s\"\nswarm = [\"drain\"]\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\n",
     "2:10: swarm[0]: ", "needs a node"},
    {fault("kind = \"update\"\napp = \"ocr\"\namount = 2"), "12:10: faults[0].amount: ", "must be 0 or 1, not 2"},
    {fault("kind = \"update\"\napp = \"ocr\"\ntargets = [\"node-1\"]"), "12:11: faults[0].targets: ", "says nothing"},
    // Checks.
    {good + "[[checks]]\nbound = \"1s\"\n", "9:1: checks[0].invariant: ", "missing; name an invariant"},
    {good + "[[checks]]\ninvariant = \"one-holdr\"\n", "10:13: checks[0].invariant: ", "did you mean 'one-holder'?"},
    {good + "[[checks]]\ninvariant = \"one-holder\"\noff = true\n", "11:7: checks[0].why: ", "missing; say why"},
    {good + "[[checks]]\ninvariant = \"one-holder\"\nwhy = \"x\"\n", "11:7: checks[0].why: ", "write off = true"},
    // Options of the roles.
    {good + "[node]\nheartbeat = \"2s\"\n", "10:13: resource.suspect_after: ", "shorter than node.heartbeat = \"2s\""},
    {good + "[node]\nheartbeat = \"200us\"\n", "10:13: node.heartbeat: ", "finer than a millisecond"},
    {good + "[node]\nlabels = { a = \"b\" }\n", "10:1: node.labels: ", "write labels in [[machines]] instead"},
    {good + "[node]\ntaints = [\"spot\"]\n", "10:1: node.taints: ", "write taints in [[machines]] instead"},
    {good + "[net]\nlisten = \"127.0.0.1:1\"\n", "10:1: net.listen: ", "remove it"},
    {good + "[log]\nlevel = \"info\"\n", "9:2: log: ", "is its trace"},
    {good + "[router]\ntries = 0\n", "10:9: router.tries: ", "between 1 and 64"},
    {good + "[scheduler]\nevict_after = \"3s\"\n", "10:1: scheduler.evict_after: ", "it belongs in [resource]"},
};

const std::vector<std::string> invariants{"one-holder", "converge"};

} // namespace

TEST_CASE("every scenario that comes with Astra is good, says what it proves and survives being written") {
  auto files = scenario_files();
  CHECK(files.size() == 35);
  for (auto& path : files) {
    CAPTURE(path.string());
    auto loaded = load_scenario(path.string(), no_environment);
    CHECK(show(loaded.problems) == "");
    REQUIRE(loaded.value);
    CHECK(loaded.value->name == path.stem().string());
    CHECK(loaded.value->about.ends_with('.'));
    CHECK(read_text(path).starts_with("# "));
    auto written = write_scenario(*loaded.value);
    CAPTURE(written);
    auto again = parse_scenario(written, "again.toml");
    CHECK(show(again.problems) == "");
    REQUIRE(again.value);
    check_equal(*loaded.value, *again.value);
    CHECK(write_scenario(*again.value) == written);
  }
}

TEST_CASE("400 drawn scenarios are read back from what is written, field by field") {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    auto what = scenario_maker{seed}.make();
    REQUIRE(show_rules(validate(what)) == "");
    auto written = write_scenario(what);
    CAPTURE(written);
    auto again = parse_scenario(written, "written.toml");
    REQUIRE(show(again.problems) == "");
    REQUIRE(again.value);
    check_equal(what, *again.value);
  }
}

TEST_CASE("a duration of a simulation is read back exactly, down to a nanosecond") {
  CHECK(rc::check([](std::int64_t ns) {
    scenario what;
    what.name = "s";
    what.machines.push_back({.name = "r", .roles = {process_role::resource}});
    what.horizon = nanoseconds{1 + (ns & INT64_MAX) % nanoseconds{24h}.count()};
    auto again = parse_scenario(write_scenario(what), "s.toml");
    RC_ASSERT(again.value);
    RC_ASSERT(again.value->horizon == what.horizon);
  }));
}

TEST_CASE("a scenario that says nothing but a name and a Resource has the defaults of the structs") {
  auto read = parse_scenario("name = \"s\"\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\n", "s.toml");
  REQUIRE(read.value);
  scenario defaults;
  defaults.name = "s";
  defaults.machines.push_back({.name = "r", .roles = {process_role::resource}});
  check_equal(*read.value, defaults);
  CHECK(write_scenario(defaults) == "name = \"s\"\n\n[[machines]]\nname = \"r\"\nroles = [\"resource\"]\n");
}

TEST_CASE("an app is a file with what the scenario says laid over it") {
  config_files files;
  files.write("apps/echo.toml", "name = \"echo\"\nkind = \"actor\"\nreplicas = 2\n[actor]\ntype = \"echo\"\n");
  auto text = good.substr(0, good.find("apps")) + "[[apps]]\nfile = \"apps/echo.toml\"\nreplicas = 5\n";
  auto loaded = load_scenario(files.write("s.toml", text), no_environment);
  REQUIRE(show(loaded.problems) == "");
  auto& app = loaded.value->apps.at(0);
  CHECK(app.spec->name() == "echo");
  CHECK(app.spec->replicas() == 5);
  CHECK(app.spec->actor().type() == "echo");
  CHECK(app.from_file);
  auto later = load_scenario(files.write("s.toml", text + "apply_at = \"0s\"\n"), no_environment);
  REQUIRE(later.value);
  CHECK_FALSE(later.value->apps.at(0).from_file);
  // Its own mistakes are shown in it.
  files.write("apps/echo.toml", "name = \"echo\"\nkind = \"actor\"\nreplica = 2\n[actor]\ntype = \"echo\"\n");
  auto broken = load_scenario(files.write("s.toml", text), no_environment);
  CHECK(show(broken.problems) == "echo.toml:3:1: replica: unknown key; did you mean 'replicas'?\n");
}

TEST_CASE("short forms: seeds as a number, all kinds of fault, interference without a swing") {
  auto read = parse_scenario(good + "seeds = 7\nswarm = [\"all\"]\n", "s.toml");
  REQUIRE(show(read.problems) == "");
  CHECK(read.value->first_seed == 1);
  CHECK(read.value->seeds == 7);
  CHECK(read.value->swarm == fault_kinds());
  auto both = parse_scenario(good + "seeds = { first = 5, count = 9 }\n", "s.toml");
  REQUIRE(both.value);
  CHECK(both.value->first_seed == 5);
  CHECK(both.value->seeds == 9);
}

TEST_CASE("every kind of fault in the header's table is known, in its order") {
  auto header = read_text(std::filesystem::path{ASTRA_SOURCE_DIR} / "config" / "scenario.hpp");
  std::size_t at = header.find("/// One fault or one act");
  for (auto& kind : fault_kinds()) {
    CAPTURE(kind);
    auto next = header.find("/// | " + kind + " | ", at);
    REQUIRE(next != std::string::npos);
    at = next;
  }
  CHECK(header.find("/// | ", at + 1) == std::string::npos);
}

TEST_CASE("broken scenarios are each refused with the place and the cure") {
  CHECK(broken_texts.size() >= 30);
  REQUIRE(show(parse_scenario(good, "s.toml", &invariants).problems) == "");
  for (auto& [text, place, words] : broken_texts) {
    CAPTURE(text);
    auto result = parse_scenario(text, "s.toml", &invariants);
    auto problems = show(result.problems);
    CAPTURE(problems);
    CHECK_FALSE(result.value);
    auto at = problems.find("s.toml:" + place);
    CHECK(at != std::string::npos);
    CHECK(problems.find(words, at) != std::string::npos);
    // Once per mistake, not for what follows from it.  A slow heartbeat is too slow for four rules.
    CHECK(result.problems.size() <= 4);
  }
}

TEST_CASE("all mistakes of a scenario are shown at once, in the order of their places") {
  auto result = parse_scenario(good
                                   + "quite = \"3s\"\n[[load]]\napp = \"orc\"\n[[faults]]\nkind = \"drift\"\n"
                                     "targets = [\"nod-1\"]\nduration = \"2s\"\n[router]\ntries = 99\n",
                               "s.toml");
  CHECK(show(result.problems)
        == "s.toml:9:1: quite: unknown key; did you mean 'quiet'?\n"
           "s.toml:11:7: load[0].app: there is no app \"orc\"; did you mean 'ocr'?\n"
           "s.toml:13:8: faults[0].amount: missing, or 0; say how many ppm that clocks run fast, such as amount = 200\n"
           "s.toml:14:12: faults[0].targets[0]: \"nod-1\" matches no machine; did you mean 'node-1'?  There are: "
           "resource-1 to resource-2, resource-*, node-1 to node-3, node-*, brain-1, role:gateway, role:node, "
           "role:resource, role:scheduler, zone:a, zone:b\n"
           "s.toml:17:9: router.tries: must be between 1 and 64, not 99\n");
}

TEST_CASE("a scenario file that is not there is refused, and variables are put in") {
  config_files files;
  auto missing = load_scenario(files.path("none.toml"), no_environment);
  CHECK_FALSE(missing.value);
  REQUIRE(missing.problems.size() == 1);
  CHECK(to_string(missing.problems[0]) == files.path("none.toml") + ": cannot be opened: No such file or directory");
  auto path = files.write("s.toml", good + "seeds = \"${SEEDS}\"\nabout = \"for $$5\"\n");
  auto loaded = load_scenario(path, fixed_environment({{"SEEDS", "12"}}));
  REQUIRE(show(loaded.problems) == "");
  CHECK(loaded.value->seeds == 12);
  CHECK(loaded.value->about == "for $5");
  CHECK(show(load_scenario(path, no_environment).problems).find("s.toml:9:9: seeds: ") == 0);
}

TEST_CASE("2000 random mutations of scenarios neither crash nor leave a problem without a place") {
  std::mt19937 random{13};
  constexpr std::string_view bytes = "[]{}=\"'.,#\n 0123456789abcxyz$\\-_\xff";
  // Without the app file, which is not beside a text.
  auto text = read_text(scenarios / "server_app.toml");
  REQUIRE(show(parse_scenario(text, "s.toml").problems) == "");
  int refused = 0;
  for (int i = 0; i < 2'000; ++i) {
    auto mutant = text;
    for (auto edits = 1 + random() % 3; edits > 0; --edits) {
      auto at = random() % mutant.size();
      switch (random() % 4) {
      case 0:
        mutant.erase(at, 1 + random() % 8);
        break;
      case 1:
        mutant.insert(at, 1, bytes[random() % bytes.size()]);
        break;
      case 2:
        mutant[at] = bytes[random() % bytes.size()];
        break;
      default:
        mutant.insert(at, mutant.substr(random() % mutant.size(), random() % 40));
      }
    }
    auto result = parse_scenario(mutant, "s.toml");
    CHECK(result.problems.empty() == (result.value != nullptr));
    refused += result.value == nullptr;
    for (auto& problem : result.problems) {
      CHECK(problem.line > 0);
      CHECK(problem.column > 0);
      CHECK_FALSE(problem.message.empty());
    }
    if (result.value) {
      auto again = parse_scenario(write_scenario(*result.value), "again.toml");
      CHECK(show(again.problems) == "");
    }
  }
  CHECK(refused > 1'000);
}

TEST_CASE("every key of a scenario and every kind of fault is in the documentation") {
  auto text = read_text(std::filesystem::path{ASTRA_SOURCE_DIR} / "docs" / "scenarios.md");
  auto schema = read_text(std::filesystem::path{ASTRA_SOURCE_DIR} / "config" / "scenario.proto");
  const std::regex field{R"(\b(\w+) = \d+\b)"};
  int keys = 0;
  for (auto i = std::sregex_iterator{schema.begin(), schema.end(), field}; i != std::sregex_iterator{}; ++i, ++keys) {
    auto key = (*i)[1].str();
    auto said = [&](const std::string& how) { return text.find(how) != std::string::npos; };
    CHECK_MESSAGE((said("`" + key + "`") || said("[" + key + "]") || said("." + key + "]")), key);
  }
  CHECK(keys > 70);
  for (auto& kind : fault_kinds())
    CHECK_MESSAGE(text.find("| `" + kind + "` |") != std::string::npos, kind);
  for (auto& path : scenario_files())
    CHECK_MESSAGE(text.find("scenarios/" + path.filename().string()) != std::string::npos, path.string());
}

TEST_CASE("the documented example is good") {
  auto text = read_text(std::filesystem::path{ASTRA_SOURCE_DIR} / "docs" / "scenarios.md");
  auto begin = text.find("```toml\n") + 8;
  auto example = text.substr(begin, text.find("```", begin) - begin);
  auto read = parse_scenario(example, (scenarios / "example.toml").string());
  CHECK(show(read.problems) == "");
  REQUIRE(read.value);
  CHECK(read.value->apps.size() == 2);
}
