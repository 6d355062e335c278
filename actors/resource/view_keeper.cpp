#include "actors/resource/view_keeper.hpp"

#include "actors/mutant.hpp"
#include "messages/group.hpp"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace astra {
namespace {

std::uint64_t age_ms(cluster_view::time_point then, cluster_view::time_point now) {
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now - then).count(), 0));
}

template <class Orphans, class Key>
typename Orphans::mapped_type known_or_new(const Orphans& known, const Key& key, cluster_view::time_point now) {
  auto found = known.find(key);
  return found == known.end() ? typename Orphans::mapped_type{now, true, std::nullopt} : found->second;
}

} // namespace

view_keeper::apply_outcome view_keeper::accept(pb::ViewDelta& delta, time_point now, view_changes& changes) {
  resource_id origin{delta.origin()};
  auto snapshot = delta.base() == 0 && !delta.origin_removed();
  std::optional<orphanage> carried;
  if (snapshot)
    carried = carry_over(origin, delta, now);
  auto outcome = view_.apply(delta, now, changes);
  if (outcome != apply_outcome::applied)
    return outcome;
  if (delta.origin_removed()) {
    orphans_.erase(origin);
    return outcome;
  }
  auto found = orphans_.find(origin);
  if (carried) {
    if (!carried->empty())
      orphans_[origin] = std::move(*carried);
    else if (found != orphans_.end())
      orphans_.erase(found);
    return outcome;
  }
  if (found == orphans_.end())
    return outcome;
  // Somebody speaks for the shard again, and for these rows of it.
  auto& orphans = found->second;
  if (!delta.ahead()) {
    orphans.lost_since.reset();
    auto spoken_for = [](auto& entry) { return !entry.second.foreign; };
    std::erase_if(orphans.nodes, spoken_for);
    std::erase_if(orphans.apps, spoken_for);
    std::erase_if(orphans.schedulers, spoken_for);
  }
  for (auto& row : delta.nodes())
    if (!MUTANT(told_orphan_expires))
      orphans.nodes.erase(node_id{row.node()});
  for (auto id : delta.removed_nodes())
    orphans.nodes.erase(node_id{id});
  for (auto& record : delta.apps())
    orphans.apps.erase(record.spec().name());
  for (auto& name : delta.removed_apps())
    orphans.apps.erase(name);
  for (auto& row : delta.schedulers())
    orphans.schedulers.erase(scheduler_id{row.scheduler()});
  for (auto id : delta.removed_schedulers())
    orphans.schedulers.erase(scheduler_id{id});
  if (orphans.empty())
    orphans_.erase(found);
  return outcome;
}

/// What a snapshot has at second hand: the relay kept it when the origin came back without it.
view_keeper::orphanage view_keeper::kept_by_relay(const pb::ViewDelta& snapshot, const orphanage& known,
                                                  time_point now) {
  orphanage result;
  if (MUTANT(kept_row_trusted))
    return result;
  auto keep = [now](auto& orphans, auto& before, const auto& key, bool offline) {
    auto& orphan = orphans[key] = known_or_new(before, key, now);
    orphan.foreign = true;
    if (offline && !orphan.offline_since)
      orphan.offline_since = now;
  };
  std::set<std::uint64_t> kept{snapshot.kept_nodes().begin(), snapshot.kept_nodes().end()};
  for (auto& row : snapshot.nodes())
    if (kept.count(row.node()) != 0)
      keep(result.nodes, known.nodes, node_id{row.node()}, row.liveness() == pb::LIVENESS_OFFLINE);
  for (auto& name : snapshot.kept_apps())
    keep(result.apps, known.apps, name, false);
  kept = {snapshot.kept_schedulers().begin(), snapshot.kept_schedulers().end()};
  for (auto& row : snapshot.schedulers())
    if (kept.count(row.scheduler()) != 0)
      keep(result.schedulers, known.schedulers, scheduler_id{row.scheduler()}, row.liveness() == pb::LIVENESS_OFFLINE);
  return result;
}

