#include "runtime/sim/process_model.hpp"

#include "messages/errc.hpp"
#include "messages/wire/app.pb.h"

#include <astra/actor.hpp>
#include <doctest/doctest.h>

#include <csignal>
#include <optional>
#include <rapidcheck.h>
#include <string>
#include <vector>

using namespace astra;
using namespace astra::sim;
using namespace std::chrono_literals;

namespace {

using time_point = process_model::time_point;

constexpr time_point start{std::chrono::hours{1}};

scenario_behaviour behaviour(nanoseconds start_up, nanoseconds service) {
  scenario_behaviour result;
  result.start_min = result.start_max = start_up;
  result.service_min = result.service_max = service;
  return result;
}

sim_app program(std::string command, scenario_behaviour how, bool serves = false) {
  return {.command = std::move(command), .behaviour = how, .serves = serves};
}

/// Start-up 9 ms, 90 ms per request: with the 1 ms of exec, everything ends at whole tens.
sim_app_table usual_programs() {
  return {program("echo", behaviour(9ms, 90ms)), program("web {port}", behaviour(9ms, 90ms), true)};
}

process_model_options machine(sim_app_table apps = usual_programs()) {
  process_model_options result;
  result.apps = std::make_shared<const sim_app_table>(std::move(apps));
  return result;
}

/// A model and what it said so far.
struct harness {
  explicit harness(process_model_options options = machine(), std::uint64_t seed = 1, std::uint32_t number = 1,
                   std::uint32_t boot = 1)
    : model(draws{seed}, number, boot, std::move(options), start) {}

  /// Lives through everything until then, as an actor with a timer does, and notes when it happened.
  void run(time_point end) {
    for (auto due = model.next_due(); due && *due <= end; due = model.next_due()) {
      REQUIRE(*due >= now);
      now = *due;
      model.advance(now);
      collect();
    }
    now = end;
    model.advance(now);
    collect();
  }

  void run(nanoseconds length) { run(now + length); }

  void collect() {
    for (auto& event : model.take_process_events()) {
      if (auto* begun = std::get_if<process_started>(&event))
        started.emplace_back(*begun, now - start);
      else
        exited.emplace_back(std::get<process_exited>(event), now - start);
    }
    for (auto& result : model.take_call_results())
      answers.emplace(result.ticket, std::pair{std::move(result.answer), now - start});
  }

  void launch(std::uint64_t key, std::vector<std::string> command, std::string input = {}) {
    launch_process what;
    what.key = process_key{key};
    what.command = std::move(command);
    what.input = std::make_shared<const std::string>(std::move(input));
    what.output_limit_bytes = 1 << 20;
    launch(std::move(what));
  }

  void launch(launch_process what) {
    REQUIRE(model.launch(what, now));
    collect();
  }

  void serve(std::uint64_t key, std::uint16_t port) {
    launch_process what;
    what.key = process_key{key};
    what.command = {"web", std::to_string(port)};
    what.environment = {"PORT=" + std::to_string(port)};
    what.output_is_log = true;
    launch(std::move(what));
  }

  std::uint64_t call(std::uint16_t port, std::string body, nanoseconds timeout = 10s, std::string method = "POST") {
    http_call what;
    what.host = "127.0.0.1";
    what.port = port;
    what.method = std::move(method);
    what.body = std::make_shared<const std::string>(std::move(body));
    what.content_type = "text/x";
    what.timeout = timeout;
    model.call(++last_ticket, what, now);
    collect();
    return last_ticket;
  }

  void kill(std::uint64_t key, caf::timespan grace) {
    model.kill({process_key{key}, grace, "test"}, now);
    collect();
  }

  const process_exited& end(std::size_t index = 0) const {
    REQUIRE(exited.size() > index);
    return exited[index].first;
  }

  nanoseconds end_time(std::size_t index = 0) const {
    REQUIRE(exited.size() > index);
    return exited[index].second;
  }

  const caf::expected<http_answer>& answer(std::uint64_t ticket) const {
    REQUIRE(answers.count(ticket) == 1);
    return answers.at(ticket).first;
  }

  process_model model;
  time_point now = start;
  std::vector<std::pair<process_started, nanoseconds>> started;
  std::vector<std::pair<process_exited, nanoseconds>> exited;
  std::map<std::uint64_t, std::pair<caf::expected<http_answer>, nanoseconds>> answers;
  std::uint64_t last_ticket = 0;
};

scenario_behaviour always(double scenario_behaviour::*fate, nanoseconds service = 90ms) {
  auto result = behaviour(9ms, service);
  result.*fate = 1.0;
  return result;
}

} // namespace

