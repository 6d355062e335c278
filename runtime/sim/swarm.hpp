#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/draw.hpp"

#include <vector>

namespace astra::sim {

/// A machine of a scenario by name, with what faults choose it by.
struct named_machine {
  std::string name;
  std::string zone;
  const scenario_machines* group = nullptr;
  /// From 0 within its group.
  std::uint32_t place = 0;
};

/// All machines of a scenario, in its order.
std::vector<named_machine> machines_of(const scenario& what);

/// Indices into `machines` that a target of a fault stands for: "node-3", "node-*", "role:node", "zone:a", "*".
std::vector<std::size_t> resolve_target(const std::string& target, const std::vector<named_machine>& machines);

/// The faults of one run: those that always happen and those that the seed draws, by start.
///
/// Swarm testing by omission (Groce et al., ISSTA 2012): each kind of the scenario's swarm is on with probability 1/2.
/// Lengths are log-uniform between a tenth and three times one of the protocol's timers, so that every timer is both
/// undercut and outlasted; half of the cuts part two machines that depend on each other.
std::vector<scenario_fault> draw_faults(const scenario& what, const draws& chance);

} // namespace astra::sim
