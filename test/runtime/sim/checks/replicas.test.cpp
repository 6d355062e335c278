#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct profile_fixture : staged_history {
  using staged_history::staged_history;

  machine_id arbiter = machine("resource-1", {process_role::resource});
  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t resource = actor(arbiter, "resource");
  std::uint64_t node = actor(worker, "node");
  std::uint64_t version = 0;

  void describe(const std::vector<replica_text>& held) {
    tell(node, resource, profile_of(facts(worker), ++version, held));
  }
};

struct capacity_fixture : profile_fixture {
  capacity_fixture() : profile_fixture("node-capacity") {}
};

TEST_CASE_FIXTURE(capacity_fixture, "node-capacity: a full node is well, one more is too much") {
  describe({{"a", 1}, {"a", 2}, {"b", 3}, {"b", 4}});
  CHECK(failure() == "");
  describe({{"a", 1}, {"a", 2}, {"b", 3}, {"b", 4}, {"b", 5, pb::REPLICA_FAILED, "exit code 1"}});
  CHECK(!good());
}

struct states_fixture : profile_fixture {
  states_fixture() : profile_fixture("replica-states") {}
};

TEST_CASE_FIXTURE(states_fixture, "replica-states: the life of a replica") {
  describe({{"a", 1, pb::REPLICA_STARTING, "claimed"}});
  describe({{"a", 1}});
  describe({{"a", 1, pb::REPLICA_BACKING_OFF, "exit code 1"}});
  describe({{"a", 1}});
  describe({{"a", 1, pb::REPLICA_DRAINING, "released"}});
  describe({});
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(states_fixture, "replica-states: what was released does not come back") {
  describe({{"a", 1, pb::REPLICA_DRAINING, "released"}});
  describe({{"a", 1}});
  CHECK(!good());
}

TEST_CASE_FIXTURE(states_fixture, "replica-states: what failed for good is not started again") {
  describe({{"a", 1, pb::REPLICA_FAILED, "given up"}});
  describe({{"a", 1, pb::REPLICA_STARTING, "again"}});
  CHECK(!good());
}

TEST_CASE_FIXTURE(states_fixture, "replica-states: who is not ready says why, and profiles are sorted") {
  SUBCASE("no reason") {
    describe({{"a", 1, pb::REPLICA_STARTING, ""}});
  }
  SUBCASE("not sorted") {
    describe({{"b", 1}, {"a", 2}});
  }
  CHECK(!good());
}

} // namespace
} // namespace astra::sim::test
