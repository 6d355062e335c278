#include "test/support/actor_fixture.hpp"

#include <caf/blocking_actor.hpp>

namespace astra::test {

actor_fixture::config::config() {
  set("caf.scheduler.policy", "testing");
}

actor_fixture::actor_fixture() : scheduler(dynamic_cast<caf::scheduler::test_coordinator&>(sys.scheduler())) {}

actor_fixture::~actor_fixture() {
  for (auto& handle : owned_)
    caf::anon_send_exit(caf::actor_cast<caf::actor>(handle), caf::exit_reason::kill);
  run();
  processes_.clear();
  owned_.clear();
  network.services.clear();
  run();
}

fake_platform& actor_fixture::process(const std::string& address) {
  processes_.push_back(std::make_unique<fake_platform>(sys, network, address));
  run();
  return *processes_.back();
}

void actor_fixture::run() {
  scheduler.run();
}

void actor_fixture::advance(caf::timespan duration) {
  auto& clock = scheduler.clock();
  auto end = clock.now() + duration;
  run();
  for (;;) {
    while (!clock.schedule.empty() && clock.schedule.begin()->second.f.disposed())
      clock.schedule.erase(clock.schedule.begin());
    if (clock.schedule.empty() || clock.schedule.begin()->first > end)
      break;
    auto due = clock.schedule.begin()->first;
    clock.advance_time(due > clock.now() ? due - clock.now() : caf::timespan{0});
    run();
  }
  if (clock.now() < end)
    clock.advance_time(end - clock.now());
  run();
}

std::chrono::steady_clock::time_point actor_fixture::now() const {
  return scheduler.clock().now();
}

} // namespace astra::test
