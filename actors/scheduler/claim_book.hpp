#pragma once

#include "actors/random.hpp"
#include "actors/resource/cluster_view.hpp"
#include "actors/scheduler/autoscaler.hpp"
#include "actors/scheduler/federation.hpp"
#include "actors/scheduler/gang.hpp"
#include "actors/scheduler/hazard_meter.hpp"
#include "actors/scheduler/index_set.hpp"
#include "actors/scheduler/planner.hpp"
#include "actors/scheduler/prefetch_plan.hpp"
#include "actors/scheduler/rollout.hpp"
#include "actors/scheduler/view_columns.hpp"
#include "messages/group.hpp"
#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/claim.pb.h"
#include "messages/wire/control.pb.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace astra {

/// Hash of what a replica runs: the spec without the number of replicas, how they are placed, updated and scaled, and
/// how requests are spread over them, so that a change of these restarts nothing.
std::uint64_t hash_of(pb::AppSpec spec);

struct claim_book_options {
  /// A claim without an answer, or confirmed and not seen at its node, is given up after this.
  std::chrono::milliseconds claim_timeout{5000};
  /// A node that disappears from the view without having been offline may just move to another Resource: what it
  /// runs counts for this long.
  std::chrono::milliseconds vanish_grace{2000};
  /// A node where a replica failed for good gets none of this app for this long.
  std::chrono::milliseconds failure_exclusion{60000};
  /// A node that refused a claim gets none for half of this to this, at random.
  std::chrono::milliseconds refusal_exclusion{1000};
  /// An update for which the business's quota had no room for so long does without old and new side by side.
  std::chrono::milliseconds quota_patience{5000};
  /// A release is repeated at this interval until its replica is gone.
  std::chrono::milliseconds release_retry{2000};
  /// Replicas that a lost node held are placed anew at most this fast, the longest lost first.
  std::uint32_t replace_per_s = 100;
  gang_options gang;
};

/// One app's replicas: what is wanted, what nodes say they run, and what is claimed but not seen yet.  Each tick
/// turns the differences into claims and releases.
///
/// Nothing here is persistent: a replica that runs is adopted, whichever epoch claimed it, and the same rules give
/// the same answer after a restart.  Of two replicas with one index the one stays that runs the wanted spec, on a
/// node that is not draining, is ready, on a node that is not suspect, and is older, in this order.
/// A replacement (node drains, spec changed) is ready before what it replaces is released; spec changes go one index
/// at a time, and when there is no room for old and new side by side the old one goes first.  With an update policy the
/// rollout says which indices go when.
/// Of a gang all replicas are placed together or none, until all have been placed; from then on each stands for itself.
/// A replica that finds no place and has a priority takes one of replicas of lower priority.
///
/// A tick looks at the indices where something has changed or is not as it is to be, not at all of them: a large app of
/// which all is well costs nothing.  The one exception is a federated app.
///
/// A plain class: view, time and randomness are arguments.
class claim_book {
public:
  using time_point = std::chrono::steady_clock::time_point;

  claim_book(std::uint64_t epoch, claim_book_options options) : epoch_(epoch), options_(options), gang_(options.gang) {}

  /// The app is to be like this from now on.
  void want(pb::AppSpec spec);

  /// With a scale policy: the number of replicas instead of the spec's.
  void scale_to(std::uint32_t replicas, std::string reason);

  /// What it needs to know for that: how many replicas there are, by the highest index, and the load where they are.
  std::uint32_t observed() const;
  std::vector<autoscaler::node_sample> loads(const cluster_view& view) const;

  const rollout& update() const { return rollout_; }

  /// Its update was halted before this scheduler began, and why.
  void halt_update(std::string reason) { rollout_.halt(std::move(reason)); }

  /// Where an app that names no Resource groups may live.
  void set_home_group(std::string group) { home_group_ = std::move(group); }

  /// The app is to be gone.
  void remove();

  /// The next tick looks at every index, also where nothing can have changed: a test shows that this makes no
  /// difference.
  void look_everywhere();

  /// What it keeps in order to be quick is what one would find who looked at all replicas: for tests.
  bool keeps_count() const;

