#pragma once

#include "actors/random.hpp"
#include "messages/ids.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace astra {

/// Smooth weighted round robin, in the exact order of nginx (commit 52327e0, 2012): at each pick every node earns its
/// weight as credit, the node with the most credit is picked and pays the sum of all weights; of equals, the first in
/// the pool.  Weights {5, 1, 1} give a a b a c a a.
///
/// Weights and credits are integers: the credits then sum up to exactly zero for ever, and every compiler picks the
/// same nodes.  Real weights are turned into ticks by `to_ticks`, whose total does not depend on the size of the pool,
/// so that a credit means the same number of turns before and after a change of the weights.
///
/// A pick takes time linear in the pool.
class smooth_wrr {
public:
  struct member {
    node_id node;
    /// In ticks, positive; the sum of all is at most 2^40.
    std::int64_t weight = 0;
    std::int64_t credit = 0;
  };

  /// Replaces the pool; its order decides ties.  Nodes that stay keep their credit, those that left are gone at once,
  /// those that join begin at the mean credit of those that stay, plus a random part of half a round either way when
  /// there is a `phase`: routers that start together must not all begin with the same node.
  /// The credit fields of `pool` are not read.
  /// @pre no node occurs twice and all weights are positive.
  void assign(std::vector<member> pool, random_source* phase = nullptr);

  /// The next node in turn, except those in `passed_over`, as nginx does it for a request that these have refused: they
  /// neither earn nor pay and their weights are not in the sum.  A node that was picked and then refused has had its
  /// turn: it gets the next one at its usual time and saves nothing up, so no burst follows when it is free again.
  /// Empty when nobody is left.
  std::optional<node_id> pick(std::span<const node_id> passed_over = {});

  const std::vector<member>& members() const { return members_; }

private:
  std::vector<member> members_;
};

/// Weights scaled to integers that sum up to about 2^32, each at least 1.
/// @pre all weights are finite and not negative.
std::vector<std::int64_t> to_ticks(const std::vector<double>& weights);

} // namespace astra
