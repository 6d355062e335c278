#include "actors/resource/part_collector.hpp"

#include "actors/mutant.hpp"

#include <utility>

namespace astra {

part_collector::outcome part_collector::add(pb::ViewDelta& delta) {
  auto same_shard = whole_ && whole_->origin() == delta.origin() && whole_->epoch() == delta.epoch();
  if (delta.ahead()) {
    // Behind the older row, so that it wins over it and the parts that it leaves out stay.
    if (same_shard && !MUTANT(older_part_wins))
      whole_->mutable_nodes()->MergeFrom(delta.nodes());
    return outcome::whole;
  }
  if (delta.part() == 0 && (!delta.more() || MUTANT(part_taken_for_whole))) {
    // The sender has given up what it had begun of this shard.
    if (whole_ && whole_->origin() == delta.origin())
      whole_.reset();
    return outcome::whole;
  }
  if (delta.part() == 0) {
    whole_ = delta;
    next_part_ = 1;
    return outcome::partial;
  }
  auto expected = whole_ && whole_->transfer() == delta.transfer();
  if (expected && delta.part() < next_part_)
    return outcome::partial; // said twice
  if (!expected || (delta.part() != next_part_ && !MUTANT(lost_part_accepted))) {
    whole_.reset();
    return outcome::gap;
  }
  next_part_ = delta.part() + 1;
  auto last = !delta.more();
  whole_->MergeFrom(delta);
  if (!last)
    return outcome::partial;
  whole_->clear_transfer();
  whole_->clear_part();
  whole_->clear_more();
  delta = std::move(*whole_);
  whole_.reset();
  return outcome::whole;
}

} // namespace astra
