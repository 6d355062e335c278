#include "test/runtime/sim/checks/staged_history.hpp"

#include <limits>

namespace astra::sim::test {
namespace {

struct route_fixture : staged_history {
  using staged_history::staged_history;

  machine_id gate = machine("gateway-1", {process_role::gateway});
  machine_id arbiter = machine("resource-1", {process_role::resource});
  machine_id scheduling = machine("scheduler-1", {process_role::scheduler});
  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t client = actor(gate, "view-client");
  std::uint64_t router = actor(gate, "router");
  std::uint64_t resource = actor(arbiter, "resource");
  std::uint64_t node = actor(worker, "node");
};

struct dead_fixture : route_fixture {
  dead_fixture() : route_fixture("no-route-to-dead") {}

  void see(pb::Liveness liveness, std::uint64_t sequence, std::uint64_t incarnation = 1) {
    tell(client, router, with_row(delta_of("resource-1", 1, 2), facts(worker), liveness, sequence, incarnation));
  }

  void route() { tell(router, node, reserve{}); }
};

TEST_CASE_FIXTURE(dead_fixture, "no-route-to-dead: a node that is down may be asked until its eviction is known") {
  at(1s).happen(event_kind::crash, worker);
  at(5s);
  route();
  CHECK(failure() == "");
  at(7s);
  route();
  CHECK(!good());
}

TEST_CASE_FIXTURE(dead_fixture, "no-route-to-dead: a node that is known to be offline gets nothing") {
  at(1s);
  see(pb::LIVENESS_ONLINE, 5);
  route();
  SUBCASE("offline") {
    see(pb::LIVENESS_OFFLINE, 5);
  }
  SUBCASE("draining") {
    see(pb::LIVENESS_DRAINING, 6);
  }
  at(1900ms);
  route();
  CHECK(failure() == "");
  at(3s);
  route();
  CHECK(!good());
}

TEST_CASE_FIXTURE(dead_fixture, "no-route-to-dead: old news count for nothing") {
  at(1s);
  see(pb::LIVENESS_ONLINE, 1, 2);
  see(pb::LIVENESS_OFFLINE, 9, 1);
  at(3s);
  route();
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(dead_fixture, "no-route-to-dead: a node that came back is asked again") {
  at(1s);
  see(pb::LIVENESS_OFFLINE, 5);
  at(5s);
  see(pb::LIVENESS_ONLINE, 1, 2);
  at(9s);
  route();
  CHECK(failure() == "");
}

router_table table_of(const std::string& app, std::vector<std::pair<machine_facts*, double>> rows) {
  router_table table;
  table.app = app;
  for (auto& [node, weight] : rows) {
    auto& row = table.rows.emplace_back();
    row.node = node->node;
    row.name = node->name;
    row.weight = weight;
    row.slots = 2;
    if (weight == 0.0)
      row.out_reason = "its replica is starting";
  }
  return table;
}

struct tables_fixture : route_fixture {
  tables_fixture() : route_fixture("tables-agree") {}

  final_state state_with(router_table table) {
    final_state state;
    state.tables[gate][table.app] = std::move(table);
    state.apps[scheduling]["ocr"].set_found(true);
    return state;
  }
};

TEST_CASE_FIXTURE(tables_fixture, "tables-agree: a table is what the nodes are") {
  at(1s).tell(node, resource, profile_of(facts(worker), 1, {{"ocr", 1}}));
  at(50s);
  CHECK(quiet(state_with(table_of("ocr", {{&facts(worker), 1.0}}))) == "");
}

TEST_CASE_FIXTURE(tables_fixture, "tables-agree: a node that is missing, idle, dead, or not what it was") {
  at(1s).tell(node, resource, profile_of(facts(worker), 1, {{"ocr", 1}}));
  SUBCASE("missing") {
    at(50s).quiet(state_with(table_of("ocr", {})));
  }
  SUBCASE("out of rotation") {
    at(50s).quiet(state_with(table_of("ocr", {{&facts(worker), 0.0}})));
  }
  SUBCASE("without a ready replica") {
    at(2s).tell(node, resource, profile_of(facts(worker), 2, {{"ocr", 1, pb::REPLICA_STARTING, "claimed"}}));
    at(50s).quiet(state_with(table_of("ocr", {{&facts(worker), 1.0}})));
  }
  SUBCASE("down") {
    at(2s).happen(event_kind::crash, worker);
    at(50s).quiet(state_with(table_of("ocr", {{&facts(worker), 1.0}})));
  }
  SUBCASE("no router at all") {
    auto state = state_with(table_of("ocr", {}));
    state.tables[gate].clear();
    at(50s).quiet(state);
  }
  CHECK(!good());
}

TEST_CASE_FIXTURE(tables_fixture,
                  "tables-agree: who answered badly is out for as long as its router said, and no longer") {
  at(1s).tell(node, resource, profile_of(facts(worker), 1, {{"ocr", 1}}));
  auto said = "router.expel app=ocr node=" + facts(worker).name + " ms=20000 reason=\"5 errors one after the other\"";
  at(20s).log(gate, said);
  SUBCASE("it waits") {
    at(40s);
    CHECK(quiet(state_with(table_of("ocr", {{&facts(worker), 0.0}}))) == "");
  }
  SUBCASE("it should be back") {
    at(50s);
    CHECK(quiet(state_with(table_of("ocr", {{&facts(worker), 0.0}}))) != "");
  }
}

TEST_CASE_FIXTURE(tables_fixture, "tables-agree: what has just changed is not judged") {
  at(49s).tell(node, resource, profile_of(facts(worker), 1, {{"ocr", 1}}));
  at(50s);
  CHECK(quiet(state_with(table_of("ocr", {}))) == "");
}

struct swrr_fixture : route_fixture {
  swrr_fixture() : route_fixture("swrr") {}

  machine_id other = machine("node-2", {process_role::node});

  router_table balanced() {
    auto table = table_of("ocr", {{&facts(worker), 3.0}, {&facts(other), 1.0}});
    table.rows[0].credit = 1.0;
    table.rows[1].credit = -1.0;
    return table;
  }

  final_state state_with(router_table table) {
    final_state state;
    state.tables[gate][table.app] = std::move(table);
    return state;
  }
};

TEST_CASE_FIXTURE(swrr_fixture, "swrr: credits sum up to zero") {
  CHECK(quiet(state_with(balanced())) == "");
}

TEST_CASE_FIXTURE(swrr_fixture, "swrr: a sum that is off, numbers that are none, weight of nobody") {
  auto table = balanced();
  SUBCASE("off") {
    table.rows[0].credit += 0.001;
  }
  SUBCASE("not a number") {
    table.rows[0].weight = std::numeric_limits<double>::quiet_NaN();
  }
  SUBCASE("negative") {
    table.rows[0].weight = -1.0;
  }
  SUBCASE("out of rotation") {
    table.rows[0].out_reason = "offline";
  }
  CHECK(quiet(state_with(table)) != "");
}

} // namespace
} // namespace astra::sim::test
