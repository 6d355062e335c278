#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct view_fixture : staged_history {
  using staged_history::staged_history;

  machine_id home = machine("resource-1", {process_role::resource});
  machine_id peer = machine("resource-2", {process_role::resource});
  machine_id gate = machine("gateway-1", {process_role::gateway});
  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t resource = actor(home, "resource");
  std::uint64_t other_resource = actor(peer, "resource");
  std::uint64_t client = actor(gate, "view-client");
  std::uint64_t router = actor(gate, "router");
  std::uint64_t gateway = actor(gate, "gateway");
  std::uint64_t node = actor(worker, "node");

  view_delta row(std::uint64_t base, std::uint64_t version, std::uint64_t sequence) {
    return with_row(delta_of("resource-1", base, version), facts(worker), pb::LIVENESS_ONLINE, sequence);
  }
};

struct monotone_fixture : view_fixture {
  monotone_fixture() : view_fixture("view-monotone") {}
};

TEST_CASE_FIXTURE(monotone_fixture, "view-monotone: a snapshot, deltas, a new epoch") {
  tell(resource, other_resource, row(0, 3, 5));
  tell(resource, client, row(2, 3, 5));
  tell(resource, other_resource, row(3, 4, 6));
  tell(resource, other_resource, delta_of("resource-1", 4, 4));
  tell(resource, other_resource, with_row(delta_of("resource-1", 0, 1, 2), facts(worker), pb::LIVENESS_ONLINE, 1));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(monotone_fixture, "view-monotone: a Resource goes back") {
  tell(resource, other_resource, row(3, 4, 6));
  SUBCASE("to an older version") {
    tell(resource, other_resource, row(2, 3, 6));
  }
  SUBCASE("to an older version for somebody else") {
    tell(resource, client, row(2, 3, 6));
  }
  SUBCASE("to an older row") {
    tell(resource, other_resource, row(4, 5, 5));
  }
  SUBCASE("to an older epoch") {
    tell(resource, other_resource, delta_of("resource-1", 0, 9, 0));
  }
  SUBCASE("by a delta from the future") {
    tell(resource, other_resource, row(7, 5, 7));
  }
  CHECK(!good());
}

TEST_CASE_FIXTURE(monotone_fixture, "view-monotone: a view client passes on what is new, to each in its time") {
  handle(client, router, row(0, 3, 5));
  handle(client, router, row(3, 4, 6));
  handle(client, gateway, row(0, 3, 5));
  handle(client, gateway, row(3, 4, 6));
  // It lost the shard, and another Resource is behind.
  auto lost = delta_of("resource-1", 4, 4);
  lost->set_origin_lost(true);
  handle(client, router, lost);
  handle(client, router, row(0, 3, 5));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(monotone_fixture, "view-monotone: a view client lets a stale delta win") {
  handle(client, router, row(0, 3, 5));
  handle(client, router, row(3, 4, 6));
  SUBCASE("a delta") {
    handle(client, router, row(2, 3, 5));
  }
  SUBCASE("a snapshot") {
    handle(client, router, row(0, 3, 5));
  }
  SUBCASE("a delta of another epoch without a snapshot") {
    handle(client, router, delta_of("resource-1", 4, 5, 2));
  }
  CHECK(!good());
}

struct agree_fixture : view_fixture {
  agree_fixture() : view_fixture("views-agree") {
    at(1s).tell(node, resource, beat_of(facts(worker), 1));
    tell(node, resource, profile_of(facts(worker), 2, {{"ocr", 1}}));
    at(50s);
  }

  cluster_view view_of(pb::Liveness liveness = pb::LIVENESS_ONLINE, std::uint64_t incarnation = 1,
                       std::uint64_t version = 2, const std::string& shard = "resource-1") {
    cluster_view view;
    view_changes changes;
    auto delta = with_row(delta_of(shard, 0, 1), facts(worker), liveness, 1, incarnation);
    *delta->mutable_nodes(0)->mutable_profile() =
        profile_of(facts(worker), version, {{"ocr", 1}}, incarnation)->profile();
    view.apply(*delta, {}, changes);
    for (auto& other : {"resource-1", "resource-2"})
      if (other != shard)
        view.apply(*delta_of(other, 0, 1), {}, changes);
    return view;
  }

  const std::string& quiet_with(cluster_view first, cluster_view second) {
    final_state state;
    state.views[home] = std::move(first);
    state.views[peer] = std::move(second);
    return quiet(state);
  }
};

TEST_CASE_FIXTURE(agree_fixture, "views-agree: all see the truth") {
  CHECK(quiet_with(view_of(), view_of()) == "");
}

TEST_CASE_FIXTURE(agree_fixture, "views-agree: somebody sees something else") {
  SUBCASE("liveness") {
    quiet_with(view_of(), view_of(pb::LIVENESS_SUSPECT));
  }
  SUBCASE("incarnation") {
    quiet_with(view_of(pb::LIVENESS_ONLINE, 2), view_of());
  }
  SUBCASE("profile") {
    quiet_with(view_of(), view_of(pb::LIVENESS_ONLINE, 1, 1));
  }
  SUBCASE("home") {
    quiet_with(view_of(), view_of(pb::LIVENESS_ONLINE, 1, 2, "resource-2"));
  }
  SUBCASE("nothing") {
    quiet_with(view_of(), {});
  }
  SUBCASE("a node that is down") {
    happen(event_kind::crash, worker);
    at(100s);
    quiet_with(view_of(), view_of());
  }
  SUBCASE("a lost shard") {
    auto view = view_of();
    auto lost = delta_of("resource-2", 1, 1);
    lost->set_origin_lost(true);
    view_changes changes;
    view.apply(*lost, {}, changes);
    quiet_with(std::move(view), view_of());
  }
  CHECK(!good());
}

TEST_CASE_FIXTURE(agree_fixture, "views-agree: what has just changed may be under way") {
  tell(node, resource, profile_of(facts(worker), 3, {}));
  CHECK(quiet_with(view_of(), view_of()) == "");
}

} // namespace
} // namespace astra::sim::test
