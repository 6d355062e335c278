#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/control.pb.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace astra {

// What applying a spec would do: the scheduler's own planner, run on a copy of what its next step would see, with
// places given up and taken as the replicas follow each other.
//
// Among equally good nodes a scheduler draws by chance, so that many of them do not run into each other (planner.hpp).
// A plan draws from the spec and its revision: the same world gives the same plan, which can be compared.  Where the
// scheduler then draws another node, that one is as good.

/// What a plan is made from.
struct app_plan_input {
  const cluster_view& view;
  const pb::AppSpec& wanted;
  /// What the app is like now; null: there is none.
  const pb::AppSpec* current = nullptr;
  /// Of `current`; 0: it has none.
  std::uint64_t revision = 0;
  /// Every replica of the app: what runs, and what is claimed and not seen yet.
  std::vector<pb::ReplicaStatus> replicas;
  /// Where an app that names no Resource groups may live.
  std::string home_group;
  /// Resources that take claims now.
  std::set<resource_id> reachable;
  /// Nodes not to be used, and why.
  std::map<node_id, std::string> excluded;
  /// How many replicas its scale policy has now; none: there is none, or it has not begun.
  std::optional<std::uint32_t> scaled_to;
  /// Rows that are newer than the view's.
  std::map<node_id, node_row> corrections;
};

pb::AppPlan make_app_plan(const app_plan_input& input);

/// The replicas of an app that the view shows.
std::vector<pb::ReplicaStatus> replicas_in(const cluster_view& view, const std::string& app);

/// Why a plan that had this index is not the one that is made now: the revision, the spec, the replicas or the nodes
/// that moved.  Empty when it is the same.
std::string why_plan_moved(const std::string& index, const pb::AppPlan& now);

} // namespace astra