bool view_keeper::in_step(const pb::ViewDelta& delta) {
  // Rows that were kept are nobody's word.
  return orphans_.count(resource_id{delta.origin()}) != 0 || view_.in_step(delta);
}

pb::ViewDelta view_keeper::snapshot(resource_id origin, time_point now) const {
  if (view_.shards().count(origin) == 0)
    return view_.snapshot(origin, now);
  auto whole = view_.cursor(origin, 0, 0);
  return next_part(whole, std::numeric_limits<std::size_t>::max(), now);
}

pb::ViewDelta view_keeper::next_part(shard_cursor& cursor, std::size_t limit_bytes, time_point now, bool shapes) const {
  auto result = view_.next_part(cursor, limit_bytes, now, shapes);
  auto found = orphans_.find(cursor.origin);
  if (found == orphans_.end() || cursor.base != 0)
    return result;
  auto foreign = [](auto& orphans, const auto& key) {
    auto orphan = orphans.find(key);
    return orphan != orphans.end() && orphan->second.foreign;
  };
  auto& orphans = found->second;
  name_kept_nodes(cursor.origin, result);
  for (auto& record : result.apps())
    if (foreign(orphans.apps, record.spec().name()))
      result.add_kept_apps(record.spec().name());
  for (auto& row : result.schedulers())
    if (foreign(orphans.schedulers, scheduler_id{row.scheduler()}))
      result.add_kept_schedulers(row.scheduler());
  return result;
}

void view_keeper::name_kept_nodes(resource_id origin, pb::ViewDelta& snapshot) const {
  auto found = orphans_.find(origin);
  if (found == orphans_.end())
    return;
  for (auto& row : snapshot.nodes()) {
    auto orphan = found->second.nodes.find(node_id{row.node()});
    if (orphan != found->second.nodes.end() && orphan->second.foreign)
      snapshot.add_kept_nodes(row.node());
  }
}

/// Adds to a snapshot the rows that it cannot speak for.
view_keeper::orphanage view_keeper::carry_over(resource_id origin, pb::ViewDelta& snapshot, time_point now) const {
  static const orphanage none;
  auto found = orphans_.find(origin);
  auto& known = found == orphans_.end() ? none : found->second;
  auto carried = kept_by_relay(snapshot, known, now);
  auto shard = view_.shards().find(origin);
  if (shard == view_.shards().end() || snapshot.epoch() < shard->second.epoch)
    return carried;
  auto new_epoch = snapshot.epoch() > shard->second.epoch;
  auto& rows = *view_.rows(origin);
  auto keep = [&](const auto& orphans, const auto& key) {
    auto entry = orphans.find(key);
    return (new_epoch && !MUTANT(restart_drops_rows)) || (entry != orphans.end() && entry->second.foreign);
  };

  std::set<node_id> told_nodes;
  for (auto& row : snapshot.nodes())
    told_nodes.insert(node_id{row.node()});
  for (auto& [id, entry] : rows.nodes) {
    if (told_nodes.count(id) != 0 || !keep(known.nodes, id))
      continue;
    auto& row = *snapshot.add_nodes();
    // Its slot may be another's now.
    row = entry.row.to_pb();
    *row.mutable_load() = view_.load(entry).to_pb();
    row.set_age_ms(age_ms(entry.last_beat, now));
    snapshot.add_kept_nodes(id.value());
    auto& orphan = carried.nodes[id] = known_or_new(known.nodes, id, now);
    orphan.foreign = true;
    if (row.liveness() == pb::LIVENESS_OFFLINE && !orphan.offline_since)
      orphan.offline_since = now;
  }
  std::set<std::string> told_apps;
  for (auto& record : snapshot.apps())
    told_apps.insert(record.spec().name());
  for (auto& [name, entry] : rows.apps) {
    if (told_apps.count(name) != 0 || !keep(known.apps, name))
      continue;
    *snapshot.add_apps() = entry.record;
    snapshot.add_kept_apps(name);
    carried.apps[name] = known_or_new(known.apps, name, now);
    carried.apps[name].foreign = true;
  }
  std::set<scheduler_id> told_schedulers;
  for (auto& row : snapshot.schedulers())
    told_schedulers.insert(scheduler_id{row.scheduler()});
  for (auto& [id, entry] : rows.schedulers) {
    if (told_schedulers.count(id) != 0 || !keep(known.schedulers, id))
      continue;
    *snapshot.add_schedulers() = entry.row;
    snapshot.add_kept_schedulers(id.value());
    auto& orphan = carried.schedulers[id] = known_or_new(known.schedulers, id, now);
    orphan.foreign = true;
    if (entry.row.liveness() == pb::LIVENESS_OFFLINE && !orphan.offline_since)
      orphan.offline_since = now;
  }
  return carried;
}

