#include "actors/router/outlier_detector.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct outlier_fixture {
  outlier_detector found{{}};
  outlier_detector::time_point now{1h};
  std::size_t nodes = 4;

  static node_id id(std::uint64_t i) { return node_id{i}; }

  /// A second is what is expected.
  void serve(std::uint64_t node, double seconds = 1.0) { serve(found, node, seconds); }

  void serve(outlier_detector& by, std::uint64_t node, double seconds) {
    by.served(id(node), now);
    by.took(id(node), std::chrono::microseconds{std::llround(seconds * 1e6)}, 1.0);
  }

  void all_serve(int times, std::uint64_t from = 1, std::uint64_t to = 4) {
    for (auto i = 0; i < times; ++i)
      for (auto node = from; node <= to; ++node)
        serve(node);
  }

  std::optional<outlier_detector::ejection> fail(std::uint64_t node, int times) {
    std::optional<outlier_detector::ejection> result;
    for (auto i = 0; i < times && !result; ++i)
      result = found.failed(id(node), "exit code 1", {}, nodes, now);
    return result;
  }
};

} // namespace

TEST_CASE_FIXTURE(outlier_fixture, "five errors one after the other eject a node at which others have none") {
  all_serve(2);
  CHECK_FALSE(fail(1, 4));
  auto ejection = fail(1, 1);
  REQUIRE(ejection);
  CHECK(ejection->node == id(1));
  CHECK(ejection->length == 10s);
  CHECK(ejection->reason == "5 errors one after the other, at last: exit code 1; other nodes have fewer");
}

TEST_CASE_FIXTURE(outlier_fixture, "a good answer between errors shows that the node is not to blame") {
  all_serve(2);
  CHECK_FALSE(fail(1, 4));
  serve(1, 1.0);
  CHECK_FALSE(fail(1, 4));
}

TEST_CASE_FIXTURE(outlier_fixture,
                  "an app that fails everywhere ejects nobody, nor does one of which nothing else is known") {
  for (auto i = 0; i < 20; ++i)
    for (auto node = 1U; node <= 4; ++node)
      CHECK_FALSE(found.failed(id(node), "bad input", {}, nodes, now));
  outlier_detector alone{{}};
  for (auto i = 0; i < 20; ++i)
    CHECK_FALSE(alone.failed(id(1), "bad input", {}, nodes, now));
}

TEST_CASE_FIXTURE(outlier_fixture, "one that comes back and fails at once is out twice as long, up to 5 minutes") {
  all_serve(2);
  REQUIRE(fail(1, 5));
  auto length = 10s;
  for (auto times = 0; times < 10; ++times) {
    now += 10min;
    all_serve(2, 2);
    auto again = fail(1, 1);
    REQUIRE(again);
    length = std::min(2 * length, std::chrono::seconds{300});
    CHECK(again->length == length);
  }
  now += 10min;
  all_serve(2, 2);
  // Twenty good answers in a row make up for one ejection.
  for (auto i = 0; i < 20 * 11; ++i)
    serve(1, 1.0);
  CHECK_FALSE(fail(1, 4));
  CHECK(fail(1, 1)->length == 10s);
}

TEST_CASE_FIXTURE(outlier_fixture, "a tenth of the nodes may be out, and one in any case, but never the last one") {
  all_serve(20);
  REQUIRE(fail(1, 5));
  nodes = 3;
  CHECK_FALSE(fail(2, 30));
  now += 10s;
  nodes = 4;
  CHECK(fail(2, 1));
  outlier_detector last{{}};
  serve(last, 2, 1.0);
  for (auto i = 0; i < 30; ++i)
    CHECK_FALSE(last.failed(id(1), "exit code 1", {}, 1, now));
}

TEST_CASE_FIXTURE(outlier_fixture, "a node that is much slower than expected, compared with the others, is ejected") {
  for (auto i = 0; i < 10; ++i) {
    serve(1, 30.0);
    // Twice as fast or slow is nothing.
    serve(2, 0.5);
    serve(3, 1.0);
    serve(4, 2.0);
  }
  auto slow = found.too_slow(nodes, now);
  REQUIRE(slow.size() == 1);
  CHECK(slow[0].node == id(1));
  CHECK(slow[0].length == 10s);
  CHECK(slow[0].reason == "30.0 times slower than the other nodes, by itself and for its hardware");
  CHECK(found.too_slow(nodes, now + 10s).empty());
}

TEST_CASE_FIXTURE(outlier_fixture, "of few answers, and of two nodes, nobody says who is slow") {
  for (auto i = 0; i < 9; ++i)
    for (auto node = 1U; node <= 4; ++node)
      serve(node, node == 1 ? 100.0 : 1.0);
  CHECK(found.too_slow(nodes, now).empty());
  outlier_detector two{{}};
  for (auto i = 0; i < 50; ++i) {
    serve(two, 1, 100.0);
    serve(two, 2, 1.0);
  }
  CHECK(two.too_slow(2, now).empty());
}

