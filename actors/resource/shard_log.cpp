#include "actors/resource/shard_log.hpp"

#include "actors/resource/load_columns.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

/// Around each row on the wire.
constexpr std::size_t frame_bytes = 8;
constexpr std::uint8_t all_columns = 0xff;

} // namespace

shard_log::shard_log(resource_id origin, std::string name, std::uint64_t epoch, std::chrono::milliseconds heard_within)
  : origin_(origin), name_(std::move(name)), epoch_(epoch), heard_within_(heard_within) {}

const node_row* shard_log::find(node_id id) const {
  auto slot = slot_of(id);
  return slot ? &slot->row : nullptr;
}

node_row& shard_log::change(node_id id, std::uint8_t parts_changed, stream when) {
  auto known = slot_of(id);
  auto& slot = known ? *known : *(slots_[id] = &nodes_[id]);
  if (!known)
    take_number(slot);
  slot.row.set_node(id.value());
  if ((parts_changed & part_load) != 0) {
    slot.settled.reset();
    want_load(slot, all_columns);
  }
  if (parts_changed == 0)
    return slot.row;
  slot.waiting[static_cast<std::size_t>(when)] |= parts_changed;
  waiting(when).nodes.insert(id);
  return slot.row;
}

void shard_log::heard(node_id id, const pb::NodeLoad& load, time_point when) {
  auto slot = slot_of(id);
  if (!slot)
    return;
  slot->heard = when;
  slot->load = node_load{load};
  if (!slot->settled)
    return;
  auto columns = columns_worth_telling(slot->told, slot->load);
  if (when - *slot->settled >= settle)
    columns |= columns_changed(slot->told, slot->load);
  if (columns != 0)
    want_load(*slot, columns);
}

const node_load* shard_log::load(node_id id) const {
  auto slot = slot_of(id);
  return slot ? &slot->load : nullptr;
}

void shard_log::take_number(node_slot& slot) {
  if (free_numbers_.empty()) {
    numbers_.push_back(nullptr);
    loads_waiting_.push_back(false);
    slot.number = static_cast<std::uint32_t>(numbers_.size());
  } else {
    slot.number = *free_numbers_.begin();
    free_numbers_.erase(free_numbers_.begin());
  }
  numbers_[slot.number - 1] = &slot;
}

void shard_log::want_load(node_slot& slot, std::uint8_t columns) {
  slot.columns |= columns;
  if (loads_waiting_[slot.number - 1])
    return;
  loads_waiting_[slot.number - 1] = true;
  ++loads_waiting_count_;
}

void shard_log::remove(node_id id) {
  auto slot = slot_of(id);
  if (!slot)
    return;
  auto place = slot->number - 1;
  if (loads_waiting_[place])
    --loads_waiting_count_;
  loads_waiting_[place] = false;
  numbers_[place] = nullptr;
  free_numbers_.insert(slot->number);
  slots_.erase(id);
  nodes_.erase(id);
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
  std::vector<std::uint32_t> numbers;
  while (!keys.nodes.empty()) {
    auto next = keys.nodes.upper_bound(keys.last);
    if (next == keys.nodes.end())
      next = keys.nodes.begin();
    auto id = *next;
    auto& slot = *slots_.at(id);
    auto wanted = slot.waiting[static_cast<std::size_t>(which)];
    write_row(delta, slot, wanted, now);
    if (!fits(*delta.nodes().rbegin())) {
      delta.mutable_nodes()->RemoveLast();
      write_loads(delta, std::move(numbers), now);
      return delta;
    }
    if (loads_waiting_[slot.number - 1]) {
      size += column_bytes(slot.load, slot.columns);
      numbers.push_back(slot.number);
    }
    keys.last = id;
    keys.nodes.erase(next);
    // What leaves now need not leave again, with a slower stream either.
    for (std::size_t other = 0; other < stream_count; ++other) {
      slot.waiting[other] = static_cast<std::uint8_t>(slot.waiting[other] & ~wanted);
      if (slot.waiting[other] == 0)
        waiting_[other].nodes.erase(id);
    }
  }
  keys.last = {};
  write_loads(delta, std::move(numbers), now);
  if (which == stream::load)
    flush_loads(delta, limit_bytes - std::min(limit_bytes, size), now);
  return delta;
}

void shard_log::write_loads(pb::ViewDelta& delta, std::vector<std::uint32_t> numbers, time_point now) {
  std::sort(numbers.begin(), numbers.end());
  load_columns_writer writer;
  for (auto number : numbers) {
    auto& slot = *numbers_[number - 1];
    loads_waiting_[number - 1] = false;
    --loads_waiting_count_;
    auto columns = std::exchange(slot.columns, 0);
    if (slot.settled)
      columns &= columns_changed(slot.told, slot.load);
    if (columns != 0)
      writer.add(number, slot.load, columns);
    told_load{number, columns, slot.load}.apply_to(slot.told);
    if (!slot.settled || columns_changed(slot.told, slot.load) == 0)
      slot.settled = now;
  }
  if (writer.size() > 0)
    *delta.add_loads() = writer.finish();
}

/// The loads that wait, in turn: from the one after the last that left.
void shard_log::flush_loads(pb::ViewDelta& delta, std::size_t room, time_point now) {
  std::vector<std::uint32_t> numbers;
  auto begin = last_load_;
  auto end = static_cast<std::uint32_t>(numbers_.size());
  for (auto [from, to] : {std::pair{begin, end}, std::pair{0U, std::min(begin, end)}}) {
    for (auto place = from; place < to && loads_waiting_count_ > numbers.size(); ++place) {
      // Nobody knows the slot of a row that waits to be told.
      if (!loads_waiting_[place] || untold(*numbers_[place]))
        continue;
      auto bytes = column_bytes(numbers_[place]->load, numbers_[place]->columns);
      // One always has room.
      if (bytes > room && !numbers.empty()) {
        write_loads(delta, std::move(numbers), now);
        return;
      }
      room -= std::min(bytes, room);
      numbers.push_back(place + 1);
      last_load_ = place + 1;
    }
    write_loads(delta, std::exchange(numbers, {}), now);
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
  delta.set_epoch(epoch_);
  delta.set_heard_within_ms(static_cast<std::uint64_t>(heard_within_.count()));
  return delta;
}

void shard_log::write_row(pb::ViewDelta& delta, const node_slot& slot, std::uint8_t wanted, time_point now) const {
  auto& row = *delta.add_nodes();
  slot.row.write_state(row);
  row.set_slot(slot.number);
  auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - slot.heard).count();
  row.set_age_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(age, 0)));
  if ((wanted & part_profile) != 0)
    slot.row.write_profile(row);
  if ((wanted & part_held) != 0)
    slot.row.write_held(row);
}

bool shard_log::untold(const node_slot& slot) {
  return std::any_of(slot.waiting.begin(), slot.waiting.end(), [](auto parts) { return (parts & part_load) != 0; });
}

shard_log::node_slot* shard_log::slot_of(node_id id) const {
  auto found = slots_.find(id);
  return found == slots_.end() ? nullptr : found->second;
}

bool shard_log::present(const removal& what) const {
  if (what.node)
    return slot_of(what.node) != nullptr;
  if (what.scheduler)
    return schedulers_.count(what.scheduler) != 0;
  return apps_.count(what.app) != 0;
}

} // namespace astra
