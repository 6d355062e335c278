#pragma once

#include "actors/random.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

namespace astra {

/// How often and how fast something that dies may be started again.
struct restart_policy {
  std::chrono::milliseconds backoff_min{100};
  std::chrono::milliseconds backoff_max{30000};
  /// Whatever stayed up this long starts again without delay.
  std::chrono::milliseconds healthy_after{60000};
  /// Restarts allowed in `budget_window`; 0: never restart.
  std::uint32_t budget = 5;
  std::chrono::milliseconds budget_window{60000};
};

/// Backoff and budget of one child.  The first restart is immediate; the following ones wait `backoff_min`, doubling
/// up to `backoff_max`, each shortened at random to between a half and the whole, so that children that died together
/// do not come back together.
class restart_budget {
public:
  using time_point = std::chrono::steady_clock::time_point;

  explicit restart_budget(restart_policy policy = {}) : policy_(policy) {}

  /// Decides after an abnormal end at `now`.
  /// @param uptime how long the child had been healthy; zero when it never was.
  /// @returns the delay before the next start, nothing when the budget is spent.
  std::optional<std::chrono::milliseconds> next_delay(time_point now, std::chrono::nanoseconds uptime,
                                                      random_source& random);

  /// Restarts granted in all.
  std::uint32_t restarts() const { return restarts_; }

  /// Restarts granted within the window that ended at the last decision.
  std::uint32_t recent() const { return static_cast<std::uint32_t>(recent_.size()); }

  const restart_policy& policy() const { return policy_; }

private:
  restart_policy policy_;
  /// Times of the restarts within the window, at most `budget` of them.
  std::deque<time_point> recent_;
  /// Failures in a row without a healthy time between them.
  std::uint32_t streak_ = 0;
  std::uint32_t restarts_ = 0;
};

} // namespace astra