  /// A node's row is new or changed.
  void observe(const node_entry& entry, time_point now);

  /// A node's row left the view.
  void forget(node_id node, time_point now);

  /// What to send.  Claims and holds count as sent from now on; `on_result` or `on_no_answer` must follow for each.
  struct decision {
    std::vector<pb::Claim> claims;
    /// Claims that only reserve, for `hold`.
    std::vector<pb::Claim> holds;
    std::chrono::milliseconds hold{0};
    /// Of the gang that is being placed.
    std::optional<pb::GangOrder> gang;
    std::vector<pb::Release> releases;
  };

  /// @param reachable Resources that take claims now.
  /// @param wall_ms Since 1970 in UTC; gangs are placed in the order in which they began to wait.
  decision tick(const cluster_view& view, const std::set<resource_id>& reachable, time_point now, random_source& random,
                std::uint64_t wall_ms = 0);

  /// All that was asked for a gang is answered and it is not placed yet: the next tick need not wait.
  bool impatient(time_point now) const;

  /// A Resource's word on a claim.
  void on_result(const pb::ClaimResult& result, time_point now, random_source& random);

  /// Nothing is known about these claims: they may or may not stand.
  void on_no_answer(const std::vector<claim_token>& tokens, const std::string& reason, time_point now);

  /// Deleted, and nothing of it runs or can still come to run.
  bool gone(time_point now) const;

  /// Record (its `scheduler` and `version` left out) and every replica, running or not, sorted by index.
  pb::AppDetail describe(time_point now) const;

  /// The record of `describe`: quick where all is well, since it is asked for all the time and seldom changes.
  pb::AppRecord record(time_point now) const;

  /// Why one more replica has no place and what would give it one, as things are now; none: nothing waited for a place
  /// at the last tick.
  std::optional<pb::PlacementReport> placement(const cluster_view& view, const std::set<resource_id>& reachable,
                                               time_point now) const;

  /// Nodes that are to be told to fetch the app's contents before a replica goes there, ascending.
  std::vector<node_id> prefetch(const cluster_view& view, const std::set<resource_id>& reachable, time_point now,
                                random_source random);

  const pb::AppSpec& spec() const { return spec_; }
  /// What the node of a claim is to run.
  pb::AppSpec spec_for(const pb::Claim& claim) const {
    return claim.has_member() ? role_spec(spec_, claim.member().slot() == 0) : spec_;
  }
  std::uint64_t spec_hash() const { return spec_hash_; }
  std::size_t claims_in_flight() const { return claims_.size(); }
  const std::string& home_group() const { return home_group_; }
  const std::map<node_id, node_row>& corrections() const { return corrections_; }
  /// Nodes that get none of this app for now, and why.
  std::map<node_id, std::string> exclusions() const {
    std::map<node_id, std::string> result;
    for (auto& [id, why] : excluded_)
      result[id] = why.reason;
    return result;
  }

private:
  /// A node that runs, or ran when it was last heard of, replicas of this app.
  struct seen_node {
    std::string name;
    std::uint64_t incarnation = 0;
    pb::Liveness liveness = pb::LIVENESS_UNKNOWN;
    std::optional<time_point> vanished;
    /// When `replicas` was told.
    time_point told;
    std::map<claim_token, pb::ReplicaStatus> replicas;
    /// Of those that take requests.
    std::map<claim_token, time_point> ready_since;
  };

  /// One observed replica that counts for its index.
  struct holder {
    node_id node;
    const seen_node* where = nullptr;
    const pb::ReplicaStatus* status = nullptr;
    bool outdated = false;
    bool leaving = false;

    bool ready() const { return status->state() == pb::REPLICA_READY; }
    /// Works, if only on what it has already accepted.
    bool serving() const { return ready() || status->state() == pb::REPLICA_DRAINING; }
    claim_token token() const { return claim_token{status->token()}; }
    std::optional<time_point> ready_since() const {
      auto found = where->ready_since.find(token());
      return !ready() || found == where->ready_since.end() ? std::nullopt : std::optional{found->second};
    }
    /// Smaller is better.
    auto rank() const;
  };
  using holders_by_index = std::map<std::uint32_t, std::vector<holder>>;

