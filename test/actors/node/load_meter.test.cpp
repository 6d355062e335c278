#include "actors/node/load_meter.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {
const load_meter::time_point start{1h};
}

TEST_CASE("a report holds the averages since the last one") {
  load_meter meter{4.0, {10.0, 5.0, 0}, start};
  meter.set_running(2, start + 500ms);
  meter.set_running(4, start + 750ms);
  auto load = meter.report({12.0, 6.0, 4096}, start + 1s);
  CHECK(load.host_utilisation() == doctest::Approx(0.5));
  CHECK(load.own_busy_cores() == doctest::Approx(1.0));
  CHECK(load.concurrency() == doctest::Approx(2 * 0.25 + 4 * 0.25));
  CHECK(load.running() == 4);
  CHECK(load.memory_used_bytes() == 4096);
  load = meter.report({12.0, 6.0, 4096}, start + 2s);
  CHECK(load.host_utilisation() == 0.0);
  CHECK(load.own_busy_cores() == 0.0);
  CHECK(load.concurrency() == doctest::Approx(4.0));
}

TEST_CASE("a report 20 ms after another repeats its averages and keeps the window") {
  load_meter meter{1.0, {}, start};
  meter.report({0.5, 0.5, 0}, start + 1s);
  auto early = meter.report({0.52, 0.52, 0}, start + 1020ms);
  CHECK(early.own_busy_cores() == doctest::Approx(0.5));
  auto next = meter.report({1.5, 0.75, 0}, start + 2s);
  CHECK(next.own_busy_cores() == doctest::Approx(0.25));
  CHECK(next.host_utilisation() == doctest::Approx(1.0));
}

TEST_CASE("a counter that goes backwards repeats the last average") {
  load_meter meter{2.0, {}, start};
  meter.report({1.0, 0.5, 0}, start + 1s);
  auto load = meter.report({0.2, 0.1, 0}, start + 2s);
  CHECK(load.host_utilisation() == doctest::Approx(0.5));
  CHECK(load.own_busy_cores() == doctest::Approx(0.5));
}

TEST_CASE("every report is finite and in range for any counters and clock steps") {
  CHECK(rc::check([](double cores, const std::vector<std::tuple<double, double, std::int32_t, std::uint16_t>>& steps) {
    load_meter meter{cores, {}, start};
    auto now = start;
    for (auto& [host, own, step_ms, running] : steps) {
      now += std::chrono::milliseconds{step_ms};
      meter.set_running(running, now);
      auto weird = running % 7 == 0 ? std::numeric_limits<double>::quiet_NaN() : host;
      auto load = meter.report({weird, running % 11 == 0 ? std::numeric_limits<double>::infinity() : own, 0}, now);
      auto limit = std::isfinite(cores) && cores > 0 ? cores : 1.0;
      RC_ASSERT(load.host_utilisation() >= 0.0);
      RC_ASSERT(load.host_utilisation() <= 1.0);
      RC_ASSERT(load.own_busy_cores() >= 0.0);
      RC_ASSERT(load.own_busy_cores() <= limit);
      RC_ASSERT(std::isfinite(load.concurrency()));
      RC_ASSERT(load.concurrency() >= 0.0);
    }
  }));
}
