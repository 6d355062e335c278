#include "actors/resource/shard_log.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

/// Around each row on the wire.
constexpr std::size_t frame_bytes = 8;

} // namespace

shard_log::shard_log(resource_id origin, std::string name, std::uint64_t epoch)
  : origin_(origin), name_(std::move(name)), epoch_(epoch) {}

const pb::NodeRow* shard_log::find(node_id id) const {
  auto slot = slot_of(id);
  return slot ? &slot->row : nullptr;
}

pb::NodeRow& shard_log::change(node_id id, std::uint8_t parts_changed, stream when) {
  auto known = slot_of(id);
  auto& slot = known ? *known : *(slots_[id] = &nodes_[id]);
  slot.row.set_node(id.value());
  slot.waiting[static_cast<std::size_t>(when)] |= parts_changed;
  waiting(when).nodes.insert(id);
  return slot.row;
}

void shard_log::heard(node_id id, time_point when) {
  if (auto slot = slot_of(id))
    slot->heard = when;
}

void shard_log::remove(node_id id) {
  slots_.erase(id);
  if (nodes_.erase(id) == 0)
    return;
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
  return !waiting_[static_cast<std::size_t>(which)].empty();
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
      return delta;
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
  return delta;
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
  return delta;
}

void shard_log::write_row(pb::ViewDelta& delta, const node_slot& slot, std::uint8_t wanted, time_point now) const {
  auto& row = *delta.add_nodes();
  row.set_node(slot.row.node());
  row.set_incarnation(slot.row.incarnation());
  row.set_home_epoch(slot.row.home_epoch());
  row.set_liveness(slot.row.liveness());
  row.set_reason(slot.row.reason());
  row.set_sequence(slot.row.sequence());
  auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now - slot.heard).count();
  row.set_age_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(age, 0)));
  if ((wanted & part_load) && slot.row.has_load())
    *row.mutable_load() = slot.row.load();
  if ((wanted & part_profile) && slot.row.has_profile())
    *row.mutable_profile() = slot.row.profile();
  if ((wanted & part_held) && slot.row.has_held())
    *row.mutable_held() = slot.row.held();
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
