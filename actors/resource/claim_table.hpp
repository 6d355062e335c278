#pragma once

#include "actors/resource/node_row.hpp"
#include "messages/ids.hpp"
#include "messages/wire/claim.pb.h"
#include "messages/wire/membership.pb.h"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace astra {

/// Arbitration of claims on the nodes of one Resource: first come, first served, as in Omega (Schwarzkopf et al.,
/// EuroSys 2013) with fine-grained conflicts: the question is never whether the row changed, but whether the claim
/// still fits.
///
/// What is accepted is held until the node's profile shows the replica, or the claim is refused, released or has
/// expired.  The node decides in the end; holds only keep two schedulers from being sent to the same place.
///
/// A claim with `hold_ms` only reserves.  What is only reserved for a gang is taken by a gang that is older, the
/// youngest holder first (wound-wait); a claim with `preempt` counts those replicas as gone.
/// A plain class: the time is an argument.
class claim_table {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// `hold_time`: how long a hold lasts without word from the node.
  explicit claim_table(std::chrono::milliseconds hold_time) : hold_time_(hold_time) {}

  /// Why a claim is not granted; without a reason it is.
  struct refusal {
    pb::ClaimOutcome outcome = pb::CLAIM_UNKNOWN;
    std::string reason;
  };

  /// Decides on one claim.  CLAIM_CONFIRMED means: held, now ask the node; CLAIM_HELD: reserved, as was asked.  A token
  /// that is held or runs already is confirmed again and takes nothing more.
  /// @param row the node's row at its home, or null when this is not its home.
  /// @param last_word asked when nothing else is in the way, and before anything is taken from anybody.
  pb::ClaimResult arbitrate(const pb::ClaimBatch& batch, const pb::Claim& claim, const node_row* row, time_point now,
                            const std::function<refusal()>& last_word);
  pb::ClaimResult arbitrate(const pb::ClaimBatch& batch, const pb::Claim& claim, const node_row* row, time_point now) {
    return arbitrate(batch, claim, row, now, [] { return refusal{}; });
  }

  /// Epoch that fences the batch's scheduler; 0: none.  An epoch that is not fenced fences all older ones.
  std::uint64_t fence(const std::string& app, std::uint64_t epoch, time_point now);

  /// The node said yes; its profile will follow.
  void confirmed(claim_token token, time_point now);

  /// Frees one hold.
  /// @returns its node; none when there was no such hold.
  node_id release(claim_token token);

  /// Frees the holds that the profile shows as replicas.
  /// @returns true when the sum of holds changed.
  bool settle(node_id node, const pb::NodeProfile& profile);

  /// Frees every hold on the node: it restarted, left or moved.
  bool drop(node_id node);

  /// Frees holds that are due.
  /// @returns the nodes whose sum changed, in ascending order.
  std::vector<node_id> expire(time_point now);

  /// Tokens that were only reserved, so that no node was asked, and are held no more; each is told once.
  std::vector<claim_token> take_unused() { return std::exchange(unused_, {}); }

  /// Sum of the holds on a node.
  pb::Resources held(node_id node) const;

  std::size_t size() const { return holds_.size(); }

private:
  struct hold {
    node_id node;
    pb::Resources resources;
    time_point expires;
    /// No node has been asked yet.
    bool reserved = false;
    /// Of the gang it is for; all 0: none.
    std::pair<std::uint64_t, std::uint64_t> order;
  };

  struct epoch_seen {
    std::uint64_t epoch = 0;
    time_point last;
  };

  std::vector<claim_token> younger_holds(const pb::ClaimBatch& batch, const pb::Claim& claim,
                                         const pb::NodeProfile& profile) const;

  std::chrono::milliseconds hold_time_;
  std::map<claim_token, hold> holds_;
  std::map<node_id, std::map<claim_token, pb::Resources>> by_node_;
  std::map<std::string, epoch_seen> epochs_;
  /// Holds that went to an older gang, of which the younger one does not know yet.
  std::map<claim_token, time_point> wounded_;
  std::vector<claim_token> unused_;
};

/// What a node has left: capacity less the replicas that its profile shows (ended ones excepted) and `held`.  What is
/// overcommitted counts as 0.
pb::Resources free_resources(const pb::NodeProfile& profile, const pb::Resources& held);

/// Why `wanted` does not fit into `free`, such as "needs 4 cores, 1.5 free"; empty when it fits.
std::string why_no_room(const pb::Resources& wanted, const pb::Resources& free);

} // namespace astra
