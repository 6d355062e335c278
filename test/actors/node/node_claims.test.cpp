#include "test/actors/node/node_fixture.hpp"

using namespace astra;
using namespace astra::test;

TEST_CASE_FIXTURE(node_fixture, "a claim is confirmed while there is room, and refused with what is missing") {
  start_node();
  auto big = echo_spec();
  big.mutable_per_replica()->set_cpu_milli(3000);
  CHECK(claim(big, 1).outcome() == pb::CLAIM_CONFIRMED);
  auto refused = claim(big, 2);
  CHECK(refused.outcome() == pb::CLAIM_NO_ROOM);
  CHECK(refused.reason() == "needs 3 cores, 1 free");
  release("echo", 1, 0);
  CHECK(claim(big, 3).outcome() == pb::CLAIM_CONFIRMED);
}

TEST_CASE_FIXTURE(node_fixture, "the same claim again is confirmed again; an older epoch hears of the newer one") {
  start_node();
  CHECK(claim(echo_spec(), 1, 5).outcome() == pb::CLAIM_CONFIRMED);
  CHECK(claim(echo_spec(), 1, 5).outcome() == pb::CLAIM_CONFIRMED);
  advance(50ms);
  CHECK(profile().replicas_size() == 1);
  claim_batch old;
  old->set_epoch(4);
  *old->mutable_spec() = echo_spec();
  auto& wanted = *old->add_claims();
  wanted.set_token(2);
  wanted.set_node(make_node_id("n1").value());
  wanted.set_node_incarnation(world.last_incarnation);
  auto reply = ask<claim_reply>(node, old);
  REQUIRE(reply);
  CHECK((*reply)->results(0).outcome() == pb::CLAIM_FENCED);
  CHECK((*reply)->newer_epoch() == 5);
}

TEST_CASE_FIXTURE(node_fixture, "a command that does not exist ends in failed, with the reason, and keeps its place") {
  world.processes.absent_commands.insert("tesseract");
  start_node();
  place(command_spec());
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason() == "tesseract: command not found");
  auto refused = reserve_now("ocr", 1);
  CHECK(refused.outcome() == pb::RESERVE_NO_REPLICA);
  CHECK(refused.reason() == "replica 1: failed, tesseract: command not found");
  release("ocr", 1, 0);
  CHECK(profile().replicas_size() == 0);
}

TEST_CASE_FIXTURE(node_fixture, "an unknown actor type and an app without a kind end in failed, with the reason") {
  start_node();
  auto unknown = echo_spec();
  unknown.mutable_actor()->set_type("ecko");
  place(unknown);
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason() == "no actor type 'ecko'; there are: burn, counter, echo");
  release("echo", 1, 0);
  unknown.clear_actor();
  place(unknown, 2);
  CHECK(status().state() == pb::REPLICA_FAILED);
}

TEST_CASE_FIXTURE(node_fixture, "a release lets work in progress finish within its grace, then the place is free") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 7);
  release("ocr", 1, 5000);
  CHECK(status().state() == pb::REPLICA_DRAINING);
  CHECK(status().reason() == "scaled down");
  CHECK(reserve_now("ocr", 8).outcome() == pb::RESERVE_NO_REPLICA);
  advance(2s);
  end_process(exit_with(0, "text"));
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_OK);
  CHECK(profile().replicas_size() == 0);
}

TEST_CASE_FIXTURE(node_fixture, "a release kills what its grace does not suffice for") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 7);
  release("ocr", 1, 5000);
  advance(4s);
  CHECK_FALSE(work.done());
  advance(1s);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_REPLICA_LOST);
  CHECK(world.processes.killed.size() == 1);
  CHECK(profile().replicas_size() == 0);
}

TEST_CASE_FIXTURE(node_fixture,
                  "a repeated release of a draining replica changes nothing, and its grace still ends at 5 s") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 7);
  release("ocr", 1, 5000);
  auto version = profile().version();
  advance(2s);
  release("ocr", 1, 5000);
  CHECK(profile().version() == version);
  CHECK(status().state() == pb::REPLICA_DRAINING);
  advance(3s);
  CHECK(work.done());
  CHECK(profile().replicas_size() == 0);
}

