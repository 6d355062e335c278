#include "p2p/punch_plan.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <utility>

using namespace astra::p2p;
using namespace std::chrono_literals;
using enum reachability;

namespace {

constexpr reachability kinds[] = {unknown, open, full_cone, port_restricted, symmetric};

/// A node that is of that class, at an address of its own.
vantage node(reachability kind, int number) {
  auto outside = "198.51.100." + std::to_string(number);
  peer_endpoint local{"10.0." + std::to_string(number) + ".2", 6881};
  switch (kind) {
  case unknown:
    return {local, {}, {}};
  case open:
    return {{outside, 6881}, {{outside, 6881}, {outside, 6881}}, {}};
  case full_cone:
    return {local, {{outside, 7000}, {outside, 7000}}, true};
  case port_restricted:
    return {local, {{outside, 7000}, {outside, 7000}}, false};
  case symmetric:
    return {local, {{outside, 7000}, {outside, 7001}}, false};
  }
  return {};
}

/// Where it dials, where the other one opens a hole: as they are in the plan of what dials what.
std::string text(const meeting& what) {
  switch (what.by) {
  case meeting::means::tcp:
    return "tcp " + to_string(what.dials);
  case meeting::means::punch:
    return "punch " + to_string(what.dials) + " from " + to_string(what.hole);
  case meeting::means::relay:
    return "relay";
  }
  return "";
}

} // namespace

TEST_CASE("a node that is seen where it listens is open, unless it was tried and nobody came in") {
  peer_endpoint local{"198.51.100.1", 6881};
  CHECK(reachability_of({local, {local}, {}}) == open);
  CHECK(reachability_of({local, {local, local}, true}) == open);
  CHECK(reachability_of({local, {local, local}, false}) == port_restricted);
}

TEST_CASE("a node of which no public node has told anything is unknown") {
  CHECK(reachability_of({{"10.0.0.2", 6881}, {}, {}}) == unknown);
  CHECK(reachability_of({{"10.0.0.2", 6881}, {}, false}) == unknown);
}

TEST_CASE("two answers that differ tell a symmetric NAT, in the port or in the address") {
  peer_endpoint local{"10.0.0.2", 6881};
  peer_endpoint seen{"198.51.100.1", 7000};
  CHECK(reachability_of({local, {seen, {"198.51.100.1", 7001}}, {}}) == symmetric);
  CHECK(reachability_of({local, {seen, {"198.51.100.2", 7000}}, {}}) == symmetric);
  CHECK(reachability_of({local, {seen, seen, {"198.51.100.2", 7000}}, true}) == symmetric);
  // Where it listens itself is no answer.
  CHECK(reachability_of({local, {local, seen}, {}}) == symmetric);
}

TEST_CASE("two answers that agree tell a port-restricted NAT, or a full cone if a stranger came in") {
  peer_endpoint local{"10.0.0.2", 6881};
  peer_endpoint seen{"198.51.100.1", 7000};
  CHECK(reachability_of({local, {seen, seen}, {}}) == port_restricted);
  CHECK(reachability_of({local, {seen, seen}, false}) == port_restricted);
  CHECK(reachability_of({local, {seen, seen}, true}) == full_cone);
}

TEST_CASE("one answer is taken for the worst that it can mean, but for a port that was kept") {
  peer_endpoint local{"10.0.0.2", 6881};
  CHECK(reachability_of({local, {{"198.51.100.1", 7000}}, {}}) == symmetric);
  CHECK(reachability_of({local, {{"198.51.100.1", 6881}}, {}}) == port_restricted);
  CHECK(reachability_of({local, {{"198.51.100.1", 7000}}, true}) == full_cone);
}

TEST_CASE("the nodes of these tests are what they are taken for") {
  for (auto kind : kinds)
    CHECK(reachability_of(node(kind, 1)) == kind);
}

