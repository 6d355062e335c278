#include "p2p/cache_plan.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>

using namespace astra::p2p;
using namespace std::chrono_literals;

namespace {

using time_point = std::chrono::system_clock::time_point;

content_address address(std::uint8_t number) {
  content_address result;
  result.bytes[0] = number;
  return result;
}

cached_content used(std::uint8_t number, std::uint64_t size, std::chrono::seconds at) {
  cached_content result;
  result.address = address(number);
  result.size = size;
  result.last_use = time_point{at};
  return result;
}

std::vector<int> numbers(const eviction_plan& plan) {
  std::vector<int> result;
  for (auto& what : plan.evict)
    result.push_back(what.bytes[0]);
  return result;
}

constexpr time_point now{1'000'000s};

} // namespace

TEST_CASE("the least recently used goes first, and no more than is needed") {
  std::vector<cached_content> contents{used(1, 10, 300s), used(2, 10, 100s), used(3, 10, 200s)};
  CHECK(numbers(plan_eviction(contents, 30, 5, now)) == std::vector{2});
  CHECK(numbers(plan_eviction(contents, 30, 11, now)) == std::vector{2, 3});
  CHECK(numbers(plan_eviction(contents, 40, 10, now)).empty());
  // The cap became smaller.
  CHECK(numbers(plan_eviction(contents, 12, 0, now)) == std::vector{2, 3});
}

TEST_CASE("what is condemned goes before what is older") {
  std::vector<cached_content> contents{used(1, 10, 100s), used(2, 10, 200s)};
  contents[1].condemned = true;
  CHECK(numbers(plan_eviction(contents, 20, 10, now)) == std::vector{2});
}

TEST_CASE("a small one stays when a large one has to go anyway") {
  std::vector<cached_content> contents{used(1, 10, 100s), used(2, 100, 200s)};
  CHECK(numbers(plan_eviction(contents, 110, 100, now)) == std::vector{2});
}

TEST_CASE("what is pinned, in use, a last copy or just used stays, and nothing goes in vain") {
  std::vector<cached_content> contents{used(1, 10, 1s), used(2, 10, 2s), used(3, 10, 3s), used(4, 10, 4s),
                                       used(5, 10, 5s)};
  contents[0].pinned = true;
  contents[1].in_use = true;
  contents[2].last_copy = true;
  CHECK(numbers(plan_eviction(contents, 50, 10, now)) == std::vector{4});
  CHECK(plan_eviction(contents, 50, 10, time_point{3s}).missing_bytes == 10);
  auto plan = plan_eviction(contents, 50, 25, now);
  CHECK(plan.missing_bytes == 5);
  CHECK(plan.evict.empty());
}

TEST_CASE("whatever is in the store, a plan makes the room, keeps what is to stay, and none of it could be left out") {
  CHECK(rc::check("", [] {
    std::vector<cached_content> contents;
    auto count = *rc::gen::inRange(0, 12);
    for (int i = 0; i < count; ++i) {
      auto what = used(static_cast<std::uint8_t>(i), *rc::gen::inRange<std::uint64_t>(0, 50),
                       std::chrono::seconds{*rc::gen::inRange(0, 6)});
      what.condemned = *rc::gen::inRange(0, 5) == 0;
      what.pinned = *rc::gen::inRange(0, 5) == 0;
      what.in_use = *rc::gen::inRange(0, 5) == 0;
      what.last_copy = *rc::gen::inRange(0, 5) == 0;
      contents.push_back(what);
    }
    auto cap = *rc::gen::inRange<std::uint64_t>(0, 300);
    auto needed = *rc::gen::inRange<std::uint64_t>(0, 300);
    time_point since{std::chrono::seconds{*rc::gen::inRange(0, 7)}};
    auto plan = plan_eviction(contents, cap, needed, since);
    std::map<content_address, cached_content> all;
    std::uint64_t left = 0;
    std::uint64_t free = 0;
    auto stays = [&](const cached_content& what) {
      return what.pinned || what.in_use || what.last_copy || (!what.condemned && what.last_use > since);
    };
    for (auto& what : contents) {
      all[what.address] = what;
      left += what.size;
      free += stays(what) ? 0 : what.size;
    }
    if (plan.missing_bytes > 0) {
      RC_ASSERT(plan.evict.empty());
      RC_ASSERT(left - free + needed == cap + plan.missing_bytes);
      return;
    }
    for (auto& gone : plan.evict) {
      RC_ASSERT(!stays(all.at(gone)));
      left -= all.at(gone).size;
    }
    if (!plan.evict.empty()) {
      RC_ASSERT(left + needed <= cap);
      for (auto& gone : plan.evict)
        RC_ASSERT(left + all.at(gone).size + needed > cap);
    } else {
      RC_ASSERT(left + needed <= cap);
    }
  }));
}
