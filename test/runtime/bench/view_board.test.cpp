#include "runtime/bench/view_board.hpp"
#include "runtime/bench/view_watcher.hpp"

#include <doctest/doctest.h>

using namespace astra::bench;

TEST_CASE("a tenth of the members is doomed, spread over all, and none of the 256 that are followed") {
  view_board board{100'000, 0.1};
  CHECK(board.doomed_count() > 9'500);
  CHECK(board.doomed_count() < 10'500);
  CHECK(board.followed() == 256);
  std::uint32_t followed = 0;
  std::uint32_t doomed_in_first_half = 0;
  for (std::uint32_t i = 0; i < board.members(); ++i) {
    followed += board.place_of(i) ? 1 : 0;
    CHECK_FALSE((board.place_of(i) && board.doomed(i)));
    doomed_in_first_half += i < board.members() / 2 && board.doomed(i) ? 1 : 0;
  }
  CHECK(followed == 256);
  CHECK(doomed_in_first_half > board.doomed_count() * 2 / 5);
  CHECK(doomed_in_first_half < board.doomed_count() * 3 / 5);
}

TEST_CASE("every member belongs to one swarm, also when they do not divide evenly") {
  std::uint32_t next = 0;
  for (std::uint32_t swarm = 0; swarm < 7; ++swarm) {
    auto range = members_of(swarm, 7, 1000);
    CHECK(range.first == next);
    CHECK(range.count > 0);
    next += range.count;
  }
  CHECK(next == 1000);
}

TEST_CASE("a histogram puts what is negative first and what is longer than 8 s last") {
  view_board board{1, 0.0};
  auto& times = board.subscriber(0).liveness;
  times.add(-5);
  times.add(0);
  times.add(histogram::step_ns);
  times.add(60'000'000'000);
  CHECK(times.count(0) == 2);
  CHECK(times.count(1) == 1);
  CHECK(times.count(histogram::buckets - 1) == 1);
  times.clear();
  CHECK(times.count(0) == 0);
}
