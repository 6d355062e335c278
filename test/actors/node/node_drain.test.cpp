#include "test/actors/node/node_fixture.hpp"

using namespace astra;
using namespace astra::test;

namespace {

/// Asks the node to stop; the flag is set when it has.
struct stopping : node_fixture {
  void stop(caf::timespan limit) {
    in_driver([this, limit](caf::event_based_actor* self) {
      self->request(node, caf::infinite, stop_atom_v, limit).then([this] { stopped = true; }, [](const caf::error&) {});
    });
  }
  bool stopped = false;
};

} // namespace

TEST_CASE_FIXTURE(stopping, "a drain beats at once, refuses and answers the queue, and finishes what runs") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 1);
  auto& waiting = post_reserve("ocr", 2, 60000);
  auto beats_before = home().beats.size();
  drain request;
  request->set_reason("kernel upgrade");
  auto reply = ask<drain_reply>(node, request);
  REQUIRE(reply);
  CHECK((*reply)->running() == 1);
  CHECK((*reply)->queued() == 1);
  REQUIRE(home().beats.size() == beats_before + 1);
  CHECK(home().beats.back().draining());
  REQUIRE(waiting.done());
  CHECK(waiting.body().outcome() == pb::RESERVE_DRAINING);
  CHECK(reserve_now("ocr", 3).outcome() == pb::RESERVE_DRAINING);
  CHECK(reserve_now("other", 4).outcome() == pb::RESERVE_DRAINING);
  auto refused = claim(echo_spec(), 9);
  CHECK(refused.outcome() == pb::CLAIM_NODE_DRAINING);
  CHECK(refused.reason() == "the node is draining: kernel upgrade");
  end_process(exit_with(0, "text"));
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_OK);
  advance(5s);
  CHECK(home().beats.back().draining());
  CHECK_FALSE(home().beats.back().leaving());
}

TEST_CASE_FIXTURE(stopping, "a slot granted before the drain may still be used") {
  start_node();
  place(command_spec());
  CHECK(reserve_now("ocr", 1).outcome() == pb::RESERVE_GRANTED);
  stop(10s);
  auto& work = post_invoke("ocr", 1);
  end_process(exit_with(0, "text"));
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_OK);
  CHECK(stopped);
}

TEST_CASE_FIXTURE(stopping, "a stop waits for what runs, says goodbye, stops the replicas and beats no more") {
  start_node();
  place(command_spec());
  place(server_spec(""), 2);
  auto& work = work_on("ocr", 1);
  stop(10s);
  advance(5s);
  CHECK_FALSE(stopped);
  CHECK_FALSE(home().beats.back().leaving());
  end_process(exit_with(0, "text"));
  CHECK(work.done());
  CHECK(home().beats.back().leaving());
  CHECK(world.processes.killed.size() == 1);
  CHECK(stopped);
  auto beats = home().beats.size();
  advance(10s);
  CHECK(home().beats.size() == beats);
}

TEST_CASE_FIXTURE(stopping, "an idle node stops at once") {
  start_node();
  stop(45s);
  CHECK(stopped);
  CHECK(home().beats.back().leaving());
}

TEST_CASE_FIXTURE(stopping, "what runs at the limit is killed and answered as lost") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 1, "page", 30000);
  stop(3s);
  advance(2900ms);
  CHECK_FALSE(work.done());
  CHECK_FALSE(stopped);
  advance(200ms);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_REPLICA_LOST);
  CHECK(stopped);
}

TEST_CASE_FIXTURE(stopping, "a Resource that does not answer the goodbye delays the stop by 500 ms only") {
  start_node();
  home().silent = true;
  stop(45s);
  CHECK_FALSE(stopped);
  advance(500ms);
  CHECK(stopped);
}

TEST_CASE_FIXTURE(stopping, "replicas that cannot be stopped delay the stop by 4 s only") {
  start_node();
  place(server_spec(""));
  world.processes.owners.clear();
  stop(45s);
  advance(3900ms);
  CHECK_FALSE(stopped);
  advance(200ms);
  CHECK(stopped);
}

TEST_CASE_FIXTURE(stopping, "a draining node does not start crashed replicas again") {
  start_node();
  place(server_spec(""));
  ask<drain_reply>(node, drain{});
  end_process(exit_with(1));
  advance(5s);
  CHECK(world.processes.launched.size() == 1);
  CHECK(status().state() == pb::REPLICA_BACKING_OFF);
}

TEST_CASE_FIXTURE(stopping, "a node that is told to exit leaves no process, no port and no service") {
  start_node();
  place(command_spec());
  place(server_spec(""), 2);
  auto& work = work_on("ocr", 1);
  caf::anon_send_exit(node, caf::exit_reason::user_shutdown);
  run();
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_REPLICA_LOST);
  CHECK(world.processes.killed.size() == 2);
  CHECK(world.ports.empty());
  CHECK(network.services.count({"node:1", node_service("n1")}) == 0);
}

TEST_CASE_FIXTURE(stopping, "work at a replica that cannot be stopped is answered when the replica is given up") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 1, "page", 30000);
  world.processes.owners.clear();
  stop(1s);
  advance(4900ms);
  CHECK_FALSE(work.done());
  advance(200ms);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_REPLICA_LOST);
  CHECK(stopped);
}
