#include "runtime/sim/event_queue.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstdint>
#include <map>
#include <utility>

namespace astra::sim {
namespace {

TEST_CASE("entries come in the order of time and tie, as from a sorted map, up to minutes ahead") {
  auto holds = rc::check([] {
    event_queue<int> queue;
    std::multimap<std::pair<std::int64_t, std::uint64_t>, int> model;
    std::int64_t now = 0;
    std::uint64_t tie = 0;
    auto actions = *rc::gen::container<std::vector<std::pair<std::uint8_t, std::uint32_t>>>(
        rc::gen::pair(rc::gen::arbitrary<std::uint8_t>(), rc::gen::inRange<std::uint32_t>(0, 1'000'000)));
    auto pop = [&] {
      RC_ASSERT(queue.next_time() == model.begin()->first.first);
      auto got = queue.pop();
      RC_ASSERT(std::pair(got.time, got.tie) == model.begin()->first);
      RC_ASSERT(got.payload == model.begin()->second);
      model.erase(model.begin());
      now = got.time;
    };
    for (auto [what, amount] : actions) {
      if (what % 3 == 0 && !model.empty()) {
        pop();
        continue;
      }
      // Within the present slot, within the wheel, at its edge, minutes beyond it.
      static constexpr std::int64_t units[] = {1, 1'000, 8'192, 300'000};
      auto when = now + static_cast<std::int64_t>(amount) * units[what % 4];
      // Ties are unique and in no order.
      auto key = ++tie * 0x9e3779b97f4a7c15U;
      queue.push(when, key, static_cast<int>(tie));
      model.emplace(std::pair{when, key}, static_cast<int>(tie));
      RC_ASSERT(queue.size() == model.size());
    }
    while (!model.empty())
      pop();
    RC_ASSERT(queue.empty());
    RC_ASSERT(queue.next_time() == std::numeric_limits<std::int64_t>::max());
  });
  CHECK(holds);
}

TEST_CASE("looking at the next time skips nothing that is pushed afterwards") {
  event_queue<int> queue;
  queue.push(60'000'000'000, 1, 1);
  CHECK(queue.next_time() == 60'000'000'000);
  queue.push(5'000'000, 2, 2); // sooner than what was looked at
  queue.push(59'999'999'999, 3, 3);
  CHECK(queue.pop().payload == 2);
  CHECK(queue.pop().payload == 3);
  CHECK(queue.pop().payload == 1);
}

} // namespace
} // namespace astra::sim