// -- processes per request ------------------------------------------------------------------------------------------

TEST_CASE("a process per request writes out its input after exec, start-up and service") {
  harness world;
  world.launch(1, {"echo"}, "body");
  world.run(1s);
  REQUIRE(world.started.size() == 1);
  CHECK(world.started[0].first.key == process_key{1});
  CHECK(world.started[0].first.pid > 0);
  CHECK(world.started[0].second == 1ms);
  CHECK(world.end_time() == 100ms);
  CHECK(world.end().end == process_end::exited);
  CHECK(world.end().code == 0);
  CHECK(world.end().output == "body");
  CHECK(world.end().cpu_time == 99ms);
  CHECK(world.end().wall_time == 100ms);
  CHECK(world.end().memory_peak_bytes == 64 << 20);
  CHECK_FALSE(world.model.next_due());
}

TEST_CASE("start-up and service times are drawn within their bounds, and differ") {
  auto how = behaviour(0ms, 0ms);
  how.start_max = 1ns;
  how.service_min = 10ms;
  how.service_max = 1s;
  auto options = machine({program("echo", how)});
  options.cpu_milli = 1'000'000;
  harness world{options};
  for (std::uint64_t key = 1; key <= 200; ++key)
    world.launch(key, {"echo"});
  world.run(2s);
  REQUIRE(world.exited.size() == 200);
  std::size_t below_100ms = 0;
  for (auto& [event, at] : world.exited) {
    CHECK(at >= 11ms);
    CHECK(at <= 1s + 2ms);
    below_100ms += at < 101ms ? 1 : 0;
  }
  // Half of a log-uniform draw lies below the geometric middle.
  CHECK(below_100ms > 70);
  CHECK(below_100ms < 130);
}

TEST_CASE("a command that is not there is reported, and never starts") {
  harness world;
  world.launch(1, {"no-such-command"});
  world.launch(2, {"/no/such"});
  world.launch(3, std::vector<std::string>{});
  world.run(1s);
  CHECK(world.started.empty());
  REQUIRE(world.exited.size() == 3);
  CHECK(world.end().end == process_end::spawn_failed);
  CHECK(world.end().reason.starts_with("no-such-command: command not found in PATH ("));
  CHECK(world.end(1).reason == "/no/such: No such file or directory");
  CHECK(world.end(2).reason == "the command is empty");
}

TEST_CASE("a program is found by its whole command, with its port put back, or by its first word") {
  auto slow = behaviour(9ms, 990ms);
  harness world{machine({program("run", behaviour(9ms, 90ms)), program("run slow", slow),
                         program("run at {port}", behaviour(9ms, 190ms), true)})};
  world.launch(1, {"run", "slow"});
  world.launch(2, {"run", "else"});
  launch_process server;
  server.key = process_key{3};
  server.command = {"run", "at", "8080"};
  server.environment = {"PORT=8080"};
  world.launch(server);
  world.run(500ms);
  CHECK(world.end().key == process_key{2});
  CHECK(world.exited.size() == 1);
  CHECK(world.model.port_in_use(8080));
  world.run(1s);
  CHECK(world.end(1).key == process_key{1});
  CHECK(world.end_time(1) == 1s);
  CHECK(world.model.running().size() == 1);
  CHECK(world.model.running()[0].command == "run at 8080");
}

TEST_CASE("a process that hangs uses nothing and ends at its time limit") {
  harness world{machine({program("echo", always(&scenario_behaviour::hang))})};
  launch_process what;
  what.key = process_key{1};
  what.command = {"echo"};
  what.time_limit = 2s;
  world.launch(what);
  world.run(1min);
  CHECK(world.end().end == process_end::time_limit);
  CHECK(world.end().reason == "killed after 2 s (time limit)");
  CHECK(world.end().code == -SIGKILL);
  CHECK(world.end_time() == 2s);
  CHECK(world.end().cpu_time == 9ms);
}

