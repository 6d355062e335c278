#pragma once

#include "actors/platform.hpp"
#include "messages/wire/membership.pb.h"

#include <chrono>
#include <cstdint>

namespace astra {

/// Turns growing counters and the number of requests in progress into the averages that a heartbeat reports.
/// Weights are made of averages because an instant says nothing about a node that works on two tasks of ten seconds.
/// Every value is finite and in range for any input: counters that go backwards, are not numbers, or a clock that
/// stands still.
class load_meter {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// A report sooner than this after the last one repeats it: the averages of a few milliseconds are noise.
  static constexpr std::chrono::milliseconds interval_min{100};

  /// @param cores that the node may use; the reported busy cores are at most that many.
  load_meter(double cores, const machine_sample& first, time_point now);

  void set_running(std::uint32_t running, time_point now);

  /// Averages since the last report; `queued` and the counts of requests are left to the caller.
  pb::NodeLoad report(const machine_sample& sample, time_point now);

private:
  void integrate(time_point now);

  double cores_;
  machine_sample last_;
  time_point window_start_;
  time_point integrated_;
  std::uint32_t running_ = 0;
  /// Requests times seconds since `window_start_`.
  double request_s_ = 0.0;
  pb::NodeLoad averages_;
};

} // namespace astra
