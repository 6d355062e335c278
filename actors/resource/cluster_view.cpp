#include "actors/resource/cluster_view.hpp"

#include "actors/mutant.hpp"
#include "actors/resource/load_columns.hpp"
#include "messages/group.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

namespace astra {
namespace {

using time_point = cluster_view::time_point;

/// Who missed more removals gets the whole shard, and who missed more turns of liveness hears of them with the rest.
constexpr std::size_t removals_kept = 4096;
constexpr std::size_t turns_kept = 1024;
/// Around each row on the wire, its mention among the kept ones included.
constexpr std::size_t frame_bytes = 16;
/// More rows than this no shard has: a larger slot is none.
constexpr std::uint32_t slots_max = 1U << 24U;

/// Finalizer of SplitMix64 (Steele et al., "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ x >> 30U) * 0xbf58476d1ce4e5b9U;
  x = (x ^ x >> 27U) * 0x94d049bb133111ebU;
  return x ^ x >> 31U;
}

/// What all who hold a shard must agree on.  Not the profile: who kept a row over the restart of its Resource has one
/// while the Resource still waits for it.
std::uint64_t hash_of(const node_row& row) {
  auto result = mix(row.node());
  for (auto part : {row.incarnation(), row.home_epoch(), static_cast<std::uint64_t>(row.liveness())})
    result = mix(result + part + 0x9e3779b97f4a7c15U);
  return result;
}

/// Of two rows of one node, the one with the larger rank is the later one.
template <class Row>
auto rank(const Row& row) {
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

std::uint64_t age_ms(time_point then, time_point now) {
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now - then).count(), 0));
}

} // namespace

/// What the rows of one delta have in common.
struct cluster_view::row_reader {
  row_reader(const pb::ViewDelta& of, time_point when, shape_pool& known)
    : delta(of), origin(of.origin()), version(of.version()), now(when), pool(known),
      shapes(static_cast<std::size_t>(of.shapes_size())) {}

  /// Null when the delta has no such shape.
  const node_shape& shape(std::uint32_t number) {
    static const node_shape none;
    if (number == 0 || number > shapes.size())
      return none;
    auto& result = shapes[number - 1];
    if (!result)
      result = pool.intern(delta.shapes(static_cast<int>(number - 1)));
    return result;
  }

  void take(node_entry& entry, const pb::NodeRow& part);

  const pb::ViewDelta& delta;
  resource_id origin;
  std::uint64_t version;
  time_point now;
  shape_pool& pool;
  std::vector<node_shape> shapes;
};

void cluster_view::row_reader::take(node_entry& entry, const pb::NodeRow& part) {
  if (entry.row.incarnation() != part.incarnation() && !MUTANT(replicas_outlive_their_node)) {
    entry.row = {};
    entry.load = {};
    entry.came_with_load = false;
    entry.profile_changed = version;
  }
  auto& row = entry.row;
  row.set_node(part.node());
  row.set_incarnation(part.incarnation());
  row.set_home_epoch(part.home_epoch());
  row.set_liveness(part.liveness());
  row.set_reason(part.reason());
  row.set_sequence(part.sequence());
  if (part.has_profile()) {
    row.set_profile(part.profile(), pool);
    entry.profile_changed = version;
  } else if (auto& known = shape(part.shape())) {
    row.set_profile(part.name(), part.address(), part.profile_version(), known);
    entry.profile_changed = version;
  }
  if (part.has_held())
    row.set_held(part.held());
  if (part.has_load()) {
    entry.load = node_load{part.load()};
    entry.came_with_load = true;
  }
  entry.slot = part.slot() <= slots_max ? part.slot() : 0;
  entry.origin = origin;
  entry.last_beat = now - std::chrono::milliseconds{part.age_ms()};
  entry.changed = version;
}

