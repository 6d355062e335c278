#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct beat_fixture : staged_history {
  using staged_history::staged_history;

  machine_id first_home = machine("resource-1", {process_role::resource});
  machine_id second_home = machine("resource-2", {process_role::resource});
  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t resource = actor(first_home, "resource");
  std::uint64_t other_resource = actor(second_home, "resource");
  std::uint64_t node = actor(worker, "node");
};

struct order_fixture : beat_fixture {
  order_fixture() : beat_fixture("heartbeat-order") {}
};

TEST_CASE_FIXTURE(order_fixture, "heartbeat-order: beats, a move, a restart") {
  tell(node, resource, beat_of(facts(worker), 1));
  tell(node, resource, beat_of(facts(worker), 2));
  tell(node, other_resource, beat_of(facts(worker), 3, 1, 2));
  auto goodbye = beat_of(facts(worker), 4, 1, 2);
  goodbye->set_leaving(true);
  tell(node, other_resource, goodbye);
  node = actor(worker, "node");
  tell(node, resource, beat_of(facts(worker), 1, 2, 1));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(order_fixture, "heartbeat-order: each of two processes of one name counts for itself") {
  auto twin = machine("node-1+twin", {process_role::node});
  auto later = actor(twin, "node");
  tell(node, resource, beat_of(facts(worker), 1));
  tell(later, resource, beat_of(facts(worker), 1, 2));
  tell(node, resource, beat_of(facts(worker), 2));
  tell(later, resource, beat_of(facts(worker), 2, 2));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(order_fixture, "heartbeat-order: numbers that do not grow") {
  auto first = beat_of(facts(worker), 1, 2, 3);
  first->set_profile_version(4);
  tell(node, resource, first);
  auto next = beat_of(facts(worker), 2, 2, 3);
  next->set_profile_version(4);
  SUBCASE("sequence") {
    next->set_sequence(1);
    tell(node, resource, next);
  }
  SUBCASE("home epoch") {
    next->set_home_epoch(2);
    tell(node, resource, next);
  }
  SUBCASE("a move under the same home epoch") {
    tell(node, other_resource, next);
  }
  SUBCASE("profile version") {
    next->set_profile_version(3);
    tell(node, resource, next);
  }
  SUBCASE("incarnation goes back") {
    next->set_incarnation(1);
    tell(node, resource, next);
  }
  SUBCASE("incarnation of a forerunner") {
    tell(actor(worker, "node"), resource, next);
  }
  SUBCASE("beats after its goodbye") {
    next->set_leaving(true);
    tell(node, resource, next);
    next->set_sequence(3);
    tell(node, resource, next);
  }
  CHECK(!good());
}

struct cadence_fixture : beat_fixture {
  cadence_fixture() : beat_fixture("heartbeat-cadence") {}

  std::uint64_t sequence = 0;

  void beat_until(instant end) {
    while (world.time + 1s <= end) {
      at(world.time + 999ms);
      tell(node, resource, beat_of(facts(worker), ++sequence));
    }
  }
};

TEST_CASE_FIXTURE(cadence_fixture, "heartbeat-cadence: a beat per second") {
  beat_until(30s);
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(cadence_fixture, "heartbeat-cadence: the chain broke") {
  beat_until(20s);
  at(23s);
  CHECK(quiet() != "");
}

TEST_CASE_FIXTURE(cadence_fixture, "heartbeat-cadence: who sleeps, has left, or is cut off need not beat") {
  beat_until(20s);
  SUBCASE("sleeps") {
    happen(event_kind::stall, worker);
  }
  SUBCASE("left") {
    log(worker, "node.leave node=node-1 unfinished=0");
  }
  SUBCASE("cut off") {
    happen(event_kind::fault, worker, "partition node-1");
  }
  SUBCASE("its home has just died") {
    happen(event_kind::crash, first_home);
  }
  at(23s);
  CHECK(quiet() == "");
}

} // namespace
} // namespace astra::sim::test
