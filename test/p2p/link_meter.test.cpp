#include "p2p/link_meter.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace astra::p2p;

namespace {

constexpr std::uint64_t mega = 1'000'000;

/// A link, and transfers that want all of it.
struct busy_link {
  link_meter meter{0.9};
  std::uint64_t speed = 100 * mega;
  /// Of what keeps them from it besides; 0: nothing.
  std::uint64_t other = 0;
  link_meter::time_point now{std::chrono::hours{1}};
  std::uint64_t moved = 0;
  int uncapped = 0;

  void run(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      auto limit = meter.cap().value_or(speed);
      uncapped += meter.cap() ? 0 : 1;
      if (other > 0)
        limit = std::min(limit, other);
      moved = std::min(speed, limit);
      meter.look(moved, other, now);
      now += std::chrono::seconds{1};
    }
  }
};

} // namespace

TEST_CASE("the first transfer tells how fast the link is, and from then on a share of it is left to others") {
  busy_link link;
  CHECK(!link.meter.cap());
  link.run(5);
  CHECK(link.meter.measured() == 100 * mega);
  CHECK(link.meter.cap() == 90 * mega);
  CHECK(link.moved == 90 * mega);
}

TEST_CASE("a rate that still grows is no measure") {
  link_meter meter{0.5};
  link_meter::time_point now{};
  for (std::uint64_t rate : {1, 2, 4, 8, 16}) {
    meter.look(rate * mega, 0, now += std::chrono::seconds{1});
    CHECK(!meter.cap());
  }
  meter.look(16 * mega, 0, now += std::chrono::seconds{1});
  meter.look(16 * mega, 0, now += std::chrono::seconds{1});
  CHECK(meter.cap() == 8 * mega);
}

TEST_CASE("a test ends even when the rate grows on and on") {
  link_meter meter{0.5};
  link_meter::time_point now{};
  std::uint64_t rate = mega;
  for (int i = 0; i < link_meter::test_looks_max; ++i, rate = rate * 5 / 4)
    meter.look(rate, 0, now += std::chrono::seconds{1});
  CHECK(meter.cap());
}

TEST_CASE("a full cap is tried again, ever more seldom while nothing new is found") {
  busy_link link;
  link.run(3600);
  CHECK(link.meter.measured() == 100 * mega);
  // Three looks each, after 10, 20, 40, 80, 160, 320, 600, 600 ... seconds.
  CHECK(link.uncapped < 50);
  CHECK(link.uncapped > 20);
}

TEST_CASE("a link that has become faster is found to be") {
  busy_link link;
  link.run(30);
  link.speed = 400 * mega;
  link.run(60);
  CHECK(link.meter.measured() == 400 * mega);
}

TEST_CASE("a link that has become slower is found to be, and slow peers are not held against it for long") {
  busy_link link;
  link.run(30);
  link.speed = 10 * mega;
  link.run(40);
  CHECK(link.meter.measured() == 10 * mega);
  CHECK(link.meter.cap() == 9 * mega);
  link.speed = 100 * mega;
  link.run(20);
  CHECK(link.meter.measured() == 100 * mega);
}

TEST_CASE("what another limit holds down, and what is nearly nothing, measures nothing") {
  busy_link link;
  link.other = 5 * mega;
  link.run(100);
  CHECK(!link.meter.measured());
  link.other = 0;
  link.speed = 1000;
  link.run(100);
  CHECK(!link.meter.measured());
  CHECK(!link.meter.cap());
}

TEST_CASE("a share of 0 caps nothing") {
  link_meter meter{0.0};
  link_meter::time_point now{};
  for (int i = 0; i < 100; ++i)
    meter.look(mega, 0, now += std::chrono::seconds{1});
  CHECK(!meter.cap());
  CHECK(!meter.measured());
}
