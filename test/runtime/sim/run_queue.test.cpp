#include "runtime/sim/run_queue.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

namespace astra::sim {
namespace {

constexpr std::array policies{schedule_policy::fifo, schedule_policy::random, schedule_policy::pct,
                              schedule_policy::pctcp};

/// The order in which a queue hands out 200 jobs that are pushed in bursts.
std::vector<std::uint64_t> order_of(schedule_policy policy, std::uint64_t seed) {
  run_queue queue{policy, 3, 200, draws{seed}};
  std::vector<std::uint64_t> result;
  for (std::uint64_t i = 0; i < 200; ++i) {
    queue.push({.actor = i, .chain = i % 17, .cause = 0, .what = nullptr});
    if (i % 5 == 4)
      result.push_back(queue.pop().actor);
  }
  while (!queue.empty())
    result.push_back(queue.pop().actor);
  return result;
}

/// Whether a chain of `slow` hops gets ahead of one of `fast` hops: the ordering bug of a race in which the longer way
/// is never expected to win.
bool longer_chain_wins(schedule_policy policy, std::uint64_t seed, std::uint64_t fast, std::uint64_t slow) {
  run_queue queue{policy, 3, 20'000, draws{seed}}; // as the engine has it
  // Every hop is another actor.
  auto hop = [&](std::uint64_t chain, std::uint64_t number) {
    queue.push({.actor = chain * 1000 + number, .chain = chain, .cause = 0, .what = nullptr});
  };
  hop(1, 1);
  hop(2, 1);
  while (!queue.empty()) {
    auto now = queue.pop();
    auto number = now.actor % 1000;
    if (number == (now.chain == 1 ? fast : slow))
      return now.chain == 2;
    hop(now.chain, number + 1);
  }
  return false;
}

std::uint32_t found(schedule_policy policy, std::uint64_t fast, std::uint64_t slow) {
  std::uint32_t result = 0;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed)
    result += longer_chain_wins(policy, seed, fast, slow) ? 1 : 0;
  return result;
}

TEST_CASE("every policy hands every job out once") {
  for (auto policy : policies) {
    CAPTURE(static_cast<int>(policy));
    auto order = order_of(policy, 4);
    CHECK(order.size() == 200);
    CHECK(std::set<std::uint64_t>(order.begin(), order.end()).size() == 200);
    CHECK(std::is_sorted(order.begin(), order.end()) == (policy == schedule_policy::fifo));
  }
}

TEST_CASE("the order is the seed's alone") {
  for (auto policy : policies) {
    CAPTURE(static_cast<int>(policy));
    CHECK(order_of(policy, 4) == order_of(policy, 4));
    if (policy != schedule_policy::fifo)
      CHECK(order_of(policy, 4) != order_of(policy, 5));
  }
}

TEST_CASE("a chain of 20 hops beats one of 5 in nearly half of the seeds under pctcp, and almost never at random") {
  CHECK(found(schedule_policy::fifo, 5, 20) == 0);
  CHECK(found(schedule_policy::random, 5, 20) < 20);
  CHECK(found(schedule_policy::pctcp, 5, 20) > 850);
  // The odds do not fall with the length of the chains.
  CHECK(found(schedule_policy::pctcp, 10, 40) > 850);
}

TEST_CASE("mixed is fifo for a quarter of the seeds, random for a quarter, pctcp for half") {
  std::array<int, 5> times{};
  for (std::uint64_t seed = 1; seed <= 4000; ++seed)
    ++times[static_cast<std::size_t>(run_queue::choose(schedule_policy::mixed, draws{seed}))];
  CHECK(times[static_cast<std::size_t>(schedule_policy::mixed)] == 0);
  CHECK(times[static_cast<std::size_t>(schedule_policy::fifo)] == doctest::Approx(1000).epsilon(0.1));
  CHECK(times[static_cast<std::size_t>(schedule_policy::random)] == doctest::Approx(1000).epsilon(0.1));
  CHECK(times[static_cast<std::size_t>(schedule_policy::pctcp)] == doctest::Approx(2000).epsilon(0.1));
}

TEST_CASE("what is taken out or drained is gone, in the order in which it came") {
  for (auto policy : policies) {
    CAPTURE(static_cast<int>(policy));
    run_queue queue{policy, 2, 10, draws{9}};
    for (std::uint64_t i = 1; i <= 6; ++i)
      queue.push({.actor = i, .chain = i, .cause = 0, .what = nullptr});
    job taken;
    CHECK(queue.take(4, taken));
    CHECK(taken.actor == 4);
    CHECK_FALSE(queue.take(4, taken));
    CHECK(queue.size() == 5);
    auto rest = queue.drain();
    CHECK(queue.empty());
    std::vector<std::uint64_t> actors;
    for (auto& one : rest)
      actors.push_back(one.actor);
    std::sort(actors.begin(), actors.end());
    CHECK(actors == std::vector<std::uint64_t>{1, 2, 3, 5, 6});
  }
}

} // namespace
} // namespace astra::sim
