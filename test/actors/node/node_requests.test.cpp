#include "messages/wire.hpp"
#include "test/actors/node/node_fixture.hpp"

using namespace astra;
using namespace astra::test;

TEST_CASE_FIXTURE(node_fixture, "an actor app works end to end: reserve, invoke, answer with the node's load") {
  start_node();
  place(echo_spec(2));
  auto granted = reserve_now("echo", 1);
  CHECK(granted.outcome() == pb::RESERVE_GRANTED);
  CHECK(granted.slots() == 2);
  CHECK(granted.hold_ms() == 2000);
  auto& work = post_invoke("echo", 1, "hello");
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_OK);
  CHECK(work.body().body() == "hello");
  CHECK(work.body().attempt() == 1);
  CHECK(work.body().replica_index() == 1);
  CHECK(work.body().running() == 0);
  CHECK(work.body().slots() == 2);
  advance(1s);
  CHECK(home().beats.back().load().requests_done() == 1);
}

TEST_CASE_FIXTURE(node_fixture, "an error of an actor app is its failure, in its own words") {
  start_node();
  auto spec = echo_spec();
  spec.mutable_actor()->set_type("counter");
  spec.mutable_actor()->add_args("init=5");
  place(spec);
  auto& work = work_on("echo", 1, "x");
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_APP_FAILED);
  CHECK(work.body().reason() == "counter takes an integer to add, or nothing to read; got 'x'");
  advance(1s);
  CHECK(home().beats.back().load().requests_failed() == 1);
}

TEST_CASE_FIXTURE(node_fixture, "a command gets the body, the limits and the time that is left") {
  start_node();
  auto spec = command_spec(2);
  place(spec);
  auto& work = work_on("ocr", 7, "page", 4000);
  REQUIRE(world.processes.launched.size() == 1);
  auto& launch = world.processes.launched[0];
  CHECK(launch.command == std::vector<std::string>{"tesseract", "-"});
  CHECK(launch.environment == std::vector<std::string>{"OMP_THREAD_LIMIT=1"});
  CHECK(*launch.input == "page");
  CHECK(launch.time_limit == caf::timespan{4s});
  CHECK(launch.memory_limit_bytes == (1 << 20) / 2);
  CHECK(launch.output_limit_bytes == 1000);
  CHECK_FALSE(work.done());
  advance(3s);
  end_process(exit_with(0, "text"));
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_OK);
  CHECK(work.body().body() == "text");
  CHECK(work.body().service_us() == 3000000);
  work_on("ocr", 8, "page", 3600000);
  CHECK(world.processes.launched[1].time_limit == caf::timespan{30s});
}

TEST_CASE_FIXTURE(node_fixture, "each end of a command has its outcome, and the slot is free again") {
  start_node();
  place(command_spec());
  auto end = [](process_end how, std::int32_t code = 0) {
    process_exited event;
    event.end = how;
    event.code = code;
    event.reason = "because";
    event.log_tail = "tail";
    return event;
  };
  std::uint64_t attempt = 0;
  auto outcome = [&](const process_exited& event) {
    auto& work = work_on("ocr", ++attempt);
    end_process(event);
    REQUIRE(work.done());
    return work.body();
  };
  auto failed = outcome(end(process_end::exited, 3));
  CHECK(failed.outcome() == pb::INVOKE_APP_FAILED);
  CHECK(failed.code() == 3);
  CHECK(failed.reason() == "because");
  CHECK(failed.stderr_tail() == "tail");
  CHECK(outcome(end(process_end::signalled, -11)).outcome() == pb::INVOKE_APP_FAILED);
  CHECK(outcome(end(process_end::time_limit)).outcome() == pb::INVOKE_TIMED_OUT);
  CHECK(outcome(end(process_end::memory_limit)).outcome() == pb::INVOKE_MEMORY_EXCEEDED);
  CHECK(outcome(end(process_end::output_limit)).outcome() == pb::INVOKE_OUTPUT_EXCEEDED);
  CHECK(outcome(end(process_end::launcher_lost)).outcome() == pb::INVOKE_REPLICA_LOST);
}

TEST_CASE_FIXTURE(node_fixture, "what a command wrote in binary reaches the router as UTF-8") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 1);
  auto event = exit_with(1);
  event.log_tail = "\xAC\xFF\x01 end\xE2\x82";
  event.reason = "cannot read \xFF";
  end_process(event);
  REQUIRE(work.done());
  CHECK(work.body().reason() == "cannot read \uFFFD");
  CHECK(work.body().stderr_tail() == "\uFFFD\uFFFD\x01 end\uFFFD\uFFFD");
  pb::InvokeReply received;
  CHECK(decode(received, encode(work.body())));
}

