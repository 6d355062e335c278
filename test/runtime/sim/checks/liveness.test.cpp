#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct lease_fixture : staged_history {
  using staged_history::staged_history;

  machine_id home = machine("resource-1", {process_role::resource});
  machine_id peer = machine("resource-2", {process_role::resource});
  machine_id worker = machine("node-1", {process_role::node});
  machine_id other_worker = machine("node-2", {process_role::node});
  std::uint64_t resource = actor(home, "resource");
  std::uint64_t other_resource = actor(peer, "resource");
  std::uint64_t node = actor(worker, "node");
  std::uint64_t other_node = actor(other_worker, "node");
  std::uint64_t sequence = 0;

  void beat(bool leaving = false) {
    auto message = beat_of(facts(worker), ++sequence);
    message->set_leaving(leaving);
    tell(node, resource, message);
  }

  /// Somebody else goes on beating, so that time goes by; one who drains is not suspected.
  void pass(instant until) {
    while (world.time + 500ms < until) {
      at(world.time + 499ms);
      tell(other_node, resource, beat_of(facts(other_worker), ++sequence));
    }
    at(until);
    tell(other_node, resource, beat_of(facts(other_worker), ++sequence), 0ms);
  }

  void say(const std::string& event, const std::string& reason) {
    log(home, "resource." + event + " node=node-1 reason=\"" + reason + "\"");
  }
};

struct eviction_fixture : lease_fixture {
  eviction_fixture() : lease_fixture("eviction-bound") {}
};

TEST_CASE_FIXTURE(eviction_fixture, "eviction-bound: suspect, offline, and known to the other Resource") {
  pass(10s);
  beat();
  pass(11600ms);
  say("suspect", "no heartbeat for 1.5 s");
  pass(13100ms);
  say("offline", "no heartbeat for 3.0 s");
  tell(resource, other_resource, with_row(delta_of("resource-1", 1, 2), facts(worker), pb::LIVENESS_OFFLINE));
  pass(20s);
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(eviction_fixture, "eviction-bound: too late, or not told") {
  pass(10s);
  SUBCASE("never suspect") {
    beat();
    pass(12800ms);
  }
  SUBCASE("never offline") {
    beat();
    say("suspect", "no heartbeat for 1.5 s");
    pass(14200ms);
  }
  SUBCASE("a goodbye without effect") {
    beat(true);
    pass(10300ms);
  }
  SUBCASE("the other Resource does not hear of it") {
    beat();
    pass(11s);
    say("suspect", "no heartbeat for 1.5 s");
    pass(13100ms);
    say("offline", "no heartbeat for 3.0 s");
    pass(14200ms);
  }
  CHECK(!good());
}

TEST_CASE_FIXTURE(eviction_fixture,
                  "eviction-bound: one that comes and goes stays suspect over its beats, and is not told of twice") {
  pass(10s);
  beat();
  say("suspect", "flapping: came back 3 times");
  pass(11s);
  beat();
  SUBCASE("still suspect") {
    pass(13800ms);
    CHECK(good());
  }
  SUBCASE("online again") {
    say("online", "");
    pass(13800ms);
    CHECK(!good());
  }
}

TEST_CASE_FIXTURE(eviction_fixture, "eviction-bound: a Resource that sleeps or dies evicts nobody") {
  pass(10s);
  beat();
  happen(event_kind::fault, home, "partition node-1 | resource-1");
  SUBCASE("sleeps") {
    happen(event_kind::stall, home);
    pass(20s);
    happen(event_kind::go_on, home);
    pass(21s);
  }
  SUBCASE("dies") {
    happen(event_kind::crash, home);
    at(20s);
    tell(other_node, other_resource, beat_of(facts(other_worker), ++sequence));
  }
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(eviction_fixture, "eviction-bound: news do not travel through a cut") {
  pass(10s);
  beat();
  happen(event_kind::fault, home, "partition resource-1 | resource-2");
  pass(11s);
  say("suspect", "no heartbeat for 1.5 s");
  pass(13100ms);
  say("offline", "no heartbeat for 3.0 s");
  pass(20s);
  CHECK(quiet() == "");
}

struct false_eviction_fixture : lease_fixture {
  false_eviction_fixture() : lease_fixture("no-false-eviction") {}
};

TEST_CASE_FIXTURE(false_eviction_fixture, "no-false-eviction: silence, and a goodbye") {
  pass(10s);
  beat();
  SUBCASE("silence of one who is down") {
    happen(event_kind::crash, worker);
    pass(13100ms);
    say("offline", "no heartbeat for 3.0 s");
  }
  SUBCASE("silence behind a cut") {
    happen(event_kind::fault, worker, "cut node-1 -> resource-1");
    pass(13100ms);
    say("offline", "no heartbeat for 3.0 s");
  }
  SUBCASE("goodbye") {
    beat(true);
    say("offline", "said goodbye");
  }
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(false_eviction_fixture, "no-false-eviction: too early, of one who is well, or without a goodbye") {
  pass(10s);
  beat();
  SUBCASE("too early") {
    happen(event_kind::crash, worker);
    pass(11600ms);
    say("offline", "no heartbeat for 1.6 s");
  }
  SUBCASE("the time that the Resource slept does not count") {
    happen(event_kind::crash, worker);
    happen(event_kind::stall, home);
    at(16s).happen(event_kind::go_on, home);
    say("offline", "no heartbeat for 6.0 s");
  }
  SUBCASE("well") {
    pass(13100ms);
    say("offline", "no heartbeat for 3.0 s");
  }
  SUBCASE("no goodbye") {
    say("offline", "said goodbye");
  }
  SUBCASE("an orphan that is well") {
    world.calm = instant{0};
    pass(20s);
    beat();
    tell(other_resource, resource,
         with_row(delta_of("resource-1", 3, 3), facts(worker), pb::LIVENESS_OFFLINE, sequence));
  }
  CHECK(!good());
}

} // namespace
} // namespace astra::sim::test
