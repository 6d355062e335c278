#pragma once

#include "actors/resource/cluster_view.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <utility>

namespace astra::test {

/// A view with nodes as a test wants them, all at home at "r1".
class staged_view {
public:
  staged_view() {
    delta_.set_origin(make_resource_id("r1").value());
    delta_.set_origin_name("r1");
    delta_.set_epoch(1);
    delta_.set_version(1);
  }

  /// A node with 4 cores and 8 GiB; more is written into the row that comes back.
  pb::NodeRow& add(const std::string& name, pb::Liveness state = pb::LIVENESS_ONLINE) {
    auto& row = *delta_.add_nodes();
    row.set_node(make_node_id(name).value());
    row.set_incarnation(1);
    row.set_home_epoch(1);
    row.set_liveness(state);
    row.mutable_load();
    auto& profile = *row.mutable_profile();
    profile.set_node(row.node());
    profile.set_name(name);
    profile.set_address("10.0.0.7:4000");
    profile.mutable_capacity()->set_cpu_milli(4000);
    profile.mutable_capacity()->set_memory_bytes(8ull << 30);
    return row;
  }

  static void label(pb::NodeRow& row, std::string key, std::string value) {
    auto& entry = *row.mutable_profile()->add_labels();
    entry.set_key(std::move(key));
    entry.set_value(std::move(value));
  }

  const cluster_view& view() {
    view_changes changes;
    REQUIRE(view_.apply(delta_, now, changes) == cluster_view::apply_outcome::applied);
    return view_;
  }

  cluster_view::time_point now{std::chrono::hours{1}};

private:
  pb::ViewDelta delta_;
  cluster_view view_;
};

} // namespace astra::test