TEST_CASE_FIXTURE(node_fixture, "what a server says in binary reaches router and home as UTF-8") {
  start_node();
  auto spec = server_spec("");
  set_restarts(spec, 0);
  place(spec);
  world.http_log.answer = [](const http_call&) -> caf::result<http_answer> {
    return http_answer{200, "\xFF", "text/\xFF"};
  };
  auto& work = work_on("web", 1);
  REQUIRE(work.done());
  CHECK(work.body().body() == "\xFF");
  CHECK(work.body().content_type() == "text/\uFFFD");
  auto event = exit_with(1);
  event.log_tail = "bye \xFF\n";
  end_process(event);
  CHECK(status().reason().find("its last words: bye \uFFFD") != std::string::npos);
  pb::NodeProfile received;
  CHECK(decode(received, encode(profile())));
}

TEST_CASE_FIXTURE(node_fixture, "a command that vanished starts nothing, and its replica leaves the rotation") {
  start_node();
  place(command_spec());
  world.processes.absent_commands.insert("tesseract");
  auto& work = work_on("ocr", 1);
  advance(50ms);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_NOT_STARTED);
  CHECK(reserve_now("ocr", 2).outcome() == pb::RESERVE_NO_REPLICA);
  advance(5s);
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason() == "tesseract: command not found");
}

TEST_CASE_FIXTURE(node_fixture,
                  "a command that is found and cannot be executed costs its replica restarts, with the reason") {
  start_node();
  auto spec = command_spec(2);
  set_restarts(spec, 1);
  place(spec);
  CHECK(reserve_now("ocr", 1).outcome() == pb::RESERVE_GRANTED);
  CHECK(reserve_now("ocr", 2).outcome() == pb::RESERVE_GRANTED);
  world.processes.broken_commands.insert("tesseract");
  auto& first = post_invoke("ocr", 1);
  auto& second = post_invoke("ocr", 2);
  advance(50ms);
  REQUIRE(first.done());
  CHECK(first.body().outcome() == pb::INVOKE_NOT_STARTED);
  CHECK(first.body().reason() == "tesseract: Exec format error");
  REQUIRE(second.done());
  CHECK(status().restarts() == 1);
  CHECK(status().state() == pb::REPLICA_READY); // the first restart is at once
  work_on("ocr", 3);
  advance(50ms);
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason().starts_with("tesseract: Exec format error; given up after 1 restarts"));
}

TEST_CASE_FIXTURE(node_fixture, "work of before a restart keeps its slot") {
  start_node();
  auto spec = command_spec(2);
  set_restarts(spec, 3);
  place(spec);
  auto& runs_on = work_on("ocr", 1);
  world.processes.broken_commands.insert("tesseract");
  work_on("ocr", 2);
  advance(50ms);
  REQUIRE(status().restarts() == 1);
  REQUIRE(status().state() == pb::REPLICA_READY);
  world.processes.broken_commands.clear();
  CHECK(reserve_now("ocr", 3).outcome() == pb::RESERVE_GRANTED);
  CHECK(reserve_now("ocr", 4).outcome() == pb::RESERVE_BUSY);
  CHECK_FALSE(runs_on.done());
}

TEST_CASE_FIXTURE(node_fixture, "a launcher that takes nothing at the moment costs no restart") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 1);
  process_exited event;
  event.end = process_end::refused;
  event.reason = "the process launcher is being restarted";
  end_process(event);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_NOT_STARTED);
  CHECK(status().state() == pb::REPLICA_READY);
}

TEST_CASE_FIXTURE(node_fixture, "a launch that is not answered within 10 s is taken back") {
  start_node();
  place(command_spec());
  world.processes.hold = true;
  auto& work = work_on("ocr", 1, "page", 20000);
  advance(10s);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_REPLICA_LOST);
  REQUIRE(world.processes.killed.size() == 1);
  CHECK(world.processes.killed[0].key == world.processes.launched[0].key);
  auto server = server_spec("");
  set_restarts(server, 1);
  place(server, 2);
  advance(10s);
  REQUIRE(world.processes.killed.size() == 2);
  CHECK(world.processes.killed[1].key == world.processes.launched[1].key);
}