TEST_CASE("a process that outgrows its limit is killed at it, and is seen growing") {
  harness world{machine({program("echo", always(&scenario_behaviour::outgrow, 10s))})};
  launch_process what;
  what.key = process_key{1};
  what.command = {"echo"};
  what.memory_limit_bytes = 1 << 30;
  world.launch(what);
  auto idle = world.model.sample(world.now).memory_used_bytes;
  world.run(10ms);
  auto first = world.model.sample(world.now).memory_used_bytes;
  CHECK(first == idle + (64 << 20));
  std::uint64_t last = first;
  while (world.exited.empty()) {
    auto used = world.model.sample(world.now).memory_used_bytes;
    CHECK(used >= last);
    CHECK(used <= idle + (1 << 30));
    last = used;
    world.run(10ms);
  }
  CHECK(last > first);
  CHECK(world.end().end == process_end::memory_limit);
  CHECK(world.end().memory_peak_bytes == 1 << 30);
  CHECK(world.model.sample(world.now).memory_used_bytes == idle);
}

TEST_CASE("without a limit of its own it is the machine's memory that ends it") {
  harness world{machine({program("echo", always(&scenario_behaviour::outgrow))})};
  world.launch(1, {"echo"});
  world.run(1s);
  CHECK(world.end().end == process_end::signalled);
  CHECK(world.end().code == -SIGKILL);
}

TEST_CASE("output up to the limit is fine, one byte more is not, and log has no limit") {
  harness world;
  launch_process what;
  what.command = {"echo"};
  what.input = std::make_shared<const std::string>("12345678");
  what.key = process_key{1};
  what.output_limit_bytes = 8;
  world.launch(what);
  what.key = process_key{2};
  what.output_limit_bytes = 7;
  world.launch(what);
  what.key = process_key{3};
  what.output_is_log = true;
  world.launch(what);
  world.run(1s);
  CHECK(world.end(0).output == "12345678");
  CHECK(world.end(1).end == process_end::output_limit);
  CHECK(world.end(1).output == "1234567");
  CHECK(world.end(2).end == process_end::exited);
  CHECK(world.end(2).output.empty());
  CHECK(world.end(2).log_tail == "12345678");
  CHECK(world.end(2).log_bytes == 8);
}

TEST_CASE("crashes are exit codes and signals, within the service time") {
  harness world{machine({program("echo", always(&scenario_behaviour::crash))})};
  for (std::uint64_t key = 1; key <= 64; ++key) {
    world.launch(key, {"echo"}, "input");
    world.run(200ms);
  }
  std::size_t signals = 0;
  for (auto& [event, at] : world.exited) {
    CHECK(event.output.empty());
    CHECK(event.wall_time >= 10ms);
    CHECK(event.wall_time <= 100ms);
    signals += event.end == process_end::signalled ? 1 : 0;
    if (event.end == process_end::signalled)
      CHECK(event.code == -SIGSEGV);
    else
      CHECK(event.log_tail == "fatal: assertion failed\n");
  }
  CHECK(world.exited.size() == 64);
  CHECK(signals > 16);
  CHECK(signals < 48);
}

TEST_CASE("fates come in the shares that the scenario gives, per machine and boot, and the same every time") {
  auto how = behaviour(1ms, 10ms);
  how.crash = 0.2;
  how.hang = 0.1;
  how.outgrow = 0.05;
  auto options = machine({program("echo", how)});
  auto ends = [&](std::uint32_t number, std::uint32_t boot) {
    harness world{options, 7, number, boot};
    std::vector<process_end> result;
    for (std::uint64_t key = 1; key <= 2000; ++key) {
      launch_process what;
      what.key = process_key{key};
      what.command = {"echo"};
      what.time_limit = 20ms;
      what.memory_limit_bytes = 1 << 30;
      world.launch(what);
      world.run(20ms);
      auto& end = world.end(key - 1);
      result.push_back(end.code == 1 ? process_end::signalled : end.end);
    }
    return result;
  };
  auto first = ends(1, 1);
  auto share = [&](process_end end) {
    return static_cast<double>(std::count(first.begin(), first.end(), end)) / 2000.0;
  };
  CHECK(share(process_end::signalled) == doctest::Approx(0.2).epsilon(0.15));
  CHECK(share(process_end::time_limit) == doctest::Approx(0.1).epsilon(0.2));
  CHECK(share(process_end::memory_limit) == doctest::Approx(0.05).epsilon(0.3));
  CHECK(ends(1, 1) == first);
  CHECK(ends(2, 1) != first);
  CHECK(ends(1, 2) != first);
}

// -- kills ----------------------------------------------------------------------------------------------------------

TEST_CASE("a kill right behind the launch ends it before it starts, and one of an unknown key does nothing") {
  harness world;
  world.kill(99, 0s);
  world.launch(1, {"echo"});
  world.kill(1, 0s);
  CHECK(world.started.empty());
  CHECK(world.end().end == process_end::killed);
  CHECK(world.end().reason == "killed: test");
  CHECK(world.end().code == -SIGKILL);
}

