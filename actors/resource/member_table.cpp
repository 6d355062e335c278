#include "actors/resource/member_table.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <utility>

namespace astra {

member_table::verdict member_table::record(const pb::Heartbeat& beat, time_point now) {
  node_id id{beat.node()};
  verdict result;
  auto slot = log_.slot(id);
  auto known = slot == 0 ? nullptr : &log_.row(slot);
  if (known) {
    result.profile_version = known->profile_version();
    if (beat.incarnation() < known->incarnation() && !MUTANT(incarnation_ignored)) {
      result.fenced = true;
      return result;
    }
    auto same = beat.incarnation() == known->incarnation();
    if (same && beat.home_epoch() < known->home_epoch() && !MUTANT(home_epoch_ignored))
      return result;
    if (same && beat.home_epoch() == known->home_epoch() && beat.sequence() <= known->sequence()
        && !MUTANT(old_beat_accepted))
      return result;
  }
  result.accepted = true;
  auto restarted = !known || known->incarnation() != beat.incarnation();
  auto returned = known && known->home_epoch() != beat.home_epoch();
  result.fresh = restarted;
  // Otherwise the row changes without being told: its numbers go along with the next word about it.
  auto parts = static_cast<std::uint8_t>(restarted || returned ? part_all : 0);
  auto& row = known ? log_.change(slot, parts, stream::liveness) : log_.change(id, parts, stream::liveness);
  if (!known)
    slot = log_.slot(id);
  if (restarted) {
    if (!known)
      ++alive_;
    if (!MUTANT(profile_kept_over_restart))
      row.clear_profile();
    row.set_held({});
    result.profile_version = 0;
  }
  auto came_back = known && restarted;
  row.set_incarnation(beat.incarnation());
  row.set_home_epoch(beat.home_epoch());
  row.set_sequence(beat.sequence());
  log_.heard(slot, node_load{beat.load()}, now);
  if (members_.size() < slot) {
    members_.resize(slot);
    due_.resize(slot, time_point::max());
  }
  auto& who = members_[slot - 1];
  if ((came_back || who.offline_since) && !who.left && !MUTANT(flapping_node_trusted))
    who.flaps.returned(now);
  who.seen.renew(now);
  trust(who);
  who.draining = beat.draining() && !MUTANT(drain_flag_lost);
  who.left = beat.leaving() && !MUTANT(goodbye_ignored);
  result.change = judge(slot, {}, now);
  return result;
}

std::optional<transition> member_table::beat_again(std::uint32_t slot, const node_load& load, time_point now) {
  auto& row = log_.change(slot, 0, stream::liveness);
  row.set_sequence(row.sequence() + 1);
  log_.heard(slot, load, now);
  auto& who = members_[slot - 1];
  who.seen.renew(now);
  trust(who);
  return judge(slot, {}, now);
}

void member_table::wait_longer(std::uint32_t slot, time_point now) {
  if (members_[slot - 1].offline_since)
    return;
  members_[slot - 1].seen.renew(now);
  set_due(slot);
}

member_table::verdict member_table::record(const pb::ProfileUpdate& update, time_point) {
  auto& profile = update.profile();
  node_id id{profile.node()};
  verdict result;
  auto known = log_.find(id);
  if (!known)
    return result;
  result.profile_version = known->profile_version();
  result.fenced = profile.incarnation() < known->incarnation();
  if ((profile.incarnation() != known->incarnation() && !MUTANT(profile_of_former_life))
      || update.home_epoch() != known->home_epoch() || profile.version() <= result.profile_version)
    return result;
  result.accepted = true;
  // The first one makes the node usable: that is a transition.
  auto when = known->has_profile() ? stream::claims : stream::liveness;
  log_.change(id, part_profile, when).set_profile(profile, shapes_);
  result.profile_version = profile.version();
  return result;
}

std::optional<transition> member_table::connection_closed(node_id id, time_point now) {
  auto slot = log_.slot(id);
  if (slot == 0)
    return std::nullopt;
  auto& who = members_[slot - 1];
  if (!MUTANT(closed_connection_trusted))
    who.doubt = "connection closed";
  if (who.offline_since)
    return std::nullopt;
  return judge(slot, {}, now);
}

std::optional<transition> member_table::accused(node_id id, time_point asked, std::string reason, time_point now) {
  auto slot = log_.slot(id);
  if (slot == 0)
    return std::nullopt;
  auto& who = members_[slot - 1];
  if (who.offline_since || !who.doubt.empty() || (who.seen.heard > asked && !MUTANT(accused_in_spite_of_beat))
      || accused_ >= std::max<std::size_t>(1, alive_ / 10))
    return std::nullopt;
  who.accused = true;
  ++accused_;
  who.doubt = std::move(reason);
  return judge(slot, {}, now);
}

bool member_table::moved_away(node_id id) {
  auto slot = log_.slot(id);
  if (slot == 0)
    return false;
  if (!members_[slot - 1].offline_since)
    --alive_;
  remove(slot);
  return true;
}

void member_table::trust(member& who) {
  drop_accusation(who);
  who.doubt.clear();
}

void member_table::drop_accusation(member& who) {
  accused_ -= std::exchange(who.accused, false) ? 1 : 0;
}

void member_table::remove(std::uint32_t slot) {
  trust(members_[slot - 1]);
  members_[slot - 1] = {};
  due_[slot - 1] = time_point::max();
  log_.remove(node_id{log_.row(slot).node()});
}

void member_table::hold(node_id id, const pb::Resources& held) {
  if (log_.find(id))
    log_.change(id, part_held, stream::claims).set_held(held);
}

std::vector<transition> member_table::sweep(time_point now) {
  // Nearly nobody is due: this reads eight bytes of each.
  std::vector<std::pair<node_id, std::uint32_t>> due;
  for (std::size_t i = 0; i < due_.size(); ++i)
    if (due_[i] <= now) {
      auto slot = static_cast<std::uint32_t>(i + 1);
      due.emplace_back(log_.row(slot).node(), slot);
    }
  std::sort(due.begin(), due.end());
  std::vector<transition> result;
  for (auto [id, slot] : due) {
    auto& who = members_[slot - 1];
    if (auto change = judge(slot, who.seen.silence(now), now))
      result.push_back(std::move(*change));
    if (who.offline_since && now - *who.offline_since >= forget_after_) {
      remove(slot);
      forgotten_.push_back(id);
    }
  }
  return result;
}

std::size_t member_table::due_to_evict(time_point now) const {
  std::size_t result = 0;
  for (std::size_t i = 0; i < due_.size(); ++i)
    if (due_[i] <= now && !members_[i].offline_since && members_[i].seen.silence(now) >= patience_.evict_after)
      ++result;
  return result;
}

void member_table::extend_leases(std::chrono::nanoseconds gap, time_point now) {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (due_[i] == time_point::max())
      continue;
    members_[i].seen.extend(gap, now);
    set_due(static_cast<std::uint32_t>(i + 1));
  }
}