TEST_CASE_FIXTURE(node_fixture, "a command is looked up in the app's own PATH") {
  start_node();
  auto spec = command_spec();
  spec.mutable_per_request()->add_env("PATH=/opt/app");
  place(spec);
  REQUIRE(world.processes.resolved.size() == 1);
  CHECK(world.processes.resolved[0].environment == std::vector<std::string>{"OMP_THREAD_LIMIT=1", "PATH=/opt/app"});
}

TEST_CASE_FIXTURE(node_fixture, "an actor that drops a request has failed at it 100 ms later, and lives on") {
  registry.add("dropper", [](caf::actor_system& sys, const app_arguments&) -> caf::expected<app_actor> {
    return sys.spawn([](app_actor::pointer self) -> app_actor::behavior_type {
      return {[self](const work_request&) { return self->make_response_promise<work_result>(); }};
    });
  });
  start_node();
  auto spec = echo_spec();
  spec.mutable_actor()->set_type("dropper");
  place(spec);
  auto& work = work_on("echo", 1);
  advance(99ms);
  CHECK_FALSE(work.done());
  advance(1ms);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_APP_FAILED);
  CHECK(work.body().reason() == "the actor dropped the request without an answer");
  CHECK(status().state() == pb::REPLICA_READY);
}

TEST_CASE_FIXTURE(node_fixture, "a cancel kills the command at once and is answered") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 7);
  send_cancel(7);
  REQUIRE(world.processes.killed.size() == 1);
  CHECK(world.processes.killed[0].key == world.processes.launched[0].key);
  CHECK(world.processes.killed[0].grace == caf::timespan{0});
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_CANCELLED);
  CHECK(reserve_now("ocr", 8).outcome() == pb::RESERVE_GRANTED);
}

TEST_CASE_FIXTURE(node_fixture, "slots go to waiting requests in the order in which they came") {
  start_node();
  place(command_spec());
  auto& first = work_on("ocr", 1);
  CHECK(reserve_now("ocr", 2).outcome() == pb::RESERVE_BUSY);
  auto& second = post_reserve("ocr", 3, 5000);
  auto& third = post_reserve("ocr", 4, 5000);
  CHECK_FALSE(second.done());
  auto full = reserve_now("ocr", 5);
  CHECK(full.outcome() == pb::RESERVE_BUSY);
  CHECK(full.queued() == 2);
  auto& overflow = post_reserve("ocr", 6, 5000);
  REQUIRE(overflow.done());
  CHECK(overflow.body().outcome() == pb::RESERVE_QUEUE_FULL);
  end_process(exit_with(0));
  CHECK(first.done());
  REQUIRE(second.done());
  CHECK(second.body().outcome() == pb::RESERVE_GRANTED);
  CHECK_FALSE(third.done());
  post_invoke("ocr", 3);
  end_process(exit_with(0));
  REQUIRE(third.done());
  CHECK(third.body().outcome() == pb::RESERVE_GRANTED);
}

TEST_CASE_FIXTURE(node_fixture, "a wait that is too long ends when its time is over") {
  start_node();
  place(command_spec());
  work_on("ocr", 1);
  auto& waiting = post_reserve("ocr", 2, 300);
  advance(299ms);
  CHECK_FALSE(waiting.done());
  advance(1ms);
  REQUIRE(waiting.done());
  CHECK(waiting.body().outcome() == pb::RESERVE_BUSY);
}

TEST_CASE_FIXTURE(node_fixture,
                  "a granted slot that is not used is free after 2 s, and its late invoke starts nothing") {
  start_node();
  place(command_spec());
  CHECK(reserve_now("ocr", 1).outcome() == pb::RESERVE_GRANTED);
  auto& waiting = post_reserve("ocr", 2, 10000);
  advance(1999ms);
  CHECK_FALSE(waiting.done());
  advance(1ms);
  REQUIRE(waiting.done());
  CHECK(waiting.body().outcome() == pb::RESERVE_GRANTED);
  auto& late = post_invoke("ocr", 1);
  REQUIRE(late.done());
  CHECK(late.body().outcome() == pb::INVOKE_NOT_STARTED);
  CHECK(world.processes.launched.empty());
}

TEST_CASE_FIXTURE(node_fixture, "work that neither ends nor can be stopped is answered 1 s after its deadline") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 1, "page", 4000);
  world.processes.owners.clear();
  advance(4900ms);
  CHECK_FALSE(work.done());
  advance(100ms);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_TIMED_OUT);
  CHECK(world.processes.killed.size() == 1);
}

