#include "actors/aggregator/beat_batcher.hpp"

#include "actors/mutant.hpp"
#include "actors/resource/load_columns.hpp"

#include <tuple>
#include <utility>

namespace astra {

std::uint32_t beat_batcher::slot(node_id node) const {
  auto found = slots_.find(node);
  return found == slots_.end() ? 0 : found->second;
}

bool beat_batcher::told(node_id node) const {
  auto found = slot(node);
  return found != 0 && marks_[found - 1].told;
}

beat_batcher::verdict beat_batcher::take(const pb::Heartbeat& beat, time_point now) {
  node_id node{beat.node()};
  verdict result;
  auto place = slot(node);
  if (place != 0) {
    auto& who = members_[place - 1];
    result.profile_version = who.acknowledged_profile;
    auto later = beat.incarnation() > who.incarnation;
    if (beat.incarnation() < who.incarnation || (marks_[place - 1].fenced && !later)) {
      result.fenced = true;
      return result;
    }
    if (std::tuple{beat.incarnation(), beat.home_epoch(), beat.sequence()}
        <= std::tuple{who.incarnation, who.home_epoch, pulses_[place - 1].sequence})
      return result;
  } else {
    // A Resource would take a wrong one for a lie of the aggregator's.
    if (make_node_id(beat.name()) != node) {
      result.nameless = true;
      return result;
    }
    if (free_.empty()) {
      members_.emplace_back();
      pulses_.emplace_back();
      marks_.emplace_back();
      place = static_cast<std::uint32_t>(members_.size());
    } else {
      place = *free_.begin();
      free_.erase(free_.begin());
    }
    slots_[node] = place;
    members_[place - 1].node = node;
  }
  auto& who = members_[place - 1];
  auto& last = pulses_[place - 1];
  auto& is = marks_[place - 1];
  if (who.name.empty())
    who.name = beat.name();
  if (beat.incarnation() != who.incarnation || beat.home_epoch() != who.home_epoch)
    result.profile_version = who.acknowledged_profile = 0;
  auto as_told = is.told
                 && std::tuple{who.incarnation, who.home_epoch, who.profile_version, who.draining, who.leaving}
                        == std::tuple{beat.incarnation(), beat.home_epoch(), beat.profile_version(), beat.draining(),
                                      beat.leaving()}
                 && !closed_.count(place);
  who.incarnation = beat.incarnation();
  who.home_epoch = beat.home_epoch();
  who.profile_version = beat.profile_version();
  who.draining = beat.draining();
  who.leaving = beat.leaving();
  last = {now, beat.sequence(), node_load{beat.load()}, last.told_load};
  is.fenced = false;
  is.heard = is.moved = true;
  if (!as_told) {
    is.told = false;
    closed_.erase(place);
    untold_.insert(place);
    result.urgent = true;
  }
  return result;
}

bool beat_batcher::take_again(std::uint32_t slot, std::uint64_t sequence, const node_load& load, time_point now) {
  auto& is = marks_[slot - 1];
  if (!is.told || is.fenced || (!closed_.empty() && closed_.count(slot) != 0))
    return false;
  auto& last = pulses_[slot - 1];
  last.heard_at = now;
  last.sequence = sequence;
  is.heard = true;
  if (load != last.load) {
    last.load = load;
    is.moved = true;
  }
  return true;
}

bool beat_batcher::closed(node_id node) {
  auto place = slot(node);
  if (place == 0)
    return false;
  auto& is = marks_[place - 1];
  // What the home does not know cannot end for it.
  if (is.told && !MUTANT(aggregator_hides_closed))
    closed_.insert(place);
  // When it beats again, the home hears that it is back.
  is.heard = false;
  untold_.erase(place);
  return true;
}

void beat_batcher::rehomed() {
  closed_.clear();
  // Each is told once it beats again: what it said to the former home may be a whole interval old.
  for (std::uint32_t slot = 1; slot <= members_.size(); ++slot) {
    members_[slot - 1].acknowledged_profile = 0;
    marks_[slot - 1].told = false;
    if (marks_[slot - 1].heard)
      untold_.insert(slot);
  }
}

void beat_batcher::forget(time_point before) {
  for (std::uint32_t slot = 1; slot <= members_.size(); ++slot) {
    if (pulses_[slot - 1].heard_at >= before || !members_[slot - 1].node)
      continue;
    slots_.erase(members_[slot - 1].node);
    untold_.erase(slot);
    closed_.erase(slot);
    members_[slot - 1] = {};
    pulses_[slot - 1] = {};
    marks_[slot - 1] = {};
    free_.insert(slot);
  }
}

void beat_batcher::write_member(pb::BeatBatch& batch, std::uint32_t slot) {
  auto& who = members_[slot - 1];
  auto& last = pulses_[slot - 1];
  auto& is = marks_[slot - 1];
  auto& entry = *batch.add_members();
  entry.set_slot(slot);
  entry.set_name(who.name);
  auto& beat = *entry.mutable_beat();
  beat.set_node(who.node.value());
  beat.set_incarnation(who.incarnation);
  beat.set_home_epoch(who.home_epoch);
  beat.set_sequence(last.sequence);
  beat.set_profile_version(who.profile_version);
  beat.set_draining(who.draining);
  beat.set_leaving(who.leaving);
  *beat.mutable_load() = last.load.to_pb();
  last.told_load = last.load;
  is.told = true;
  is.heard = is.moved = false;
}

pb::BeatBatch beat_batcher::flush() {
  pb::BeatBatch batch;
  while (!untold_.empty() && static_cast<std::size_t>(batch.members_size()) < members_max) {
    write_member(batch, *untold_.begin());
    untold_.erase(untold_.begin());
  }
  std::string bits;
  load_columns_writer loads;
  for (std::uint32_t slot = 1; slot <= marks_.size(); ++slot) {
    auto& is = marks_[slot - 1];
    if (!is.heard || !is.told)
      continue;
    is.heard = false;
    auto place = (slot - 1) / 8;
    if (bits.size() <= place)
      bits.resize(place + 1);
    bits[place] = static_cast<char>(static_cast<unsigned char>(bits[place]) | 1u << (slot - 1) % 8);
    if (!is.moved)
      continue;
    is.moved = false;
    auto& last = pulses_[slot - 1];
    if (auto columns = columns_changed(last.told_load, last.load)) {
      loads.add(slot, last.load, columns);
      last.told_load = last.load;
    }
  }
  batch.set_heard(std::move(bits));
  if (loads.size() > 0)
    *batch.mutable_loads() = loads.finish();
  for (auto slot : closed_)
    batch.add_closed(slot);
  closed_.clear();
  return batch;
}

void beat_batcher::take(const pb::BeatBatchAck& ack) {
  for (auto& word : ack.words()) {
    if (word.slot() == 0 || word.slot() > members_.size())
      continue;
    members_[word.slot() - 1].acknowledged_profile = word.profile_version();
    marks_[word.slot() - 1].fenced = word.fenced();
  }
  for (auto slot : ack.unknown()) {
    if (slot == 0 || slot > members_.size() || !members_[slot - 1].node)
      continue;
    marks_[slot - 1].told = false;
    // It has beaten, which the home could not take in.
    marks_[slot - 1].heard = true;
    untold_.insert(slot);
  }
}

void beat_batcher::profile_acknowledged(node_id node, const pb::HeartbeatAck& ack) {
  if (auto place = slot(node)) {
    members_[place - 1].acknowledged_profile = ack.profile_version();
    marks_[place - 1].fenced = marks_[place - 1].fenced || ack.fenced();
  }
}

} // namespace astra
