#pragma once

#include "messages/ids.hpp"
#include "messages/wire/route.pb.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// Admission of one app's requests at one node: a slot is asked for before the body travels, and a request that has to
/// wait is bound to a replica only when one is free (late binding; Sparrow, SOSP 2013).  Nothing has started before
/// `use`.  At any time the slots held and used of an open replica are at most its concurrency.
class admission {
public:
  using time_point = std::chrono::steady_clock::time_point;

  struct limits {
    /// Requests that may wait, per slot.
    std::uint32_t queue_per_slot = 2;
    /// A granted slot that is not used within this time is free again.
    std::chrono::nanoseconds hold{std::chrono::seconds{2}};
  };

  /// The one answer to a `reserve`.
  struct answer {
    attempt_id attempt;
    pb::ReserveOutcome outcome = pb::RESERVE_UNKNOWN;
    /// Empty when granted.
    std::string reason;
  };

  explicit admission(limits options) : limits_(options) {}

  /// A replica is ready for work.
  /// @pre `concurrency` is positive.
  void open(claim_token replica, std::uint32_t concurrency, time_point now);

  /// A replica takes no more requests; those it works on go on.  Slots held at it move to others or are lost.
  void close(claim_token replica, time_point now);

  /// A replica is gone, and so is what it worked on.
  void remove(claim_token replica, time_point now);

  /// Asks for a slot; answered now or within `may_wait`, exactly once, through `take_answers`.
  void reserve(attempt_id attempt, std::chrono::nanoseconds may_wait, time_point now);

  /// Turns a held slot into a used one.
  /// @returns the replica to work on it, nothing when the slot is not held (any more).
  std::optional<claim_token> use(attempt_id attempt, time_point now);

  /// Frees a used slot.  Only completed work tells something about service times.
  void finish(attempt_id attempt, bool completed, time_point now);

  /// Takes back a reservation that waits (answered as cancelled) or is held.
  /// @returns false when there is none.
  bool cancel(attempt_id attempt, time_point now);

  /// Refuses everything from now on, also what waits.  Slots held may still be used.
  void drain();

  /// Ends holds and waits whose time is over, and gives free slots to those who wait.
  void expire(time_point now);

  /// When `expire` has something to do next.
  std::optional<time_point> next_expiry() const;

  /// Answers since the last call, in the order in which they were decided.
  std::vector<answer> take_answers();

  /// Of open replicas.
  std::uint32_t slots() const;
  std::uint32_t running() const { return static_cast<std::uint32_t>(running_.size()); }
  std::uint32_t running(claim_token replica) const;
  std::uint32_t held() const { return static_cast<std::uint32_t>(held_.size()); }
  std::uint32_t queued() const { return static_cast<std::uint32_t>(queue_.size()); }
  bool idle() const { return running_.empty() && held_.empty() && queue_.empty(); }

  /// Expected time until a slot is free for one more request; zero when one is free now.
  std::chrono::milliseconds eta() const;

private:
  struct replica {
    std::uint32_t concurrency = 0;
    /// Slots held and used.
    std::uint32_t busy = 0;
    std::uint64_t granted = 0;
    bool open = true;
  };
  struct hold {
    claim_token replica;
    time_point expiry;
  };
  struct run {
    claim_token replica;
    time_point started;
  };
  struct waiter {
    attempt_id attempt;
    time_point deadline;
  };

  /// The open replica with the smallest busy share; of equal ones the one that was chosen least often.
  std::map<claim_token, replica>::iterator pick();
  void release_slot(claim_token replica);
  void move_holds(claim_token from);
  void grant_waiting(time_point now);
  void decide(attempt_id attempt, pb::ReserveOutcome outcome, std::string reason);

  limits limits_;
  std::map<claim_token, replica> replicas_;
  std::map<attempt_id, hold> held_;
  std::map<attempt_id, run> running_;
  std::deque<waiter> queue_;
  std::vector<answer> answers_;
  bool draining_ = false;
  /// Moving average of service times; a second until something has finished.
  double service_s_ = 1.0;
  bool measured_ = false;
};

} // namespace astra
