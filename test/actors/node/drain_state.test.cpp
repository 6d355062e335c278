#include "actors/node/drain_state.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

TEST_CASE("a drained node leaves once: when it shall stop and is idle") {
  const drain_state::time_point start{1h};
  drain_state state;
  CHECK_FALSE(state.leave(true));
  CHECK(state.begin("upgrade"));
  CHECK_FALSE(state.begin("again"));
  CHECK(state.reason() == "upgrade");
  CHECK_FALSE(state.leave(true));
  state.stop_by(start + 10s);
  CHECK_FALSE(state.leave(false));
  CHECK_FALSE(state.out_of_time(start + 9s));
  CHECK(state.leave(true));
  CHECK_FALSE(state.leave(true));
  CHECK(state.leaving());
}

TEST_CASE("of two deadlines the earlier one counts") {
  const drain_state::time_point start{1h};
  drain_state state;
  state.stop_by(start + 10s);
  state.stop_by(start + 20s);
  CHECK(state.out_of_time(start + 10s));
  state.stop_by(start);
  CHECK(state.out_of_time(start));
}
