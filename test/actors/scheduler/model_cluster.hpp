#pragma once

#include "actors/resource/cluster_view.hpp"
#include "actors/scheduler/claim_book.hpp"
#include "actors/scheduler/planner.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace astra::test {

inline constexpr std::uint64_t gibibyte = 1ULL << 30;

/// An app whose replicas take one core and one GiB.
inline pb::AppSpec small_app(const std::string& name, std::uint32_t replicas) {
  pb::AppSpec spec;
  spec.set_name(name);
  spec.set_replicas(replicas);
  spec.mutable_per_replica()->set_cpu_milli(1000);
  spec.mutable_per_replica()->set_memory_bytes(gibibyte);
  spec.set_concurrency(1);
  spec.set_request_timeout_ms(10000);
  spec.mutable_restart()->set_backoff_min_ms(100);
  spec.mutable_restart()->set_backoff_max_ms(30000);
  spec.mutable_restart()->set_healthy_after_ms(60000);
  spec.mutable_restart()->set_budget(5);
  spec.mutable_restart()->set_budget_window_ms(60000);
  spec.set_queue_limit(64);
  spec.mutable_actor()->set_type("echo");
  return spec;
}

/// A node's row, online and empty.
inline pb::NodeRow make_row(const std::string& name, std::uint32_t cores, std::uint64_t memory_gib) {
  pb::NodeRow row;
  row.set_node(make_node_id(name).value());
  row.set_incarnation(1);
  row.set_home_epoch(1);
  row.set_liveness(pb::LIVENESS_ONLINE);
  auto& profile = *row.mutable_profile();
  profile.set_node(row.node());
  profile.set_incarnation(1);
  profile.set_version(1);
  profile.set_name(name);
  profile.mutable_capacity()->set_cpu_milli(cores * 1000);
  profile.mutable_capacity()->set_memory_bytes(memory_gib * gibibyte);
  return row;
}

/// The only Resource of the model.
inline const resource_id model_home = make_resource_id("model");

/// Rows of one Resource, as a view.
class model_view {
public:
  std::map<std::string, pb::NodeRow> rows;

  /// Brings the view up to date; the book, when there is one, learns of each row.
  void publish(claim_book::time_point now, claim_book* book = nullptr) {
    pb::ViewDelta snapshot;
    snapshot.set_origin(model_home.value());
    snapshot.set_epoch(1);
    snapshot.set_version(++version_);
    for (auto& [name, row] : rows)
      *snapshot.add_nodes() = row;
    view_changes changes;
    view.apply(snapshot, now, changes);
    if (!book)
      return;
    for (auto id : changes.nodes) {
      if (auto entry = view.find(id))
        book->observe(*entry, now);
      else
        book->forget(id, now);
    }
  }

  cluster_view view;

private:
  std::uint64_t version_ = 0;
};

} // namespace astra::test
