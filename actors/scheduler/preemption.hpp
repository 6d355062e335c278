#pragma once

#include "actors/random.hpp"
#include "actors/scheduler/planner.hpp"
#include "messages/ids.hpp"

#include <cstdint>
#include <vector>

namespace astra {

/// A place that is one as soon as some replicas of lower priority have gone.
struct preempting_placement {
  std::uint32_t replica_index = 0;
  node_id node;
  std::vector<std::uint64_t> victims;
};

/// Places for what is missing, where replicas of strictly lower priority are in the way: first where the fewest have to
/// go, then where the highest priority among them is lowest, of equal ones at random.  At most one place per node, and
/// none where a claim of the app is under way: what its victims free is its own.
/// @pre the app's priority is above 0.
std::vector<preempting_placement> plan_preemption(const plan_input& input, random_source& random);

} // namespace astra
