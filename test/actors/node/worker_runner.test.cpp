#include "actors/node/replica_runner.hpp"
#include "test/actors/node/node_fixture.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

TEST_CASE_FIXTURE(node_fixture, "the actor of a library is a process of Astra's own, ready when it says so") {
  auto up = false;
  world.http_log.answer = [&up](const http_call& call) -> caf::result<http_answer> {
    if (!up)
      return caf::make_error(errc::unreachable, "connection refused");
    if (call.method == "POST")
      return http_answer{200, "42", "application/json"};
    return http_answer{200, "ready", "text/plain"};
  };
  start_node();
  place(worker_spec());
  CHECK(status().state() == pb::REPLICA_WARMING);
  REQUIRE(world.processes.launched.size() == 1);
  auto& launch = world.processes.launched[0];
  CHECK(launch.command
        == std::vector<std::string>{"/opt/astra", "worker", "--library", "/lib/libtally.so", "--actor", "tally", "--",
                                    "init=40"});
  CHECK(launch.environment == std::vector<std::string>{"PORT=20000"});
  CHECK(launch.memory_limit_bytes == worker_spec().per_replica().memory_bytes());
  CHECK(world.http_log.calls[0].target == "/ready");
  up = true;
  advance(200ms);
  CHECK(status().state() == pb::REPLICA_READY);
  auto& work = work_on("tally", 1, R"({"add":{"amount":2}})");
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_OK);
  CHECK(work.body().body() == "42");
  CHECK(world.http_log.calls.back().target == "/");
}

TEST_CASE_FIXTURE(node_fixture,
                  "a worker that crashes is started again with the reason, and failed when its budget is spent") {
  start_node();
  place(worker_spec());
  process_exited crash;
  crash.end = process_end::signalled;
  crash.code = -11;
  crash.reason = "killed by SIGSEGV";
  for (auto i = 1; i <= 6; ++i) {
    REQUIRE(world.processes.launched.size() == static_cast<std::size_t>(i));
    end_process(crash);
    if (i == 3) { // the first restart comes at once
      CHECK(status().state() == pb::REPLICA_BACKING_OFF);
      CHECK(status().reason().starts_with("killed by SIGSEGV; restart 3 of at most 5"));
    }
    advance(3s);
  }
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason() == "killed by SIGSEGV; given up after 5 restarts in 60 s");
  CHECK(world.ports.empty());
  // The node goes on.
  place(echo_spec(), 2);
  auto& work = work_on("echo", 1, "hi");
  REQUIRE(work.done());
  CHECK(work.body().body() == "hi");
}

TEST_CASE_FIXTURE(node_fixture, "a worker that cannot start is failed at once, with its last words") {
  start_node();
  place(worker_spec());
  process_exited refusal;
  refusal.end = process_end::exited;
  refusal.code = worker_exit_hopeless;
  refusal.reason = "exited with code 78";
  refusal.log_tail = "astra: tally: it has no argument 'int'; did you mean 'init'?\n";
  end_process(refusal);
  CHECK(status().state() == pb::REPLICA_FAILED);
  CHECK(status().reason()
        == "exited with code 78; its last words: astra: tally: it has no argument 'int'; did you mean 'init'?");
  advance(60s);
  CHECK(world.processes.launched.size() == 1);
}

TEST_CASE_FIXTURE(node_fixture, "what an actor says against a message is the reason, and a full mailbox is no start") {
  world.http_log.answer = [](const http_call& call) -> caf::result<http_answer> {
    if (call.method != "POST")
      return http_answer{200, "ready", "text/plain"};
    if (*call.body == "full")
      return http_answer{503, "the actor's mailbox is full: 10000 messages wait", "text/plain"};
    return http_answer{400, "add has no field 'amout'; did you mean 'amount'?", "text/plain"};
  };
  start_node();
  place(worker_spec());
  auto& work = work_on("tally", 1, R"({"add":{"amout":2}})");
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_APP_FAILED);
  CHECK(work.body().code() == 400);
  CHECK(work.body().reason() == "add has no field 'amout'; did you mean 'amount'?");
  CHECK(work.body().body().empty());
  auto& late = work_on("tally", 2, "full");
  REQUIRE(late.done());
  CHECK(late.body().outcome() == pb::INVOKE_NOT_STARTED);
  CHECK(late.body().reason().find("mailbox is full") != std::string::npos);
}
