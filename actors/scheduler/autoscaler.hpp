#pragma once

#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace astra {

/// How many replicas an app with a scale policy is to have.
///
/// Utilisation is followed as by the Horizontal Pod Autoscaler of Kubernetes: ready replicas x measured / target,
/// rounded up, and nothing within 10 % of the target.  The time in the queue comes from Little's law: requests that
/// wait / requests done per second.  The larger number counts.  Up goes at most to the double, or by four, at a time;
/// down goes to the largest number that was right at any moment of the last `down_after`.
///
/// Nothing here is persistent: a new one begins with the number that it is given.
///
/// A plain class: the time is an argument.
class autoscaler {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// One node with ready replicas of the app.  What is told of the whole node is the app's in proportion to its slots
  /// there.
  struct node_sample {
    node_id node;
    std::uint64_t incarnation = 0;
    /// Ready replicas, and their slots.
    std::uint32_t ready = 0;
    std::uint32_t slots = 0;
    /// Of all apps there.
    std::uint32_t all_slots = 0;
    /// Requests in progress, time average.
    double running = 0;
    double queued = 0;
    /// Answered since the node's start, with or without success.
    std::uint64_t done = 0;
  };

  /// @param why Of the first number.
  autoscaler(pb::ScalePolicy policy, std::uint32_t replicas, const std::string& why, time_point now);

  void set_policy(pb::ScalePolicy policy) { policy_ = std::move(policy); }

  /// Loads are told once per second: more often there is nothing new to see.
  bool due(time_point now) const { return !sampled_ || now - *sampled_ >= std::chrono::seconds{1}; }

  /// @param hold Look, but change nothing but what the bounds demand.
  /// @returns whether the number has changed.
  bool tick(const std::vector<node_sample>& nodes, bool hold, time_point now);

  std::uint32_t replicas() const { return replicas_; }
  /// "7: 92 % of slots busy, target 60 %"
  const std::string& reason() const { return reason_; }

private:
  struct totals {
    time_point at;
    std::uint32_t ready = 0;
    double slots = 0;
    double busy = 0;
    double queued = 0;
    double done_per_s = 0;
  };
  struct wish {
    std::uint32_t replicas = 0;
    std::string why;
  };

  totals add_up(const std::vector<node_sample>& nodes, time_point now);
  wish recommend() const;
  void change_to(std::uint32_t replicas, const std::string& why, time_point now);
  std::uint32_t bounded(std::uint32_t replicas) const;

  pb::ScalePolicy policy_;
  std::uint32_t replicas_ = 0;
  std::string reason_;
  /// When the number was changed last, or this one began.
  time_point changed_;
  std::optional<time_point> sampled_;
  /// Counters as they were at the last tick.
  std::map<node_id, std::pair<std::uint64_t, std::uint64_t>> done_;
  /// Since the last change, at most `up_after` and ten seconds old.
  std::deque<totals> samples_;
  /// Falling numbers: the first one is the largest of the last `down_after`.
  std::deque<std::pair<time_point, wish>> wishes_;
};

} // namespace astra
