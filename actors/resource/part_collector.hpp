#pragma once

#include "messages/wire/view.pb.h"

#include <cstdint>
#include <optional>

namespace astra {

/// Puts together what one sender of view deltas tells in parts, so that nobody ever sees a part of a shard as if it
/// were the shard.  Rows that are told before their turn meanwhile are later words than the parts that are there
/// already, and become part of the whole.
/// A sender has one transfer at a time, and its messages come in order or not at all.
class part_collector {
public:
  enum class outcome {
    /// The delta is to be applied: it came whole, or became so with its last part.
    whole,
    /// A part that was expected; others will follow.
    partial,
    /// Parts are missing: subscribe again with `resync`.
    gap,
  };

  /// @param delta becomes the whole delta with the last part of it.
  outcome add(pb::ViewDelta& delta);

  /// Nothing more will come of what has begun.
  void clear() { whole_.reset(); }

  /// A transfer has begun and is not complete.
  bool collecting() const { return whole_.has_value(); }

private:
  /// What is there of it, with the transfer's number.
  std::optional<pb::ViewDelta> whole_;
  std::uint32_t next_part_ = 0;
};

} // namespace astra
