#include "actors/scheduler/rollout.hpp"

#include "actors/random.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

pb::UpdatePolicy policy(std::uint32_t surge, std::uint32_t unavailable) {
  pb::UpdatePolicy result;
  result.set_max_surge(surge);
  result.set_max_unavailable(unavailable);
  result.set_progress_ms(600'000);
  return result;
}

/// Replicas that do what a step says, with a successor that takes some steps to be ready.
struct fleet {
  struct place {
    bool old = true;
    bool old_ready = true;
    bool chosen = false;
    /// Steps until the successor is ready; none: there is no successor.
    std::optional<int> ready_in;
    std::optional<rollout::time_point> ready_since;
  };

  fleet(std::size_t size, pb::UpdatePolicy wanted) : places(size), policy(std::move(wanted)) {
    core.restart(policy, static_cast<std::uint32_t>(size), true);
  }

  /// @param slow Draws how many steps a successor takes.
  template <class Slow>
  rollout::step step(Slow slow) {
    now += 1s;
    missing_before = missing();
    std::vector<rollout::index_state> states;
    for (std::size_t i = 0; i < places.size(); ++i) {
      auto& place = places[i];
      rollout::index_state state;
      state.index = static_cast<std::uint32_t>(i);
      state.current = place.ready_in.has_value();
      state.ready_since = place.ready_since;
      state.outdated = place.old;
      state.chosen = place.chosen;
      state.old_ready = place.old && place.old_ready;
      states.push_back(state);
    }
    auto result = core.tick(states, now);
    for (auto index : result.beside) {
      places[index].chosen = true;
      places[index].ready_in = slow();
    }
    for (auto index : result.release) {
      places[index].old = false;
      places[index].ready_in = slow();
    }
    for (auto& place : places) {
      if (place.ready_in && *place.ready_in > 0 && --*place.ready_in == 0)
        place.ready_since = now;
      if (place.old && core.good(place.ready_since, now) && place.ready_since && !core.failed()) {
        place.old = false;
        place.chosen = false;
      }
    }
    return result;
  }

  rollout::step step() {
    return step([] { return 1; });
  }

  std::size_t extra() const {
    return static_cast<std::size_t>(
        std::count_if(places.begin(), places.end(), [](auto& place) { return place.old && place.ready_in; }));
  }

  std::size_t missing() const {
    return static_cast<std::size_t>(std::count_if(places.begin(), places.end(), [&](auto& place) {
      return !(place.old && place.old_ready) && !(place.ready_since && core.good(place.ready_since, now));
    }));
  }

  bool done() const {
    return std::all_of(places.begin(), places.end(), [](auto& place) { return !place.old && place.ready_since; });
  }

  std::vector<place> places;
  pb::UpdatePolicy policy;
  rollout core;
  rollout::time_point now{};
  /// As the last step found it.
  std::size_t missing_before = 0;
};

} // namespace

TEST_CASE("surge 3 and unavailable 1 of 6: three get successors and one stops first, at once") {
  fleet all{6, policy(3, 1)};
  auto step = all.step([] { return 3; });
  CHECK(step.beside == std::vector<std::uint32_t>{0, 1, 2});
  CHECK(step.release == std::vector<std::uint32_t>{3});
  CHECK(all.core.status().phase() == pb::ROLLOUT_RUNNING);
  step = all.step();
  CHECK(step.beside.empty());
  CHECK(step.release.empty());
}

TEST_CASE("without a surge the old ones stop first, as many as may be missing") {
  fleet all{5, policy(0, 2)};
  auto step = all.step();
  CHECK(step.beside.empty());
  CHECK(step.release == std::vector<std::uint32_t>{0, 1});
}

TEST_CASE("an old replica that does not serve goes first of all, whatever may be missing") {
  fleet all{3, policy(1, 0)};
  all.places[1].old_ready = false;
  auto step = all.step();
  CHECK(step.beside == std::vector<std::uint32_t>{0});
  CHECK(step.release == std::vector<std::uint32_t>{1});
}

