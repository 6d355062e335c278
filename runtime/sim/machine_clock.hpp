#pragma once

#include <cstdint>

namespace astra::sim {

/// A machine's own clock against the world's.  All times in nanoseconds.
class machine_clock {
public:
  /// Shows `local` when the world's time is 0.
  explicit machine_clock(std::int64_t local = 0) : local_(local) {}

  std::int64_t local(std::int64_t now) const {
    auto passed = now - world_;
    return local_ + passed + scaled(passed, drift_ppb_);
  }

  /// From now on it runs this many millionths faster.
  void set_drift(double ppm, std::int64_t now) {
    local_ = local(now);
    world_ = now;
    drift_ppb_ = static_cast<std::int64_t>(ppm * 1000.0);
  }

  /// World time at which it will show `when`, if it keeps its pace; now when it does already.
  std::int64_t due(std::int64_t when, std::int64_t now) const {
    auto wait = when - local(now);
    if (wait <= 0)
      return now;
    if (drift_ppb_ == 0)
      return now + wait;
    __extension__ using wide = __int128;
    auto rate = std::int64_t{1'000'000'000} + drift_ppb_;
    // Rounded up: a timer never fires before its time.
    return now + static_cast<std::int64_t>((static_cast<wide>(wait) * 1'000'000'000 + rate - 1) / rate);
  }

private:
  static std::int64_t scaled(std::int64_t duration, std::int64_t ppb) {
    // The usual case, and dividing numbers of 128 bits takes as long as the rest of a look at the clock.
    if (ppb == 0)
      return 0;
    __extension__ using wide = __int128;
    return static_cast<std::int64_t>(static_cast<wide>(duration) * ppb / 1'000'000'000);
  }

  std::int64_t local_ = 0;
  std::int64_t world_ = 0;
  std::int64_t drift_ppb_ = 0;
};

} // namespace astra::sim
