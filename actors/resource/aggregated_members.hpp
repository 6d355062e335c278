#pragma once

#include "actors/resource/member_table.hpp"
#include "actors/resource/shard_log.hpp"
#include "messages/ids.hpp"
#include "messages/wire/aggregate.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace astra {

/// The members of a Resource that one aggregator speaks for: what the slots of its batches mean.
/// A plain class: the time is an argument.
class aggregated_members {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// One aggregator is one host or rack; whoever names more slots is up to no good.
  static constexpr std::uint32_t slots_max = 1 << 20;

  /// The row of a node whose whole beat was recorded.
  struct place {
    node_id node;
    /// Slot in the shard_log.
    std::uint32_t row = 0;
    std::uint64_t incarnation = 0;
    std::uint64_t home_epoch = 0;
  };

  /// From now on the slot stands for this node.  @pre 1 <= slot <= slots_max
  void introduce(std::uint32_t slot, const place& who);

  struct outcome {
    std::vector<transition> changes;
    /// Slots whose nodes must introduce themselves: they have no row here, or that of another life or home.
    std::vector<std::uint32_t> unknown;
    std::size_t heard = 0;
  };

  /// Records all that have beaten and all whose connection ended, but for the members of the batch.
  outcome hear(const pb::BeatBatch& batch, member_table& members, const shard_log& log, time_point now) const;

  /// Those that still have the row they were introduced with, by slot.
  std::vector<place> all(const shard_log& log) const;

private:
  const place* find(std::uint32_t slot, const shard_log& log) const;

  /// By slot less 1.
  std::vector<place> places_;
};

} // namespace astra
