// The first part states of the simulated launcher what test/runtime/process/launcher_actor.test.cpp states of the live
// one, in the same order.

#include "runtime/sim/sim_launcher.hpp"

#include "messages/errc.hpp"
#include "test/runtime/sim/process_fixture.hpp"

#include <doctest/doctest.h>

#include <csignal>

using namespace astra;
using namespace astra::test;

using lines = std::vector<std::string>;

TEST_CASE_FIXTURE(process_fixture, "a launch is answered with the pid, and its end goes to who asked") {
  auto what = command({"cat"});
  what.input = std::make_shared<const std::string>("body");
  launch(what);
  advance(99ms);
  CHECK(log->lines == lines{"started 1"});
  CHECK(log->pids.at(1) > 0);
  advance(1ms);
  CHECK(log->lines == lines{"started 1", "exited 1 exited"});
  CHECK(log->ends.at(1).code == 0);
  CHECK(log->ends.at(1).output == "body");
}

TEST_CASE_FIXTURE(process_fixture, "a command that does not exist fails the request, and a process_exited follows") {
  launch(command({"no-such-command"}));
  advance(1s);
  CHECK(log->lines == lines{"refused 1 spawn_failed", "exited 1 spawn_failed"});
  CHECK(log->ends.at(1).reason.starts_with("no-such-command: command not found in PATH ("));
  CHECK(error_text(log->refusals.at(1)) == log->ends.at(1).reason);
}

TEST_CASE_FIXTURE(process_fixture, "a key in use fails the request only") {
  launch(command({"sleep"}));
  launch(command({"cat"}));
  advance(10s);
  CHECK(log->lines == lines{"refused 1 conflict", "started 1"});
  kill_process_of(1);
  CHECK(log->ends.at(1).end == process_end::killed);
  CHECK(log->ends.at(1).reason == "killed: test");
}

TEST_CASE_FIXTURE(process_fixture, "commands are resolved to their path") {
  auto resolve = [&](const char* name, std::vector<std::string> environment = {}) {
    return ask<std::string>(launcher, resolve_command{name, environment});
  };
  auto found = resolve("cat");
  REQUIRE(found);
  CHECK(found->ends_with("/cat"));
  CHECK(resolve("no-such-command").error() == errc::unknown_name);
  CHECK(resolve("cat", {"PATH=/bin:/usr/bin"}));
  CHECK(resolve("cat", {"PATH=/nowhere"}).error() == errc::unknown_name);
}

TEST_CASE_FIXTURE(process_fixture, "while a dead launcher is being replaced a launch is refused with a reason") {
  launch(command({"sleep"}, 1));
  advance(10ms);
  processes->model.lose_launcher(now());
  processes->settle();
  run();
  launch(command({"cat"}, 2));
  CHECK(log->lines == lines{"started 1", "exited 1 launcher_lost", "refused 2 spawn_failed", "exited 2 refused"});
  CHECK_FALSE(log->ends.at(2).reason.empty());
  advance(1s);
  launch(command({"cat"}, 2));
  advance(1s);
  CHECK(log->ends.at(2).end == process_end::exited);
}

TEST_CASE_FIXTURE(process_fixture, "the processes of an actor that ends are killed") {
  launch(command({"sleep"}, 7));
  advance(1s);
  CHECK(processes->model.running().size() == 1);
  auto others = std::make_shared<owner_log>();
  auto other = own(spawn_owner(sys, launcher, others));
  caf::anon_send(other, command({"sleep"}, 8));
  run();
  kill(owner);
  run();
  REQUIRE(processes->model.running().size() == 1);
  CHECK(processes->model.running()[0].key == process_key{8});
  CHECK(log->ends.empty());
}

TEST_CASE_FIXTURE(process_fixture, "200 launches all end") {
  for (std::uint64_t key = 1; key <= 200; ++key)
    caf::anon_send(owner, command({"cat"}, key));
  advance(1s);
  CHECK(log->ends.size() == 200);
  for (auto& [key, end] : log->ends)
    CHECK(end.code == 0);
}

// -- what the simulation adds ---------------------------------------------------------------------------------------

TEST_CASE_FIXTURE(process_fixture, "a kill right behind the launch answers it as failed, and with its end") {
  launch(command({"sleep"}));
  kill_process_of(1);
  CHECK(log->lines == lines{"refused 1 spawn_failed", "exited 1 killed"});
}

TEST_CASE_FIXTURE(process_fixture, "limits and graces are kept to the moment by the launcher's own timer") {
  auto what = command({"sleep"});
  what.time_limit = 2s;
  launch(what);
  launch(command({"sleep"}, 2));
  advance(2s - 1ms);
  CHECK(log->ends.empty());
  advance(1ms);
  CHECK(log->ends.at(1).end == process_end::time_limit);
  kill_process_of(2, 5s);
  CHECK(log->ends.at(2).code == -SIGTERM);
}

TEST_CASE_FIXTURE(process_fixture, "an end that comes earlier than the timer was set for is told in time") {
  launch(command({"sleep"}));
  advance(10ms);
  processes->model.crash_all(now());
  processes->settle();
  run();
  CHECK(log->lines == lines{"started 1", "exited 1 signalled"});
  launch(command({"sleep"}, 2));
  advance(10ms);
  launch(command({"cat"}, 3));
  advance(100ms);
  CHECK(log->ends.at(3).end == process_end::exited);
}

TEST_CASE_FIXTURE(process_fixture, "nothing runs and no timer is left when the launcher has ended") {
  launch(command({"sleep"}));
  launch(server(8080, 2));
  advance(1s);
  kill(launcher);
  CHECK(processes->model.running().empty());
  CHECK_FALSE(processes->model.next_due());
  CHECK_FALSE(processes->armed);
}

TEST_CASE_FIXTURE(process_fixture, "an idle launcher sets no timer") {
  launch(command({"cat"}));
  advance(1s);
  CHECK(log->ends.size() == 1);
  CHECK_FALSE(processes->armed);
  CHECK_FALSE(scheduler.has_job());
}