  /// What a tick looks at.
  struct scope {
    /// Wanted indices, ascending.
    std::vector<std::uint32_t> indices;
    /// Of these, and of those that are not wanted any more.
    holders_by_index holders;
  };

  struct claim {
    std::uint64_t sequence = 0;
    node_id node;
    std::uint32_t index = 0;
    time_point since;
    bool confirmed = false;
    /// Of a federated app.
    pb::ClusterMember member{};
  };

  /// A token that must not run: released, or claimed with an unknown outcome.
  struct release {
    node_id node;
    std::uint32_t index = 0;
    std::string reason;
    /// Last seen or, when it never was, given up.
    time_point since;
    std::optional<time_point> sent;
    /// Claimed with an unknown outcome: may still come to run.
    bool doubtful = false;
    /// It gets no time for what it works on.
    bool at_once = false;
  };

  /// What is remembered of an index between ticks.
  struct slot {
    /// Something ran or started there and we did not end it.
    bool held = false;
    std::optional<time_point> lost;
    /// Its replacement with a new spec is under way.
    bool updating = false;
    /// The last replica failed for good, and why; until one is ready.
    std::string failure;
    /// Why nothing could be claimed at the last tick.
    std::string unplaced;
  };

  struct exclusion {
    time_point until;
    std::string reason;
  };

  /// What a tick wants placed, by urgency.
  struct wishes {
    /// Nothing serves.
    std::vector<std::uint32_t> place;
    /// Something serves and is to be replaced.
    std::vector<std::uint32_t> move;
  };

  using seen_nodes = std::map<node_id, seen_node>;
  using replicas_by_token = std::map<claim_token, pb::ReplicaStatus>;

  bool lost(const seen_node& node) const { return node.liveness == pb::LIVENESS_OFFLINE; }
  bool counts(const seen_node& node) const;
  std::uint32_t wanted() const { return deleting_ ? 0 : scaled_ ? *scaled_ : spec_.replicas(); }
  bool claimed(std::uint32_t index) const;
  void drop_claim(claim_token token);
  std::uint64_t grace_ms() const { return spec_.request_timeout_ms(); }
  /// Clusters wanted of a federated app.
  std::uint32_t clusters() const { return deleting_ ? 0 : spec_.federation().clusters(); }

  void note_changes(node_id id, const seen_node& node, const replicas_by_token& before, bool all);
  seen_nodes::iterator unsee(seen_nodes::iterator node);
  void count_on(node_id id);
  void reopen(std::uint32_t index);
  void end(claim_token token, release what);
  bool try_end(claim_token token, release what);
  void on_ended(claim_token token, node_id node);
  std::vector<holder> holders_at(std::uint32_t index) const;
  holders_by_index all_holders() const;
  scope open_scope() const;
  void look_at(scope& what, std::uint32_t index) const;
  void close_settled(time_point now);
  bool is_settled(const holder& only, time_point now) const;
  static bool is_still(const slot& what);

