#include "actors/resource/part_collector.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace astra {
namespace {

/// The rows of a delta as rows before their turn.
pb::ViewDelta rows_ahead(const pb::ViewDelta& delta) {
  auto result = delta;
  result.set_ahead(true);
  result.set_base(delta.version());
  result.clear_loads();
  result.clear_digest();
  result.clear_removed_nodes();
  result.clear_removed_apps();
  result.clear_removed_schedulers();
  return result;
}

/// Rows name the shapes of their part.
void append(pb::ViewDelta& whole, const pb::ViewDelta& part) {
  auto rows = whole.nodes_size();
  auto shapes = static_cast<std::uint32_t>(whole.shapes_size());
  auto ahead_of = std::max(whole.ahead_of(), part.ahead_of());
  whole.MergeFrom(part);
  whole.set_ahead_of(ahead_of);
  for (auto i = rows; i < whole.nodes_size(); ++i)
    if (auto shape = whole.nodes(i).shape(); shape != 0 && shapes != 0)
      whole.mutable_nodes(i)->set_shape(shape + shapes);
}

} // namespace

part_collector::outcome part_collector::add(const pb::ViewDelta& delta, std::vector<pb::ViewDelta>& ready) {
  auto known = find(delta.origin());
  if (delta.ahead()) {
    // Behind the older row, so that it wins over it and the parts that it leaves out stay.
    if (known && known->epoch() == delta.epoch() && !MUTANT(older_part_wins)) {
      known->mutable_nodes()->MergeFrom(delta.nodes());
      if (delta.version() > known->version())
        known->set_ahead_of(std::max(known->ahead_of(), delta.version()));
    }
    ready.push_back(delta);
    return outcome::whole;
  }
  if (delta.part() == 0 && (!delta.more() || MUTANT(part_taken_for_whole))) {
    // The sender has given up what it had begun.
    if (known)
      clear();
    ready.push_back(delta);
    return outcome::whole;
  }
  auto expected = collecting() && transfer_ == delta.transfer();
  if (delta.part() == 0) {
    clear();
    transfer_ = delta.transfer();
    known = nullptr;
  } else if (expected && delta.part() < next_part_) {
    return outcome::partial; // said twice
  } else if (!expected || (delta.part() != next_part_ && !MUTANT(lost_part_accepted))) {
    clear();
    return outcome::gap;
  }
  next_part_ = delta.part() + 1;
  if (known)
    append(*known, delta);
  else
    shards_.push_back(delta);
  if (delta.more())
    return outcome::partial;
  for (auto& shard : shards_) {
    shard.clear_transfer();
    shard.clear_part();
    shard.clear_more();
  }
  // What is new anywhere, then what is gone: a row that moved is never gone from both of its shards.
  if (shards_.size() > 1 && !MUTANT(shards_told_one_by_one)) {
    std::stable_partition(shards_.begin(), shards_.end(), [](auto& shard) { return shard.base() == 0; });
    for (auto& shard : shards_)
      ready.push_back(rows_ahead(shard));
  }
  std::move(shards_.begin(), shards_.end(), std::back_inserter(ready));
  clear();
  return outcome::whole;
}

pb::ViewDelta* part_collector::find(std::uint64_t origin) {
  auto found = std::find_if(shards_.begin(), shards_.end(), [&](auto& shard) { return shard.origin() == origin; });
  return found == shards_.end() ? nullptr : &*found;
}

} // namespace astra
