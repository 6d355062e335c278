#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>

namespace astra {

/// Tells a node that comes and goes from one that came back.  Every return adds 1 to a penalty that halves every 30 s,
/// as BGP damps routes that flap (RFC 2439).  From `hold` on the node is not trusted until the penalty is down to
/// `release`: about four returns within half a minute, and then for half a minute.
/// A plain class: the time is an argument.
class flap_damper {
public:
  using time_point = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::seconds half_life{30};
  static constexpr double hold = 3.0;
  static constexpr double release = 1.5;

  /// The node is back.
  void returned(time_point now) {
    penalty_ = penalty(now) + 1.0;
    at_ = now;
    ++returns_;
    if (penalty_ >= hold)
      held_until_ = now + wait();
  }

  bool held(time_point now) const { return now < held_until_; }
  time_point held_until() const { return held_until_; }
  /// Since its row is here.
  unsigned returns() const { return returns_; }

private:
  double penalty(time_point now) const {
    return penalty_ == 0.0 ? 0.0 : penalty_ * std::exp2(-seconds(now - at_) / seconds(half_life));
  }

  std::chrono::milliseconds wait() const {
    return std::chrono::milliseconds{
        static_cast<std::int64_t>(1000.0 * seconds(half_life) * std::log2(penalty_ / release))};
  }

  static double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

  double penalty_ = 0.0;
  time_point at_{};
  time_point held_until_{};
  unsigned returns_ = 0;
};

} // namespace astra