TEST_CASE_FIXTURE(outlier_fixture, "wrong service times count as answers and no more, and what is 0 is switched off") {
  all_serve(2);
  for (auto bad : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    for (auto i = 0; i < 20; ++i)
      for (auto node = 1U; node <= 4; ++node)
        found.took(id(node), 100ms, node == 1 ? bad : 1.0);
  CHECK(found.too_slow(nodes, now).empty());
  CHECK(fail(1, 5));
  outlier_detector off{{0, 0.0, 10s}};
  for (auto node = 1U; node <= 4; ++node)
    for (auto i = 0; i < 50; ++i)
      serve(off, node, node == 1 ? 1000.0 : 1.0);
  CHECK(off.too_slow(nodes, now).empty());
  for (auto i = 0; i < 50; ++i)
    CHECK_FALSE(off.failed(id(1), "exit code 1", {}, nodes, now));
}

TEST_CASE_FIXTURE(outlier_fixture, "answers of less than 50 ms are as good as each other, and one of seconds is not") {
  for (auto i = 0; i < 50; ++i)
    for (auto node = 1U; node <= 4; ++node)
      serve(node, node == 1 ? 0.049 : 0.001);
  CHECK(found.too_slow(nodes, now).empty());
  for (auto i = 0; i < 50; ++i)
    serve(1, 2.0);
  CHECK(found.too_slow(nodes, now).size() == 1);
}

TEST_CASE_FIXTURE(outlier_fixture,
                  "a large machine is not slow for an app that uses little of it, nor is a small one") {
  for (auto i = 0; i < 50; ++i)
    for (auto node = 1U; node <= 4; ++node)
      found.took(id(node), 1s, node == 1 ? 64.0 : 4.0);
  CHECK(found.too_slow(nodes, now).empty());
  outlier_detector small{{}};
  for (auto i = 0; i < 50; ++i)
    for (auto node = 1U; node <= 4; ++node)
      small.took(id(node), node == 1 ? 16s : 1s, node == 1 ? 1.0 : 16.0);
  CHECK(small.too_slow(nodes, now).empty());
}

TEST_CASE_FIXTURE(outlier_fixture, "errors with one cause on the client's side count once in a row") {
  all_serve(2);
  for (auto i = 0; i < 20; ++i)
    CHECK_FALSE(found.failed(id(1), "exit code 1", "client-7", nodes, now));
  for (auto who : {"client-1", "client-2", "client-3"})
    CHECK_FALSE(found.failed(id(1), "exit code 1", who, nodes, now));
  CHECK(found.failed(id(1), "exit code 1", "client-4", nodes, now));
}

TEST_CASE_FIXTURE(outlier_fixture, "what had been sent to a node before it was ejected does not prolong that") {
  nodes = 40;
  all_serve(2);
  REQUIRE(fail(1, 5));
  CHECK_FALSE(fail(1, 20));
  now += 10s;
  CHECK(fail(1, 1)->length == 20s);
}

TEST_CASE_FIXTURE(outlier_fixture, "one good answer elsewhere in some minutes is enough to tell a black hole") {
  serve(2);
  now += 5min;
  CHECK_FALSE(fail(1, 4));
  CHECK(fail(1, 1));
}

TEST_CASE_FIXTURE(outlier_fixture, "a node that leaves takes nothing of what is known of the others along") {
  serve(1);
  now += 20min;
  serve(2);
  found.forget(id(1));
  CHECK_FALSE(fail(3, 4));
  CHECK(fail(3, 1));
}

TEST_CASE_FIXTURE(outlier_fixture, "where every fifth request fails, five failures in a row are chance") {
  for (auto i = 0; i < 40; ++i)
    for (auto node = 1U; node <= 4; ++node)
      if (i % 4 == 0)
        CHECK_FALSE(found.failed(id(node), "exit code 1", {}, nodes, now));
      else
        serve(node);
  CHECK_FALSE(fail(1, 20));
}

TEST_CASE_FIXTURE(outlier_fixture, "one that came back and has proven itself has five errors again") {
  all_serve(2);
  REQUIRE(fail(1, 5));
  now += 10s;
  serve(1);
  CHECK_FALSE(fail(1, 4));
  CHECK(fail(1, 1)->length == 20s);
}

TEST_CASE_FIXTURE(outlier_fixture, "a node that starts again begins anew") {
  all_serve(2);
  REQUIRE(fail(1, 5));
  found.forget(id(1));
  CHECK_FALSE(fail(1, 4));
  CHECK(fail(1, 1)->length == 10s);
}
