#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct drain_fixture : staged_history {
  using staged_history::staged_history;

  machine_id arbiter = machine("resource-1", {process_role::resource});
  machine_id gate = machine("gateway-1", {process_role::gateway});
  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t resource = actor(arbiter, "resource");
  std::uint64_t router = actor(gate, "router");
  std::uint64_t node = actor(worker, "node");
  std::uint64_t sequence = 0;

  void beat(bool draining, std::uint64_t incarnation = 1) {
    auto message = beat_of(facts(worker), ++sequence, incarnation);
    message->set_draining(draining);
    tell(node, resource, message);
  }

  void grant(std::uint64_t attempt) {
    reserve_reply reply;
    reply->set_attempt(attempt);
    reply->set_outcome(pb::RESERVE_GRANTED);
    tell(node, router, reply);
  }

  void begin() { log(worker, "node.drain node=node-1 running=0 queued=0 reason=\"asked\""); }
};

struct no_grant_fixture : drain_fixture {
  no_grant_fixture() : drain_fixture("no-grant-while-draining") {}
};

TEST_CASE_FIXTURE(no_grant_fixture, "no-grant-while-draining: what was granted before may be granted again") {
  beat(false);
  grant(1);
  tell(node, resource, answer_of({5}));
  begin();
  beat(true);
  grant(1);
  tell(node, resource, answer_of({5}));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(no_grant_fixture, "no-grant-while-draining: nothing new after the drain began") {
  beat(false);
  SUBCASE("a slot, before anybody was told") {
    begin();
    grant(2);
  }
  SUBCASE("a slot, after the heartbeat that tells it") {
    beat(true);
    grant(2);
  }
  SUBCASE("a claim") {
    begin();
    tell(node, resource, answer_of({6}));
  }
  SUBCASE("a heartbeat that does not tell") {
    begin();
    beat(false);
  }
  CHECK(!good());
}

TEST_CASE_FIXTURE(no_grant_fixture, "no-grant-while-draining: a new life takes work again") {
  begin();
  beat(true);
  happen(event_kind::crash, worker);
  happen(event_kind::boot, worker);
  node = actor(worker, "node");
  sequence = 0;
  beat(false, 2);
  grant(3);
  CHECK(failure() == "");
}

struct finishes_fixture : drain_fixture {
  finishes_fixture() : drain_fixture("drain-finishes") {}
};

TEST_CASE_FIXTURE(finishes_fixture, "drain-finishes: work is cut short only after the whole wait") {
  at(1s);
  begin();
  at(2s).log(worker, "node.leave node=node-1 unfinished=0");
  CHECK(failure() == "");
  happen(event_kind::boot, worker);
  at(10s);
  begin();
  SUBCASE("waited") {
    at(56s).log(worker, "node.leave node=node-1 unfinished=2");
    CHECK(failure() == "");
  }
  SUBCASE("did not wait") {
    at(20s).log(worker, "node.leave node=node-1 unfinished=2");
    CHECK(!good());
  }
}

struct told_fixture : drain_fixture {
  told_fixture() : drain_fixture("drain-told") {}
};

TEST_CASE_FIXTURE(told_fixture, "drain-told: a home hears of the drain at once") {
  beat(false);
  tell(resource, node, heartbeat_ack{});
  at(1s);
  begin();
  SUBCASE("told") {
    beat(true);
    at(3s);
    CHECK(quiet() == "");
  }
  SUBCASE("told with the next heartbeat") {
    at(1900ms);
    beat(true);
    CHECK(!good());
  }
  SUBCASE("not told") {
    at(3s);
    CHECK(quiet() != "");
  }
}

TEST_CASE_FIXTURE(told_fixture, "drain-told: without a home there is nobody to tell") {
  beat(false);
  at(1s);
  begin();
  at(3s);
  CHECK(quiet() == "");
}

} // namespace
} // namespace astra::sim::test