TEST_CASE("SIGTERM ends a process per request at once, and lets a server finish what it works on") {
  harness world;
  world.launch(1, {"echo"});
  world.serve(2, 8080);
  world.run(50ms);
  auto before = world.call(8080, "before");
  world.kill(1, 10s);
  world.kill(2, 10s);
  CHECK(world.end().key == process_key{1});
  CHECK(world.end().end == process_end::killed);
  CHECK(world.end().code == -SIGTERM);
  auto after = world.call(8080, "after");
  CHECK(world.answer(after).error() == errc::unreachable);
  world.run(1s);
  REQUIRE(world.answer(before));
  CHECK(world.answer(before)->body == "before");
  CHECK(world.end(1).end == process_end::killed);
  CHECK(world.end(1).code == 0);
  CHECK(world.end_time(1) == 140ms);
}

TEST_CASE("a server that does not finish is killed after the grace") {
  auto how = behaviour(9ms, 90s);
  harness world{machine({program("web {port}", how, true)})};
  world.serve(1, 8080);
  world.run(50ms);
  auto ticket = world.call(8080, "long", 1h);
  world.kill(1, 300ms);
  world.run(1s);
  CHECK(world.end().end == process_end::killed);
  CHECK(world.end().code == -SIGKILL);
  CHECK(world.end_time() == 350ms);
  CHECK(world.answer(ticket).error() == errc::io_failed);
}

TEST_CASE("a key in use is refused, and free again after the end") {
  harness world;
  world.launch(1, {"echo"});
  launch_process again;
  again.key = process_key{1};
  again.command = {"echo"};
  CHECK(world.model.launch(again, world.now).error() == errc::conflict);
  world.run(1s);
  CHECK(world.model.launch(again, world.now));
}

// -- servers --------------------------------------------------------------------------------------------------------

TEST_CASE("a server refuses before its start-up is over and then echoes bodies") {
  harness world;
  world.serve(1, 8080);
  world.run(9ms);
  auto early = world.call(8080, "early");
  REQUIRE_FALSE(world.answer(early));
  CHECK(world.answer(early).error() == errc::unreachable);
  CHECK(to_string(world.answer(early).error()).find("127.0.0.1:8080") != std::string::npos);
  world.run(1ms);
  auto health = world.call(8080, {}, 1s, "GET");
  auto work = world.call(8080, "body");
  world.run(1s);
  REQUIRE(world.answer(health));
  CHECK(world.answer(health)->status == 200);
  CHECK(world.answers.at(health).second == 10ms + process_model::health_work);
  REQUIRE(world.answer(work));
  CHECK(world.answer(work)->body == "body");
  CHECK(world.answer(work)->content_type == "text/x");
  CHECK(world.answers.at(work).second == 100ms);
  CHECK(world.exited.empty());
  world.kill(1, 0s);
  CHECK(world.end().log_tail == "listening on port 8080\n");
  CHECK_FALSE(world.model.port_in_use(8080));
}

TEST_CASE("calls without time, with a broken line, to other hosts, or answered at too great length fail as live ones") {
  harness world;
  world.serve(1, 8080);
  world.run(10ms);
  CHECK(world.answer(world.call(8080, "x", 0s)).error() == errc::timed_out);
  CHECK(world.answer(world.call(8080, "x", 1s, "PO ST")).error() == errc::io_failed);
  http_call what;
  what.host = "10.0.0.1";
  what.port = 8080;
  what.method = "POST";
  what.timeout = 1s;
  world.model.call(100, what, world.now);
  what.host = "localhost";
  what.body = std::make_shared<const std::string>("1234");
  what.response_limit_bytes = 3;
  world.model.call(101, what, world.now);
  world.run(1s);
  CHECK(world.answer(100).error() == errc::unreachable);
  CHECK(world.answer(101).error() == errc::output_exceeded);
}

TEST_CASE("a timeout and an abort end the call only: the server works on") {
  harness world;
  world.serve(1, 8080);
  world.run(10ms);
  auto late = world.call(8080, "late", 20ms);
  auto unwanted = world.call(8080, "unwanted");
  world.run(5ms);
  world.model.abort(unwanted, world.now);
  world.collect();
  CHECK(world.answer(unwanted).error() == errc::cancelled);
  world.run(1s);
  CHECK(world.answer(late).error() == errc::timed_out);
  CHECK(world.answers.at(late).second == 30ms);
  world.model.abort(late, world.now);
  CHECK(world.model.sample(world.now).own_busy_core_s == doctest::Approx(0.009 + 2 * 0.09));
}

