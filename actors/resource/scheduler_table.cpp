#include "actors/resource/scheduler_table.hpp"

#include "actors/mutant.hpp"
#include "messages/wire.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace astra {

scheduler_table::verdict scheduler_table::record(const pb::SchedulerBeat& beat, time_point now) {
  scheduler_id id{beat.scheduler()};
  auto known = log_.find(id);
  auto& who = members_[id];
  if (known) {
    if (beat.incarnation() < known->incarnation() && !MUTANT(scheduler_incarnation_ignored))
      return {.fenced = true};
    if (beat.incarnation() == known->incarnation() && beat.sequence() <= who.sequence)
      return {};
  }
  pb::SchedulerRow row;
  if (known)
    row = *known;
  row.set_scheduler(beat.scheduler());
  row.set_name(beat.name());
  row.set_address(beat.address());
  row.set_incarnation(beat.incarnation());
  row.set_standby(beat.standby());
  if (!known || encode(row) != encode(*known))
    log_.put(row);
  who.sequence = beat.sequence();
  who.seen.renew(now);
  who.closed = false;
  who.left = beat.leaving();
  record_apps(beat);
  judge(id, who, {}, now);
  return {.accepted = true};
}

void scheduler_table::record_apps(const pb::SchedulerBeat& beat) {
  std::set<std::string> named;
  for (auto& record : beat.apps()) {
    auto& name = record.spec().name();
    named.insert(name);
    auto known = log_.find_app(name);
    // Of two schedulers that believe to manage an app, the one with the larger epoch is right.
    if (!known || std::tuple{known->epoch(), known->version()} < std::tuple{record.epoch(), record.version()}
        || MUTANT(older_app_record_wins))
      // A scheduler process that is new here is told of together with what it names: whoever sees it without would take
      // its apps, which a lost Resource told of before, for gone.
      log_.put(record, known || MUTANT(apps_told_after_their_scheduler) ? stream::claims : stream::liveness);
  }
  // A process that leaves need not name its apps any more, but their replicas run on; one that has just started asks
  // the view first what its forerunner managed.
  if (beat.leaving() || (beat.settling() && !MUTANT(record_dropped_while_settling)))
    return;
  std::vector<std::string> gone;
  for (auto& [name, record] : log_.apps())
    if (record.scheduler() == beat.scheduler() && named.count(name) == 0 && !MUTANT(deleted_app_announced))
      gone.push_back(name);
  for (auto& name : gone)
    log_.remove_app(name);
}

void scheduler_table::connection_closed(scheduler_id id, time_point now) {
  auto found = members_.find(id);
  if (found == members_.end())
    return;
  auto& who = found->second;
  who.closed = true;
  // Only a sweep makes it offline: when the observer itself slept, it learns that there.
  if (!who.offline_since)
    judge(id, who, {}, now);
}

bool scheduler_table::moved_away(scheduler_id id) {
  if (members_.erase(id) == 0)
    return false;
  std::vector<std::string> gone;
  for (auto& [name, record] : log_.apps())
    if (scheduler_id{record.scheduler()} == id)
      gone.push_back(name);
  for (auto& name : gone)
    log_.remove_app(name);
  log_.remove(id);
  return true;
}

void scheduler_table::sweep(time_point now) {
  for (auto entry = members_.begin(); entry != members_.end();) {
    auto& [id, who] = *entry;
    judge(id, who, who.seen.silence(now), now);
    if (who.offline_since && now - *who.offline_since >= forget_after_ && !manages_apps(id)) {
      log_.remove(id);
      entry = members_.erase(entry);
    } else {
      ++entry;
    }
  }
}

void scheduler_table::extend_leases(std::chrono::nanoseconds gap, time_point now) {
  for (auto& [id, who] : members_)
    who.seen.extend(gap, now);
}

/// Brings the row's liveness in line with what is known of the member.
void scheduler_table::judge(scheduler_id id, member& who, std::chrono::nanoseconds silence, time_point now) {
  auto liveness = pb::LIVENESS_ONLINE;
  std::string reason;
  if (who.left) {
    liveness = pb::LIVENESS_OFFLINE;
    reason = "said goodbye";
  } else if (silence >= patience_.evict_after || silence >= patience_.suspect_after) {
    liveness = silence >= patience_.evict_after ? pb::LIVENESS_OFFLINE : pb::LIVENESS_SUSPECT;
    reason = silence_text(silence);
  } else if (who.closed) {
    liveness = pb::LIVENESS_SUSPECT;
    reason = "connection closed";
  }
  auto row = *log_.find(id);
  if (row.liveness() == liveness)
    return;
  row.set_liveness(liveness);
  row.set_reason(reason);
  log_.put(row);
  if (liveness == pb::LIVENESS_OFFLINE)
    who.offline_since = now;
  else
    who.offline_since.reset();
}

bool scheduler_table::manages_apps(scheduler_id id) const {
  return std::any_of(log_.apps().begin(), log_.apps().end(),
                     [id](auto& entry) { return scheduler_id{entry.second.scheduler()} == id; });
}

pb::SchedulerBeat without_taken_apps(pb::SchedulerBeat beat, const cluster_view& view) {
  if (!beat.settling())
    return beat;
  auto taken = [&](const pb::AppRecord& record) {
    auto shown = view.find_app(record.spec().name());
    if (!shown || shown->record.scheduler() == beat.scheduler())
      return false;
    auto owner = view.find_scheduler(scheduler_id{shown->record.scheduler()});
    return owner && owner->row.liveness() != pb::LIVENESS_OFFLINE && (owner->row.standby() || beat.standby());
  };
  auto& apps = *beat.mutable_apps();
  apps.erase(std::remove_if(apps.begin(), apps.end(), taken), apps.end());
  return beat;
}

} // namespace astra
