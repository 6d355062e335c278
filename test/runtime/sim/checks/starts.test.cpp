#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct work_fixture : staged_history {
  explicit work_fixture(const std::string& name) : staged_history(name) {
    world.script.apps.emplace_back().spec = spec_of("once");
    world.script.apps.emplace_back().spec = spec_of("again", 1, true);
  }

  machine_id gate = machine("gateway-1", {process_role::gateway});
  machine_id worker = machine("node-1", {process_role::node});
  machine_id other_worker = machine("node-2", {process_role::node});
  std::uint64_t router = actor(gate, "router");
  std::uint64_t node = actor(worker, "node");
  std::uint64_t other_node = actor(other_worker, "node");

  reserve slot(std::uint64_t attempt) {
    reserve message;
    message->set_attempt(attempt);
    return message;
  }

  void grant(std::uint64_t attempt, std::uint64_t from) {
    reserve_reply reply;
    reply->set_attempt(attempt);
    reply->set_outcome(pb::RESERVE_GRANTED);
    reply->set_hold_ms(2000);
    tell(from, router, reply);
  }

  void start(std::uint64_t attempt, const std::string& request, std::uint64_t at_node,
             const std::string& app = "once") {
    invoke message;
    message->set_app(app);
    message->set_attempt(attempt);
    message->set_request_id(request);
    tell(router, at_node, message);
  }

  void end(std::uint64_t attempt, std::uint64_t at_node, pb::InvokeOutcome outcome = pb::INVOKE_OK) {
    invoke_reply reply;
    reply->set_attempt(attempt);
    reply->set_outcome(outcome);
    tell(at_node, router, reply);
  }
};

struct double_fixture : work_fixture {
  double_fixture() : work_fixture("no-double-start") {}
};

TEST_CASE_FIXTURE(double_fixture, "no-double-start: a start that was none may be tried elsewhere") {
  start(1, "r1", node);
  end(1, node, pb::INVOKE_NOT_STARTED);
  start(2, "r1", other_node);
  end(2, other_node);
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(double_fixture, "no-double-start: an invoke that arrives twice starts once") {
  start(1, "r1", node);
  start(1, "r1", node); // joins
  end(1, node);
  start(1, "r1", node); // late: its slot is gone
  end(1, node, pb::INVOKE_NOT_STARTED);
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(double_fixture, "no-double-start: work that is not idempotent starts once") {
  start(1, "r1", node);
  start(2, "r1", other_node);
  CHECK(quiet() != "");
}

TEST_CASE_FIXTURE(double_fixture, "no-double-start: an attempt starts once") {
  start(1, "r1", node, "again");
  end(1, node);
  start(1, "r1", node, "again");
  end(1, node);
  CHECK(!good());
}

TEST_CASE_FIXTURE(double_fixture, "no-double-start: idempotent work starts three times at most") {
  for (std::uint64_t attempt = 1; attempt <= 3; ++attempt)
    start(attempt, "r1", attempt % 2 == 0 ? node : other_node, "again");
  CHECK(quiet() == "");
  start(4, "r1", node, "again");
  CHECK(quiet() != "");
}

TEST_CASE_FIXTURE(double_fixture, "no-double-start: an attempt is asked for once") {
  send(router, node, slot(1));
  send(router, node, slot(2));
  CHECK(good());
  send(router, other_node, slot(1));
  CHECK(!good());
}

struct slot_fixture : work_fixture {
  slot_fixture() : work_fixture("slot-before-start") {}
};

TEST_CASE_FIXTURE(slot_fixture, "slot-before-start: a slot that is held") {
  tell(router, node, slot(1));
  grant(1, node);
  start(1, "r1", node);
  end(1, node);
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(slot_fixture, "slot-before-start: no slot, another's slot, a slot that is free again") {
  at(1s).tell(router, node, slot(1));
  SUBCASE("none") {
    start(1, "r1", node);
    CHECK(quiet() != "");
  }
  SUBCASE("another's") {
    grant(1, other_node);
    start(1, "r1", node);
    CHECK(quiet() != "");
  }
  SUBCASE("too late") {
    grant(1, node);
    at(4s);
    start(1, "r1", node);
    end(1, node);
    CHECK(!good());
  }
  SUBCASE("too late, and refused") {
    grant(1, node);
    at(4s);
    start(1, "r1", node);
    end(1, node, pb::INVOKE_NOT_STARTED);
    CHECK(quiet() == "");
  }
}

} // namespace
} // namespace astra::sim::test