TEST_CASE("a crash takes all calls of the server with it; a hang only one") {
  auto how = behaviour(9ms, 90ms);
  how.hang = 0.5;
  harness hanging{machine({program("web {port}", how, true)})};
  hanging.serve(1, 8080);
  hanging.run(10ms);
  for (int i = 0; i < 40; ++i)
    hanging.call(8080, std::to_string(i), 5s);
  hanging.run(10s);
  std::size_t answered = 0;
  for (auto& [ticket, result] : hanging.answers) {
    if (result.first)
      CHECK(result.first->body == std::to_string(ticket - 1));
    else
      CHECK(result.first.error() == errc::timed_out);
    answered += result.first ? 1 : 0;
  }
  CHECK(hanging.exited.empty());
  CHECK(answered > 10);
  CHECK(answered < 30);

  harness crashing{machine({program("web {port}", always(&scenario_behaviour::crash), true)})};
  crashing.serve(1, 8080);
  crashing.run(10ms);
  auto health = crashing.call(8080, {}, 1s, "GET");
  crashing.run(1ms);
  CHECK(crashing.answer(health));
  auto first = crashing.call(8080, "first");
  auto second = crashing.call(8080, "second");
  crashing.run(1s);
  CHECK(crashing.answer(first).error() == errc::io_failed);
  CHECK(crashing.answer(second).error() == errc::io_failed);
  CHECK(crashing.answers.at(first).second == crashing.end_time());
  CHECK(crashing.exited.size() == 1);
  CHECK(crashing.answer(crashing.call(8080, "third")).error() == errc::unreachable);
}

TEST_CASE("a port that is taken ends the second server, and no port at all ends it too") {
  harness world;
  world.serve(1, 8080);
  world.run(100ms);
  world.serve(2, 8080);
  launch_process lost;
  lost.key = process_key{3};
  lost.command = {"web", "8081"};
  world.launch(lost);
  world.run(100ms);
  REQUIRE(world.exited.size() == 2);
  CHECK(world.end(0).code == 1);
  CHECK(world.end(0).log_tail == "bind: Address already in use\n");
  CHECK(world.end(1).log_tail == "PORT is not set\n");
}

TEST_CASE("the fates of a server do not depend on how many requests another one had") {
  auto how = behaviour(9ms, 5ms);
  how.hang = 0.5;
  auto pattern = [&](int others) {
    harness world{machine({program("web {port}", how, true)})};
    world.serve(1, 8080);
    world.serve(2, 8081);
    world.run(10ms);
    for (int i = 0; i < others; ++i)
      world.call(8080, "x", 50ms);
    world.run(1s);
    std::vector<bool> result;
    for (int i = 0; i < 32; ++i) {
      auto ticket = world.call(8081, "y", 50ms);
      world.run(50ms);
      result.push_back(world.answer(ticket).engaged());
    }
    return result;
  };
  auto alone = pattern(0);
  CHECK(std::count(alone.begin(), alone.end(), true) > 4);
  CHECK(std::count(alone.begin(), alone.end(), false) > 4);
  CHECK(pattern(17) == alone);
}

// -- cores ----------------------------------------------------------------------------------------------------------

TEST_CASE("cores are shared: work that comes later slows what is under way") {
  auto options = machine({program("echo", behaviour(1ns, 100ms))});
  options.cpu_milli = 1000;
  harness world{options};
  world.launch(1, {"echo"});
  world.run(51ms);
  // 51 ms are done when the second one is there; from then on the other 49 ms take twice as long.
  world.launch(2, {"echo"});
  world.run(1s);
  CHECK(world.end(0).key == process_key{1});
  CHECK(world.end_time(0).count() == doctest::Approx(150e6).epsilon(1e-6));
  CHECK(world.end_time(1).count() == doctest::Approx(201e6).epsilon(1e-6));
  CHECK(world.end(0).cpu_time.count() == doctest::Approx(100e6).epsilon(1e-6));
  auto sample = world.model.sample(world.now);
  CHECK(sample.own_busy_core_s == doctest::Approx(0.2).epsilon(1e-6));
  CHECK(sample.host_busy_core_s == doctest::Approx(0.2).epsilon(1e-6));
}

