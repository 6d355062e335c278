#include "runtime/sim/swarm.hpp"

#include "messages/wire/app.pb.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace astra::sim {
namespace {

bool has_role(const named_machine& machine, process_role role) {
  auto& roles = machine.group->roles;
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

/// Draws for one fault: property by property, so that no fault shifts another.
class fault_draws {
public:
  fault_draws(const draws& chance, std::uint64_t number) : chance_(chance), number_(number) {}
  double unit() { return chance_.unit(draw_kind::swarm, number_, ++property_); }
  std::size_t below(std::size_t bound) {
    return static_cast<std::size_t>(chance_.below(bound, draw_kind::swarm, number_, ++property_));
  }

private:
  const draws& chance_;
  std::uint64_t number_;
  std::uint64_t property_ = 0;
};

std::vector<nanoseconds> protocol_timers(const process_options& options) {
  return {options.resource.liveness_tick, options.resource.claims_tick, options.resource.load_tick,
          options.scheduler.plan,         options.node.heartbeat,       options.resource.suspect_after,
          options.resource.evict_after,   options.node.home_silence,    options.resource.peer_timeout,
          options.resource.claim_timeout, options.node.slot_hold,       options.router.admission_timeout,
          options.router.ejection,        options.net.timeout,          options.resource.orphan_grace};
}

std::vector<std::size_t> with_role(const std::vector<named_machine>& machines, process_role role) {
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < machines.size(); ++i)
    if (has_role(machines[i], role))
      result.push_back(i);
  return result;
}

} // namespace

std::vector<named_machine> machines_of(const scenario& what) {
  std::vector<named_machine> result;
  for (auto& group : what.machines)
    for (std::uint32_t i = 0; i < group.count; ++i) {
      auto zone = group.zones.empty() ? std::string{} : group.zones[i % group.zones.size()];
      result.push_back({group.name + '-' + std::to_string(i + 1), std::move(zone), &group, i});
    }
  return result;
}

std::vector<std::size_t> resolve_target(const std::string& target, const std::vector<named_machine>& machines) {
  std::vector<std::size_t> result;
  auto wild = target.ends_with("-*") ? std::optional{target.substr(0, target.size() - 2)} : std::nullopt;
  for (std::size_t i = 0; i < machines.size(); ++i) {
    auto& one = machines[i];
    auto fits = target == "*" || target == one.name || (wild && *wild == one.group->name)
                || (target.starts_with("zone:") && target.substr(5) == one.zone);
    if (target.starts_with("role:"))
      for (auto role : one.group->roles)
        fits = fits || to_string(role) == target.substr(5);
    if (fits)
      result.push_back(i);
  }
  return result;
}

