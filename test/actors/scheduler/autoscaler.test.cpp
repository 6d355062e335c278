#include "actors/scheduler/autoscaler.hpp"

#include "actors/random.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>

using namespace astra;
using namespace std::chrono_literals;

namespace {

pb::ScalePolicy policy(std::uint32_t utilisation, std::uint64_t queue_ms) {
  pb::ScalePolicy result;
  result.set_min(2);
  result.set_max(10);
  result.set_target_utilisation(utilisation);
  result.set_target_queue_ms(queue_ms);
  result.set_up_after_ms(10'000);
  result.set_down_after_ms(60'000);
  return result;
}

/// Every replica, with four slots, on a node of its own, all of them alike.
struct cluster {
  cluster(pb::ScalePolicy wanted, std::uint32_t replicas)
    : core{std::move(wanted), replicas, "as many as were running", now} {}

  /// @returns whether the number changed.
  bool tick(double running, double queued = 0, double done_per_s = 1, bool hold = false) {
    now += 1s;
    done += done_per_s;
    std::vector<autoscaler::node_sample> nodes;
    auto replicas = ready.value_or(core.replicas());
    for (std::uint32_t i = 0; i < replicas; ++i) {
      autoscaler::node_sample node;
      node.node = node_id{i + 1};
      node.incarnation = 1;
      node.ready = 1;
      node.slots = 4;
      node.all_slots = 4;
      node.running = running;
      node.queued = queued;
      node.done = static_cast<std::uint64_t>(done);
      nodes.push_back(node);
    }
    CHECK(core.due(now));
    return core.tick(nodes, hold, now);
  }

  /// Seconds until the number changes.
  int until_change(double running, double queued = 0, double done_per_s = 1) {
    for (int passed = 1; passed < 1000; ++passed)
      if (tick(running, queued, done_per_s))
        return passed;
    return -1;
  }

  autoscaler::time_point now{};
  autoscaler core;
  std::optional<std::uint32_t> ready;
  double done = 0;
};

} // namespace

TEST_CASE("it begins with what runs, within its bounds") {
  CHECK(cluster{policy(60, 0), 4}.core.replicas() == 4);
  CHECK(cluster{policy(60, 0), 4}.core.reason() == "4: as many as were running");
  CHECK(cluster{policy(60, 0), 1}.core.replicas() == 2);
  CHECK(cluster{policy(60, 0), 99}.core.replicas() == 10);
}

TEST_CASE("90 % busy with a target of 60 %: 4 become 6, after up_after and not before") {
  cluster all{policy(60, 0), 4};
  CHECK(all.until_change(3.6) == 10);
  CHECK(all.core.replicas() == 6);
  CHECK(all.core.reason() == "6: 90 % of slots busy, target 60 %");
}

TEST_CASE("within 10 % of the target nothing changes") {
  cluster all{policy(60, 0), 4};
  CHECK(all.until_change(4 * 0.65) == -1);
  CHECK(all.until_change(4 * 0.55) == -1);
}

TEST_CASE("down goes only to the largest number of the last down_after") {
  cluster all{policy(60, 0), 8};
  for (int i = 0; i < 50; ++i)
    CHECK_FALSE(all.tick(0.4));
  // One busy moment, which asks for 6, counts for another minute.
  for (int i = 0; i < 9; ++i)
    all.tick(4 * 0.45);
  CHECK(all.core.replicas() == 8);
  CHECK(all.until_change(0.4) <= 2);
  CHECK(all.core.replicas() == 6);
  auto passed = all.until_change(0.4);
  CHECK(passed >= 60);
  CHECK(all.core.replicas() == 2);
  CHECK(all.core.reason() == "2: 10 % of slots busy, target 60 % at most in the last 60 s; 2 is the least");
}

TEST_CASE("it never leaves its bounds, and says that it would") {
  cluster all{policy(20, 0), 8};
  all.until_change(4);
  CHECK(all.core.replicas() == 10);
  CHECK(all.core.reason() == "10: 100 % of slots busy, target 20 %; 10 is the most");
  auto tighter = policy(20, 0);
  tighter.set_max(5);
  all.core.set_policy(tighter);
  CHECK(all.tick(4));
  CHECK(all.core.replicas() == 5);
}

TEST_CASE("Little's law: 6 waiting and 10 done per second are 600 ms, twice the target doubles") {
  cluster all{policy(0, 300), 2};
  CHECK(all.until_change(3, 6, 10) == 10);
  CHECK(all.core.replicas() == 4);
  CHECK(all.core.reason() == "4: requests wait for 600 ms, target 300 ms");
}

TEST_CASE("requests that wait while nothing is done are too many") {
  cluster all{policy(0, 300), 2};
  all.until_change(4, 3, 0);
  CHECK(all.core.replicas() == 4);
  CHECK(all.core.reason() == "4: 6 requests wait and none was done, target 300 ms");
}

TEST_CASE("of two targets the one counts that asks for more") {
  cluster all{policy(90, 100), 4};
  all.until_change(2, 3, 20);
  CHECK(all.core.replicas() == 6);
  CHECK(all.core.reason() == "6: requests wait for 150 ms, target 100 ms");
}

TEST_CASE("without a queue it does not shrink below what the running requests need") {
  cluster all{policy(0, 300), 8};
  all.until_change(2, 0, 10);
  CHECK(all.core.replicas() == 4);
}

TEST_CASE("replicas that are not ready yet are no reason to shrink, and none ready changes nothing") {
  cluster all{policy(60, 0), 8};
  all.ready = 2;
  CHECK(all.until_change(2.4) == -1);
  all.ready = 0;
  CHECK(all.until_change(0) == -1);
}

TEST_CASE("a node with another app gives the app its share by slots") {
  autoscaler core{policy(50, 0), 2, "so", autoscaler::time_point{}};
  autoscaler::node_sample node;
  node.node = node_id{1};
  node.ready = 2;
  node.slots = 2;
  node.all_slots = 8;
  node.running = 8;
  for (int i = 1; i <= 10; ++i)
    core.tick({node}, false, autoscaler::time_point{} + i * 1s);
  CHECK(core.replicas() == 4);
  CHECK(core.reason() == "4: 100 % of slots busy, target 50 %");
}

TEST_CASE("while it is held it follows nothing but its bounds") {
  cluster all{policy(60, 0), 4};
  for (int i = 0; i < 30; ++i)
    CHECK_FALSE(all.tick(4, 0, 1, true));
  CHECK(all.tick(4));
}

TEST_CASE("whatever the load, it keeps its bounds and its pauses") {
  CHECK(rc::check([] {
    random_source random{*rc::gen::inRange<std::uint64_t>(0, 1'000'000)};
    cluster all{policy(*rc::gen::inRange<std::uint32_t>(1, 101), 100), *rc::gen::inRange<std::uint32_t>(0, 20)};
    auto changed = all.now;
    for (int i = 0; i < 300; ++i) {
      auto before = all.core.replicas();
      if (random.below(10) == 0)
        all.ready = static_cast<std::uint32_t>(random.below(12));
      auto changes = all.tick(4 * random.unit(), 10 * random.unit() * random.unit(), 10 * random.unit());
      auto now = all.core.replicas();
      RC_ASSERT(now >= 2 && now <= 10);
      RC_ASSERT(changes == (now != before));
      if (now > before) {
        RC_ASSERT(all.now - changed >= 10s);
        RC_ASSERT(now <= std::max(2 * before, before + 4));
      } else if (now < before) {
        RC_ASSERT(all.now - changed >= 60s);
      }
      if (changes)
        changed = all.now;
    }
  }));
}
