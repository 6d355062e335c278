#pragma once

#include "actors/router/retry_budget.hpp"
#include "messages/ids.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace astra {

/// One request on its way from node to node: which of them it has asked, where it is now, and whether it may be started
/// once more.  A plain class; whoever owns it sends the messages and keeps the promise of the answer.
///
/// A walk asks nodes in the order of the picker, at most `tries` of them.  When all refuse, the request queues at the
/// one that expects a free slot first; when that is full too, at the next best; then it is parked and begins a new walk
/// later.
class dispatch {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using milliseconds = std::chrono::milliseconds;

  enum class phase : std::uint8_t {
    /// With the router, at no node.
    parked,
    /// A node was asked for a slot and answers at once.
    asking,
    /// In the queue of a node for a slot.
    queued,
    /// Under way in a slot, begun or about to.
    running,
  };

  /// What to do next, and with which node.
  struct step {
    enum class kind : std::uint8_t { ask, queue, park };
    kind what = kind::park;
    node_id node;
  };

  /// What becomes of work that was started and did not end.
  enum class verdict : std::uint8_t {
    /// Start it again elsewhere.
    again,
    /// It must not run twice.
    not_idempotent,
    /// It has been started `starts_max` times.
    too_often,
    /// Too much work of this app is being started again.
    budget_spent,
  };

  /// The next node in turn that is none of the given; empty when there is none.
  using picker = std::function<std::optional<node_id>(std::span<const node_id>)>;

  /// Work that was lost this often is likely to be the cause.
  static constexpr std::uint32_t starts_max = 3;

  dispatch(time_point deadline, bool idempotent, std::uint32_t tries)
    : deadline_(deadline), idempotent_(idempotent), tries_max_(tries) {}

  phase where() const { return phase_; }
  /// The node that was asked, queues or runs it; none while parked.
  node_id node() const { return node_; }
  attempt_id attempt() const { return attempt_; }
  time_point deadline() const { return deadline_; }
  /// Nodes asked and starts sent, over all walks.
  std::uint32_t tries() const { return tries_; }
  std::uint32_t starts() const { return starts_; }

  /// Decides how the walk goes on; the caller does it and says so with ask, queue or park.
  step next(const picker& pick);

  void ask(node_id node, attempt_id attempt);
  void queue(node_id node, attempt_id attempt);
  void park();
  /// The slot was granted and the work is sent: from now on it counts as started.
  /// @returns true when it is the first start.
  bool start();

  /// The same work was started elsewhere, too.
  void add_starts(std::uint32_t count) { starts_ += count; }

  /// The node has no slot now but expects one in `eta`: the request may queue there.
  void offered(milliseconds eta);
  /// What was sent as a start has certainly not begun: it does not count.
  void not_started();
  /// Forgets who was asked.
  void new_walk();
  /// @pre it was started.
  verdict lost(retry_budget& budget, time_point now) const;

private:
  struct offer {
    node_id node;
    milliseconds eta;
  };

  time_point deadline_;
  bool idempotent_;
  std::uint32_t tries_max_;
  phase phase_ = phase::parked;
  node_id node_;
  attempt_id attempt_;
  std::uint32_t tries_ = 0;
  std::uint32_t starts_ = 0;
  /// Of the walk under way.
  std::vector<node_id> asked_;
  std::vector<offer> offers_;
};

} // namespace astra