namespace {

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

void expand_shapes(pb::ViewDelta& delta) {
  for (auto& row : *delta.mutable_nodes()) {
    if (row.shape() == 0 || row.shape() > static_cast<std::uint32_t>(delta.shapes_size()))
      continue;
    auto& profile = *row.mutable_profile();
    profile = delta.shapes(static_cast<int>(row.shape() - 1));
    profile.set_node(row.node());
    profile.set_incarnation(row.incarnation());
    profile.set_version(row.profile_version());
    profile.set_name(std::move(*row.mutable_name()));
    profile.set_address(std::move(*row.mutable_address()));
    row.clear_shape();
    row.clear_profile_version();
    row.clear_name();
    row.clear_address();
  }
  delta.clear_shapes();
}

bool node_entry::usable() const {
  auto liveness = row.liveness();
  return (liveness == pb::LIVENESS_ONLINE || liveness == pb::LIVENESS_SUSPECT) && row.has_profile();
}

cluster_view::apply_outcome cluster_view::apply(const pb::ViewDelta& delta, time_point now, view_changes& changes) {
  resource_id origin{delta.origin()};
  auto snapshot = delta.base() == 0;
  auto known = shards_.find(origin);
  if (known == shards_.end()) {
    if (delta.origin_removed() || delta.ahead())
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
    if (delta.ahead()) {
      // Within what is held, and of a shard that will be told whole, it is no news.
      if (delta.epoch() != shard.epoch || delta.version() <= shard.version)
        return apply_outcome::stale;
      shard.ahead_of = std::max(shard.ahead_of, delta.version());
      update(origin, delta, now, changes);
      sort_unique(changes.nodes);
      sort_unique(changes.apps);
      sort_unique(changes.schedulers);
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
  if (snapshot || edit || shard.lost != delta.origin_lost())
    shard.generation = ++last_generation_;
  if (snapshot) {
    shard.forgotten = delta.version();
    shard.ahead_of = 0;
    shard.diverged = false;
    shard.edited = false;
  }
  shard.ahead_of = std::max(shard.ahead_of, delta.ahead_of());
  shard.edited = shard.edited || edit || delta.edited();
  shard.epoch = delta.epoch();
  shard.version = delta.version();
  shard.name = delta.origin_name();
  shard.group = group_from_wire(delta.origin_group());
  shard.lost = delta.origin_lost();
  shard.last_delta = now;
  shard.heard_within = std::chrono::milliseconds{delta.heard_within_ms()};
  if (!delta.origin_lost())
    shard.last_word = now;
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
  row_reader reader{delta, now, shapes_};
  for (auto& row : delta.nodes())
    take(fresh, fresh.nodes.try_emplace(fresh.nodes.end(), node_id{row.node()})->second, row, reader);
  take_loads(fresh, delta);
  for (auto& record : delta.apps())
    fresh.apps[record.spec().name()] = {record, origin, delta.version()};
  for (auto& row : delta.schedulers())
    fresh.schedulers[scheduler_id{row.scheduler()}] = {row, origin, delta.version()};
  histories_.erase(origin);
  auto& rows = rows_[origin];
  std::swap(rows, fresh);
  places_.reserve(std::max(nodes_.size(), rows.nodes.size()));
  // They come in order, so a new one is probably behind the one before it.
  auto next = nodes_.begin();
  for (auto id : keys_of(fresh.nodes, rows.nodes))
    refresh_node(id, origin, changes, &next);
  for (auto& name : keys_of(fresh.apps, rows.apps))
    refresh_app(name, origin, changes);
  for (auto id : keys_of(fresh.schedulers, rows.schedulers))
    refresh_scheduler(id, origin, changes);
}

void cluster_view::update(resource_id origin, const pb::ViewDelta& delta, time_point now, view_changes& changes) {
  auto& rows = rows_[origin];
  row_reader reader{delta, now, shapes_};
  auto place = rows.nodes.begin();
  for (auto& part : delta.nodes()) {
    node_id id{part.node()};
    // Rows come sorted and often all of them, so this one is probably the next: what is beside a hint is found at once.
    place = rows.nodes.try_emplace(place, id);
    auto& entry = place->second;
    ++place;
    if (entry.row.liveness() != part.liveness() || entry.row.incarnation() != part.incarnation()) {
      auto& turns = histories_[origin].turns;
      turns.push_back({++last_turn_, id});
      if (turns.size() > turns_kept)
        turns.pop_front();
    }
    take(rows, entry, part, reader);
    auto known = places_.find(id);
    auto shown = known == places_.end() ? nullptr : &known->second->second;
    if (shown && shown->origin == origin && rank(shown->row) <= rank(part)) {
      // The usual case: nobody else comes into question, and the long profile need not be copied from the shard.
      auto described = part.has_profile() || part.shape() != 0 || shown->row.incarnation() != part.incarnation();
      auto before = described ? shown->row : node_row{};
      reader.take(*shown, part);
      if (described)
        index_.replace(id, before.shape(), shown->row.shape());
      changes.nodes.push_back(id);
    } else {
      refresh_node(id, origin, changes);
    }
  }
  take_loads(rows, delta);
  for (auto id : delta.removed_nodes()) {
    if (!MUTANT(removal_ignored))
      erase(rows, node_id{id});
    if (id != 0)
      remember(origin, {delta.version(), node_id{id}, {}, {}});
    refresh_node(node_id{id}, origin, changes);
  }
  for (auto& record : delta.apps()) {
    rows.apps[record.spec().name()] = {record, origin, delta.version()};
    refresh_app(record.spec().name(), origin, changes);
  }
  for (auto& name : delta.removed_apps()) {
    rows.apps.erase(name);
    remember(origin, {delta.version(), {}, name, {}});
    refresh_app(name, origin, changes);
  }
  for (auto& row : delta.schedulers()) {
    rows.schedulers[scheduler_id{row.scheduler()}] = {row, origin, delta.version()};
    refresh_scheduler(scheduler_id{row.scheduler()}, origin, changes);
  }
  for (auto id : delta.removed_schedulers()) {
    rows.schedulers.erase(scheduler_id{id});
    remember(origin, {delta.version(), {}, {}, scheduler_id{id}});
    refresh_scheduler(scheduler_id{id}, origin, changes);
  }
}

/// Takes a row into its shard, whose slots and hash follow.
void cluster_view::take(shard_rows& rows, node_entry& entry, const pb::NodeRow& part, row_reader& how) {
  auto id = node_id{part.node()};
  auto before = entry.slot;
  auto reborn = entry.row.incarnation() != part.incarnation();
  if (entry.row.node() != 0)
    rows.hash -= hash_of(entry.row);
  how.take(entry, part);
  rows.hash += hash_of(entry.row);
  if (before != entry.slot && before != 0 && rows.loads[before - 1].owner == id)
    rows.loads[before - 1] = {};
  if (entry.slot == 0)
    return;
  if (rows.loads.size() < entry.slot)
    rows.loads.resize(entry.slot);
  auto& place = rows.loads[entry.slot - 1];
  if (place.owner != id || reborn)
    place = {{}, id, 0};
  if (part.has_load())
    place = {entry.load, id, how.version};
}

void cluster_view::take_loads(shard_rows& rows, const pb::ViewDelta& delta) {
  for (auto& columns : delta.loads()) {
    load_columns_reader reader{columns};
    told_load told;
    while (reader.valid() && reader.next(told)) {
      // A row that was not told has no place: its load comes with it.
      if (told.slot == 0 || told.slot > rows.loads.size() || !rows.loads[told.slot - 1].owner)
        continue;
      auto& place = rows.loads[told.slot - 1];
      told.apply_to(place.load);
      place.changed = delta.version();
    }
  }
}

void cluster_view::erase(shard_rows& rows, node_id id) {
  auto found = rows.nodes.find(id);
  if (found == rows.nodes.end())
    return;
  auto& entry = found->second;
  rows.hash -= hash_of(entry.row);
  if (entry.slot != 0 && rows.loads[entry.slot - 1].owner == id)
    rows.loads[entry.slot - 1] = {};
  rows.nodes.erase(found);
}

void cluster_view::drop(resource_id origin, view_changes& changes) {
  pb::ViewDelta nothing;
  replace(origin, nothing, {}, changes);
  rows_.erase(origin);
  histories_.erase(origin);
  shards_.erase(origin);
  sort_unique(changes.nodes);
  sort_unique(changes.apps);
  sort_unique(changes.schedulers);
}

/// Decides anew which shard's row of a node is shown after the one in `origin` changed.
void cluster_view::refresh_node(node_id id, resource_id origin, view_changes& changes,
                                std::map<node_id, node_entry>::iterator* next) {
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
      if (next && *next == known->second)
        ++*next;
      index_.remove(id, shown->row.shape());
      nodes_.erase(known->second);
      places_.erase(known);
    }
    return;
  }
  if (!was_shown && best->origin != origin)
    return;
  changes.nodes.push_back(id);
  if (!shown) {
    auto place = next ? nodes_.emplace_hint(*next, id, *best) : nodes_.emplace(id, *best).first;
    places_.emplace(id, place);
    index_.add(id, best->row.shape());
    if (next)
      *next = std::next(place);
    return;
  }
  auto taken = *best;
  if (shown->row.incarnation() == taken.row.incarnation()) {
    auto& before = shown->row;
    if (!taken.row.has_profile() && before.has_profile())
      taken.row.set_profile(before);
    if (!taken.came_with_load)
      taken.load = load(*shown);
  }
  index_.replace(id, shown->row.shape(), taken.row.shape());
  *shown = std::move(taken);
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

const cluster_view::load_slot* cluster_view::slot_of(const node_entry& entry) const {
  auto rows = entry.slot == 0 ? nullptr : find_in(rows_, entry.origin);
  if (!rows || entry.slot > rows->loads.size())
    return nullptr;
  auto& place = rows->loads[entry.slot - 1];
  return place.owner == entry.id() && place.changed != 0 ? &place : nullptr;
}

const node_load& cluster_view::load(const node_entry& entry) const {
  auto place = slot_of(entry);
  return place ? place->load : entry.load;
}

std::uint64_t cluster_view::last_word(const node_entry& entry) const {
  auto place = slot_of(entry);
  return place ? std::max(place->changed, entry.changed) : entry.changed;
}

std::chrono::milliseconds cluster_view::age(const node_entry& entry, time_point now) const {
  auto since = [now](time_point then) { return std::chrono::milliseconds{age_ms(then, now)}; };
  auto result = since(entry.last_beat);
  auto shard = find_in(shards_, entry.origin);
  auto liveness = entry.row.liveness();
  auto silence_is_well = liveness == pb::LIVENESS_ONLINE || liveness == pb::LIVENESS_DRAINING;
  if (!shard || shard->heard_within.count() == 0 || !silence_is_well)
    return result;
  return std::min(result, since(shard->last_word) + shard->heard_within);
}

shard_digest cluster_view::digest(resource_id origin) const {
  auto& rows = rows_.at(origin);
  return {rows.nodes.size(), rows.hash};
}

bool cluster_view::in_step(const pb::ViewDelta& delta) {
  resource_id origin{delta.origin()};
  auto found = shards_.find(origin);
  if (!delta.has_digest() || found == shards_.end())
    return true;
  auto& shard = found->second;
  // Of another version nothing can be said, nor of rows that somebody else had a hand in.
  if (delta.version() != shard.version || delta.epoch() != shard.epoch || shard.ahead_of > shard.version || shard.lost
      || shard.edited)
    return true;
  if (digest(origin) == shard_digest{delta.digest().rows(), delta.digest().hash()})
    return true;
  shard.diverged = true;
  return false;
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
    if (((shard.lost || shard.edited) && !MUTANT(edited_shard_trusted)) || shard.diverged)
      continue;
    auto& have = result.emplace_back();
    have.set_origin(origin.value());
    have.set_epoch(shard.epoch);
    have.set_version(shard.version);
  }
  return result;
}

pb::ViewDelta cluster_view::snapshot(resource_id origin, time_point now) const {
  if (shards_.count(origin) == 0) {
    pb::ViewDelta result;
    result.set_origin(origin.value());
    result.set_origin_removed(true);
    return result;
  }
  auto whole = cursor(origin, 0, 0);
  return next_part(whole, std::numeric_limits<std::size_t>::max(), now);
}

shard_cursor cluster_view::cursor(resource_id origin, std::uint64_t epoch, std::uint64_t version) const {
  auto& shard = shards_.at(origin);
  shard_cursor result;
  result.origin = origin;
  result.epoch = shard.epoch;
  result.version = shard.version;
  result.generation = shard.generation;
  auto told_by_delta =
      epoch == shard.epoch && version >= shard.forgotten && version <= shard.version && !shard.lost && !shard.edited;
  result.base = told_by_delta ? version : 0;
  return result;
}

bool cluster_view::valid(const shard_cursor& cursor) const {
  auto shard = find_in(shards_, cursor.origin);
  return shard && shard->generation == cursor.generation && (cursor.base == 0 || cursor.base >= shard->forgotten);
}

pb::ViewDelta cluster_view::next_part(shard_cursor& cursor, std::size_t limit_bytes, time_point now,
                                      bool shapes) const {
  using section = shard_cursor::section;
  auto& rows = rows_.at(cursor.origin);
  auto result = header(cursor.origin);
  result.set_base(cursor.base);
  result.set_version(cursor.version);
  auto size = result.ByteSizeLong();
  auto begun = false;
  // Any one of them fits into a part of its own, however large it is.
  auto fits = [&](std::size_t bytes) {
    if (begun && size + bytes + frame_bytes > limit_bytes)
      return false;
    begun = true;
    size += bytes + frame_bytes;
    return true;
  };
  auto wanted = [&](auto& entry) { return cursor.base == 0 || entry.changed > cursor.base; };
  // For look-ups only.
  std::unordered_map<const pb::NodeProfile*, std::uint32_t> told;
  auto write_profile = [&](const node_row& from, pb::NodeRow& row) {
    auto shape = from.shared_shape();
    if (!shapes || !shape || shape->replicas_size() > 0) {
      from.write_profile(row);
      return;
    }
    auto [number, fresh] = told.try_emplace(shape, static_cast<std::uint32_t>(told.size() + 1));
    if (fresh) {
      *result.add_shapes() = *shape;
      size += shape->ByteSizeLong() + frame_bytes;
    }
    from.write_profile(row, number->second);
  };

  if (cursor.at == section::nodes) {
    for (auto place = rows.nodes.upper_bound(cursor.node); place != rows.nodes.end(); ++place) {
      auto& [id, entry] = *place;
      if (!wanted(entry))
        continue;
      auto& row = *result.add_nodes();
      entry.row.write_state(row);
      entry.row.write_held(row);
      if (cursor.base == 0 || entry.profile_changed > cursor.base)
        write_profile(entry.row, row);
      row.set_age_ms(age_ms(entry.last_beat, now));
      row.set_slot(entry.slot);
      if (entry.slot == 0)
        *row.mutable_load() = entry.load.to_pb();
      if (!fits(row.ByteSizeLong())) {
        result.mutable_nodes()->RemoveLast();
        return result;
      }
      cursor.node = id;
    }
    cursor.at = section::loads;
  }
  if (cursor.at == section::loads) {
    load_columns_writer writer;
    auto slots = static_cast<std::uint32_t>(rows.loads.size());
    auto room = true;
    while (cursor.slot < slots && room) {
      auto& place = rows.loads[cursor.slot];
      if (place.owner && place.changed != 0 && wanted(place)) {
        room = fits(column_bytes(place.load, all_columns));
        if (!room)
          break;
        writer.add(cursor.slot + 1, place.load, all_columns);
      }
      ++cursor.slot;
    }
    if (writer.size() > 0)
      *result.add_loads() = writer.finish();
    if (!room)
      return result;
    cursor.at = section::apps;
  }
  if (cursor.at == section::apps) {
    for (auto place = rows.apps.upper_bound(cursor.app); place != rows.apps.end(); ++place) {
      auto& [name, entry] = *place;
      if (!wanted(entry))
        continue;
      if (!fits(entry.record.ByteSizeLong()))
        return result;
      *result.add_apps() = entry.record;
      cursor.app = name;
    }
    cursor.at = section::schedulers;
  }
  if (cursor.at == section::schedulers) {
    for (auto place = rows.schedulers.upper_bound(cursor.scheduler); place != rows.schedulers.end(); ++place) {
      auto& [id, entry] = *place;
      if (!wanted(entry))
        continue;
      if (!fits(entry.row.ByteSizeLong()))
        return result;
      *result.add_schedulers() = entry.row;
      cursor.scheduler = id;
    }
    cursor.at = section::removals;
  }
  // At the end, so that a row that left after its part did is among them.
  std::vector<const removal*> gone;
  std::size_t bytes = 0;
  auto history = cursor.base == 0 ? nullptr : find_in(histories_, cursor.origin);
  if (history)
    for (auto& entry : history->removals)
      if (entry.version > cursor.base && !present(rows, entry) && !MUTANT(removals_not_caught_up)) {
        gone.push_back(&entry);
        bytes += sizeof(std::uint64_t) + entry.app.size() + 2;
      }
  if (bytes > 0 && !fits(bytes))
    return result;
  for (auto entry : gone) {
    if (entry->node)
      result.add_removed_nodes(entry->node.value());
    else if (entry->scheduler)
      result.add_removed_schedulers(entry->scheduler.value());
    else
      result.add_removed_apps(entry->app);
  }
  cursor.at = section::done;
  return result;
}

std::optional<pb::ViewDelta> cluster_view::turns_since(resource_id origin, std::uint64_t& after,
                                                       std::size_t limit_bytes, time_point now) const {
  auto history = find_in(histories_, origin);
  if (!history)
    return std::nullopt;
  auto& rows = rows_.at(origin);
  auto result = header(origin);
  auto version = result.version();
  auto size = result.ByteSizeLong();
  std::set<node_id> told;
  auto& turns = history->turns;
  auto next = std::upper_bound(turns.begin(), turns.end(), after,
                               [](std::uint64_t number, auto& entry) { return number < entry.number; });
  for (; next != turns.end() && size < limit_bytes; ++next) {
    after = next->number;
    auto entry = find_in(rows.nodes, next->node);
    if (!entry || !told.insert(next->node).second)
      continue;
    auto& row = *result.add_nodes();
    entry->row.write_state(row);
    row.set_slot(entry->slot);
    row.set_age_ms(age_ms(entry->last_beat, now));
    size += row.ByteSizeLong() + frame_bytes;
    version = std::max(version, entry->changed);
  }
  if (result.nodes_size() == 0)
    return std::nullopt;
  // To whoever does not know the word it is no delta that could be applied.
  result.set_ahead(true);
  result.set_base(version);
  result.set_version(version);
  return result;
}

bool cluster_view::present(const shard_rows& rows, const removal& gone) {
  if (gone.node)
    return rows.nodes.count(gone.node) != 0;
  if (gone.scheduler)
    return rows.schedulers.count(gone.scheduler) != 0;
  return rows.apps.count(gone.app) != 0;
}

void cluster_view::remember(resource_id origin, removal gone) {
  auto& removals = histories_[origin].removals;
  removals.push_back(std::move(gone));
  if (removals.size() <= removals_kept)
    return;
  auto& shard = shards_.at(origin);
  shard.forgotten = std::max(shard.forgotten, removals.front().version);
  removals.pop_front();
}

pb::ViewDelta cluster_view::header(resource_id origin) const {
  auto& shard = shards_.at(origin);
  pb::ViewDelta result;
  result.set_origin(origin.value());
  result.set_epoch(shard.epoch);
  result.set_version(shard.version);
  result.set_origin_name(shard.name);
  result.set_origin_group(group_on_wire(shard.group));
  result.set_origin_lost(shard.lost);
  result.set_heard_within_ms(static_cast<std::uint64_t>(shard.heard_within.count()));
  if (shard.ahead_of > shard.version && !MUTANT(rows_ahead_untold))
    result.set_ahead_of(shard.ahead_of);
  result.set_edited(shard.edited && !MUTANT(edited_snapshot_trusted));
  return result;
}

} // namespace astra
