#include "actors/router/dispatch.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace astra;
using namespace std::chrono_literals;

namespace {

using step = dispatch::step::kind;

const dispatch::time_point start_time{1h};

/// Nodes 1, 2, 3 ... in order.
dispatch::picker nodes(std::uint64_t count) {
  return [count](std::span<const node_id> asked) -> std::optional<node_id> {
    for (std::uint64_t node = 1; node <= count; ++node)
      if (std::ranges::find(asked, node_id{node}) == asked.end())
        return node_id{node};
    return std::nullopt;
  };
}

/// Asks the next node, which offers a slot in `eta`.
void ask_and_be_offered(dispatch& way, const dispatch::picker& pick, std::chrono::milliseconds eta) {
  auto next = way.next(pick);
  REQUIRE(next.what == step::ask);
  way.ask(next.node, attempt_id{1});
  way.offered(eta);
}

} // namespace

TEST_CASE("a walk asks four nodes, then queues at the one with the shortest wait, then at the next best, then parks") {
  dispatch way{start_time + 1s, false, 4};
  auto pick = nodes(10);
  ask_and_be_offered(way, pick, 300ms);
  ask_and_be_offered(way, pick, 100ms);
  ask_and_be_offered(way, pick, 200ms);
  ask_and_be_offered(way, pick, 100ms);
  for (std::uint64_t expected : {2, 4, 3, 1}) {
    auto next = way.next(pick);
    CHECK(next.what == step::queue);
    CHECK(next.node == node_id{expected});
    way.queue(next.node, attempt_id{2});
  }
  CHECK(way.next(pick).what == step::park);
  CHECK(way.tries() == 4);
}

TEST_CASE("a walk ends early when there are fewer nodes than tries, and begins anew after parking") {
  dispatch way{start_time + 1s, false, 4};
  ask_and_be_offered(way, nodes(1), 100ms);
  CHECK(way.next(nodes(1)).what == step::queue);
  CHECK(way.next(nodes(1)).what == step::park);
  way.park();
  CHECK(way.where() == dispatch::phase::parked);
  CHECK_FALSE(way.attempt());
  CHECK(way.next(nodes(1)).what == step::ask);
}

TEST_CASE("work that is not idempotent is never started again") {
  retry_budget budget{1.0, 100};
  dispatch way{start_time + 1s, false, 4};
  way.ask(node_id{1}, attempt_id{1});
  CHECK(way.start());
  CHECK(way.lost(budget, start_time) == dispatch::verdict::not_idempotent);
}

TEST_CASE("idempotent work is started three times at most") {
  retry_budget budget{1.0, 100};
  dispatch way{start_time + 1s, true, 4};
  for (int i = 1; i <= 3; ++i) {
    way.ask(node_id{1}, attempt_id{1});
    CHECK(way.start() == (i == 1));
    CHECK(way.lost(budget, start_time) == (i < 3 ? dispatch::verdict::again : dispatch::verdict::too_often));
  }
  CHECK(way.starts() == 3);
}

TEST_CASE("a start that did not happen does not count") {
  dispatch way{start_time + 1s, false, 4};
  way.ask(node_id{1}, attempt_id{1});
  way.start();
  way.not_started();
  CHECK(way.starts() == 0);
}

TEST_CASE("a retry budget allows its share of the last 10 s and its floor per second, and no more") {
  retry_budget budget{0.1, 1}; // floor: 10 in 10 s
  auto take_all = [&](retry_budget::time_point at) {
    int taken = 0;
    while (budget.take(at))
      ++taken;
    return taken;
  };
  CHECK(take_all(start_time) == 10);
  for (int i = 0; i < 50; ++i)
    budget.count_start(start_time + 1s);
  CHECK(take_all(start_time + 1s) == 5);
  CHECK(take_all(start_time + 9s) == 0);
  // The 10 taken at first are out of the window: the floor is back.
  CHECK(take_all(start_time + 10s) == 10);
  CHECK(take_all(start_time + 1h) == 10);
}

TEST_CASE("a budget of zero allows nothing") {
  retry_budget budget{0.0, 0};
  for (int i = 0; i < 1000; ++i)
    budget.count_start(start_time);
  CHECK_FALSE(budget.take(start_time));
}