TEST_CASE("four requests on two cores take twice as long, and keep two cores busy") {
  auto options = machine({program("echo", behaviour(1ns, 100ms))});
  options.cpu_milli = 2000;
  harness world{options};
  for (std::uint64_t key = 1; key <= 4; ++key)
    world.launch(key, {"echo"});
  world.run(101ms);
  CHECK(world.exited.empty());
  CHECK(world.model.sample(world.now).host_busy_core_s == doctest::Approx(0.2));
  world.run(1s);
  CHECK(world.exited.size() == 4);
  CHECK(world.end_time(3).count() == doctest::Approx(201e6).epsilon(1e-6));
  CHECK(world.model.sample(world.now).own_busy_core_s == doctest::Approx(0.4));
}

TEST_CASE("strangers slow work down as soon as they come, and are host time but not ours") {
  auto options = machine({program("echo", behaviour(1ns, 100ms))});
  options.cpu_milli = 1000;
  harness world{options};
  world.launch(1, {"echo"});
  world.run(51ms);
  world.model.set_extra_cores(3.0, world.now);
  world.run(100ms);
  world.model.set_extra_cores(0.0, world.now);
  // A quarter of a core for 100 ms: 25 ms of the 50 that were left.
  world.run(1s);
  CHECK(world.end_time().count() == doctest::Approx(176e6).epsilon(1e-6));
  auto sample = world.model.sample(world.now);
  CHECK(sample.own_busy_core_s == doctest::Approx(0.1));
  CHECK(sample.host_busy_core_s == doctest::Approx(0.175));
}

TEST_CASE("a slowdown stretches work, and nothing else") {
  harness world;
  world.model.set_slowdown(3.0, world.now);
  world.launch(1, {"echo"});
  world.run(1s);
  // The work clock counts whole nanoseconds.
  CHECK(world.end_time().count() == doctest::Approx(298e6).epsilon(1e-7));
  world.model.set_slowdown(1.0, world.now);
  world.launch(2, {"echo"});
  world.run(1s);
  CHECK(world.end(1).wall_time == 100ms);
}

TEST_CASE("interference has its average and swings within its bounds") {
  auto options = machine();
  options.interference_cores = 1.5;
  options.interference_swing = 1.0;
  harness world{options};
  double low = 1e9;
  double high = 0.0;
  double before = 0.0;
  for (int second = 0; second < 5000; ++second) {
    world.run(1s);
    auto total = world.model.sample(world.now).host_busy_core_s;
    low = std::min(low, total - before);
    high = std::max(high, total - before);
    before = total;
  }
  CHECK(before / 5000 == doctest::Approx(1.5).epsilon(0.03));
  CHECK(low >= 0.5);
  CHECK(high <= 2.5);
  CHECK(low < 0.8);
  CHECK(high > 2.2);
  CHECK(world.model.sample(world.now).own_busy_core_s == 0.0);
  CHECK_FALSE(world.model.next_due());
}

TEST_CASE(
    "nothing shifts because somebody looks: ends are the same with and without samples, and however time passes") {
  rc::check([] {
    auto how = behaviour(1ms, 1ms);
    how.start_max = 50ms;
    how.service_max = 400ms;
    how.crash = 0.1;
    how.outgrow = 0.1;
    auto options = machine({program("echo", how), program("web {port}", how, true)});
    options.cpu_milli = 1500;
    options.interference_cores = 0.7;
    options.interference_swing = 0.7;
    auto seed = *rc::gen::arbitrary<std::uint64_t>();
    auto launches = *rc::gen::container<std::vector<std::uint32_t>>(12, rc::gen::inRange(0U, 3000U));
    auto looks = *rc::gen::container<std::vector<std::uint32_t>>(30, rc::gen::inRange(0U, 5'000'000U));
    std::sort(launches.begin(), launches.end());
    std::sort(looks.begin(), looks.end());
    auto ends = [&](bool look) {
      harness world{options, seed};
      auto next_look = looks.begin();
      auto pass = [&](time_point until) {
        for (; look && next_look != looks.end() && start + std::chrono::microseconds{*next_look} <= until;
             ++next_look) {
          world.run(start + std::chrono::microseconds{*next_look});
          world.model.sample(world.now);
          world.collect();
        }
        world.run(until);
      };
      std::uint64_t key = 0;
      for (auto at : launches) {
        pass(start + std::chrono::milliseconds{at});
        ++key;
        world.launch(key, {"echo"}, std::to_string(key));
      }
      pass(start + 60s);
      std::vector<std::tuple<process_key, process_end, nanoseconds, caf::timespan>> result;
      for (auto& [event, at] : world.exited)
        result.emplace_back(event.key, event.end, at, event.wall_time);
      RC_ASSERT(result.size() == launches.size());
      return result;
    };
    RC_ASSERT(ends(true) == ends(false));
  });
}

