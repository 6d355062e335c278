#pragma once

#include "actors/router/order.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
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
class smooth_wrr final : public order {
public:
  using order::pick;

  /// As `order::assign`, with weights in ticks; the sum of all is at most 2^40.  The credits in `pool` are not read.
  void assign_ticks(std::vector<turn> pool, random_source* phase = nullptr);

  void assign(std::span<const entry> pool, random_source* phase) override;
  void adopt(std::span<const entry> pool, std::span<const turn> turns, random_source* phase) override;
  void insert(const entry& who, random_source* phase) override;
  void update(const entry& who) override;
  void remove(seat who) override;

  /// As nginx does it for a request that some have refused: these neither earn nor pay and their weights are not in
  /// the sum.  A node that was picked and then refused has had its turn: it gets the next one at its usual time and
  /// saves nothing up, so no burst follows when it is free again.
  std::optional<seat> pick(std::span<const seat> passed_over) override;

  std::size_t size() const override { return members_.size(); }
  std::vector<turn> turns() const override { return members_; }
  std::unique_ptr<order> copy() const override { return std::make_unique<smooth_wrr>(*this); }
  const std::vector<turn>& members() const { return members_; }

private:
  std::int64_t ticks_of(double weight) const;
  std::int64_t total() const;
  void keep_scale();

  std::vector<turn> members_;
  /// Ticks per unit of weight.
  double scale_ = 1.0;
};

/// Weights scaled to integers that sum up to about 2^32, each at least 1.
/// @pre all weights are finite and not negative.
std::vector<std::int64_t> to_ticks(const std::vector<double>& weights);

} // namespace astra
