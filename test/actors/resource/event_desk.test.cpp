#include "actors/resource/event_desk.hpp"

#include "test/actors/resource/resource_fixture.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;

namespace {

struct fixture : resource_fixture {
  pb::EventPage events(const resource_actor& resource, pb::EventQuery query = {}) {
    auto page = ask<event_page>(resource, event_query{std::move(query)});
    REQUIRE(page);
    return **page;
  }

  /// "joined n1", oldest first.
  static std::vector<std::string> lines(const pb::EventPage& page) {
    std::vector<std::string> result;
    for (auto& event : page.events()) {
      auto kind = pb::EventKind_Name(event.kind()).substr(6);
      auto witness = pb::EventWitness_Name(event.witness()).substr(8);
      result.push_back(kind + " " + event.name() + " " + witness);
    }
    return result;
  }

  static bool has(const std::vector<std::string>& lines, const std::string& wanted) {
    return std::find(lines.begin(), lines.end(), wanted) != lines.end();
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a node's life is told in order, with cause, witness and time of day") {
  auto r1 = start("r1");
  auto node = join("r1");
  advance(2s);
  node->silent = true;
  advance(4s);
  node->silent = false;
  advance(2s);
  node->draining = true;
  advance(2s);
  node->leaving = true;
  advance(2s);
  pb::EventQuery query;
  query.set_node(make_node_id(node->name).value());
  auto page = events(r1, query);
  CHECK(lines(page)
        == std::vector<std::string>{"JOINED " + node->name + " BEAT", "SUSPECT " + node->name + " SILENCE",
                                    "OFFLINE " + node->name + " SILENCE", "ONLINE " + node->name + " BEAT",
                                    "DRAINING " + node->name + " BEAT", "OFFLINE " + node->name + " GOODBYE"});
  CHECK(page.resource_name() == "r1");
  CHECK(page.events(2).cause().starts_with("no heartbeat for 3."));
  CHECK(page.events(3).cause() == "was offline, beats again");
  CHECK(page.events(5).cause() == "drained");
  auto silent_ms = page.events(2).wall_ms() - page.events(1).wall_ms();
  CHECK(silent_ms >= 1400);
  CHECK(silent_ms <= 1600);
  CHECK(page.events(0).wall_ms() >= 1'700'000'000'000);
}

TEST_CASE_FIXTURE(fixture,
                  "a closed connection is a witness of its own, and a second process of a node is fenced once") {
  auto r1 = start("r1");
  auto node = join("r1");
  auto newer = std::make_shared<fake_node>();
  newer->name = node->name;
  newer->incarnation = 9;
  advance(2s);
  join_as(newer);
  advance(5s);
  kill(newer->handle);
  advance(100ms);
  auto all = lines(events(r1));
  CHECK(std::count(all.begin(), all.end(), "FENCED " + node->name + " BEAT") == 1);
  CHECK(all.back() == "SUSPECT " + node->name + " CLOSED_CONNECTION");
}

TEST_CASE_FIXTURE(fixture,
                  "the loss of a Resource is told by its peers, and its nodes by their new homes: moved, not joined") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto r3 = start("r3");
  auto node = join("r1");
  auto dead = join("r1");
  advance(3s);
  kill(dead->handle);
  kill(r1);
  advance(15s);
  for (auto& resource : {r2, r3}) {
    auto all = lines(events(resource));
    CHECK(all.front() == "STARTED " + std::string{resource == r2 ? "r2" : "r3"} + " UNKNOWN");
    CHECK(has(all, "PEER_FOUND r1 BEAT"));
    CHECK(has(all, "PEER_LOST r1 CLOSED_CONNECTION"));
    CHECK(has(all, "ORPHANED " + dead->name + " TIMER"));
    CHECK_FALSE(has(all, "JOINED " + node->name + " BEAT"));
  }
  auto second = lines(events(r2));
  auto third = lines(events(r3));
  auto moved = "MOVED " + node->name + " BEAT";
  CHECK((std::count(second.begin(), second.end(), moved) + std::count(third.begin(), third.end(), moved)) == 1);
  auto& home = has(second, moved) ? r2 : r3;
  pb::EventQuery query;
  query.set_node(make_node_id(node->name).value());
  CHECK(events(home, query).events(0).cause().starts_with("from r1 to r"));
  // Back again: found, not new.
  start("r1");
  advance(5s);
  auto all = lines(events(r2));
  CHECK(std::count(all.begin(), all.end(), "PEER_FOUND r1 BEAT") == 2);
}

TEST_CASE_FIXTURE(fixture, "a question waits for news as long as it says, and is answered within 100 ms of them") {
  auto r1 = start("r1");
  advance(1s);
  auto first = events(r1);
  pb::EventQuery next;
  next.set_epoch(first.epoch());
  next.set_after(first.next());
  next.set_wait_ms(2000);
  auto before = now();
  CHECK(events(r1, next).events_size() == 0);
  CHECK(now() - before >= 2s);
  CHECK(now() - before < 2100ms);
  caf::scoped_actor self{sys};
  auto pending = self->request(r1, caf::infinite, event_query{next});
  run();
  auto node = join("r1");
  advance(200ms);
  REQUIRE(self->has_next_message());
  pending.receive([&](event_page& page) { CHECK(lines(*page) == std::vector{"JOINED " + node->name + " BEAT"}); },
                  [](caf::error& reason) { FAIL(error_text(reason)); });
}

TEST_CASE_FIXTURE(fixture, "numbers of a Resource's former life are answered with all of this one") {
  auto r1 = start("r1");
  join("r1");
  advance(2s);
  auto first = events(r1);
  kill(r1);
  r1 = start("r1");
  advance(3s);
  pb::EventQuery next;
  next.set_epoch(first.epoch());
  next.set_after(first.next());
  auto page = events(r1, next);
  CHECK(page.epoch() != first.epoch());
  REQUIRE(page.events_size() > 0);
  CHECK(page.events(0).sequence() == 1);
  CHECK(page.events(0).kind() == pb::EVENT_STARTED);
}
