#include "actors/supervisor/restart_budget.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {
const restart_budget::time_point start{1h};
}

TEST_CASE("the first restart is immediate, the next ones wait 100 ms, 200 ms, 400 ms, less up to a half") {
  restart_budget budget{{.budget = 10}};
  random_source random{1};
  CHECK(budget.next_delay(start, 0s, random) == 0ms);
  for (auto whole : {100ms, 200ms, 400ms, 800ms}) {
    auto delay = budget.next_delay(start, 0s, random);
    REQUIRE(delay);
    CHECK(*delay >= whole / 2);
    CHECK(*delay <= whole);
  }
  CHECK(budget.restarts() == 5);
}

TEST_CASE("the sixth restart within the window is refused, and granted when the window has moved on") {
  restart_budget budget;
  random_source random{1};
  for (auto i = 0; i < 5; ++i)
    CHECK(budget.next_delay(start + i * 1s, 0s, random));
  CHECK_FALSE(budget.next_delay(start + 59s, 0s, random));
  CHECK(budget.next_delay(start + 60s, 0s, random));
}

TEST_CASE("60 s of health bring back the immediate restart") {
  restart_budget budget;
  random_source random{1};
  budget.next_delay(start, 0s, random);
  CHECK(budget.next_delay(start + 1s, 1s, random) > 0ms);
  CHECK(budget.next_delay(start + 62s, 60s, random) == 0ms);
}

TEST_CASE("a budget of 0 never restarts") {
  restart_budget budget{{.budget = 0}};
  random_source random{1};
  CHECK_FALSE(budget.next_delay(start, 0s, random));
}

TEST_CASE("no delay is negative or beyond the maximum, and no window holds more restarts than the budget") {
  CHECK(rc::check([](std::uint64_t seed, const std::vector<std::uint16_t>& gaps_ms) {
    restart_policy policy{.backoff_min = 50ms, .backoff_max = 3s, .healthy_after = 20s, .budget = 3};
    restart_budget budget{policy};
    random_source random{seed};
    auto now = start;
    std::vector<restart_budget::time_point> granted;
    for (auto gap : gaps_ms) {
      now += std::chrono::milliseconds{gap};
      auto delay = budget.next_delay(now, std::chrono::milliseconds{gap}, random);
      if (!delay)
        continue;
      RC_ASSERT(*delay >= 0ms);
      RC_ASSERT(*delay <= policy.backoff_max);
      granted.push_back(now);
      if (granted.size() > policy.budget)
        RC_ASSERT(now - granted[granted.size() - 1 - policy.budget] >= policy.budget_window);
    }
  }));
}
