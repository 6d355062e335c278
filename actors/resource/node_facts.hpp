#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/wire/app.pb.h"
#include "messages/wire/inspection.pb.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

// A node of the view as operators see it: the one place where a row becomes words and sums.

namespace astra {

/// What the replicas on a node and the claims under way occupy together.
struct reserved_resources {
  std::uint64_t cpu_milli = 0;
  std::uint64_t memory_bytes = 0;
  /// By kind.
  std::map<std::string, std::uint64_t> accelerators;
};

reserved_resources reserved_on(const node_entry& node);

/// Cards of all kinds.
std::uint64_t accelerators_of(const node_entry& node);

std::uint64_t cards_in(const reserved_resources& reserved);

/// Its name, or its id as long as no profile says it.
std::string name_of(const node_entry& node);

/// "online", "suspect", "draining", "offline", "unknown".
std::string_view state_name(pb::Liveness liveness);

/// Name of a Resource of the view, or its id.
std::string resource_name(const cluster_view& view, resource_id id);

/// The Resource group of the node's home.
std::string group_of(const cluster_view& view, const node_entry& node);

void add_to(pb::NodeTotals& totals, const cluster_view& view, const node_entry& node);
void add_to(pb::NodeTotals& totals, const pb::NodeTotals& others);

pb::NodeFacts facts_of(const cluster_view& view, const node_entry& node, cluster_view::time_point now);

} // namespace astra
