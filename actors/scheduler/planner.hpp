#pragma once

#include "actors/random.hpp"
#include "actors/resource/cluster_view.hpp"
#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra {

// Where to put replicas: filter, then score.
//
// Many schedulers plan against the same view at the same time.  If all of them ranked the nodes the same way they
// would all claim the same best one, and all but one would be refused (Schwarzkopf et al., "Omega", EuroSys 2013,
// discuss the conflicts of shared state).  So each app prefers a home partition of the nodes, which the others leave
// alone while they have room in theirs, and picks at random among the good ones there: two draws, the better one
// wins (Mitzenmacher, "The Power of Two Choices", 2001).
//
// In a large cluster a plan looks at as many nodes as give it a good choice, beginning anywhere.
//
// Better is where more is left, or, for an app that is to be packed, where less is; times the probability that the node
// is still there in an hour.  With a spread over a label, values of it with fewer replicas come first.

class view_columns;

/// How often nodes of a pool are lost; nodes are of a pool when they have the same value of a label.
struct pool_hazard {
  std::string label;
  /// Evictions per node and hour, by value; empty value: nodes without the label.  A pool that is not here loses none.
  std::map<std::string, double> per_hour;
};

/// What a planner works on.
struct plan_input {
  const pb::AppSpec& spec;
  const std::map<node_id, node_entry>& nodes;
  /// Replica indices to place, the most urgent first.
  std::vector<std::uint32_t> missing;
  /// Replicas of this app on each node, running, starting or claimed: new ones go where there are fewer.
  std::map<node_id, std::uint32_t> placed;
  /// More of them, kept by who plans again and again; null: there are none.
  const std::map<node_id, std::uint32_t>* also_placed = nullptr;
  /// Those of `placed` that are not in the node's profile yet.
  std::map<node_id, std::uint32_t> claimed;
  /// Rows that are newer than those in `nodes`.
  std::map<node_id, node_row> corrections;
  /// Nodes not to be used, and why, such as "failed there: exit code 1".
  std::map<node_id, std::string> excluded;
  /// Resources that take claims now; nodes of others cannot be claimed.
  std::set<resource_id> reachable;
  /// Resources of groups that are not the app's, and those groups.
  std::map<resource_id, std::string> elsewhere;
  /// This app's partition of the nodes, in [0, partitions).
  std::uint32_t partition = 0;
  /// At least 1.
  std::uint32_t partitions = 1;
  /// Of `nodes`, to look only where the labels and accelerators are that the app needs; null: everywhere.  The plan is
  /// the same.
  const view_index* index = nullptr;
  /// Of several nodes that are as good, the one that is more likely to stay is the better.
  pool_hazard hazard;
  /// Of `nodes`, for questions to all of them; null: they are made when there is one.
  const view_columns* columns = nullptr;
  /// Where they are put when they are made; null: nowhere.
  std::optional<view_columns>* made_columns = nullptr;

  /// One more is claimed there.
  void count_claim(node_id node) {
    ++placed[node];
    ++claimed[node];
  }
};

/// Replicas of the app on the node, of `placed` and `also_placed`.
std::uint32_t placed_on(const plan_input& input, node_id node);

struct placement {
  std::uint32_t replica_index = 0;
  node_id node;
};

struct plan_result {
  /// A prefix of `missing`, in its order.
  std::vector<placement> placements;
  /// The rest of `missing`.
  std::vector<std::uint32_t> unplaced;
  /// Why the rest has no place, with the nearest miss of each kind, such as "0 of 6 nodes fit: 4 lack memory (8 GiB
  /// needed, at most 6 GiB free, on n3), 2 lack the label zone=a".  Empty when nothing is left.
  std::string reason;
};

/// Never puts more on a node than is free there.  The same input and the same state of `random` give the same plan.
plan_result plan(const plan_input& input, random_source& random);

/// What is free on a node for replicas such as `spec` describes: how many of them fit.
/// @param claimed Replicas of the spec that are claimed there and not yet in the profile.
std::uint32_t room_for(const pb::AppSpec& spec, const node_row& row, std::uint32_t claimed);

/// For plan_input: the Resources of a view whose groups are not the app's.
/// @param home As for groups_of.
std::map<resource_id, std::string> elsewhere_for(const pb::AppSpec& spec, const std::string& home,
                                                 const cluster_view& view);

/// The Resource groups whose nodes the app may have.
/// @param home Of apps that name none.
std::set<std::string> groups_of(const pb::AppSpec& spec, const std::string& home);

/// The app's partition among all apps of the view, for plan_input.
std::pair<std::uint32_t, std::uint32_t> home_partition(const std::string& app,
                                                       const std::map<std::string, app_entry>& apps);

} // namespace astra
