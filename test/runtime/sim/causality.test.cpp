#include "runtime/sim/causality.hpp"

#include "test/runtime/sim/made_trace.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using namespace astra::sim;
using namespace std::chrono_literals;

namespace {

struct fixture {
  test::trace_maker maker;
  machine_id m1 = maker.machine("node-1", "node");
  machine_id m2 = maker.machine("resource-1", "resource");
  std::uint64_t node = maker.actor(m1, "node");
  std::uint64_t resource = maker.actor(m2, "resource");

  // Ticks of the node, each of which starts the next; the last one's number.
  std::uint64_t tick(int times, std::uint64_t cause = 0) {
    for (auto i = 0; i < times; ++i)
      cause = maker.step(i * 1s, node, node, "beat_atom", cause);
    return cause;
  }

  std::uint64_t deliver(instant at, std::string_view message, std::uint64_t cause, bool linked = true) {
    auto sent = maker.cross(at, event_kind::send, node, resource, message, cause);
    auto arrived = maker.cross(at + 2ms, event_kind::arrive, node, resource, message, linked ? sent : 0);
    return maker.step(at + 3ms, resource, node, message, linked ? arrived : 0);
  }
};

std::string joined(const std::vector<std::string>& lines) {
  std::string result;
  for (auto& line : lines)
    result += line + "\n";
  return result;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "the sending, arrival and handling of a message are one hop") {
  auto begin = maker.happen(1s, event_kind::request, m1, "app-1");
  auto step = deliver(2s, "heartbeat", begin);
  auto chain = causal_chain(maker.result, step);
  REQUIRE(chain.size() == 2);
  CHECK(maker.result.records[chain[0].record].number == step);
  REQUIRE(chain[0].sent);
  CHECK(maker.result.records[*chain[0].sent].kind == event_kind::send);
  CHECK(maker.result.records[chain[1].record].number == begin);
  auto lines = explain(maker.result, step);
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].ends_with("heartbeat from node-1/node#1 (sent #000002, 3.0 ms on the way)"));
}

TEST_CASE_FIXTURE(fixture, "a step that names no cause is explained by its arrival, and this by its sending") {
  auto begin = maker.happen(1s, event_kind::request, m1, "app-1");
  deliver(1500ms, "heartbeat", 0);
  auto step = deliver(2s, "claim_batch", begin, false);
  auto chain = causal_chain(maker.result, step);
  REQUIRE(chain.size() == 2);
  CHECK(maker.result.records[chain[1].record].number == begin);
}

TEST_CASE_FIXTURE(fixture, "100 ticks of a timer are told in 2 lines") {
  auto step = deliver(100s, "heartbeat", tick(100));
  auto lines = explain(maker.result, step);
  REQUIRE(lines.size() == 3);
  CHECK(lines[2] == "   0.000000000s ... the same 99 more times, every 1.00 s on average, back to #000001");
}

TEST_CASE_FIXTURE(fixture, "rounds of a poll and its answer are told once") {
  auto cause = maker.happen(0s, event_kind::boot, m1);
  for (auto i = 1; i <= 50; ++i) {
    auto there = deliver(i * 1s, "subscribe", cause);
    auto sent = maker.cross(i * 1s + 4ms, event_kind::send, resource, node, "subscribe_ack", there);
    auto back = maker.cross(i * 1s + 5ms, event_kind::arrive, resource, node, "subscribe_ack", sent);
    cause = maker.step(i * 1s + 5ms, node, resource, "subscribe_ack", back);
  }
  auto lines = explain(maker.result, cause);
  REQUIRE_MESSAGE(lines.size() == 4, joined(lines));
  CHECK(lines[2].find("these 2 49 more times") != std::string::npos);
  CHECK(lines[3].find("boot") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "an explanation of 10 lines keeps the first cause") {
  auto cause = maker.happen(0s, event_kind::fault, m1, "crash node-1");
  for (auto i = 1; i <= 60; ++i)
    cause = deliver(i * 1s, i % 7 == 0 || i % 11 == 0 || i % 13 == 0 ? "claim_batch" : "heartbeat", cause);
  auto lines = explain(maker.result, cause, 10);
  REQUIRE(lines.size() == 10);
  CHECK(lines[8].find("lines left out") != std::string::npos);
  CHECK(lines[9].find("crash node-1") != std::string::npos);
  for (auto n = std::size_t{0}; n < 5; ++n)
    CHECK(explain(maker.result, cause, n).size() == n);
}

TEST_CASE_FIXTURE(fixture, "an event that is not in the trace has no explanation") {
  tick(3);
  CHECK(explain(maker.result, 99).empty());
  CHECK(causal_chain(maker.result, 0).empty());
  CHECK(message_sequence(maker.result, 99).empty());
}

TEST_CASE_FIXTURE(fixture, "a trace whose front is missing is explained as far as it goes") {
  auto step = deliver(100s, "heartbeat", tick(10));
  maker.result.records.erase(maker.result.records.begin(), maker.result.records.begin() + 8);
  CHECK(causal_chain(maker.result, step).size() == 3);
}

TEST_CASE_FIXTURE(fixture, "a sequence has the rare message among hundreds of heartbeats, and the fault") {
  deliver(500ms, "drain", 0);
  maker.happen(600ms, event_kind::stall, m1);
  for (auto i = 1; i < 400; ++i)
    deliver(i * 1s, "heartbeat", 0);
  auto step = deliver(400s, "claim_batch", 0);
  // Far behind in the memory of the actor: 60 heartbeats later it is still what tells most.
  deliver(401s, "drain", 0);
  for (auto i = 402; i < 440; ++i)
    step = deliver(i * 1s, "heartbeat", 0);
  auto lines = message_sequence(maker.result, step, 12);
  CHECK(lines.size() <= 12);
  auto text = joined(lines);
  CHECK_MESSAGE(text.find("node-1/node#1 -> resource-1/resource#2: drain") != std::string::npos, text);
  CHECK_MESSAGE(text.find("claim_batch") != std::string::npos, text);
  CHECK_MESSAGE(text.find("stall node-1") != std::string::npos, text);
  CHECK_MESSAGE(text.find("more events left out") != std::string::npos, text);
}

TEST_CASE("any event of a cluster of 50 machines is explained in at most 30 lines, in order of time") {
  auto got = test::busy_cluster(30'000);
  for (auto i = std::size_t{0}; i < got.records.size(); i += 601) {
    auto number = got.records[i].number;
    auto lines = explain(got, number);
    CHECK(!lines.empty());
    CHECK(lines.size() <= 30);
    auto sequence = message_sequence(got, number);
    CHECK(!sequence.empty());
    CHECK(sequence.size() <= 30);
    auto end = sequence.end() - (sequence.back().find("...") != std::string::npos ? 1 : 0);
    CHECK(std::is_sorted(sequence.begin(), end, [](const std::string& a, const std::string& b) {
      return std::stoull(a.substr(a.find('#') + 1)) < std::stoull(b.substr(b.find('#') + 1));
    }));
  }
}
