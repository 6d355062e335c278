#pragma once

#include "actors/node/capacity_book.hpp"
#include "actors/node/member_fence.hpp"
#include "actors/random.hpp"
#include "actors/supervisor/restart_budget.hpp"
#include "messages/ids.hpp"
#include "messages/wire/claim.pb.h"
#include "messages/wire/membership.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra {

/// One replica that a node holds a place for, running or not.
struct replica {
  using time_point = std::chrono::steady_clock::time_point;

  claim_token token;
  std::uint32_t index = 0;
  /// Of the scheduler that claimed it.
  std::uint64_t epoch = 0;
  std::uint64_t spec_hash = 0;
  std::shared_ptr<const pb::AppSpec> spec;
  pb::ReplicaState state = pb::REPLICA_STARTING;
  /// Why it is in this state; empty only when ready.
  std::string reason;
  time_point since;
  /// Those that it preempts: it starts when the last of them has gone.
  std::vector<claim_token> waits_for;
  restart_budget budget;
  /// What it takes in the node's profile, with the shortest reason.
  std::size_t profile_bytes = 0;
  /// Its place in a cluster, of an app that is federated.
  std::optional<pb::ClusterMember> member;
  /// Where its ports are.
  std::string host;
  std::vector<pb::NamedPort> ports;

  std::uint32_t concurrency() const { return spec->concurrency() == 0 ? 1 : spec->concurrency(); }
  /// Workers of a cluster get their work from its head.
  bool takes_requests() const { return !member || member->slot() == 0; }
  bool head() const { return member && member->slot() == 0; }
};

/// The replicas of one node and its last word on claims.  A claim is its token: told twice it is confirmed twice and
/// started once, and a token that was released is never started again, even when the release overtook the claim.  Per
/// app, whoever has an older epoch than the newest one heard of is refused.
class replica_set {
public:
  using time_point = replica::time_point;
  using label_list = std::vector<std::pair<std::string, std::string>>;

  /// Released tokens that are remembered: more than can be under way between a scheduler and a node.
  static constexpr std::size_t tombstones_max = 4096;

  /// A reason is told in so many bytes at least, and at most.
  static constexpr std::size_t reason_bytes_min = 64;
  static constexpr std::size_t reason_bytes_max = 2048;

  replica_set(node_id node, incarnation started, const pb::Resources& capacity, label_list labels);

  /// Replicas whose descriptions need more than so many bytes are not taken in: the profile could not be sent.
  void limit_profile(std::size_t replicas_bytes) { profile_room_ = replicas_bytes; }

  struct decision {
    pb::ClaimResult result;
    /// The replica is new: start it.
    bool fresh = false;
    /// They are to go, and the new one waits for them as `waits_for`.
    std::vector<claim_token> preempted;
  };

  /// Decides on one claim of `batch`; a confirmed one holds its resources from now on.  What it preempts is named only
  /// when there is no room beside it.
  decision claim(const pb::ClaimBatch& batch, const pb::Claim& claim, time_point now);

  /// Whether the replica of this token must go; false when it is unknown or the release comes from an older epoch.
  bool release(const pb::Release& release);

  /// From now on every new claim is refused.
  void drain(std::string reason);

  void set_state(claim_token token, pb::ReplicaState state, std::string reason, time_point now);

  /// Where the ports of a member of a cluster are.
  void set_location(claim_token token, std::string host, std::vector<pb::NamedPort> ports);

  /// A replica ended although nobody asked it to: it backs off, or has failed when its budget is spent.
  /// @returns the delay before it is started again.
  std::optional<std::chrono::milliseconds> crashed(claim_token token, const std::string& reason, time_point now,
                                                   random_source& random);

  /// Those that waited for replicas which are gone now.
  std::vector<claim_token> startable() const;

  /// The replica is gone: its resources are free.
  void erase(claim_token token);

  /// nullptr when there is none.
  const replica* find(claim_token token) const;

  /// Newest epoch heard of; 0 when none.
  std::uint64_t newest_epoch(const std::string& app) const;

  /// Why an app has no ready replica here, such as "replica 2: backing off, exited with code 1".
  std::string why_none_ready(const std::string& app) const;

  /// Sorted by (app, index, token).
  std::vector<pb::ReplicaStatus> describe(time_point now) const;

  std::vector<claim_token> tokens() const;

  bool empty() const { return replicas_.empty(); }

private:
  pb::ClaimOutcome check(const pb::ClaimBatch& batch, const pb::Claim& claim, std::string& reason) const;
  std::optional<std::string> why_no_room(const pb::AppSpec& spec, const pb::Claim& claim) const;
  void wait_for_victims(replica& added, const pb::Claim& claim) const;
  void bury(claim_token token);

  node_id node_;
  incarnation incarnation_;
  capacity_book capacity_;
  label_list labels_;
  std::string drain_reason_;
  bool draining_ = false;
  std::map<claim_token, replica> replicas_;
  std::size_t profile_room_ = std::numeric_limits<std::size_t>::max();
  std::size_t profile_bytes_ = 0;
  std::map<std::string, std::uint64_t> epochs_;
  member_fence fence_;
  std::set<claim_token> tombstones_;
  std::deque<claim_token> tombstone_order_;
};

/// What a replica has between the word that it is preempted and its end.
std::chrono::milliseconds preempt_notice_of(const pb::AppSpec& spec);

/// The policy of an app; the defaults of `restart_policy` for an app that states none.
restart_policy restart_policy_of(const pb::AppSpec& spec);

} // namespace astra