TEST_CASE("one late look tells the same ends as many timely ones") {
  auto lengths = [](bool timely) {
    harness world;
    for (std::uint64_t key = 1; key <= 9; ++key)
      world.launch(key, {"echo"});
    if (timely) {
      world.run(10s);
    } else {
      world.model.advance(start + 10s);
      world.collect();
    }
    std::vector<caf::timespan> result;
    for (auto& [event, at] : world.exited)
      result.push_back(event.wall_time);
    return result;
  };
  CHECK(lengths(true).size() == 9);
  CHECK(lengths(true) == lengths(false));
}

// -- faults ---------------------------------------------------------------------------------------------------------

TEST_CASE("crash_all ends every process by signal, and calls with it") {
  harness world;
  world.launch(1, {"echo"});
  world.serve(2, 8080);
  world.run(20ms);
  auto ticket = world.call(8080, "x");
  world.launch(3, {"echo"});
  world.model.crash_all(world.now);
  world.collect();
  REQUIRE(world.exited.size() == 3);
  for (auto& [event, at] : world.exited) {
    CHECK(event.end == process_end::signalled);
    CHECK(event.code == -SIGKILL);
  }
  CHECK(world.answer(ticket).error() == errc::io_failed);
  CHECK(world.model.running().empty());
  CHECK_FALSE(world.model.next_due());
}

TEST_CASE("hang_all freezes what runs: servers accept and stay silent, SIGTERM waits, and all goes on afterwards") {
  harness world;
  world.launch(1, {"echo"}, "frozen");
  world.serve(2, 8080);
  world.run(50ms);
  world.model.hang_all(1s, world.now);
  auto impatient = world.call(8080, "a", 500ms);
  auto patient = world.call(8080, "b", 5s);
  world.launch(3, {"echo"}, "new");
  world.run(500ms);
  CHECK(world.answer(impatient).error() == errc::timed_out);
  CHECK(world.end().key == process_key{3});
  CHECK(world.exited.size() == 1);
  world.kill(2, 5s);
  world.run(5s);
  REQUIRE(world.answer(patient));
  CHECK(world.answers.at(patient).second == 1050ms + 90ms);
  CHECK(world.end(1).key == process_key{1});
  CHECK(world.end(1).output == "frozen");
  CHECK(world.end_time(1) == 1100ms);
  CHECK(world.end(2).end == process_end::killed);
  CHECK(world.end(2).code == 0);
  CHECK(world.end_time(2) == 1140ms);
}

TEST_CASE("a frozen process that is told to stop is killed after the grace") {
  harness world;
  world.serve(1, 8080);
  world.run(50ms);
  world.model.hang_all(10s, world.now);
  world.kill(1, 200ms);
  world.run(20s);
  CHECK(world.end_time() == 250ms);
  CHECK(world.end().code == -SIGKILL);
}

TEST_CASE("a launcher that dies takes everything with it and takes no launches for a second") {
  harness world;
  world.launch(1, {"echo"});
  world.serve(2, 8080);
  world.run(20ms);
  world.model.lose_launcher(world.now);
  world.collect();
  REQUIRE(world.exited.size() == 2);
  CHECK(world.end().end == process_end::launcher_lost);
  launch_process what;
  what.key = process_key{1};
  what.command = {"echo"};
  world.run(999ms);
  CHECK(world.model.launch(what, world.now).error() == errc::spawn_failed);
  world.run(1ms);
  CHECK(world.model.launch(what, world.now));
}

// -- programs of scenarios ------------------------------------------------------------------------------------------

