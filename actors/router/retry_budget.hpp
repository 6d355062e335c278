#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace astra {

/// Bounds second starts to a share of all first starts of the last ten seconds, plus a number per second that is
/// always allowed, so that a quiet app can be helped too and a poisonous request cannot multiply itself.
/// After Finagle's RetryBudget.
class retry_budget {
public:
  using time_point = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::seconds window{10};

  /// @param share of first starts, not negative; `always` per second.
  retry_budget(double share, std::uint32_t always) : share_(share), always_(always) {}

  /// A request was started for the first time.
  void count_start(time_point now);

  /// Takes one second start out of the budget.
  /// @returns false when none is left.
  bool take(time_point now);

private:
  struct second {
    std::int64_t number = -1;
    std::uint64_t starts = 0;
    std::uint64_t retries = 0;
  };

  second& at(time_point now);

  double share_;
  std::uint32_t always_;
  /// A ring: entries of seconds that are over are reused.
  std::array<second, window.count()> seconds_;
};

} // namespace astra
