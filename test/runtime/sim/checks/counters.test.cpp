#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct conservation_fixture : staged_history {
  conservation_fixture() : staged_history("conservation") { world.script.apps.emplace_back().spec = spec_of("ocr"); }

  machine_id home = machine("resource-1", {process_role::resource});
  machine_id gate = machine("gateway-1", {process_role::gateway});
  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t resource = actor(home, "resource");
  std::uint64_t node = actor(worker, "node");

  void ask(const std::string& id) {
    happen(event_kind::request, gate, id + " app=ocr gateway=gateway-1 deadline_ms=5000");
  }

  void answer(const std::string& id) { happen(event_kind::answer, gate, id + " status=200 body_ok=1 node=node-1"); }

  void beat(std::uint32_t running) {
    auto message = beat_of(facts(worker), 1);
    message->mutable_load()->set_running(running);
    tell(node, resource, message);
  }

  final_state table(std::uint64_t requests, std::uint64_t answered, std::uint32_t waiting = 0) {
    final_state state;
    auto& table = state.tables[gate]["ocr"];
    table.app = "ocr";
    table.requests = requests;
    table.answered = answered;
    table.waiting = waiting;
    return state;
  }
};

TEST_CASE_FIXTURE(conservation_fixture, "conservation: all answered, and one under way") {
  at(1s);
  ask("r1");
  answer("r1");
  at(20s);
  ask("r2");
  beat(1);
  world.running.push_back({worker, 1, "work"});
  CHECK(quiet(table(2, 1)) == "");
}

TEST_CASE_FIXTURE(conservation_fixture, "conservation: work of nobody") {
  at(1s);
  ask("r1");
  answer("r1");
  at(20s);
  SUBCASE("a request that its router keeps") {
    quiet(table(1, 0));
  }
  SUBCASE("a place that was not given back") {
    quiet(table(1, 1, 1));
  }
  SUBCASE("a node that works on") {
    beat(1);
    quiet(table(1, 1));
  }
  SUBCASE("a process") {
    world.running.push_back({worker, 1, "work"});
    quiet(table(1, 1));
  }
  SUBCASE("room that is held") {
    auto delta = with_row(delta_of("resource-1", 0, 1), facts(worker), pb::LIVENESS_ONLINE);
    delta->mutable_nodes(0)->mutable_held()->set_cpu_milli(1000);
    final_state state;
    view_changes changes;
    state.views[home].apply(*delta, {}, changes);
    quiet(state);
  }
  CHECK(!good());
}

TEST_CASE_FIXTURE(conservation_fixture, "conservation: an actor with a library has a process, one without has none") {
  auto spec = std::make_unique<pb::AppSpec>();
  spec->set_name("tally");
  spec->mutable_actor()->set_type("tally");
  SUBCASE("with") {
    spec->mutable_actor()->set_library("/lib/libtally.so");
  }
  SUBCASE("without") {}
  auto has_process = !spec->actor().library().empty();
  world.script.apps.emplace_back().spec = std::move(spec);
  at(1s);
  tell(node, resource, profile_of(facts(worker), 1, {{"tally", 1}}));
  at(20s);
  beat(0);
  world.running.push_back({worker, 1, "work"});
  quiet(table(0, 0));
  CHECK(good() == has_process);
}

} // namespace
} // namespace astra::sim::test
