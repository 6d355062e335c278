#pragma once

#include "messages/wire/view.pb.h"

#include <cstdint>
#include <vector>

namespace astra {

/// Puts together what one sender of view deltas tells in parts, so that nobody ever sees a part of a shard as if it
/// were the shard.  A transfer may be about several shards: what left one of them may have come to another, so they
/// count together.  Rows that are told before their turn meanwhile are later words than the parts that are there
/// already, and become part of the whole.
/// A sender has one transfer at a time, and its messages come in order or not at all.
class part_collector {
public:
  enum class outcome {
    /// There are deltas to be applied: one that came whole, or all of a transfer with its last part.
    whole,
    /// A part that was expected; others will follow.
    partial,
    /// Parts are missing: subscribe again with `resync`.
    gap,
  };

  /// @param ready gets what is to be applied, in this order.
  outcome add(const pb::ViewDelta& delta, std::vector<pb::ViewDelta>& ready);

  /// Nothing more will come of what has begun.
  void clear() { shards_.clear(); }

  /// A transfer has begun and is not complete.
  bool collecting() const { return !shards_.empty(); }

private:
  pb::ViewDelta* find(std::uint64_t origin);

  /// What is there of the transfer, one delta per shard.
  std::vector<pb::ViewDelta> shards_;
  std::uint64_t transfer_ = 0;
  std::uint32_t next_part_ = 0;
};

} // namespace astra
