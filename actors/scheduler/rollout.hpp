#pragma once

#include "actors/scheduler/index_set.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/membership.pb.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// How far an app with an update policy is on its way to another spec, and which of its indices may go there now.
///
/// As in the rolling updates of Kubernetes there are two allowances: `max_surge` successors beside the replicas that
/// they follow, and, when these are used up, `max_unavailable` indices at which the old replica goes first.  Beyond
/// that a few canaries go ahead, and an update that fails is halted where it is: a replica of the new spec failed for
/// good, or nothing became good for the time `progress`.
///
/// Nothing here is persistent: a scheduler that starts in the middle of an update goes on with what it sees, and is
/// told when it was halted.
///
/// A plain class: the time is an argument.
class rollout {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// What the replicas of one wanted index are.  Those of draining nodes are replaced in any case and do not count.
  struct index_state {
    std::uint32_t index = 0;
    /// One of the wanted spec is there or claimed.
    bool current = false;
    /// Since when that one takes requests; none: it does not.
    std::optional<time_point> ready_since;
    /// One of another spec is there.
    bool outdated = false;
    /// A successor was allowed and may not have found a place yet.
    bool chosen = false;
    /// One of another spec takes requests.
    bool old_ready = false;
    /// Why the one of the wanted spec is not ready, for operators.
    std::string trouble;
  };

  struct step {
    /// Get a successor beside the old one.
    std::vector<std::uint32_t> beside;
    /// The old one stops first.
    std::vector<std::uint32_t> release;
  };

  /// Another spec or another policy is wanted: what happened before does not count any more.
  /// @param total Wanted replicas.
  /// @param begun Replicas of another spec are known, so that an update begins.
  void restart(std::optional<pb::UpdatePolicy> policy, std::uint32_t total, bool begun);

  /// A replica of the wanted spec failed for good; counts at the next tick, if an update is under way.
  void on_failure(std::string evidence);

  /// The update that is under way was halted before, by a scheduler that is gone.
  void halt(std::string reason);

  /// Wanted indices of which more need not be told, as most are most of the time.
  struct settled_indices {
    /// One replica is there, of the wanted spec and seasoned.
    std::uint32_t current = 0;
    /// One replica is there, which takes requests, and nothing has been done for a successor; null: nowhere.
    const index_set* outdated = nullptr;
  };

  /// Which indices may be replaced, in this step.
  /// @param indices Every wanted one that is not in `rest`, ascending.
  step tick(const std::vector<index_state>& indices, const settled_indices& rest, time_point now);
  step tick(const std::vector<index_state>& indices, time_point now) { return tick(indices, {}, now); }

  /// An update is under way or has failed.
  bool active() const { return active_; }
  bool failed() const { return !failure_.empty(); }
  /// Only the indices of a step may go to the wanted spec: old replicas that do not serve are waited for, too.
  bool frozen() const { return failed() || (active_ && !canary_passed_); }
  /// One that takes requests since then counts as replaced.  Always, without a policy.
  bool good(std::optional<time_point> ready_since, time_point now) const;
  /// The same for good: neither the time nor the end of a canary's trial makes a difference any more.
  bool seasoned(std::optional<time_point> ready_since, time_point now) const;

  /// One more old replica may stop before its successor is ready, as there is no room for both.
  bool may_release() const;
  void on_release() { ++unavailable_; }

  /// @pre active()
  pb::RolloutStatus status() const;

private:
  std::optional<pb::UpdatePolicy> policy_;
  bool active_ = false;
  bool canary_passed_ = true;
  std::uint32_t total_ = 0;
  std::uint32_t updated_ = 0;
  /// The most that were good at once, and since when; the time that no progress is measured from.
  std::uint32_t best_ = 0;
  std::optional<time_point> moved_;
  std::uint32_t unavailable_ = 0;
  /// Not judged yet.
  std::string evidence_;
  /// Why the update has failed; empty: it has not.
  std::string failure_;
};

/// How a new spec takes the place of an old one, for operators: "its replicas are replaced one at a time".
std::string update_text(const pb::AppSpec& spec);

/// What the update of an app that is not as wanted looks like, for operators; empty when there is none or it goes on.
std::string failure_text(const pb::RolloutStatus& status);

} // namespace astra
