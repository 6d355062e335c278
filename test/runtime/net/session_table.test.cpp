#include "runtime/net/session_table.hpp"

#include "runtime/net/dial_backoff.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

hello process(const std::string& name, std::uint64_t life = 1) {
  hello out;
  out.self = {"test", name, {peer_role::node}, {}};
  out.life = incarnation{life};
  out.address = name + ":9700";
  out.directory = 12;
  return out;
}

const session_table::time_point start{1h};
const hello own = process("own");
constexpr bool dialled = true;
constexpr bool accepted = false;

session_table table(std::size_t most = 100) {
  return session_table{caf_node(own), most, 2000ms};
}

using ids = std::vector<std::uint64_t>;

} // namespace

TEST_CASE("one session per process: a newer one replaces the older") {
  auto sessions = table();
  CHECK(!sessions.add(1, process("a"), accepted, start).no);
  CHECK(!sessions.add(2, process("b"), accepted, start).no);
  auto again = sessions.add(3, process("a"), accepted, start + 10s);
  CHECK(!again.no);
  CHECK(again.close == ids{1});
  CHECK(sessions.size() == 2);
  REQUIRE(sessions.at("a:9700"));
  CHECK(sessions.at("a:9700")->id == 3);
  // The end of the old one, which comes later, is not that of the new one.
  sessions.remove(1);
  CHECK(sessions.at("a:9700")->id == 3);
  sessions.remove(3);
  CHECK(sessions.at("a:9700") == nullptr);
}

TEST_CASE("judging enters nothing") {
  auto sessions = table();
  CHECK(!sessions.judge(process("a"), accepted, start).no);
  CHECK(sessions.size() == 0);
}

TEST_CASE("of two sessions dialled at once from both sides, both sides keep the same one") {
  for (auto [left, right] : {std::pair{"a", "b"}, std::pair{"b", "a"}, std::pair{"x", "own"}}) {
    auto l = process(left);
    auto r = process(right);
    session_table at_left{caf_node(l), 100, 2000ms};
    session_table at_right{caf_node(r), 100, 2000ms};
    // Session 1 is dialled by the left process, session 2 by the right; each side's own is complete first.
    CHECK(!at_left.add(1, r, dialled, start).no);
    CHECK(!at_right.add(2, l, dialled, start).no);
    auto second_at_left = at_left.add(2, r, accepted, start + 5ms);
    auto first_at_right = at_right.add(1, l, accepted, start + 5ms);
    CHECK(bool(second_at_left.no) != bool(first_at_right.no));
    auto kept = second_at_left.no ? 1u : 2u;
    REQUIRE(at_left.entries().size() == 1);
    REQUIRE(at_right.entries().size() == 1);
    CHECK(at_left.entries()[0].id == kept);
    CHECK(at_right.entries()[0].id == kept);
    CHECK(kept == (caf_node(l) < caf_node(r) ? 1u : 2u));
  }
}

TEST_CASE("a process that dials again has lost the session that this side still holds") {
  auto peer = process("a");
  auto sessions = table();
  CHECK(!sessions.add(1, peer, dialled, start).no);
  auto again = sessions.add(2, peer, accepted, start + 2001ms);
  CHECK(!again.no);
  CHECK(again.close == ids{1});
}

TEST_CASE("a new life ends the sessions of the old one, and the old one never comes back") {
  auto sessions = table();
  CHECK(!sessions.add(1, process("a", 5), accepted, start).no);
  auto reborn = sessions.add(2, process("a", 6), accepted, start + 1s);
  CHECK(!reborn.no);
  CHECK(reborn.close == ids{1});
  auto ghost = sessions.add(3, process("a", 5), accepted, start + 2s);
  REQUIRE(ghost.no);
  CHECK(ghost.no->code == "fenced");
  CHECK(ghost.close.empty());
  sessions.remove(2);
  CHECK(sessions.add(4, process("a", 5), accepted, start + 3s).no);
  CHECK(!sessions.add(5, process("a", 6), accepted, start + 3s).no);
}

TEST_CASE("a full table refuses newcomers and tells when to come again, but takes the peers it has") {
  auto sessions = table(2);
  CHECK(!sessions.add(1, process("a"), accepted, start).no);
  CHECK(!sessions.add(2, process("b"), accepted, start).no);
  auto third = sessions.add(3, process("c"), accepted, start);
  REQUIRE(third.no);
  CHECK(third.no->code == "saturated");
  CHECK(third.no->retry_after_ms > 0);
  CHECK(!sessions.add(4, process("a"), accepted, start + 10s).no);
  sessions.remove(2);
  CHECK(!sessions.add(5, process("c"), accepted, start).no);
}

TEST_CASE("an address that fails is dialled again soon, then less often, and at the latest within a second") {
  dial_backoff backoff{7};
  CHECK(backoff.wait("a:1", start) == 0ms);
  auto now = start;
  std::chrono::milliseconds longest{0};
  for (int i = 0; i < 50; ++i) {
    backoff.failed("a:1", now);
    auto wait = backoff.wait("a:1", now);
    CHECK(wait >= 50ms);
    CHECK(wait <= 800ms);
    longest = std::max(longest, wait);
    now += wait;
    CHECK(backoff.wait("a:1", now) == 0ms);
  }
  CHECK(longest > 200ms);
  CHECK(backoff.wait("b:1", now) == 0ms);
  backoff.failed("a:1", now, 3000ms);
  CHECK(backoff.wait("a:1", now) == 3000ms);
  backoff.succeeded("a:1");
  CHECK(backoff.wait("a:1", now) == 0ms);
}