std::optional<pb::ViewDelta> view_keeper::lose(resource_id origin, time_point now, view_changes& changes) {
  auto shard = view_.shards().find(origin);
  if (shard == view_.shards().end())
    return std::nullopt;
  auto& orphans = orphans_[origin];
  if (orphans.lost_since)
    return std::nullopt;
  orphans.lost_since = now;
  auto& rows = *view_.rows(origin);
  auto offline_since = [&](auto& row) {
    return row.liveness() == pb::LIVENESS_OFFLINE ? std::optional{now} : std::nullopt;
  };
  for (auto& [id, entry] : rows.nodes)
    orphans.nodes.emplace(id, orphan{now, false, offline_since(entry.row)});
  for (auto& [name, entry] : rows.apps)
    orphans.apps.emplace(name, orphan{now, false, std::nullopt});
  for (auto& [id, entry] : rows.schedulers)
    orphans.schedulers.emplace(id, orphan{now, false, offline_since(entry.row)});
  if (shard->second.lost)
    return std::nullopt;
  auto edit = edit_of(origin);
  edit.set_origin_lost(true);
  view_.apply(edit, now, changes);
  return edit;
}

std::vector<pb::ViewDelta> view_keeper::expire(time_point now, view_changes& changes) {
  std::vector<pb::ViewDelta> result;
  for (auto entry = orphans_.begin(); entry != orphans_.end();) {
    auto& [origin, orphans] = *entry;
    auto edit = edit_of(origin);
    auto unchanged = edit.ByteSizeLong();
    expire_nodes(origin, orphans, now, edit);
    expire_schedulers(origin, orphans, now, edit);
    expire_apps(origin, orphans, now, edit);
    auto changed = edit.ByteSizeLong() != unchanged;
    auto empty_for_ever = orphans.lost_since && now - *orphans.lost_since >= limits_.orphan_grace
                          && orphans.nodes.empty() && orphans.apps.empty() && orphans.schedulers.empty();
    if (empty_for_ever)
      edit.set_origin_removed(true);
    if (changed || empty_for_ever) {
      view_.apply(edit, now, changes);
      result.push_back(std::move(edit));
    }
    entry = empty_for_ever || orphans.empty() ? orphans_.erase(entry) : std::next(entry);
  }
  return result;
}

void view_keeper::extend_grace(std::chrono::nanoseconds gap, time_point now,
                               const std::function<bool(resource_id)>& of) {
  auto later = [&](time_point& when) {
    when = std::min(when + std::chrono::duration_cast<time_point::duration>(gap), now);
  };
  auto wait_longer = [&](auto& orphans) {
    for (auto& [key, orphan] : orphans)
      later(orphan.since);
  };
  for (auto& [origin, orphans] : orphans_) {
    if (of && !of(origin))
      continue;
    wait_longer(orphans.nodes);
    wait_longer(orphans.apps);
    wait_longer(orphans.schedulers);
    if (orphans.lost_since)
      later(*orphans.lost_since);
  }
}