TEST_CASE_FIXTURE(node_fixture, "an invoke that the network delivers twice starts once and is answered twice") {
  start_node();
  place(command_spec());
  auto& first = work_on("ocr", 1);
  auto& second = post_invoke("ocr", 1);
  CHECK(world.processes.launched.size() == 1);
  end_process(exit_with(0, "text"));
  REQUIRE(first.done());
  REQUIRE(second.done());
  CHECK(second.body().body() == "text");
}

TEST_CASE_FIXTURE(node_fixture, "requests of a router that dies are taken back, waiting and running") {
  start_node();
  place(command_spec());
  work_on("ocr", 1);
  post_reserve("ocr", 2, 60000);
  kill(driver);
  advance(10ms);
  CHECK(world.processes.killed.size() == 1);
  advance(1s);
  CHECK(home().beats.back().load().running() == 0);
  CHECK(home().beats.back().load().queued() == 0);
}

TEST_CASE_FIXTURE(node_fixture, "a server gets requests as POST, and its status decides on the outcome") {
  start_node();
  place(server_spec(""));
  std::uint16_t answer_status = 200;
  world.http_log.answer = [&](const http_call& call) -> caf::result<http_answer> {
    return http_answer{answer_status, "re: " + *call.body, "text/html"};
  };
  auto& good = work_on("web", 1, "page", 4000);
  REQUIRE(good.done());
  CHECK(good.body().outcome() == pb::INVOKE_OK);
  CHECK(good.body().body() == "re: page");
  CHECK(good.body().content_type() == "text/html");
  auto& call = world.http_log.calls.back();
  CHECK(call.method == "POST");
  CHECK(call.target == "/infer");
  CHECK(call.port == 20000);
  CHECK(call.timeout == caf::timespan{4s});
  answer_status = 500;
  auto& bad = work_on("web", 2);
  REQUIRE(bad.done());
  CHECK(bad.body().outcome() == pb::INVOKE_APP_FAILED);
  CHECK(bad.body().code() == 500);
  CHECK(bad.body().reason() == "the app answered 500");
}

TEST_CASE_FIXTURE(node_fixture,
                  "requests in a server that dies are lost, those in one that refuses were never started") {
  start_node();
  place(server_spec(""));
  world.http_log.answer = [](const http_call&) -> caf::result<http_answer> {
    return caf::make_error(errc::unreachable, "connection refused");
  };
  auto& refused = work_on("web", 1);
  REQUIRE(refused.done());
  CHECK(refused.body().outcome() == pb::INVOKE_NOT_STARTED);
  world.http_log.answer = [](const http_call&) -> caf::result<http_answer> {
    return caf::make_error(errc::io_failed, "connection reset");
  };
  CHECK(reserve_now("web", 2).outcome() == pb::RESERVE_NO_REPLICA);
  advance(200ms);
  CHECK(status().state() == pb::REPLICA_READY);
  auto& lost = work_on("web", 2);
  REQUIRE(lost.done());
  CHECK(lost.body().outcome() == pb::INVOKE_REPLICA_LOST);
}

TEST_CASE_FIXTURE(node_fixture, "a ready server that accepts no connection for 3 s is restarted, and says why") {
  start_node();
  auto spec = server_spec("");
  set_restarts(spec, 0);
  place(spec);
  world.http_log.answer = [](const http_call&) -> caf::result<http_answer> {
    return caf::make_error(errc::unreachable, "connection refused");
  };
  work_on("web", 1);
  advance(50ms);
  CHECK(status().state() == pb::REPLICA_WARMING);
  CHECK(status().reason() == "accepts no requests any more: connection refused");
  advance(2800ms);
  CHECK(world.processes.killed.empty());
  advance(300ms);
  REQUIRE(world.processes.killed.size() == 1);
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason().starts_with("accepts no requests any more: connection refused; given up"));
}

TEST_CASE_FIXTURE(node_fixture, "an answer of a server that is too large or malformed is the app's failure") {
  start_node();
  place(server_spec(""));
  auto code = errc::output_exceeded;
  world.http_log.answer = [&code](const http_call&) -> caf::result<http_answer> {
    return caf::make_error(code, "bad");
  };
  auto& large = work_on("web", 1);
  REQUIRE(large.done());
  CHECK(large.body().outcome() == pb::INVOKE_OUTPUT_EXCEEDED);
  code = errc::app_failed;
  auto& malformed = work_on("web", 2);
  REQUIRE(malformed.done());
  CHECK(malformed.body().outcome() == pb::INVOKE_APP_FAILED);
}