/// When the member's state can change next if nothing is heard of it.
void member_table::set_due(std::uint32_t slot) {
  auto& who = members_[slot - 1];
  auto online = log_.row(slot).liveness() == pb::LIVENESS_ONLINE;
  auto& due = due_[slot - 1];
  due = who.offline_since ? *who.offline_since + forget_after_
                          : who.seen.start + (online ? patience_.suspect_after : patience_.evict_after);
  // Its time is over between two beats.
  if (!who.offline_since && !online && who.flaps.held_until() > who.seen.heard)
    due = std::min(due, who.flaps.held_until());
}

/// Brings the row's liveness in line with what is known of the member.
std::optional<transition> member_table::judge(std::uint32_t slot, std::chrono::nanoseconds silence, time_point now) {
  auto& who = members_[slot - 1];
  auto liveness = pb::LIVENESS_ONLINE;
  std::string reason;
  if (who.left) {
    liveness = pb::LIVENESS_OFFLINE;
    reason = who.draining ? "drained" : "said goodbye";
  } else if (silence >= patience_.evict_after && !MUTANT(silent_never_evicted)) {
    liveness = pb::LIVENESS_OFFLINE;
    reason = silence_text(silence);
  } else if (who.draining && !(!who.doubt.empty() && MUTANT(drain_lost_on_disconnect))) {
    liveness = pb::LIVENESS_DRAINING;
    reason = "draining: finishes its work and takes no more";
  } else if (!who.doubt.empty()) {
    liveness = pb::LIVENESS_SUSPECT;
    reason = who.doubt;
  } else if (silence >= patience_.suspect_after) {
    liveness = pb::LIVENESS_SUSPECT;
    reason = silence_text(silence);
  } else if (who.flaps.held(now)) {
    liveness = pb::LIVENESS_SUSPECT;
    reason = "flapping: came back " + std::to_string(who.flaps.returns()) + " times; it must stay for a while";
  }
  auto before = log_.row(slot).liveness();
  if (before == liveness) {
    // Nor is it news for how long it has been silent by now.
    auto beats_again = liveness == pb::LIVENESS_SUSPECT && who.doubt.empty() && silence < patience_.suspect_after;
    if (beats_again && log_.row(slot).reason() != reason)
      log_.change(slot, part_state, stream::liveness).set_reason(reason);
    set_due(slot);
    return std::nullopt;
  }
  auto& row = log_.change(slot, part_state, stream::liveness);
  row.set_liveness(liveness);
  row.set_reason(reason);
  if (liveness == pb::LIVENESS_OFFLINE) {
    who.offline_since = now;
    --alive_;
    drop_accusation(who);
  } else if (who.offline_since && !MUTANT(offline_clock_kept)) {
    who.offline_since.reset();
    ++alive_;
  }
  set_due(slot);
  return transition{node_id{row.node()}, before, liveness, reason};
}

} // namespace astra