  void expire(const cluster_view& view, time_point now);
  /// Without what is missing.
  plan_input input_for(const pb::AppSpec& spec, const cluster_view& view, const std::set<resource_id>& reachable,
                       time_point now) const;
  void release_failed(time_point now);
  pb::Claim new_claim(std::uint32_t index, node_id node, std::uint64_t incarnation);
  void count_claim(const pb::Claim& message, time_point now);
  bool gang_waits(const scope& looked, time_point now);
  void place_gang(const wishes& wanted, const cluster_view& view, const std::set<resource_id>& reachable,
                  time_point now, random_source& random, decision& out);
  void ask_to_hold(std::uint32_t index, node_id node, std::vector<std::uint64_t> victims, const cluster_view& view,
                   time_point now, decision& out);
  void drop_places(const std::function<bool(const gang::place&)>& which, const std::string& reason, time_point now);
  void give_gang_up(time_point now, random_source& random);
  void exclude_refused(node_id node, const pb::ClaimResult& result, time_point now, random_source& random);
  void preempt(std::vector<std::uint32_t>& unplaced, plan_input input, const cluster_view& view, time_point now,
               random_source& random, decision& out);
  /// What `tick` does for a federated app instead of counting replicas.
  void federate(const cluster_view& view, const std::set<resource_id>& reachable, time_point now, random_source& random,
                decision& out);
  std::vector<member_sight> sights() const;
  bool room_without(const std::vector<const member_sight*>& gone, std::uint32_t index, const cluster_view& view,
                    const std::set<resource_id>& reachable, time_point now, random_source random) const;
  void place_members(const std::vector<federation::place_wish>& wishes, bool heads, const cluster_view& view,
                     const std::set<resource_id>& reachable, time_point now, random_source& random, decision& out);
  wishes review(const scope& looked, time_point now);
  void start_update(scope& looked, wishes& out);
  void roll_out(scope& looked, time_point now);
  void place(const wishes& wanted, const holders_by_index& holders, const cluster_view& view,
             const std::set<resource_id>& reachable, time_point now, random_source& random, decision& out);
  plan_result plan_and_keep_columns(plan_input& input, random_source& random);
  void over_quota(const std::string& reason, time_point now, random_source& random);
  void wait_for_quota(const wishes& wanted, const holders_by_index& holders, time_point now);
  bool place_is_taken_by(const holder& old, const cluster_view& view, const plan_input& input,
                         random_source& random) const;
  void release_holder(const holder& what, std::string reason, time_point now);
  void send_releases(const cluster_view& view, const std::set<resource_id>& reachable, time_point now, decision& out);
  void head(pb::AppRecord& record) const;
  std::vector<pb::ReplicaStatus> rows_at(std::uint32_t index, time_point now) const;
  std::uint32_t states_at(std::uint32_t index) const;
  std::string last_words(time_point now) const;

  std::uint64_t epoch_;
  claim_book_options options_;
  pb::AppSpec spec_;
  std::string home_group_ = main_group;
  std::uint64_t spec_hash_ = 0;
  bool deleting_ = false;
  rollout rollout_;
  std::optional<std::uint32_t> scaled_;
  std::string scale_reason_;
  std::uint64_t sequence_ = 0;
  seen_nodes seen_;
  // What is in `seen_`, to be found quickly: replicas by index, those that failed for good, nodes that have vanished,
  // and replicas that count by node.
  std::set<std::tuple<std::uint32_t, node_id, claim_token>> sightings_;
  std::set<std::pair<node_id, claim_token>> failed_;
  std::set<node_id> vanished_;
  std::map<node_id, std::uint32_t> holders_on_;
  std::map<claim_token, claim> claims_;
  std::set<std::pair<std::uint32_t, claim_token>> claims_by_index_;
  std::map<claim_token, release> released_;
  std::map<std::uint32_t, slot> slots_;
  /// Indices where the next tick may find something to do; of a federated app none.  Of any other one that is wanted a
  /// single replica is there, which takes requests and may stay where it is, and is of the wanted spec or, those in
  /// `outdated_`, of another one that nothing is done about yet.
  index_set open_;
  index_set outdated_;
  /// Of a federated app.
  std::optional<federation> federation_;
  /// How often the app has become one.
  std::uint32_t federated_ = 0;
  std::map<node_id, exclusion> excluded_;
  /// Rows that came with refusals, until the view has something newer.
  std::map<node_id, node_row> corrections_;
  hazard_meter hazard_;
  prefetch_plan prefetch_;
  gang gang_;
  /// Of all nodes, while something has no place and it must be said again and again why.
  std::optional<view_columns> columns_;
  /// Why the business's quota has no room, and until when that is not asked again; empty: nothing waits for it.
  std::string quota_reason_;
  time_point quota_wait_;
  /// Since when nothing of what was claimed was granted.
  time_point quota_since_;
  /// Since when a replacement waits for it.
  std::optional<time_point> quota_move_since_;
  /// Times of the replacements of the last second.
  std::deque<time_point> replacements_;
};

} // namespace astra
