#pragma once

#include "actors/scheduler/planner.hpp"
#include "messages/ids.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace astra {

class placement_rules;

// Why an app's replica has no place, and what would give it one.
//
// Every node is looked at, and each is counted under the first thing that is in its way, in this order: it gets nothing
// from anybody, labels and taints, accelerators, memory, cores, affinity, spread.  What a node lacks decides what has
// to change for it: of all nodes the one is shown for which the fewest changes do, and of several such the one for
// which they are the smallest.  How much each hurts is a judgement: a smaller demand as much as its share of the
// demand, a tolerated taint 0.5, a larger max_skew 0.25 per step, a requirement that is dropped 1, and a replica of
// another app that is freed 1 and its share of the demand.  All apps have the same claim to their places, so any other
// app's replica may be named.

/// One change of the spec, or of what else runs.
struct placement_change {
  enum class what : std::uint8_t {
    /// `value` is the demand to be: thousandths of a core, bytes, or accelerators of the kind `subject`.
    cpu,
    memory,
    accelerators,
    /// `position` is what to leave out of require, or of the lists of the placement.
    require_label,
    require_expression,
    spread,
    affinity,
    anti_affinity,
    /// `subject` is "key" or "key=value".
    tolerate,
    /// `position` is in the list of the placement, `value` the max_skew to be.
    max_skew,
    /// Replica `value` of app `subject` on the node of the explanation.
    free_replica,
  };

  what type = what::cpu;
  std::string subject;
  std::uint64_t value = 0;
  int position = 0;
  /// Of the replica that is freed.
  claim_token token;
};

struct explanation {
  struct reason {
    /// Such as "lack memory (8 GiB needed, at most 6 GiB free, on n3)"; stands behind the number of nodes.
    std::string text;
    std::size_t nodes = 0;
    /// The one that comes closest; none: it does not matter which.
    node_id nearest;
    std::string nearest_name;
  };

  std::size_t nodes = 0;
  /// Nodes that would take one more replica now.
  std::size_t fitting = 0;
  /// All others, the most nodes first.
  std::vector<reason> reasons;
  /// Together they make room for one more replica on `node`.  Empty when some node fits, or when only time helps.
  std::vector<placement_change> changes;
  node_id node;
  std::string node_name;
};

/// @pre `columns` of the input, if there are any, are of its nodes.
explanation explain(const plan_input& input);

/// Without changes.  @param planned What was planned on top of what `input` knows; `rules` know it.
explanation count_reasons(const plan_input& input, placement_rules& rules,
                          const std::map<node_id, std::uint32_t>& planned);

/// "0 of 6 nodes fit: 4 lack memory (8 GiB needed, at most 6 GiB free, on n3), 2 lack the label zone=a"
std::string to_text(const explanation& what);

/// "resources.memory down to 6 GiB"
std::string to_text(const placement_change& change);

} // namespace astra
