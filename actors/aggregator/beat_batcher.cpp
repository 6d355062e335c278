#include "actors/aggregator/beat_batcher.hpp"

#include "actors/mutant.hpp"
#include "actors/resource/load_columns.hpp"

#include <tuple>
#include <utility>

namespace astra {

beat_batcher::member* beat_batcher::find(node_id node) {
  auto found = slots_.find(node);
  return found == slots_.end() ? nullptr : &members_[found->second - 1];
}

bool beat_batcher::told(node_id node) const {
  auto found = slots_.find(node);
  return found != slots_.end() && members_[found->second - 1].told;
}

beat_batcher::verdict beat_batcher::take(const pb::Heartbeat& beat, time_point now) {
  node_id node{beat.node()};
  verdict result;
  auto who = find(node);
  if (who) {
    result.profile_version = who->acknowledged_profile;
    auto later = beat.incarnation() > who->incarnation;
    if (beat.incarnation() < who->incarnation || (who->fenced && !later)) {
      result.fenced = true;
      return result;
    }
    if (std::tuple{beat.incarnation(), beat.home_epoch(), beat.sequence()}
        <= std::tuple{who->incarnation, who->home_epoch, who->sequence})
      return result;
  }
  if (!who) {
    if (beat.name().empty()) {
      result.nameless = true;
      return result;
    }
    std::uint32_t slot = 0;
    if (free_.empty()) {
      members_.emplace_back();
      slot = static_cast<std::uint32_t>(members_.size());
    } else {
      slot = *free_.begin();
      free_.erase(free_.begin());
    }
    slots_[node] = slot;
    who = &members_[slot - 1];
    *who = {};
    who->node = node;
  }
  auto slot = static_cast<std::uint32_t>(who - members_.data() + 1);
  if (!beat.name().empty())
    who->name = beat.name();
  if (beat.incarnation() != who->incarnation || beat.home_epoch() != who->home_epoch)
    result.profile_version = who->acknowledged_profile = 0;
  auto as_told = who->told
                 && std::tuple{who->incarnation, who->home_epoch, who->profile_version, who->draining, who->leaving}
                        == std::tuple{beat.incarnation(), beat.home_epoch(), beat.profile_version(), beat.draining(),
                                      beat.leaving()}
                 && !closed_.count(slot);
  who->incarnation = beat.incarnation();
  who->home_epoch = beat.home_epoch();
  who->sequence = beat.sequence();
  who->profile_version = beat.profile_version();
  who->draining = beat.draining();
  who->leaving = beat.leaving();
  who->heard_at = now;
  who->load = node_load{beat.load()};
  who->fenced = false;
  who->heard = true;
  if (!as_told) {
    who->told = false;
    closed_.erase(slot);
    untold_.insert(slot);
    result.urgent = true;
  }
  return result;
}

bool beat_batcher::closed(node_id node) {
  auto who = find(node);
  if (!who)
    return false;
  auto slot = static_cast<std::uint32_t>(who - members_.data() + 1);
  // What the home does not know cannot end for it.
  if (who->told && !MUTANT(aggregator_hides_closed))
    closed_.insert(slot);
  // When it beats again, the home hears that it is back.
  who->heard = false;
  untold_.erase(slot);
  return true;
}

void beat_batcher::rehomed() {
  closed_.clear();
  // Each is told once it beats again: what it said to the former home may be a whole interval old.
  for (std::uint32_t slot = 1; slot <= members_.size(); ++slot) {
    auto& who = members_[slot - 1];
    who.told = false;
    who.acknowledged_profile = 0;
    if (who.heard)
      untold_.insert(slot);
  }
}

void beat_batcher::forget(time_point before) {
  for (std::uint32_t slot = 1; slot <= members_.size(); ++slot) {
    auto& who = members_[slot - 1];
    if (!who.node || who.heard_at >= before)
      continue;
    slots_.erase(who.node);
    untold_.erase(slot);
    closed_.erase(slot);
    who = {};
    free_.insert(slot);
  }
}

void beat_batcher::write_member(pb::BeatBatch& batch, std::uint32_t slot) {
  auto& who = members_[slot - 1];
  auto& entry = *batch.add_members();
  entry.set_slot(slot);
  entry.set_name(who.name);
  auto& beat = *entry.mutable_beat();
  beat.set_node(who.node.value());
  beat.set_incarnation(who.incarnation);
  beat.set_home_epoch(who.home_epoch);
  beat.set_sequence(who.sequence);
  beat.set_profile_version(who.profile_version);
  beat.set_draining(who.draining);
  beat.set_leaving(who.leaving);
  *beat.mutable_load() = who.load.to_pb();
  who.told_load = who.load;
  who.told = true;
  who.heard = false;
}

pb::BeatBatch beat_batcher::flush() {
  pb::BeatBatch batch;
  while (!untold_.empty() && static_cast<std::size_t>(batch.members_size()) < members_max) {
    write_member(batch, *untold_.begin());
    untold_.erase(untold_.begin());
  }
  std::string bits;
  load_columns_writer loads;
  for (std::uint32_t slot = 1; slot <= members_.size(); ++slot) {
    auto& who = members_[slot - 1];
    if (!who.heard || !who.told)
      continue;
    who.heard = false;
    auto place = (slot - 1) / 8;
    if (bits.size() <= place)
      bits.resize(place + 1);
    bits[place] = static_cast<char>(static_cast<unsigned char>(bits[place]) | 1u << (slot - 1) % 8);
    if (auto columns = columns_changed(who.told_load, who.load)) {
      loads.add(slot, who.load, columns);
      who.told_load = who.load;
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
    auto& who = members_[word.slot() - 1];
    who.acknowledged_profile = word.profile_version();
    who.fenced = word.fenced();
  }
  for (auto slot : ack.unknown()) {
    if (slot == 0 || slot > members_.size() || !members_[slot - 1].node)
      continue;
    members_[slot - 1].told = false;
    // It has beaten, which the home could not take in.
    members_[slot - 1].heard = true;
    untold_.insert(slot);
  }
}

void beat_batcher::profile_acknowledged(node_id node, const pb::HeartbeatAck& ack) {
  if (auto who = find(node)) {
    who->acknowledged_profile = ack.profile_version();
    who->fenced = who->fenced || ack.fenced();
  }
}

} // namespace astra
