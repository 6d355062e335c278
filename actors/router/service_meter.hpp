#pragma once

#include "messages/ids.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace astra {

/// What the counters of one node tell of its speed, and of the requests that come to it.
///
/// Speed is completions per second of a busy slot, over the last two minutes.  Completions are few when tasks are
/// long, so they are pulled towards what the node's hardware and the other nodes let expect (`service_rate`).
///
/// A plain class: the time is an argument.  Counters that go backwards, another incarnation and a clock that does not
/// go forward begin a new interval and tell nothing of the one before.
class service_meter {
public:
  using time_point = std::chrono::steady_clock::time_point;

  struct sample {
    incarnation life;
    std::uint64_t done = 0;
    std::uint64_t failed = 0;
    std::uint64_t in_flight = 0;
    /// Slots that are busy, on average.
    double busy_slots = 0.0;
    /// How much of all this is the app's, in [0, 1].
    double share = 1.0;
  };

  /// How fast what was is forgotten.
  static constexpr double memory_s = 120.0;
  static constexpr double arrival_memory_s = 6.0;
  /// Completions that weigh as much as what is expected.
  static constexpr double prior_completions = 5.0;

  void observe(const sample& now_is, time_point now);

  /// In the time that is remembered.
  double completions() const { return completions_; }
  double busy_slot_s() const { return busy_slot_s_; }
  /// Requests per second.
  double arrival_rate() const { return std::max(0.0, arrival_rate_); }

  /// @param expected positive: the rate to begin with.
  /// @returns completions per second of a busy slot, positive.
  double service_rate(double expected) const {
    return (completions_ + prior_completions) / (busy_slot_s_ + prior_completions / expected);
  }

private:
  bool begun_ = false;
  sample last_;
  time_point last_at_;
  double completions_ = 0.0;
  double busy_slot_s_ = 0.0;
  double arrival_rate_ = 0.0;
};

/// What is expected of nodes of which little is known: completions per second of a busy slot and unit of hardware,
/// which is a core times the performance coefficient.
class service_prior {
public:
  void add(const service_meter& node, double hardware_per_slot) {
    completions_ += node.completions();
    hardware_s_ += node.busy_slot_s() * hardware_per_slot;
  }

  /// Positive.  While nothing was completed anywhere it does not matter much what it is.
  double rate(double hardware_per_slot) const {
    constexpr auto prior_s = 1.0;
    return hardware_per_slot * (completions_ + prior_s) / (hardware_s_ + prior_s);
  }

private:
  double completions_ = 0.0;
  double hardware_s_ = 0.0;
};

} // namespace astra
