#include "actors/supervisor/supervisor.hpp"

#include "test/support/actor_fixture.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/exit_reason.hpp>
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

using namespace astra;
using namespace astra::test;

namespace {

class fixture : public actor_fixture {
public:
  ~fixture() {
    if (supervisor)
      caf::anon_send_exit(supervisor, caf::exit_reason::user_shutdown);
    run();
  }

  child_spec child(const std::string& name) {
    return {name, [this, name] {
              auto handle = sys.spawn([this, name](caf::event_based_actor* self) -> caf::behavior {
                self->attach_functor([this, name] { ended.push_back(name); });
                return {[self](int) { self->quit(caf::make_error(errc::fenced, "a newer incarnation exists")); }};
              });
              starts[name].push_back(now());
              running[name] = handle;
              return handle;
            }};
  }

  void start(std::vector<child_spec> children) {
    supervisor = own(spawn_supervisor(sys, world, options, std::move(children),
                                      [this](auto& name, auto& reason) { failed.emplace_back(name, reason); }));
    run();
  }

  child_report report(std::size_t index) { return ask<children_report>(supervisor, report_atom_v)->children.at(index); }

  fake_platform& world = process("p1:1");
  supervisor_options options;
  supervisor_actor supervisor;
  std::map<std::string, caf::actor> running;
  std::map<std::string, std::vector<std::chrono::steady_clock::time_point>> starts;
  std::vector<std::string> ended;
  std::vector<std::pair<std::string, std::string>> failed;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "one child that dies is started again, the others are left alone") {
  start({child("a"), child("b")});
  kill(running["a"]);
  advance(100ms);
  CHECK(starts["a"].size() == 2);
  CHECK(starts["b"].size() == 1);
  CHECK(report(0).state == "running");
  CHECK(report(0).restarts == 1);
  CHECK(report(0).reason.find("kill") != std::string::npos);
  CHECK(report(1).restarts == 0);
}

TEST_CASE_FIXTURE(fixture, "a child that dies 6 times within a minute stays down, and somebody is told once") {
  start({child("a")});
  for (int i = 0; i < 6; ++i) {
    kill(running["a"]);
    advance(2s);
  }
  CHECK(starts["a"].size() == 6);
  CHECK(report(0).state == "failed");
  CHECK(report(0).reason.find("ended 6 times within 60000 ms") != std::string::npos);
  REQUIRE(failed.size() == 1);
  CHECK(failed[0].first == "a");
  advance(10min);
  CHECK(starts["a"].size() == 6);
}

TEST_CASE_FIXTURE(fixture, "restarts back off: the second within 100 ms, the fifth not before 400 ms") {
  start({child("a")});
  for (int i = 0; i < 5; ++i) {
    kill(running["a"]);
    advance(2s);
  }
  auto& times = starts["a"];
  REQUIRE(times.size() == 6);
  CHECK(times[2] - times[1] - 2s <= 100ms);
  CHECK(times[5] - times[0] - 8s >= 400ms);
}

TEST_CASE_FIXTURE(fixture, "a child that was fenced is not started again, and somebody is told at once") {
  start({child("a")});
  caf::anon_send(running["a"], 1);
  advance(60s);
  CHECK(starts["a"].size() == 1);
  CHECK(report(0).state == "failed");
  REQUIRE(failed.size() == 1);
  CHECK(failed[0].second == "a newer incarnation exists");
}

TEST_CASE_FIXTURE(fixture, "a child that ends normally is not started again") {
  start({child("a")});
  caf::anon_send_exit(running["a"], caf::exit_reason::normal);
  caf::anon_send_exit(running["a"], caf::exit_reason::user_shutdown);
  advance(5s);
  CHECK(starts["a"].size() == 1);
  CHECK(report(0).state == "ended");
}

TEST_CASE_FIXTURE(fixture, "an exit ends the children in reverse order, each one down before the next, then itself") {
  start({child("a"), child("b"), child("c")});
  caf::anon_send_exit(supervisor, caf::exit_reason::user_shutdown);
  run();
  CHECK(ended == std::vector<std::string>{"c", "b", "a"});
  CHECK_FALSE(ask_for<children_report>(1s, supervisor, report_atom_v));
}

TEST_CASE_FIXTURE(fixture, "a child that ignores its exit message is killed after 10 s") {
  child_spec stubborn{"stubborn", [this] {
                        return sys.spawn([this](caf::event_based_actor* self) -> caf::behavior {
                          self->set_exit_handler([](caf::exit_msg&) {});
                          self->attach_functor([this] { ended.push_back("stubborn"); });
                          return {[](int) {}};
                        });
                      }};
  start({child("a"), stubborn});
  caf::anon_send_exit(supervisor, caf::exit_reason::user_shutdown);
  advance(9s);
  CHECK(ended.empty());
  advance(2s);
  CHECK(ended == std::vector<std::string>{"stubborn", "a"});
}
