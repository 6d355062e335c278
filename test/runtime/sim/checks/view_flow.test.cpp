#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct flow_fixture : staged_history {
  using staged_history::staged_history;

  machine_id home = machine("resource-1", {process_role::resource});
  machine_id peer = machine("resource-2", {process_role::resource});
  machine_id gate = machine("gateway-1", {process_role::gateway});
  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t resource = actor(home, "resource");
  std::uint64_t other_resource = actor(peer, "resource");
  std::uint64_t client = actor(gate, "view-client");

  /// About 80 bytes per row.
  view_delta rows(std::uint64_t base, std::uint64_t version, int count) {
    auto result = delta_of("resource-1", base, version);
    for (auto i = 0; i < count; ++i) {
      result = with_row(std::move(result), facts(worker), pb::LIVENESS_ONLINE, version);
      result->mutable_nodes(i)->set_reason(std::string(50, 'x'));
    }
    return result;
  }
};

struct credit_fixture : flow_fixture {
  credit_fixture() : flow_fixture("view-credit") { world.script.options.resource.view_chunk_bytes = 1024; }
};

TEST_CASE_FIXTURE(credit_fixture, "view-credit: what is handled makes room for more") {
  for (std::uint64_t i = 1; i <= 20; ++i)
    tell(resource, client, rows(i, i + 1, 10));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(credit_fixture,
                  "view-credit: each subscriber has a credit of its own, and what is lost counts no more") {
  for (std::uint64_t i = 1; i <= 5; ++i) {
    send(resource, client, rows(i, i + 1, 10));
    send(resource, other_resource, rows(i, i + 1, 10));
  }
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(credit_fixture, "view-credit: a Resource says too much") {
  SUBCASE("in many deltas") {
    for (std::uint64_t i = 1; i <= 7; ++i)
      send(resource, client, rows(i, i + 1, 10));
  }
  SUBCASE("in one") {
    send(resource, client, rows(1, 2, 30));
  }
  CHECK(!good());
}

struct catch_up_fixture : flow_fixture {
  catch_up_fixture() : flow_fixture("views-catch-up") {}

  void publish(std::uint64_t version) {
    subscribe_ack ack;
    ack->set_resource(make_resource_id("resource-1").value());
    auto& shard = *ack->add_shards();
    shard.set_origin(ack->resource());
    shard.set_epoch(1);
    shard.set_version(version);
    tell(resource, client, ack);
  }

  view_delta part(std::uint32_t number, bool more) {
    auto result = delta_of("resource-1", 0, 8);
    result->set_transfer(1);
    result->set_part(number);
    result->set_more(more);
    return result;
  }

  void everybody(const view_delta& delta) {
    tell(resource, client, delta);
    tell(resource, other_resource, delta);
  }
};

TEST_CASE_FIXTURE(catch_up_fixture, "views-catch-up: all were told what was there long enough") {
  at(20s);
  SUBCASE("at once") {
    everybody(rows(0, 8, 1));
  }
  SUBCASE("in parts") {
    everybody(part(0, true));
    everybody(part(1, false));
  }
  publish(8);
  at(60s);
  publish(9); // may be under way
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(catch_up_fixture, "views-catch-up: somebody was not told") {
  at(20s);
  SUBCASE("one of two") {
    everybody(rows(0, 7, 1));
    tell(resource, client, rows(7, 8, 1));
  }
  SUBCASE("the last part") {
    everybody(part(0, true));
  }
  SUBCASE("but before its turn") {
    everybody(rows(0, 7, 1));
    auto ahead = rows(8, 8, 1);
    ahead->set_ahead(true);
    everybody(ahead);
  }
  publish(8);
  at(60s);
  quiet();
  CHECK(!good());
}

struct told_fixture : flow_fixture {
  told_fixture() : flow_fixture("turns-told") {
    world.script.options.resource.view_chunk_bytes = 1024;
    for (auto listener : {client, other_resource})
      renew(listener);
    everybody(turn(1, pb::LIVENESS_ONLINE));
  }

  void renew(std::uint64_t listener) {
    subscribe request;
    request->set_takes_parts(true);
    tell(listener, resource, request);
  }

  view_delta turn(std::uint64_t base, pb::Liveness liveness) {
    return with_row(delta_of("resource-1", base, base + 1), facts(worker), liveness, base);
  }

  void everybody(const view_delta& delta) {
    send(resource, client, delta);
    send(resource, other_resource, delta);
  }

  /// Something happens, so that the check looks at the time.
  void later(nanoseconds by) {
    at(world.time + by);
    renew(client);
    renew(other_resource);
  }
};

TEST_CASE_FIXTURE(told_fixture, "turns-told: everybody is told, in turn or before it") {
  send(resource, client, turn(2, pb::LIVENESS_OFFLINE));
  later(400ms);
  auto ahead = turn(2, pb::LIVENESS_OFFLINE);
  ahead->set_ahead(true);
  send(resource, other_resource, ahead);
  later(1s);
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(told_fixture, "turns-told: one is told only that the node is back, or is not there to hear it") {
  send(resource, client, turn(2, pb::LIVENESS_SUSPECT));
  later(400ms);
  SUBCASE("back") {
    everybody(turn(3, pb::LIVENESS_ONLINE));
  }
  SUBCASE("not there") {
    at(world.time + 3s);
    renew(client);
    at(world.time + 3s);
  }
  later(1s);
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(told_fixture, "turns-told: one is not told") {
  send(resource, client, turn(2, pb::LIVENESS_OFFLINE));
  send(resource, other_resource, delta_of("resource-1", 2, 3));
  later(600ms);
  CHECK(!good());
}

} // namespace
} // namespace astra::sim::test
