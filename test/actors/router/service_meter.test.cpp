#include "actors/router/service_meter.hpp"

#include "actors/random.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>

using namespace astra;
using namespace std::chrono_literals;

namespace {

service_meter::time_point at(double seconds) {
  return service_meter::time_point{}
         + std::chrono::duration_cast<service_meter::time_point::duration>(std::chrono::duration<double>(seconds));
}

} // namespace

TEST_CASE("a node that completes 3 requests per second in 4 busy slots is taken for that, whatever was expected") {
  for (auto expected : {0.01, 0.75, 50.0}) {
    service_meter meter;
    for (std::uint64_t i = 0; i <= 100; ++i)
      meter.observe({incarnation{1}, 9 * i, 0, 4, 4.0, 1.0}, at(3.0 * static_cast<double>(i)));
    CHECK(meter.service_rate(expected) == doctest::Approx(0.75).epsilon(expected < 0.1 ? 0.9 : 0.15));
    CHECK(meter.arrival_rate() == doctest::Approx(3.0));
  }
}

TEST_CASE("nothing is known of a node that was seen once: it has the rate that is expected") {
  service_meter meter;
  CHECK(meter.service_rate(2.0) == doctest::Approx(2.0));
  meter.observe({incarnation{1}, 1'000'000, 500, 4, 4.0, 1.0}, at(1.0));
  CHECK(meter.service_rate(2.0) == doctest::Approx(2.0));
  CHECK(meter.arrival_rate() == 0.0);
}

TEST_CASE("a node that works and completes nothing is taken for slow before long, one that fails all is, too") {
  service_meter meter;
  for (std::uint64_t i = 0; i <= 20; ++i)
    meter.observe({incarnation{1}, 7, 10 * i, 4, 4.0, 1.0}, at(3.0 * static_cast<double>(i)));
  CHECK(meter.service_rate(2.0) < 0.2);
}

TEST_CASE("a restart, counters that go backwards and a clock that stands still or goes back tell nothing") {
  service_meter meter;
  meter.observe({incarnation{1}, 100, 0, 0, 1.0, 1.0}, at(0.0));
  meter.observe({incarnation{1}, 106, 0, 0, 1.0, 1.0}, at(3.0));
  auto completions = meter.completions();
  auto busy = meter.busy_slot_s();
  meter.observe({incarnation{2}, 1000, 0, 0, 1.0, 1.0}, at(6.0));
  meter.observe({incarnation{2}, 3, 0, 0, 1.0, 1.0}, at(9.0));
  meter.observe({incarnation{2}, 9, 0, 0, 1.0, 1.0}, at(9.0));
  meter.observe({incarnation{2}, 12, 0, 0, 1.0, 1.0}, at(2.0));
  CHECK(meter.completions() == completions);
  CHECK(meter.busy_slot_s() == busy);
  meter.observe({incarnation{2}, 18, 0, 0, 1.0, 1.0}, at(5.0));
  CHECK(meter.completions()
        == doctest::Approx(completions * service_meter::memory_s / (service_meter::memory_s + 3.0) + 6.0));
}

TEST_CASE("of a node's counters an app has its share of the slots") {
  service_meter meter;
  meter.observe({incarnation{1}, 0, 0, 0, 4.0, 0.25}, at(0.0));
  meter.observe({incarnation{1}, 12, 0, 8, 4.0, 0.25}, at(3.0));
  CHECK(meter.completions() == doctest::Approx(3.0));
  CHECK(meter.busy_slot_s() == doctest::Approx(3.0));
  CHECK(meter.arrival_rate() == doctest::Approx(20.0 / 3.0 * 0.25 * 3.0 / 9.0));
}

TEST_CASE("rates are finite and positive, whatever counters and clocks do") {
  random_source random{1};
  service_meter meter;
  for (int i = 0; i < 100'000; ++i) {
    auto count = [&] { return random.next() >> random.below(64); };
    constexpr auto inf = std::numeric_limits<double>::infinity();
    const double busy[] = {0.0, 1.0, -1.0, 1e300, inf, -inf, std::nan("")};
    meter.observe(
        {incarnation{1 + random.below(3)}, count(), count(), count(), busy[random.below(7)], busy[random.below(7)]},
        at(random.unit() * 1e6));
    REQUIRE(std::isfinite(meter.arrival_rate()));
    REQUIRE(meter.arrival_rate() >= 0.0);
    for (auto expected : {1e-5, 1.0, 1e4}) {
      REQUIRE(std::isfinite(meter.service_rate(expected)));
      REQUIRE(meter.service_rate(expected) > 0.0);
    }
  }
}
