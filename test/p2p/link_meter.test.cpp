#include "p2p/link_meter.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>

using namespace astra::p2p;

namespace {

constexpr std::uint64_t mega = 1'000'000;

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A link, and transfers that want all of it.
struct busy_link {
  link_meter meter{0.9};
  std::uint64_t speed = 100 * mega;
  /// Of what keeps them from it besides; 0: nothing.
  std::uint64_t other = 0;
  milliseconds now{seconds{1'000'000'050}};
  std::uint64_t moved = 0;
  int uncapped = 0;

  std::uint64_t would_move() const {
    auto limit = meter.cap().value_or(speed);
    return std::min(speed, other > 0 ? std::min(limit, other) : limit);
  }

  void move(std::uint64_t bytes) {
    uncapped += meter.cap() ? 0 : 1;
    moved = bytes;
    meter.look(moved, other, now);
    now += seconds{1};
  }

  void run(int looks) {
    for (int i = 0; i < looks; ++i)
      move(would_move());
  }
};

} // namespace

TEST_CASE("the first transfer tells how fast the link is, and from then on a share of it is left to others") {
  busy_link link;
  CHECK(!link.meter.cap());
  link.run(6);
  CHECK(link.meter.measured() == 100 * mega);
  CHECK(link.meter.cap() == 90 * mega);
  CHECK(link.moved == 90 * mega);
}

TEST_CASE("a rate that still grows is no measure") {
  busy_link link;
  for (std::uint64_t rate : {1, 2, 4, 8, 16, 16}) {
    link.move(rate * mega);
    CHECK(!link.meter.cap());
  }
  for (int i = 0; i < 3; ++i)
    link.move(16 * mega);
  CHECK(link.meter.measured() == 16 * mega);
}

TEST_CASE("a test ends even when the rate grows on and on") {
  busy_link link;
  std::uint64_t rate = mega;
  for (int i = 0; i < link_meter::test_looks_max; ++i, rate = rate * 5 / 4)
    link.move(rate);
  CHECK(link.meter.cap());
}

TEST_CASE("bytes that are told in lumps count for what they are on average") {
  busy_link link;
  for (int i = 0; i < 12; ++i)
    link.move(i % 2 == 0 ? 0 : 20 * mega);
  CHECK(link.meter.measured() == 10 * mega);
}

TEST_CASE("a full cap is let go for a fifth of the time, and no more") {
  busy_link link;
  link.run(6);
  link.uncapped = 0;
  link.run(6000);
  CHECK(link.meter.measured() == 100 * mega);
  CHECK(link.uncapped <= 1200);
  CHECK(link.uncapped >= 600);
}

TEST_CASE("two ends that have measured each other's caps find the link between them") {
  busy_link here;
  busy_link there;
  for (auto link : {&here, &there}) {
    link->speed = 10 * mega;
    link->run(20);
    CHECK(link->meter.cap() == 9 * mega);
    link->speed = 100 * mega;
  }
  for (int i = 0; i < 150; ++i) {
    auto moved = std::min(here.would_move(), there.would_move());
    here.move(moved);
    there.move(moved);
  }
  CHECK(here.meter.measured() == 100 * mega);
  CHECK(there.meter.measured() == 100 * mega);
}

TEST_CASE("a link that has become faster is found to be") {
  busy_link link;
  link.run(30);
  link.speed = 400 * mega;
  link.run(70);
  CHECK(link.meter.measured() == 400 * mega);
}

TEST_CASE("a link that has become slower is found to be, and slow peers are not held against it for long") {
  busy_link link;
  link.run(30);
  link.speed = 10 * mega;
  link.run(70);
  CHECK(link.meter.measured() == 10 * mega);
  CHECK(link.meter.cap() == 9 * mega);
  link.speed = 100 * mega;
  link.run(70);
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

TEST_CASE("a limit that is above the cap does not keep it from being tried") {
  busy_link link;
  link.speed = 10 * mega;
  link.run(20);
  link.speed = 100 * mega;
  link.other = 10 * mega;
  link.run(70);
  link.other = 0;
  link.run(70);
  CHECK(link.meter.measured() == 100 * mega);
}

TEST_CASE("a share of 0 caps nothing") {
  link_meter meter{0.0};
  for (int i = 0; i < 100; ++i)
    meter.look(mega, 0, seconds{i});
  CHECK(!meter.cap());
  CHECK(!meter.measured());
}