TEST_CASE("canaries go first, and the others when these have been ready for canary_for") {
  auto wanted = policy(4, 0);
  wanted.set_canary(2);
  wanted.set_canary_for_ms(10'000);
  fleet all{6, wanted};
  CHECK(all.step().beside == std::vector<std::uint32_t>{0, 1});
  CHECK(all.core.status().phase() == pb::ROLLOUT_CANARY);
  CHECK(all.core.frozen());
  for (int i = 0; i < 9; ++i) {
    auto step = all.step();
    CHECK(step.beside.empty());
  }
  CHECK(all.core.status().updated() == 2);
  CHECK(all.step().beside == std::vector<std::uint32_t>{2, 3, 4, 5});
  CHECK_FALSE(all.core.frozen());
  all.step();
  all.step();
  CHECK_FALSE(all.core.active());
}

TEST_CASE("an index that has lost its replica is a canary, too") {
  auto wanted = policy(4, 1);
  wanted.set_canary(2);
  wanted.set_canary_for_ms(10'000);
  fleet all{6, wanted};
  all.places[4].old = false;
  CHECK(all.step().beside == std::vector<std::uint32_t>{0});
}

TEST_CASE("a replica that fails for good halts the update with its evidence, and another spec ends the halt") {
  fleet all{4, policy(1, 1)};
  all.step([] { return 100; });
  all.core.on_failure("replica 0 on n2: exit code 1");
  auto step = all.step();
  CHECK(step.beside.empty());
  CHECK(step.release.empty());
  auto status = all.core.status();
  CHECK(status.phase() == pb::ROLLOUT_HALTED);
  CHECK(status.reason() == "replica 0 on n2: exit code 1");
  CHECK(failure_text(status) == "the update is halted with 0 of 4 replaced: replica 0 on n2: exit code 1");
  CHECK(all.core.frozen());
  all.core.restart(policy(1, 0), 4, true);
  CHECK_FALSE(all.core.failed());
  CHECK(all.core.active());
}

TEST_CASE("a failure without an update under way halts nothing") {
  rollout core;
  core.restart(policy(1, 0), 1, false);
  core.on_failure("replica 0 on n1: exit code 1");
  rollout::index_state state;
  state.current = true;
  core.tick({state}, rollout::time_point{} + 1s);
  CHECK_FALSE(core.active());
  state.outdated = true;
  state.old_ready = true;
  core.tick({state}, rollout::time_point{} + 2s);
  CHECK(core.active());
  CHECK_FALSE(core.failed());
}

TEST_CASE("an update of which nothing becomes good for the time progress has failed, and says what it waits for") {
  auto wanted = policy(1, 0);
  wanted.set_progress_ms(30'000);
  wanted.set_on_failure(pb::UPDATE_ROLLBACK);
  rollout core;
  core.restart(wanted, 2, true);
  std::vector<rollout::index_state> states(2);
  for (auto& state : states)
    state.outdated = state.old_ready = true;
  states[1].index = 1;
  auto now = rollout::time_point{} + 1s;
  core.tick(states, now);
  states[0].current = true;
  states[0].trouble = "warming up on n1";
  core.tick(states, now + 29s);
  CHECK_FALSE(core.failed());
  core.tick(states, now + 30s);
  CHECK(core.failed());
  CHECK(core.status().phase() == pb::ROLLOUT_ROLLING_BACK);
  CHECK(core.status().reason() == "nothing became good for 30 s (replica 0: warming up on n1)");
}

TEST_CASE("ready_for: the next one waits until the one before has been ready that long") {
  auto wanted = policy(1, 0);
  wanted.set_ready_for_ms(5000);
  fleet all{2, wanted};
  all.step();
  int waited = 0;
  while (all.step().beside.empty())
    REQUIRE(++waited < 20);
  CHECK(waited >= 4);
}

TEST_CASE("whatever replicas do, no more than max_surge are beyond and max_unavailable missing, and it gets there") {
  CHECK(rc::check([] {
    auto surge = *rc::gen::inRange<std::uint32_t>(0, 4);
    auto unavailable = *rc::gen::inRange<std::uint32_t>(surge == 0 ? 1 : 0, 4);
    auto wanted = policy(surge, unavailable);
    wanted.set_canary(*rc::gen::inRange<std::uint32_t>(0, 4));
    wanted.set_canary_for_ms(5000);
    wanted.set_ready_for_ms(*rc::gen::element<std::uint64_t>(0, 2000));
    fleet all{*rc::gen::inRange<std::size_t>(1, 12), wanted};
    random_source random{*rc::gen::inRange<std::uint64_t>(0, 1'000'000)};
    // Nodes that are lost take a replica along; the scheduler gets another one, of the new spec.
    std::size_t lost = 0;
    int steps = 0;
    while (!all.done()) {
      RC_ASSERT(++steps < 500);
      if (steps < 60 && random.below(8) == 0) {
        auto& place = all.places[random.below(all.places.size())];
        place = {};
        place.old = false;
        place.ready_in = 1 + static_cast<int>(random.below(4));
        ++lost;
      }
      auto step = all.step([&] { return 1 + static_cast<int>(random.below(4)); });
      RC_ASSERT(all.extra() <= surge);
      // What stops first stops only while that leaves enough.
      auto before = all.missing_before;
      RC_ASSERT(step.release.empty() || before + step.release.size() <= std::max<std::size_t>(unavailable, before));
      RC_ASSERT(lost > 0 || all.missing() <= unavailable);
    }
  }));
}

TEST_CASE("what an apply says about how replicas are replaced") {
  pb::AppSpec spec;
  CHECK(update_text(spec) == "its replicas are replaced one at a time");
  *spec.mutable_update() = policy(3, 1);
  CHECK(update_text(spec)
        == "its replicas are replaced, up to 3 at once beside the old ones and up to 1 at once after the old one has "
           "stopped");
  spec.mutable_update()->set_canary(2);
  spec.mutable_update()->set_max_unavailable(0);
  CHECK(update_text(spec)
        == "its replicas are replaced, 2 as canaries first and then up to 3 at once beside the old ones");
  spec.mutable_federation();
  CHECK(update_text(spec) == "its clusters are replaced one after the other, each when its successor serves");
}
