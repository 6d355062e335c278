#include "actors/resource/cluster_view.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <utility>

namespace astra {
namespace {

using time_point = cluster_view::time_point;

/// Of two rows of one node, the one with the larger rank is the later one.
auto rank(const pb::NodeRow& row) {
  auto life = MUTANT(dead_life_outranks_new) ? 0 : row.incarnation();
  return std::tuple{life, row.home_epoch(), row.sequence()};
}

auto rank(const pb::AppRecord& record) {
  return std::tuple{record.epoch(), record.version()};
}

/// A scheduler process that moved is silent at its old Resource and alive at the new one.
auto rank(const pb::SchedulerRow& row) {
  auto alive = row.liveness() == pb::LIVENESS_UNKNOWN ? 0 : pb::LIVENESS_OFFLINE + 1 - row.liveness();
  return std::tuple{row.incarnation(), alive};
}

void take(node_entry& entry, const pb::NodeRow& part, resource_id origin, time_point now) {
  if (entry.row.incarnation() != part.incarnation() && !MUTANT(replicas_outlive_their_node))
    entry.row.Clear();
  auto& row = entry.row;
  row.set_node(part.node());
  row.set_incarnation(part.incarnation());
  row.set_home_epoch(part.home_epoch());
  row.set_liveness(part.liveness());
  row.set_reason(part.reason());
  row.set_sequence(part.sequence());
  if (part.has_load())
    *row.mutable_load() = part.load();
  if (part.has_profile())
    *row.mutable_profile() = part.profile();
  if (part.has_held())
    *row.mutable_held() = part.held();
  entry.origin = origin;
  entry.last_beat = now - std::chrono::milliseconds{part.age_ms()};
}

template <class T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

template <class Map>
auto* find_in(const Map& map, const typename Map::key_type& key) {
  auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

/// Keys of either map, sorted.
template <class Map>
std::vector<typename Map::key_type> keys_of(const Map& a, const Map& b) {
  std::vector<typename Map::key_type> keys;
  keys.reserve(a.size() + b.size());
  for (auto map : {&a, &b})
    for (auto& [key, value] : *map)
      keys.push_back(key);
  std::inplace_merge(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(a.size()), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

} // namespace

bool node_entry::usable() const {
  auto liveness = row.liveness();
  return (liveness == pb::LIVENESS_ONLINE || liveness == pb::LIVENESS_SUSPECT) && row.has_profile();
}

cluster_view::apply_outcome cluster_view::apply(const pb::ViewDelta& delta, time_point now, view_changes& changes) {
  resource_id origin{delta.origin()};
  auto snapshot = delta.base() == 0;
  auto known = shards_.find(origin);
  if (known == shards_.end()) {
    if (delta.origin_removed())
      return apply_outcome::stale;
    if (!snapshot)
      return apply_outcome::gap;
  } else {
    auto& shard = known->second;
    if (delta.epoch() < shard.epoch && !MUTANT(shard_epoch_ignored))
      return apply_outcome::stale;
    if (delta.origin_removed()) {
      drop(origin, changes);
      return apply_outcome::applied;
    }
    if (delta.epoch() > shard.epoch) {
      if (!snapshot)
        return apply_outcome::gap;
    } else if (snapshot) {
      // Whoever sends it may be behind the relay that we listened to before; an edited shard is worth less than that.
      if (delta.version() < shard.version && !shard.edited && !shard.lost && !delta.origin_lost()
          && !MUTANT(stale_snapshot_wins))
        return apply_outcome::stale;
    } else {
      if (delta.base() > shard.version && !MUTANT(gap_accepted))
        return apply_outcome::gap;
      // Of a lost origin nothing newer will come, so whoever relays it is right even from behind.
      auto behind = delta.version() < shard.version && !delta.origin_lost() && !MUTANT(stale_delta_wins);
      if (behind || (delta.version() == shard.version && delta.base() < delta.version()))
        return apply_outcome::stale;
    }
  }
  auto& shard = shards_[origin];
  auto edit = !snapshot && delta.base() == delta.version()
              && (delta.nodes_size() + delta.removed_nodes_size() + delta.apps_size() + delta.removed_apps_size()
                      + delta.schedulers_size() + delta.removed_schedulers_size()
                  > 0);
  shard.edited = !snapshot && (shard.edited || edit);
  shard.epoch = delta.epoch();
  shard.version = delta.version();
  shard.name = delta.origin_name();
  shard.lost = delta.origin_lost();
  shard.last_delta = now;
  if (snapshot)
    replace(origin, delta, now, changes);
  else
    update(origin, delta, now, changes);
  sort_unique(changes.nodes);
  sort_unique(changes.apps);
  sort_unique(changes.schedulers);
  return apply_outcome::applied;
}

void cluster_view::replace(resource_id origin, const pb::ViewDelta& delta, time_point now, view_changes& changes) {
  shard_rows fresh;
  for (auto& row : delta.nodes())
    take(fresh.nodes.try_emplace(fresh.nodes.end(), node_id{row.node()})->second, row, origin, now);
  for (auto& record : delta.apps())
    fresh.apps[record.spec().name()] = {record, origin};
  for (auto& row : delta.schedulers())
    fresh.schedulers[scheduler_id{row.scheduler()}] = {row, origin};
  auto& rows = rows_[origin];
  std::swap(rows, fresh);
  for (auto id : keys_of(fresh.nodes, rows.nodes))
    refresh_node(id, origin, changes);
  for (auto& name : keys_of(fresh.apps, rows.apps))
    refresh_app(name, origin, changes);
  for (auto id : keys_of(fresh.schedulers, rows.schedulers))
    refresh_scheduler(id, origin, changes);
}

void cluster_view::update(resource_id origin, const pb::ViewDelta& delta, time_point now, view_changes& changes) {
  auto& rows = rows_[origin];
  auto place = rows.nodes.begin();
  for (auto& part : delta.nodes()) {
    node_id id{part.node()};
    // Rows come sorted and often all of them, so this one is probably the next: what is beside a hint is found at once.
    place = rows.nodes.try_emplace(place, id);
    auto& entry = place->second;
    ++place;
    take(entry, part, origin, now);
    auto known = places_.find(id);
    auto shown = known == places_.end() ? nullptr : &known->second->second;
    if (shown && shown->origin == origin && rank(shown->row) <= rank(part)) {
      // The usual case: nobody else comes into question, and the long profile need not be copied from the shard.
      take(*shown, part, origin, now);
      changes.nodes.push_back(id);
    } else {
      refresh_node(id, origin, changes);
    }
  }
  for (auto id : delta.removed_nodes()) {
    if (!MUTANT(removal_ignored))
      rows.nodes.erase(node_id{id});
    refresh_node(node_id{id}, origin, changes);
  }
  for (auto& record : delta.apps()) {
    rows.apps[record.spec().name()] = {record, origin};
    refresh_app(record.spec().name(), origin, changes);
  }
  for (auto& name : delta.removed_apps()) {
    rows.apps.erase(name);
    refresh_app(name, origin, changes);
  }
  for (auto& row : delta.schedulers()) {
    rows.schedulers[scheduler_id{row.scheduler()}] = {row, origin};
    refresh_scheduler(scheduler_id{row.scheduler()}, origin, changes);
  }
  for (auto id : delta.removed_schedulers()) {
    rows.schedulers.erase(scheduler_id{id});
    refresh_scheduler(scheduler_id{id}, origin, changes);
  }
}

void cluster_view::drop(resource_id origin, view_changes& changes) {
  pb::ViewDelta nothing;
  replace(origin, nothing, {}, changes);
  rows_.erase(origin);
  shards_.erase(origin);
  sort_unique(changes.nodes);
  sort_unique(changes.apps);
  sort_unique(changes.schedulers);
}

/// Decides anew which shard's row of a node is shown after the one in `origin` changed.
void cluster_view::refresh_node(node_id id, resource_id origin, view_changes& changes) {
  auto known = places_.find(id);
  auto shown = known == places_.end() ? nullptr : &known->second->second;
  const node_entry* best = nullptr;
  if (!shown) {
    // Known for the first time: no other shard has it, or it would be shown.
    best = find_in(rows_.at(origin).nodes, id);
  } else {
    for (auto& [other, rows] : rows_) {
      auto candidate = find_in(rows.nodes, id);
      if (candidate && (!best || rank(candidate->row) > rank(best->row)))
        best = candidate;
    }
  }
  auto was_shown = shown && shown->origin == origin;
  if (!best) {
    if (was_shown)
      changes.nodes.push_back(id);
    if (shown) {
      nodes_.erase(known->second);
      places_.erase(known);
    }
    return;
  }
  if (!was_shown && best->origin != origin)
    return;
  changes.nodes.push_back(id);
  if (!shown) {
    places_.emplace(id, nodes_.emplace(id, *best).first);
    return;
  }
  auto next = *best;
  if (shown->row.incarnation() == next.row.incarnation()) {
    auto& before = shown->row;
    if (!next.row.has_profile() && before.has_profile())
      next.row.mutable_profile()->Swap(before.mutable_profile());
    if (!next.row.has_load() && before.has_load())
      next.row.mutable_load()->Swap(before.mutable_load());
  }
  *shown = std::move(next);
}

void cluster_view::refresh_app(const std::string& name, resource_id origin, view_changes& changes) {
  const app_entry* best = nullptr;
  for (auto& [other, rows] : rows_) {
    auto candidate = find_in(rows.apps, name);
    if (candidate && (!best || rank(candidate->record) > rank(best->record)))
      best = candidate;
  }
  auto shown = apps_.find(name);
  auto was_shown = shown != apps_.end() && shown->second.origin == origin;
  if (!best) {
    if (shown != apps_.end()) {
      apps_.erase(shown);
      changes.apps.push_back(name);
    }
  } else if (was_shown || best->origin == origin) {
    apps_[name] = *best;
    changes.apps.push_back(name);
  }
}

void cluster_view::refresh_scheduler(scheduler_id id, resource_id origin, view_changes& changes) {
  const scheduler_entry* best = nullptr;
  for (auto& [other, rows] : rows_) {
    auto candidate = find_in(rows.schedulers, id);
    if (candidate && (!best || rank(candidate->row) > rank(best->row)))
      best = candidate;
  }
  auto shown = schedulers_.find(id);
  auto was_shown = shown != schedulers_.end() && shown->second.origin == origin;
  if (!best) {
    if (shown != schedulers_.end()) {
      schedulers_.erase(shown);
      changes.schedulers.push_back(id);
    }
  } else if (was_shown || best->origin == origin) {
    schedulers_[id] = *best;
    changes.schedulers.push_back(id);
  }
}

const node_entry* cluster_view::find(node_id id) const {
  auto known = places_.find(id);
  return known == places_.end() ? nullptr : &known->second->second;
}

const app_entry* cluster_view::find_app(const std::string& name) const {
  return find_in(apps_, name);
}

const scheduler_entry* cluster_view::find_scheduler(scheduler_id id) const {
  return find_in(schedulers_, id);
}

const cluster_view::shard_rows* cluster_view::rows(resource_id origin) const {
  return find_in(rows_, origin);
}

std::vector<pb::ShardVersion> cluster_view::versions() const {
  std::vector<pb::ShardVersion> result;
  for (auto& [origin, shard] : shards_) {
    if ((shard.lost || shard.edited) && !MUTANT(edited_shard_trusted))
      continue;
    auto& have = result.emplace_back();
    have.set_origin(origin.value());
    have.set_epoch(shard.epoch);
    have.set_version(shard.version);
  }
  return result;
}

pb::ViewDelta cluster_view::snapshot(resource_id origin, time_point now) const {
  pb::ViewDelta result;
  result.set_origin(origin.value());
  auto shard = find_in(shards_, origin);
  if (!shard) {
    result.set_origin_removed(true);
    return result;
  }
  result.set_epoch(shard->epoch);
  result.set_version(shard->version);
  result.set_origin_name(shard->name);
  result.set_origin_lost(shard->lost);
  auto& rows = rows_.at(origin);
  for (auto& [id, entry] : rows.nodes) {
    auto& row = *result.add_nodes();
    row = entry.row;
    auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - entry.last_beat).count();
    row.set_age_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(age, 0)));
  }
  for (auto& [name, entry] : rows.apps)
    *result.add_apps() = entry.record;
  for (auto& [id, entry] : rows.schedulers)
    *result.add_schedulers() = entry.row;
  return result;
}

} // namespace astra
