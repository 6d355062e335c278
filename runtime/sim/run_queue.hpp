#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/draw.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace astra::sim {

/// An actor that can run.
struct job {
  /// Number of the actor.
  std::uint64_t actor = 0;
  /// The causal chain that woke it.
  std::uint64_t chain = 0;
  /// Number of the event that woke it.
  std::uint64_t cause = 0;
  /// The caller's.
  void* what = nullptr;
};

/// Decides which of several runnable actors goes next.
///
/// fifo and random say it all.  pct gives every actor a random priority and lowers the running one's at a few random
/// steps (Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010).
/// pctcp does the same for causal chains (Ozkan et al., "Randomized testing of distributed systems with probabilistic
/// guarantees", OOPSLA 2018): the odds of an ordering bug then do not fall with the length of the chains.
class run_queue {
public:
  /// @param policy not mixed.
  /// @param depth priority changes, spread over the first `steps` steps.
  run_queue(schedule_policy policy, std::uint32_t depth, std::uint64_t steps, draws random);

  /// What `mixed` means for this seed.
  static schedule_policy choose(schedule_policy policy, const draws& random);

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  void push(const job& what);

  /// @pre not empty
  job pop();

  /// Takes the job of one actor out.  @returns false when it has none.
  bool take(std::uint64_t actor, job& what);

  /// Takes every job out, in the order in which they were pushed.
  std::vector<job> drain();

private:
  struct waiting {
    std::uint64_t order = 0;
    job what;
  };

  std::uint64_t priority(const job& what);

  schedule_policy policy_;
  draws random_;
  std::size_t size_ = 0;
  std::uint64_t pushed_ = 0;
  std::uint64_t popped_ = 0;
  std::deque<job> line_;
  std::vector<job> bag_;
  /// By priority, highest first, then by order.
  std::map<std::pair<std::uint64_t, std::uint64_t>, job> ranks_;
  /// Steps at which the running one's priority falls, in order.
  std::vector<std::uint64_t> changes_;
  std::size_t next_change_ = 0;
  /// Priorities that have fallen, by actor or chain.
  std::map<std::uint64_t, std::uint64_t> fallen_;
};

} // namespace astra::sim
