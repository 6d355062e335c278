#include "actors/resource/shard_log.hpp"

#include "actors/resource/load_columns.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

/// Around each row on the wire.
constexpr std::size_t frame_bytes = 8;

} // namespace

shard_log::shard_log(resource_id origin, std::string name, std::uint64_t epoch, std::chrono::milliseconds heard_within,
                     const std::string& group)
  : origin_(origin), name_(std::move(name)), group_(group_on_wire(group)), epoch_(epoch), heard_within_(heard_within) {}

std::uint32_t shard_log::slot(node_id id) const {
  auto found = slots_.find(id);
  return found == slots_.end() ? 0 : found->second;
}

const node_row* shard_log::find(node_id id) const {
  auto place = slot(id);
  return place == 0 ? nullptr : &row(place);
}

node_row& shard_log::change(node_id id, std::uint8_t parts_changed, stream when) {
  auto place = slot(id);
  return change(place == 0 ? take_slot(id) : place, parts_changed, when);
}

node_row& shard_log::change(std::uint32_t slot, std::uint8_t parts_changed, stream when) {
  auto& place = places_[slot - 1];
  if (parts_changed == 0)
    return place.row;
  if ((parts_changed & part_load) != 0) {
    place.settled.reset();
    want_load(slot, all_columns);
  }
  place.waiting[static_cast<std::size_t>(when)] |= parts_changed;
  waiting(when).nodes.insert(node_id{place.row.node()});
  return place.row;
}

void shard_log::heard(std::uint32_t slot, const node_load& load, time_point when) {
  auto& place = places_[slot - 1];
  place.heard = when;
  place.load = load;
  if (!place.settled)
    return;
  auto columns = columns_worth_telling(place.told, place.load);
  if (when - *place.settled >= settle)
    columns |= columns_changed(place.told, place.load);
  if (columns != 0)
    want_load(slot, columns);
}

const node_load* shard_log::load(node_id id) const {
  auto place = slot(id);
  return place == 0 ? nullptr : &places_[place - 1].load;
}

std::uint32_t shard_log::take_slot(node_id id) {
  std::uint32_t result = 0;
  if (free_slots_.empty()) {
    places_.emplace_back();
    loads_waiting_.push_back(false);
    result = static_cast<std::uint32_t>(places_.size());
  } else {
    result = *free_slots_.begin();
    free_slots_.erase(free_slots_.begin());
  }
  places_[result - 1].row.set_node(id.value());
  slots_[id] = result;
  return result;
}

void shard_log::want_load(std::uint32_t slot, std::uint8_t columns) {
  places_[slot - 1].columns |= columns;
  if (loads_waiting_[slot - 1])
    return;
  loads_waiting_[slot - 1] = true;
  ++loads_waiting_count_;
}

void shard_log::remove(node_id id) {
  auto gone = slot(id);
  if (gone == 0)
    return;
  if (loads_waiting_[gone - 1])
    --loads_waiting_count_;
  loads_waiting_[gone - 1] = false;
  places_[gone - 1] = {};
  free_slots_.insert(gone);
  slots_.erase(id);
  for (auto& keys : waiting_)
    keys.nodes.erase(id);
  waiting(stream::liveness).removals.push_back({id, {}, {}});
}

const pb::AppRecord* shard_log::find_app(const std::string& name) const {
  auto found = apps_.find(name);
  return found == apps_.end() ? nullptr : &found->second;
}

void shard_log::put(const pb::AppRecord& record, stream when) {
  apps_[record.spec().name()] = record;
  waiting(when).apps.insert(record.spec().name());
}

void shard_log::remove_app(const std::string& name) {
  if (apps_.erase(name) == 0)
    return;
  for (auto& keys : waiting_)
    keys.apps.erase(name);
  waiting(stream::liveness).removals.push_back({{}, name, {}});
}

const pb::SchedulerRow* shard_log::find(scheduler_id id) const {
  auto found = schedulers_.find(id);
  return found == schedulers_.end() ? nullptr : &found->second;
}

void shard_log::put(const pb::SchedulerRow& row) {
  scheduler_id id{row.scheduler()};
  schedulers_[id] = row;
  waiting(stream::liveness).schedulers.insert(id);
}

void shard_log::remove(scheduler_id id) {
  if (schedulers_.erase(id) == 0)
    return;
  for (auto& keys : waiting_)
    keys.schedulers.erase(id);
  waiting(stream::liveness).removals.push_back({{}, {}, id});
}

bool shard_log::pending(stream which) const {
  return !waiting_[static_cast<std::size_t>(which)].empty() || (which == stream::load && loads_waiting_count_ > 0);
}