TEST_CASE("every pair of classes meets, or is told why not, in the way that works for it") {
  // Of nodes 1 and 2, of these classes; who dials, and how.
  std::map<std::pair<reachability, reachability>, std::pair<int, std::string>> expected{
      {{unknown, unknown}, {0, "relay"}},
      {{unknown, open}, {1, "tcp 198.51.100.2:6881"}},
      {{unknown, full_cone}, {0, "relay"}},
      {{unknown, port_restricted}, {0, "relay"}},
      {{unknown, symmetric}, {0, "relay"}},
      {{open, unknown}, {2, "tcp 198.51.100.1:6881"}},
      {{open, open}, {1, "tcp 198.51.100.2:6881"}},
      {{open, full_cone}, {2, "tcp 198.51.100.1:6881"}},
      {{open, port_restricted}, {2, "tcp 198.51.100.1:6881"}},
      {{open, symmetric}, {2, "tcp 198.51.100.1:6881"}},
      {{full_cone, unknown}, {0, "relay"}},
      {{full_cone, open}, {1, "tcp 198.51.100.2:6881"}},
      {{full_cone, full_cone}, {1, "punch 198.51.100.2:7000 from 198.51.100.1:7000"}},
      {{full_cone, port_restricted}, {2, "punch 198.51.100.1:7000 from 198.51.100.2:7000"}},
      {{full_cone, symmetric}, {2, "punch 198.51.100.1:7000 from 198.51.100.2:7000"}},
      {{port_restricted, unknown}, {0, "relay"}},
      {{port_restricted, open}, {1, "tcp 198.51.100.2:6881"}},
      {{port_restricted, full_cone}, {1, "punch 198.51.100.2:7000 from 198.51.100.1:7000"}},
      {{port_restricted, port_restricted}, {1, "punch 198.51.100.2:7000 from 198.51.100.1:7000"}},
      {{port_restricted, symmetric}, {0, "relay"}},
      {{symmetric, unknown}, {0, "relay"}},
      {{symmetric, open}, {1, "tcp 198.51.100.2:6881"}},
      {{symmetric, full_cone}, {1, "punch 198.51.100.2:7000 from 198.51.100.1:7000"}},
      {{symmetric, port_restricted}, {0, "relay"}},
      {{symmetric, symmetric}, {0, "relay"}},
  };
  for (auto one : kinds)
    for (auto other : kinds) {
      auto& [dialler, how] = expected.at({one, other});
      auto met = meet(node(one, 1), node(other, 2));
      INFO(to_string(one), " and ", to_string(other));
      CHECK(text(met) == how);
      if (dialler != 0)
        CHECK(met.first_dials == (dialler == 1));
      CHECK(met.after == (met.by == meeting::means::punch ? 100ms : 0ms));
      CHECK(met.reason.empty() == (met.by != meeting::means::relay));
    }
}

TEST_CASE("the answer is the same whichever side asks") {
  for (auto one : kinds)
    for (auto other : kinds)
      for (auto [a, b] : {std::pair{1, 2}, std::pair{2, 1}}) {
        auto met = meet(node(one, a), node(other, b));
        auto turned = meet(node(other, b), node(one, a));
        turned.first_dials = !turned.first_dials;
        INFO(to_string(one), " ", a, " and ", to_string(other), " ", b);
        CHECK(met == turned);
      }
}

TEST_CASE("a relay's reason names the node that is to blame") {
  auto silent = node(unknown, 1);
  auto lost = meet(silent, node(symmetric, 2));
  CHECK(lost.reason == "no public node tells where 10.0.1.2:6881 is seen");
  auto apart = meet(node(port_restricted, 1), node(symmetric, 2));
  CHECK(apart.reason
        == "10.0.2.2:6881 is seen at another port by each peer, and 10.0.1.2:6881 lets nobody in whose port it does "
           "not know");
}

TEST_CASE("nodes behind one address meet where they listen, whatever their NAT is") {
  for (auto one : {full_cone, port_restricted, symmetric})
    for (auto other : {full_cone, port_restricted, symmetric}) {
      auto a = node(one, 1);
      auto b = node(other, 1);
      b.local.address = "10.0.1.3";
      for (auto& seen : b.mapped)
        seen.port += 10;
      auto met = meet(a, b);
      CHECK(met.by == meeting::means::tcp);
      CHECK(met.dials == (met.first_dials ? b.local : a.local));
    }
}
