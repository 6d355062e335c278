#pragma once

#include "actors/random.hpp"
#include "actors/scheduler/planner.hpp"
#include "messages/ids.hpp"

#include <set>
#include <vector>

namespace astra {

/// Which nodes fetch an app's contents ahead: those that its next replicas would be placed on now.  One that has been
/// chosen stays as long as a replica could go there, so that nothing is fetched here and there.
///
/// A plain class, to be asked once in a while.
class prefetch_plan {
public:
  /// @param input As for a plan; what is missing does not matter.
  /// @returns of the chosen nodes those that lack some of the contents, ascending.
  std::vector<node_id> look(plan_input input, random_source& random);

  /// All that are chosen.
  const std::set<node_id>& nodes() const { return chosen_; }

private:
  std::set<node_id> chosen_;
};

} // namespace astra