std::optional<pb::ViewDelta> shard_log::flush(stream which, time_point now, std::size_t limit_bytes) {
  if (!pending(which))
    return std::nullopt;
  auto& keys = waiting(which);
  auto delta = header();
  delta.set_base(version_);
  delta.set_version(++version_);
  // What left and came back meanwhile is told by its row, now or with the stream in which it waits.
  for (auto& gone : std::exchange(keys.removals, {})) {
    if (present(gone))
      continue;
    if (gone.node)
      delta.add_removed_nodes(gone.node.value());
    else if (gone.scheduler)
      delta.add_removed_schedulers(gone.scheduler.value());
    else
      delta.add_removed_apps(gone.app);
  }
  auto size = delta.ByteSizeLong();
  auto begun = size > header().ByteSizeLong() + frame_bytes;
  // Any one of them fits into a delta of its own, however large it is.
  auto fits = [&](const auto& row) {
    auto sum = size + row.ByteSizeLong() + frame_bytes;
    if (begun && sum > limit_bytes)
      return false;
    begun = true;
    size = sum;
    return true;
  };
  while (!keys.apps.empty()) {
    auto& record = apps_.at(*keys.apps.begin());
    if (!fits(record))
      return delta;
    *delta.add_apps() = record;
    keys.apps.erase(keys.apps.begin());
  }
  while (!keys.schedulers.empty()) {
    auto& row = schedulers_.at(*keys.schedulers.begin());
    if (!fits(row))
      return delta;
    *delta.add_schedulers() = row;
    keys.schedulers.erase(keys.schedulers.begin());
  }
  // Whoever hears of a row hears its load with it.
  std::vector<std::uint32_t> told;
  auto next = keys.nodes.upper_bound(keys.last);
  while (!keys.nodes.empty()) {
    if (next == keys.nodes.end())
      next = keys.nodes.begin();
    auto id = *next;
    auto slot = slots_.at(id);
    auto& place = places_[slot - 1];
    auto wanted = place.waiting[static_cast<std::size_t>(which)];
    write_row(delta, slot, wanted, now);
    if (!fits(*delta.nodes().rbegin())) {
      delta.mutable_nodes()->RemoveLast();
      write_loads(delta, std::move(told), now);
      return delta;
    }
    if (loads_waiting_[slot - 1]) {
      size += column_bytes(place.load, place.columns);
      told.push_back(slot);
    }
    keys.last = id;
    next = keys.nodes.erase(next);
    // What leaves now need not leave again, with a slower stream either.
    for (std::size_t other = 0; other < stream_count; ++other) {
      place.waiting[other] = static_cast<std::uint8_t>(place.waiting[other] & ~wanted);
      if (place.waiting[other] == 0 && other != static_cast<std::size_t>(which))
        waiting_[other].nodes.erase(id);
    }
  }
  keys.last = {};
  write_loads(delta, std::move(told), now);
  if (which == stream::load)
    flush_loads(delta, limit_bytes - std::min(limit_bytes, size), now);
  return delta;
}

void shard_log::write_loads(pb::ViewDelta& delta, std::vector<std::uint32_t> slots, time_point now) {
  std::sort(slots.begin(), slots.end());
  load_columns_writer writer;
  for (auto slot : slots) {
    auto& place = places_[slot - 1];
    loads_waiting_[slot - 1] = false;
    --loads_waiting_count_;
    auto columns = std::exchange(place.columns, 0);
    if (place.settled)
      columns &= columns_changed(place.told, place.load);
    if (columns != 0)
      writer.add(slot, place.load, columns);
    told_load{slot, columns, place.load}.apply_to(place.told);
    if (!place.settled || columns_changed(place.told, place.load) == 0)
      place.settled = now;
  }
  if (writer.size() > 0)
    *delta.add_loads() = writer.finish();
}

/// The loads that wait, in turn: from the one after the last that left.
void shard_log::flush_loads(pb::ViewDelta& delta, std::size_t room, time_point now) {
  std::vector<std::uint32_t> told;
  auto begin = last_load_;
  auto end = static_cast<std::uint32_t>(places_.size());
  for (auto [from, to] : {std::pair{begin, end}, std::pair{0U, std::min(begin, end)}}) {
    for (auto place = from; place < to && loads_waiting_count_ > told.size(); ++place) {
      // Nobody knows the slot of a row that waits to be told.
      if (!loads_waiting_[place] || untold(places_[place]))
        continue;
      auto bytes = column_bytes(places_[place].load, places_[place].columns);
      // One always has room.
      if (bytes > room && !told.empty()) {
        write_loads(delta, std::move(told), now);
        return;
      }
      room -= std::min(bytes, room);
      told.push_back(place + 1);
      last_load_ = place + 1;
    }
    write_loads(delta, std::exchange(told, {}), now);
  }
}

pb::ViewDelta shard_log::beginning() const {
  auto delta = header();
  delta.set_version(version_);
  return delta;
}

pb::ViewDelta shard_log::keep_alive() const {
  auto delta = header();
  delta.set_base(version_);
  delta.set_version(version_);
  return delta;
}

pb::ViewDelta shard_log::header() const {
  pb::ViewDelta delta;
  delta.set_origin(origin_.value());
  delta.set_origin_name(name_);
  delta.set_origin_group(group_);
  delta.set_epoch(epoch_);
  delta.set_heard_within_ms(static_cast<std::uint64_t>(heard_within_.count()));
  return delta;
}

void shard_log::write_row(pb::ViewDelta& delta, std::uint32_t slot, std::uint8_t wanted, time_point now) const {
  auto& place = places_[slot - 1];
  auto& row = *delta.add_nodes();
  place.row.write_state(row);
  row.set_slot(slot);
  auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - place.heard).count();
  row.set_age_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(age, 0)));
  if ((wanted & part_profile) != 0)
    place.row.write_profile(row);
  if ((wanted & part_held) != 0)
    place.row.write_held(row);
}

bool shard_log::untold(const node_slot& place) {
  return std::any_of(place.waiting.begin(), place.waiting.end(), [](auto parts) { return (parts & part_load) != 0; });
}

bool shard_log::present(const removal& what) const {
  if (what.node)
    return slot(what.node) != 0;
  if (what.scheduler)
    return schedulers_.count(what.scheduler) != 0;
  return apps_.count(what.app) != 0;
}

} // namespace astra
