#include "runtime/sim/coverage.hpp"
#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct coverage_fixture {
  coverage_fixture() {
    world.all.resize(3);
    world.actors.push_back({"node-1/astra.node#1", machine_id{1}});
  }

  void happen(event_kind kind, instant at, const std::string& text, machine_id where = machine_id{1}) {
    event what;
    what.kind = kind;
    what.at = at;
    what.machine = where;
    what.text = text;
    reached.observe(what, world);
  }

  void say(instant at, const caf::message& content) {
    event what;
    what.kind = event_kind::send;
    what.at = at;
    what.machine = machine_id{1};
    what.content = &content;
    reached.observe(what, world);
  }

  staged_world world;
  coverage reached;
};

TEST_CASE_FIXTURE(coverage_fixture, "coverage: log events are counted by name") {
  happen(event_kind::log, 1s, "resource.fence node=n1 incarnation=1");
  happen(event_kind::log, 2s, "resource.fence node=n2 incarnation=1");
  CHECK(reached.count("resource.fence") == 2);
  CHECK(reached.count("resource.moved") == 0);
  CHECK(reached.missing({"resource.fence", "resource.moved"}) == std::vector<std::string>{"resource.moved"});
}

TEST_CASE_FIXTURE(coverage_fixture, "coverage: a fault meets a state, whichever came first") {
  happen(event_kind::fault, 1s, "cut node-1 -> resource-1");
  say(2s, caf::make_message(claim_batch{}));
  happen(event_kind::heal, 3s, "cut node-1 -> resource-1");
  say(4s, caf::make_message(claim_batch{}));
  CHECK(reached.count("cut x claiming") == 1);

  happen(event_kind::log, 5s, "node.drain node=node-1 running=0");
  happen(event_kind::fault, 9s, "partition node-1");
  CHECK(reached.count("partition x draining") == 1);
  CHECK(reached.count("partition x claiming") == 0);
  happen(event_kind::boot, 10s, "");
  happen(event_kind::fault, 11s, "crash node-2");
  CHECK(reached.count("crash x draining") == 0);
}

TEST_CASE_FIXTURE(coverage_fixture, "coverage: runs add up and make a table") {
  happen(event_kind::fault, 1s, "cut node-1 -> resource-1");
  say(2s, caf::make_message(claim_batch{}));
  happen(event_kind::log, 2s, "node.drain node=node-1 running=0");
  coverage sum;
  sum.merge(reached);
  sum.merge(reached);
  CHECK(sum.count("cut x claiming") == 2);
  CHECK(sum.count("cut x draining") == 2);
  CHECK(sum.count("node.drain") == 2);
  auto text = sum.table();
  CHECK(text.find("draining") != std::string::npos);
  CHECK(text.find("cut") != std::string::npos);
  CHECK(text.find("node.drain") != std::string::npos);
}

} // namespace
} // namespace astra::sim::test
