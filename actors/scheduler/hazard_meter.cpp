#include "actors/scheduler/hazard_meter.hpp"

#include <algorithm>

namespace astra {

std::int64_t hazard_meter::minute_of(time_point now) {
  return std::chrono::duration_cast<std::chrono::minutes>(now.time_since_epoch()).count();
}

void hazard_meter::observe(const node_entry& entry, time_point now) {
  if (entry.row.liveness() != pb::LIVENESS_OFFLINE) {
    offline_.erase(entry.id());
    return;
  }
  if (!offline_.insert(entry.id()).second)
    return;
  std::string pool;
  for (auto& label : entry.row.shape().labels())
    if (label.key() == label_)
      pool = label.value();
  auto& counter = pools_[pool];
  auto minute = minute_of(now);
  auto place = static_cast<std::size_t>(minute) % minutes;
  if (counter.minute[place] != minute)
    counter.lost[place] = 0;
  counter.minute[place] = minute;
  ++counter.lost[place];
}

pool_hazard hazard_meter::rates(const view_index& index, std::size_t nodes, time_point now) const {
  pool_hazard result;
  result.label = label_;
  auto& by_value = index.label(label_);
  auto others = nodes;
  for (auto& [value, list] : by_value)
    others -= std::min(others, list.size());
  auto minute = minute_of(now);
  for (auto& [pool, counter] : pools_) {
    std::uint64_t lost = 0;
    for (std::size_t i = 0; i < minutes; ++i)
      if (minute - counter.minute[i] < static_cast<std::int64_t>(minutes))
        lost += counter.lost[i];
    if (lost == 0)
      continue;
    auto of_pool = pool.empty() ? others : view_index::list(by_value, pool).size();
    // Nodes that came and went within the hour are not there any more.
    result.per_hour[pool] = static_cast<double>(lost) / static_cast<double>(std::max<std::size_t>(of_pool, 1));
  }
  return result;
}

} // namespace astra
