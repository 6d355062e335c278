#include "test/runtime/sim/checks/staged_history.hpp"

#include <caf/error.hpp>
#include <caf/sec.hpp>

namespace astra::sim::test {
namespace {

struct log_fixture : staged_history {
  log_fixture() : staged_history("clean-log") {}

  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t node = actor(worker, "node");
};

TEST_CASE_FIXTURE(log_fixture, "clean-log: what happens in the life of a cluster") {
  log(worker, "node.replica_crash node=node-1 app=ocr replica=0 state=\"failed\" reason=\"exit code 1\"");
  log(worker, "apps.scheduler_down app=ocr reason=\"a newer scheduler has taken the app over (epoch 3)\"");
  log(worker, "resource.peer peer=resource-2 address=10.0.0.2:1");
  handle(node, node, caf::make_error(caf::sec::request_timeout));
  at(1s).happen(event_kind::stall, worker);
  at(5s).happen(event_kind::go_on, worker);
  at(6s).log(worker, "node.overdue node=node-1 app=ocr attempt=0000000000000001");
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(log_fixture, "clean-log: what must not happen") {
  SUBCASE("a promise that was broken") {
    log(worker, "node.overdue node=node-1 app=ocr attempt=0000000000000001");
  }
  SUBCASE("an actor that died") {
    log(worker, "supervisor.restart child=node delay_ms=100 reason=\"bad function call\"");
  }
  SUBCASE("a message that nobody knows") {
    handle(node, node, caf::make_error(caf::sec::unexpected_message));
  }
  SUBCASE("a word of CAF") {
    log(worker, "WARN unexpected message [id: 7]");
  }
  CHECK(!good());
}

TEST_CASE("silent: who does not answer at the end") {
  staged_history history{"silent"};
  final_state state;
  CHECK(history.quiet(state) == "");
  state.silent.push_back("resource-1");
  CHECK(history.quiet(state) != "");
}

} // namespace
} // namespace astra::sim::test
