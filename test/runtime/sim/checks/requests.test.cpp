#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct client_fixture : staged_history {
  explicit client_fixture(const std::string& name) : staged_history(name) {
    world.script.horizon = 30s;
    world.script.quiet = 20s;
    auto& app = world.script.apps.emplace_back();
    app.spec = spec_of("ocr");
  }

  machine_id gate = machine("gateway-1", {process_role::gateway});
  machine_id scheduling = machine("scheduler-1", {process_role::scheduler});

  void ask(const std::string& id, const std::string& app = "ocr") {
    happen(event_kind::request, gate, id + " app=" + app + " gateway=gateway-1 deadline_ms=5000");
  }

  void answer(const std::string& id, const std::string& outcome) {
    happen(event_kind::answer, gate, id + " " + outcome);
  }
};

struct one_answer_fixture : client_fixture {
  one_answer_fixture() : client_fixture("one-answer") {}
};

TEST_CASE_FIXTURE(one_answer_fixture, "one-answer: an answer in time, whatever it says") {
  at(1s);
  ask("r1");
  ask("r2");
  at(2s);
  answer("r1", "status=200 body_ok=1 node=node-1");
  at(7900ms);
  answer("r2", "status=504 body_ok=0 node=");
  at(20s);
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(one_answer_fixture, "one-answer: none, two, a wrong one and one that nobody asked for") {
  at(1s);
  ask("r1");
  SUBCASE("none") {
    at(9s);
    ask("r2");
  }
  SUBCASE("none at the end") {
    at(9s).quiet();
  }
  SUBCASE("two") {
    answer("r1", "status=200 body_ok=1 node=node-1");
    answer("r1", "status=503 body_ok=0 node=");
  }
  SUBCASE("another's body") {
    answer("r1", "status=200 body_ok=0 node=node-1");
  }
  SUBCASE("of nobody") {
    answer("r7", "status=200 body_ok=1 node=node-1");
  }
  SUBCASE("the connection broke though the gateway lives") {
    answer("r1", "status=0 body_ok=0 node=");
  }
  CHECK(!good());
}

TEST_CASE_FIXTURE(one_answer_fixture,
                  "one-answer: a gateway that died owes nothing, one that slept gets its time back") {
  at(1s);
  ask("r1");
  SUBCASE("died") {
    at(2s).happen(event_kind::crash, gate);
    answer("r1", "status=0 body_ok=0 node=");
    at(20s);
  }
  SUBCASE("slept") {
    at(2s).happen(event_kind::stall, gate);
    at(12s);
    ask("r2");
    at(12s).happen(event_kind::go_on, gate);
    at(17s);
    answer("r2", "status=200 body_ok=1 node=");
    at(17500ms);
    answer("r1", "status=200 body_ok=1 node=");
    at(20s);
  }
  SUBCASE("left") {
    answer("r1", "status=0 body_ok=0 node= left=1");
    at(20s);
  }
  CHECK(quiet() == "");
}

TEST_CASE_FIXTURE(one_answer_fixture, "one-answer: a gateway that slept answers some day") {
  at(1s);
  ask("r1");
  at(2s).happen(event_kind::stall, gate);
  at(12s).happen(event_kind::go_on, gate);
  at(19s).quiet();
  CHECK(!good());
}

struct quiet_fixture : client_fixture {
  quiet_fixture() : client_fixture("quiet-answers") {}

  final_state ready() {
    final_state state;
    auto& detail = state.apps[scheduling]["ocr"];
    detail.set_found(true);
    *detail.mutable_record()->mutable_spec() = *spec_of("ocr");
    detail.mutable_record()->set_ready(1);
    return state;
  }
};

TEST_CASE_FIXTURE(quiet_fixture, "quiet-answers: failures of the time of faults are forgiven") {
  at(44s);
  ask("r1");
  answer("r1", "status=503 body_ok=0 node=");
  at(46s);
  ask("r2");
  answer("r2", "status=200 body_ok=1 node=node-1");
  at(50s);
  CHECK(quiet(ready()) == "");
}

TEST_CASE_FIXTURE(quiet_fixture, "quiet-answers: at the end requests succeed when the app is ready") {
  at(46s);
  ask("r1");
  answer("r1", "status=503 body_ok=0 node=");
  at(50s);
  SUBCASE("ready") {
    CHECK(quiet(ready()) != "");
  }
  SUBCASE("has no replica") {
    auto state = ready();
    state.apps[scheduling]["ocr"].mutable_record()->set_ready(0);
    CHECK(quiet(state) == "");
  }
}

} // namespace
} // namespace astra::sim::test