TEST_CASE_FIXTURE(node_fixture, "a late release of one claim does not touch another of the same replica") {
  start_node();
  place(echo_spec(), 2);
  release("echo", 1, 0);
  CHECK(status().state() == pb::REPLICA_READY);
}

TEST_CASE_FIXTURE(node_fixture, "a server is warming until it answers, then ready on the port that it was given") {
  auto up = false;
  world.http_log.answer = [&up](const http_call&) -> caf::result<http_answer> {
    if (!up)
      return caf::make_error(errc::unreachable, "connection refused");
    return http_answer{200, "ok", ""};
  };
  start_node();
  place(server_spec(""));
  CHECK(status().state() == pb::REPLICA_WARMING);
  REQUIRE(world.processes.launched.size() == 1);
  auto& launch = world.processes.launched[0];
  CHECK(launch.command[1] == "--port=20000");
  CHECK(launch.environment.back() == "PORT=20000");
  CHECK(launch.output_is_log);
  up = true;
  advance(200ms);
  CHECK(status().state() == pb::REPLICA_READY);
}

TEST_CASE_FIXTURE(node_fixture, "without a path to ask for, a server that accepts a connection is ready") {
  world.http_log.answer = [](const http_call&) -> caf::result<http_answer> {
    return caf::make_error(errc::app_failed, "not HTTP");
  };
  start_node();
  place(server_spec(""));
  CHECK(status().state() == pb::REPLICA_READY);
}

TEST_CASE_FIXTURE(node_fixture,
                  "with a path to ask for, only a 2xx makes a server ready, and 5 s without one restarts it") {
  world.http_log.answer = [](const http_call&) -> caf::result<http_answer> { return http_answer{503, "", ""}; };
  start_node();
  place(server_spec("/health"));
  CHECK(world.http_log.calls[0].target == "/health");
  CHECK(status().state() == pb::REPLICA_WARMING);
  advance(5200ms);
  REQUIRE(world.processes.killed.size() == 1);
  CHECK(world.processes.killed[0].reason == "not ready in time: answers 503");
  CHECK(world.processes.launched.size() == 2);
  CHECK(status().restarts() == 1);
  CHECK(world.ports.size() == 1);
}

TEST_CASE_FIXTURE(node_fixture, "a server that crashes in a loop is failed after 5 restarts, with its last words") {
  world.http_log.answer = [](const http_call&) -> caf::result<http_answer> {
    return caf::make_error(errc::unreachable, "connection refused");
  };
  start_node();
  place(server_spec(""));
  for (auto crash = 1; crash <= 6; ++crash) {
    REQUIRE(world.processes.launched.size() == static_cast<std::size_t>(crash));
    end_process(exit_with(1));
    if (crash == 3)
      CHECK(status().state() == pb::REPLICA_BACKING_OFF);
    advance(1s);
  }
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason() == "exited with code 1; its last words: no such file; given up after 5 restarts in 60 s");
  CHECK(status().restarts() == 5);
  advance(60s);
  CHECK(world.processes.launched.size() == 6);
  CHECK(world.ports.empty());
  // It keeps its place until its scheduler releases it.
  auto rest = echo_spec();
  rest.mutable_per_replica()->set_cpu_milli(4000);
  CHECK(claim(rest, 9).outcome() == pb::CLAIM_NO_ROOM);
}

TEST_CASE_FIXTURE(node_fixture, "a server is asked to stop, with its grace, and gives its port back") {
  start_node();
  place(server_spec(""));
  release("web", 1, 0);
  REQUIRE(world.processes.killed.size() == 1);
  CHECK(world.processes.killed[0].grace == caf::timespan{2s});
  CHECK(world.ports.empty());
  CHECK(profile().replicas_size() == 0);
}

TEST_CASE_FIXTURE(node_fixture, "an actor that dies is started again, and works") {
  app_actor last;
  registry.add("mortal", [this, &last](caf::actor_system& system, const app_arguments&) -> caf::expected<app_actor> {
    last = *registry.spawn(system, "echo", {});
    return last;
  });
  start_node();
  auto spec = echo_spec();
  spec.mutable_actor()->set_type("mortal");
  place(spec);
  CHECK(status().state() == pb::REPLICA_READY);
  kill(last);
  advance(50ms);
  CHECK(status().state() == pb::REPLICA_READY);
  CHECK(status().restarts() == 1);
  auto& work = work_on("echo", 1, "hi");
  REQUIRE(work.done());
  CHECK(work.body().body() == "hi");
  last = nullptr;
}