TEST_CASE("a scenario's app becomes the program behind its command") {
  auto spec = std::make_shared<pb::AppSpec>();
  spec->set_concurrency(4);
  spec->mutable_per_replica()->set_cpu_milli(2000);
  spec->mutable_per_replica()->set_memory_bytes(800);
  spec->mutable_per_request()->add_command("ocr");
  spec->mutable_per_request()->add_command("-");
  scenario_app app;
  app.spec = spec;
  app.behaviour.crash = 0.25;
  auto made = make_sim_app(app);
  REQUIRE(made);
  CHECK(made->command == "ocr -");
  CHECK_FALSE(made->serves);
  CHECK(made->work_milli == 500);
  CHECK(made->memory_bytes == 100);
  CHECK(made->behaviour.crash == 0.25);
  spec->mutable_server()->add_command("web");
  spec->mutable_server()->add_command("--port={port}");
  made = make_sim_app(app);
  REQUIRE(made);
  CHECK(made->command == "web --port={port}");
  CHECK(made->serves);
  CHECK(made->memory_bytes == 400);
  spec->mutable_actor()->set_type("echo");
  CHECK_FALSE(make_sim_app(app));
}

// -- workers --------------------------------------------------------------------------------------------------------

namespace {

class dice : public actor {
public:
  explicit dice(setup& setup) {
    setup.argument("sides", sides_, "of the die");
    setup.on("roll", "A number, and when.", [this](context& world) {
      ++rolls_;
      return std::vector<std::uint64_t>{world.random_below(sides_), static_cast<std::uint64_t>(world.now().count()),
                                        rolls_};
    });
  }

private:
  std::uint64_t sides_ = 1'000'000;
  std::uint64_t rolls_ = 0;
};

sim_app worker(const astra_actor_type& type, app_arguments arguments = {}) {
  auto result = program("astra worker", behaviour(9ms, 90ms), true);
  result.actor = &type;
  result.arguments = std::move(arguments);
  return result;
}

void work(harness& world, std::uint64_t key, std::uint16_t port) {
  launch_process what;
  what.key = process_key{key};
  what.command = {"astra", "worker"};
  what.environment = {"PORT=" + std::to_string(port)};
  what.output_is_log = true;
  world.launch(what);
}

/// Three rolls, the last one of the worker's second life.
std::string rolls_of(std::uint64_t seed) {
  auto type = actor_type<dice>("dice", "Rolls.");
  harness world{machine({worker(type)}), seed};
  work(world, 1, 7000);
  world.run(1s);
  std::string result;
  for (int i = 0; i < 2; ++i) {
    auto ticket = world.call(7000, R"({"roll":{}})");
    world.run(1s);
    CHECK(world.answer(ticket)->status == 200);
    result += world.answer(ticket)->body + " ";
  }
  world.kill(1, 0s);
  work(world, 2, 7000);
  world.run(1s);
  auto ticket = world.call(7000, R"({"roll":{}})");
  world.run(1s);
  return result + world.answer(ticket)->body;
}

} // namespace

TEST_CASE(
    "a worker answers with its actor, in virtual time, the same for the same seed, and forgets with its process") {
  auto rolls = rolls_of(1);
  CHECK(rolls == rolls_of(1));
  CHECK(rolls != rolls_of(2));
  // 990 ms after it had started up comes the request, 90 ms later its answer; the third is the first of a new process.
  CHECK(rolls.find(",1080000000,1] ") != std::string::npos);
  CHECK(rolls.find(",2080000000,2] ") != std::string::npos);
  CHECK(rolls.ends_with(",1]"));
}

TEST_CASE("what a worker's actor refuses, and what keeps it from starting, is told as a live one tells it") {
  auto type = actor_type<dice>("dice", "Rolls.");
  harness world{machine({worker(type)})};
  work(world, 1, 7000);
  world.run(1s);
  auto unknown = world.call(7000, R"({"rol":{}})");
  auto ready = world.call(7000, "", 10s, "GET");
  world.run(1s);
  CHECK(world.answer(unknown)->status == 400);
  CHECK(world.answer(unknown)->body == "dice has no message 'rol'; did you mean 'roll'?");
  CHECK(world.answer(ready)->status == 200);

  harness wrong{machine({worker(type, {{"side", "6"}})})};
  work(wrong, 1, 7000);
  wrong.run(1s);
  CHECK(wrong.end().code == 78);
  CHECK(wrong.end().log_tail == "astra: dice: it has no argument 'side'; did you mean 'sides'?\n");

  scenario_app app;
  auto spec = std::make_shared<pb::AppSpec>();
  spec->mutable_actor()->set_type("x");
  spec->mutable_actor()->set_library("/nowhere/libx.so");
  app.spec = std::move(spec);
  auto absent = make_sim_app(app);
  REQUIRE(absent);
  CHECK(absent->command == "astra worker --library /nowhere/libx.so --actor x");
  CHECK(absent->actor_problem == "/nowhere/libx.so: no such file on this machine");
}
