#include "actors/supervisor/restart_budget.hpp"

#include "actors/mutant.hpp"

#include <algorithm>

namespace astra {

std::optional<std::chrono::milliseconds> restart_budget::next_delay(time_point now, std::chrono::nanoseconds uptime,
                                                                    random_source& random) {
  if (uptime >= policy_.healthy_after)
    streak_ = 0;
  while (!recent_.empty() && now - recent_.front() >= policy_.budget_window && !MUTANT(restart_budget_never_resets))
    recent_.pop_front();
  if (recent_.size() >= policy_.budget && !MUTANT(restart_budget_ignored))
    return std::nullopt;
  recent_.push_back(now);
  ++restarts_;
  std::chrono::milliseconds delay{0};
  if (streak_ > 0) {
    delay = std::min(policy_.backoff_min, policy_.backoff_max);
    for (std::uint32_t i = 1; i < streak_ && delay < policy_.backoff_max; ++i)
      delay = std::min(delay * 2, policy_.backoff_max);
    delay = std::chrono::duration_cast<std::chrono::milliseconds>(delay * (0.5 + 0.5 * random.unit()));
  }
  ++streak_;
  return delay;
}

} // namespace astra