TEST_CASE_FIXTURE(node_fixture, "a server command that does not exist is failed after its budget, with the reason") {
  world.processes.absent_commands.insert("server");
  start_node();
  place(server_spec(""));
  advance(5s);
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason() == "server: command not found; given up after 5 restarts in 60 s");
  CHECK(world.ports.empty());
}

TEST_CASE_FIXTURE(node_fixture, "a server that crashes while it works loses its requests and comes back") {
  start_node();
  place(server_spec(""));
  world.http_log.hold = true;
  auto& work = work_on("web", 1);
  CHECK_FALSE(work.done());
  world.http_log.hold = false;
  end_process(exit_with(1));
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_REPLICA_LOST);
  CHECK(work.body().reason()
        == "the server died while it worked on the request: exited with code 1; its last words: no such file");
  advance(100ms);
  CHECK(status().state() == pb::REPLICA_READY);
  CHECK(status().restarts() == 1);
}

TEST_CASE_FIXTURE(node_fixture, "a cancelled request to a server is answered and its call is aborted") {
  start_node();
  place(server_spec(""));
  world.http_log.hold = true;
  auto& work = work_on("web", 77);
  send_cancel(77);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_CANCELLED);
  CHECK(world.http_log.aborted == std::vector<std::uint64_t>{77});
}

TEST_CASE_FIXTURE(node_fixture,
                  "a preempted replica finishes its request, takes no new one, and then the other starts") {
  start_node();
  auto weak = command_spec();
  weak.mutable_per_replica()->set_cpu_milli(4000);
  weak.set_preempt_notice_ms(5000);
  place(weak);
  auto& work = work_on("ocr", 7);
  auto strong = echo_spec();
  strong.set_priority(5);
  claim_batch batch;
  batch->set_epoch(1);
  *batch->mutable_spec() = strong;
  auto& wanted = *batch->add_claims();
  wanted.set_token(2);
  wanted.set_node(make_node_id("n1").value());
  wanted.set_node_incarnation(world.last_incarnation);
  wanted.add_preempt(1);
  auto reply = ask<claim_reply>(node, batch);
  REQUIRE(reply);
  CHECK((*reply)->results(0).outcome() == pb::CLAIM_CONFIRMED);
  advance(50ms);
  REQUIRE(profile().replicas_size() == 2);
  auto newcomer = profile().replicas(0);
  CHECK(newcomer.app() == "echo");
  CHECK(newcomer.state() == pb::REPLICA_CLAIMED);
  CHECK(newcomer.reason() == "waits for replica ocr/1 to go, at most 5 s");
  CHECK(newcomer.priority() == 5);
  CHECK(profile().replicas(1).state() == pb::REPLICA_DRAINING);
  CHECK(profile().replicas(1).reason() == "preempted by app echo (priority 5 over 0), notice 5 s");
  CHECK(reserve_now("ocr", 8).outcome() == pb::RESERVE_NO_REPLICA);
  CHECK(reserve_now("echo", 9).outcome() == pb::RESERVE_NO_REPLICA);
  // The node gives nobody else the room that becomes free.
  CHECK(claim(command_spec(), 3).outcome() == pb::CLAIM_NO_ROOM);
  SUBCASE("when its work ends") {
    advance(2s);
    end_process(exit_with(0, "text"));
    REQUIRE(work.done());
    CHECK(work.body().outcome() == pb::INVOKE_OK);
  }
  SUBCASE("when its notice is over") {
    advance(4900ms);
    CHECK_FALSE(work.done());
    advance(100ms);
    REQUIRE(work.done());
    CHECK(work.body().outcome() == pb::INVOKE_REPLICA_LOST);
  }
  advance(100ms);
  CHECK(status().app() == "echo");
  CHECK(status().state() == pb::REPLICA_READY);
  CHECK(claim(command_spec(), 4).outcome() == pb::CLAIM_CONFIRMED);
}