void view_keeper::expire_nodes(resource_id origin, orphanage& orphans, time_point now, pb::ViewDelta& edit) const {
  for (auto entry = orphans.nodes.begin(); entry != orphans.nodes.end();) {
    auto& [id, orphan] = *entry;
    auto shown = view_.find(id);
    auto moved = !shown || shown->origin != origin;
    if (moved || (orphan.offline_since && now - *orphan.offline_since >= limits_.forget_after)) {
      edit.add_removed_nodes(id.value());
      entry = orphans.nodes.erase(entry);
      continue;
    }
    auto grace_over = now - orphan.since >= limits_.orphan_grace || MUTANT(orphans_dropped_at_once);
    if (!orphan.offline_since && grace_over && !MUTANT(orphans_never_dropped)) {
      orphan.offline_since = now;
      auto& row = *edit.add_nodes();
      row.set_node(id.value());
      row.set_incarnation(shown->row.incarnation());
      row.set_home_epoch(shown->row.home_epoch());
      row.set_sequence(shown->row.sequence());
      row.set_slot(shown->slot);
      row.set_age_ms(age_ms(shown->last_beat, now));
      row.set_liveness(pb::LIVENESS_OFFLINE);
      row.set_reason(why_offline(origin));
    }
    ++entry;
  }
}

void view_keeper::expire_schedulers(resource_id origin, orphanage& orphans, time_point now, pb::ViewDelta& edit) const {
  for (auto entry = orphans.schedulers.begin(); entry != orphans.schedulers.end();) {
    auto& [id, orphan] = *entry;
    auto shown = view_.find_scheduler(id);
    auto moved = !shown || shown->origin != origin;
    if (moved || (orphan.offline_since && now - *orphan.offline_since >= limits_.forget_after)) {
      edit.add_removed_schedulers(id.value());
      entry = orphans.schedulers.erase(entry);
      continue;
    }
    if (!orphan.offline_since && now - orphan.since >= limits_.orphan_grace) {
      orphan.offline_since = now;
      auto& row = *edit.add_schedulers();
      row = shown->row;
      row.set_liveness(pb::LIVENESS_OFFLINE);
      row.set_reason(why_offline(origin));
    }
    ++entry;
  }
}

/// An app outlives the silence of its scheduler: its replicas run, and requests find them by the record.  It goes when
/// another shard has it, or when its scheduler speaks elsewhere and no longer names it.
void view_keeper::expire_apps(resource_id origin, orphanage& orphans, time_point now, pb::ViewDelta& edit) const {
  for (auto entry = orphans.apps.begin(); entry != orphans.apps.end();) {
    auto& [name, orphan] = *entry;
    auto shown = view_.find_app(name);
    auto moved = !shown || shown->origin != origin;
    auto unnamed = false;
    if (!moved && now - orphan.since >= limits_.orphan_grace) {
      scheduler_id id{shown->record.scheduler()};
      auto scheduler = view_.find_scheduler(id);
      unnamed = scheduler && scheduler->row.liveness() == pb::LIVENESS_ONLINE
                && (scheduler->origin != origin || orphans.schedulers.count(id) == 0);
    }
    if (moved || unnamed || MUTANT(app_dies_with_its_resource)) {
      edit.add_removed_apps(name);
      entry = orphans.apps.erase(entry);
    } else {
      ++entry;
    }
  }
}

/// An empty edit of a known shard.
pb::ViewDelta view_keeper::edit_of(resource_id origin) const {
  auto& shard = view_.shards().at(origin);
  pb::ViewDelta edit;
  edit.set_origin(origin.value());
  edit.set_origin_name(shard.name);
  edit.set_origin_group(group_on_wire(shard.group));
  edit.set_epoch(shard.epoch);
  edit.set_base(shard.version);
  edit.set_version(shard.version);
  edit.set_origin_lost(shard.lost);
  edit.set_heard_within_ms(static_cast<std::uint64_t>(shard.heard_within.count()));
  edit.set_edited(shard.edited && !MUTANT(edited_snapshot_trusted));
  return edit;
}

std::string view_keeper::why_offline(resource_id origin) const {
  auto& shard = view_.shards().at(origin);
  return "its Resource " + shard.name + (shard.lost ? " was lost" : " restarted") + " and it did not come to another";
}

} // namespace astra