std::vector<scenario_fault> draw_faults(const scenario& what, const draws& chance) {
  auto result = what.faults;
  auto machines = machines_of(what);
  std::vector<std::string> kinds;
  for (std::size_t i = 0; i < what.swarm.size(); ++i)
    if (chance.unit(draw_kind::swarm, ~std::uint64_t{0}, i) < 0.5)
      kinds.push_back(what.swarm[i]);
  auto count = kinds.empty() || what.swarm_faults == 0
                   ? 0
                   : 1 + chance.below(what.swarm_faults, draw_kind::swarm, ~std::uint64_t{0}, 1 << 20);
  auto timers = protocol_timers(what.options);
  auto nodes = with_role(machines, process_role::node);
  // Crowds run no processes and cannot be drained.
  auto hosts = nodes;
  std::erase_if(hosts, [&](auto place) { return machines[place].group->crowd > 0; });
  auto resources = with_role(machines, process_role::resource);
  auto schedulers = with_role(machines, process_role::scheduler);
  auto gateways = with_role(machines, process_role::gateway);
  auto named = hosts;
  named.insert(named.end(), schedulers.begin(), schedulers.end());
  for (std::uint64_t i = 0; i < count; ++i) {
    fault_draws draw{chance, i};
    scenario_fault fault;
    fault.kind = kinds[draw.below(kinds.size())];
    auto start = 0.04 + 0.86 * draw.unit();
    fault.at = nanoseconds{static_cast<std::int64_t>(start * static_cast<double>(what.horizon.count()))};
    auto timer = timers[draw.below(timers.size())];
    auto length = log_uniform(std::max<nanoseconds>(timer / 10, nanoseconds{1000}), timer * 3, draw.unit());
    fault.duration = std::min(length, what.horizon - fault.at);
    auto any = [&] { return machines[draw.below(machines.size())].name; };
    auto one_of = [&](const std::vector<std::size_t>& from) {
      return from.empty() ? any() : machines[from[draw.below(from.size())]].name;
    };
    auto& kind = fault.kind;
    if (kind == "crash" || kind == "power" || kind == "stop" || kind == "stall") {
      auto wide = draw.unit();
      if (wide < 0.1 && !machines.front().zone.empty())
        fault.targets = {"zone:" + machines[draw.below(machines.size())].zone};
      else if (wide < 0.25)
        fault.targets = {any(), any()};
      else
        fault.targets = {any()};
      if (fault.targets.front() == "zone:")
        fault.targets = {any()};
      std::sort(fault.targets.begin(), fault.targets.end());
      fault.targets.erase(std::unique(fault.targets.begin(), fault.targets.end()), fault.targets.end());
    } else if (kind == "cut" || kind == "slow_link") {
      // Half of the time two machines that lean on each other.
      const std::array<std::pair<const std::vector<std::size_t>*, const std::vector<std::size_t>*>, 5> pairs{
          {{&nodes, &resources},
           {&resources, &resources},
           {&gateways, &nodes},
           {&schedulers, &resources},
           {&gateways, &resources}}};
      if (draw.unit() < 0.5) {
        auto& pair = pairs[draw.below(pairs.size())];
        fault.targets = {one_of(*pair.first)};
        fault.others = {one_of(*pair.second)};
        if (draw.unit() < 0.5)
          std::swap(fault.targets, fault.others);
      } else {
        fault.targets = {any()};
        fault.others = {any()};
      }
      fault.both_ways = draw.unit() < 0.5;
      if (fault.targets == fault.others)
        continue;
      if (kind == "slow_link")
        fault.amount = static_cast<double>(2U << draw.below(9)); // 2 to 512 times
    } else if (kind == "partition") {
      // A random part of the machines, or one zone, from the rest.
      auto& zoned = machines[draw.below(machines.size())].zone;
      if (draw.unit() < 0.4 && !zoned.empty()) {
        fault.targets = {"zone:" + zoned};
      } else {
        auto share = draw.unit();
        for (auto& machine : machines)
          if (draw.unit() < share)
            fault.targets.push_back(machine.name);
        if (fault.targets.empty() || fault.targets.size() == machines.size())
          continue;
      }
      fault.both_ways = true;
    } else if (kind == "drift") {
      fault.targets = {any()};
      // Up to 5 %: far more than any quartz, as much as a bad virtual machine.
      fault.amount = (draw.unit() < 0.5 ? -1.0 : 1.0) * static_cast<double>(50U << draw.below(11));
      fault.duration = what.horizon - fault.at;
    } else if (kind == "slow_disk") {
      fault.targets = {one_of(schedulers)};
      fault.amount = static_cast<double>(1U << draw.below(11));
    } else if (kind == "full_disk") {
      fault.targets = {one_of(schedulers)};
    } else if (kind == "process_crash" || kind == "process_hang" || kind == "no_spawn" || kind == "drain") {
      if (hosts.empty())
        continue;
      fault.targets = {one_of(hosts)};
    } else if (kind == "twin") {
      if (named.empty())
        continue;
      // There are few schedulers and many nodes, and much to lose with both.
      fault.targets = {one_of(schedulers.empty() || draw.unit() < 0.5 ? named : schedulers)};
    } else if (kind == "interference") {
      fault.targets = {one_of(nodes)};
      fault.amount = 1.0 + static_cast<double>(draw.below(8));
    } else if (kind == "scale" || kind == "update" || kind == "delete") {
      if (what.apps.empty())
        continue;
      auto& app = what.apps[draw.below(what.apps.size())];
      fault.app = app.spec->name();
      if (kind == "scale")
        fault.amount = static_cast<double>(draw.below(app.spec->replicas() + 2U));
    }
    result.push_back(std::move(fault));
  }
  std::stable_sort(result.begin(), result.end(), [](auto& a, auto& b) { return a.at < b.at; });
  return result;
}

} // namespace astra::sim
