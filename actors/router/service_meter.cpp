#include "actors/router/service_meter.hpp"

#include "actors/router/weight_bounds.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

/// Longer ones tell no more than this.
constexpr double interval_max_s = 60.0;

} // namespace

void service_meter::observe(const sample& now_is, time_point now) {
  auto was = std::exchange(last_, now_is);
  auto interval = std::chrono::duration<double>(now - std::exchange(last_at_, now)).count();
  if (!std::exchange(begun_, true) || was.life != now_is.life || interval <= 0.0 || now_is.done < was.done
      || now_is.failed < was.failed)
    return;
  interval = std::min(interval, interval_max_s);
  auto share = bounded(now_is.share, 0.0, 1.0);
  auto done = static_cast<double>(now_is.done - was.done) * share;
  auto busy = bounded(now_is.busy_slots, 0.0, most_reported) * share;
  // 1 / (1 + x) and not exp(-x): this runs for every node at every refresh.
  auto keep = memory_s / (memory_s + interval);
  completions_ = std::min(completions_ * keep + done, most_reported);
  busy_slot_s_ = busy_slot_s_ * keep + busy * interval;

  auto ended = static_cast<double>((now_is.done - was.done) + (now_is.failed - was.failed));
  auto arrived = ended + static_cast<double>(now_is.in_flight) - static_cast<double>(was.in_flight);
  // Counters of one moment may come apart, and what one interval has too much the next one has too little.
  auto rate = bounded(arrived * share / interval, -most_reported, most_reported);
  arrival_rate_ += (rate - arrival_rate_) * interval / (arrival_memory_s + interval);
}

} // namespace astra
