#include "runtime/gateway/event_stream.hpp"

#include "test/actors/resource/resource_fixture.hpp"
#include "test/runtime/gateway/recorded_exchange.hpp"

#include <caf/scoped_actor.hpp>
#include <doctest/doctest.h>

#include <algorithm>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct fixture : test::resource_fixture {
  std::shared_ptr<test::recorded_exchange> ask_events(const std::string& query, std::vector<std::string> resources) {
    http_request request;
    request.target = "/v1/events" + query;
    auto exchange = std::make_shared<test::recorded_exchange>(std::move(request));
    auto wish = read_event_request(exchange->request().target);
    if (auto wrong = std::get_if<std::string>(&wish)) {
      FAIL(*wrong);
      return exchange;
    }
    auto& world = world_of("gateway");
    resource_links links;
    links.dialer = world.dialer();
    caf::scoped_actor parent{sys};
    stream = own(spawn_event_stream(parent.ptr(), links, std::move(resources), std::get<event_request>(wish),
                                    world.wall_time(), exchange));
    advance(500ms);
    return exchange;
  }

  /// Lets time pass for a client that takes everything at once.
  void follow(test::recorded_exchange& exchange, caf::timespan time) {
    for (auto end = now() + time; now() < end; advance(50ms))
      exchange.stream->take();
  }

  /// "offline n1", or "note: restarted r1".
  static std::vector<std::string> words(const test::recorded_exchange& exchange) {
    std::vector<std::string> result;
    for (auto& line : exchange.stream->lines())
      if (line.contains("note"))
        result.push_back("note: " + line["note"].get<std::string>() + " " + line["resource"].get<std::string>());
      else
        result.push_back(line["kind"].get<std::string>() + " " + line["object"].get<std::string>());
    return result;
  }

  static std::ptrdiff_t count(const std::vector<std::string>& all, const std::string& wanted) {
    return std::count(all.begin(), all.end(), wanted);
  }

  caf::actor stream;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "events of all Resources are merged by time") {
  start("r1");
  advance(100ms);
  start("r2");
  advance(1s);
  auto first = join("r1");
  advance(2s);
  auto second = join("r2");
  advance(2s);
  auto exchange = ask_events("", {"r1:1", "r2:1"});
  CHECK(exchange->stream->ended);
  auto all = words(*exchange);
  CHECK(all.front() == "started r1");
  CHECK(count(all, "joined " + first->name) == 1);
  CHECK(all.back() == "joined " + second->name);
  std::uint64_t last = 0;
  for (auto& line : exchange->stream->lines()) {
    CHECK(line["wall_ms"] >= last);
    last = line["wall_ms"];
  }
  auto one = ask_events("?node=" + first->name, {"r1:1", "r2:1"});
  CHECK(words(*one) == std::vector<std::string>{"joined " + first->name});
  auto lately = ask_events("?since=3s", {"r1:1", "r2:1"});
  CHECK(count(words(*lately), "joined " + first->name) == 0);
  CHECK(count(words(*lately), "joined " + second->name) == 1);
}

TEST_CASE_FIXTURE(fixture, "the last so many are shown, and that earlier ones are left out is said") {
  start("r1");
  for (auto i = 0; i < 6; ++i)
    join("r1");
  advance(3s);
  auto exchange = ask_events("?last=3", {"r1:1"});
  auto all = words(*exchange);
  REQUIRE(all.size() == 4);
  CHECK(all[0] == "note: cut ");
}

TEST_CASE_FIXTURE(fixture, "a Resource that does not answer is named; when none does, that is the answer") {
  start("r1");
  advance(1s);
  auto exchange = ask_events("", {"r1:1", "r3:1"});
  CHECK(words(*exchange).front() == "note: unreachable r3:1");
  CHECK(count(words(*exchange), "started r1") == 1);
  CHECK(ask_events("", {"r3:1"})->answers.at(0).status == 503);
}

TEST_CASE_FIXTURE(fixture, "following goes on with what happens, and says that a Resource was lost and began anew") {
  auto r1 = start("r1");
  auto node = join("r1");
  advance(2s);
  auto exchange = ask_events("?follow=1", {"r1:1"});
  CHECK_FALSE(exchange->stream->ended);
  CHECK(count(words(*exchange), "joined " + node->name) == 1);
  node->silent = true;
  follow(*exchange, 5s);
  CHECK(count(words(*exchange), "suspect " + node->name) == 1);
  CHECK(count(words(*exchange), "offline " + node->name) == 1);
  kill(r1);
  follow(*exchange, 3s);
  CHECK(count(words(*exchange), "note: unreachable r1") == 1);
  start("r1");
  node->silent = false;
  follow(*exchange, 10s);
  auto all = words(*exchange);
  CHECK(count(all, "note: restarted r1") == 1);
  CHECK(count(all, "started r1") == 2);
  CHECK(count(all, "joined " + node->name) == 2);
  // Nothing twice.
  CHECK(count(all, "offline " + node->name) == 1);
  caf::anon_send(stream, stop_atom_v);
  run();
  CHECK(exchange->stream->ended);
  CHECK(words(*exchange).back() == "note: end ");
}

TEST_CASE_FIXTURE(fixture,
                  "a slow client gets events later, and is told how many the bounded memory has lost meanwhile") {
  events_kept = 3;
  start("r1");
  advance(1s);
  auto exchange = ask_events("?follow=1", {"r1:1"});
  for (auto i = 0; i < 2; ++i) { // It takes nothing.
    join("r1");
    advance(2s);
  }
  for (auto i = 0; i < 6; ++i)
    join("r1");
  advance(2s);
  follow(*exchange, 3s);
  std::uint64_t lost = 0;
  std::uint64_t shown = 0;
  for (auto& line : exchange->stream->lines()) {
    if (line.contains("note") && line["note"] == "lost")
      lost += line["count"].get<std::uint64_t>();
    else if (line.contains("kind"))
      ++shown;
  }
  CHECK(lost > 0);
  CHECK(lost + shown == 9); // Started, and eight joined.
}

TEST_CASE_FIXTURE(fixture, "a client that leaves ends its stream, and a quiet one shows that it lives") {
  start("r1");
  advance(1s);
  auto exchange = ask_events("?follow=1", {"r1:1"});
  auto before = exchange->stream->text.size();
  follow(*exchange, 7s);
  CHECK(exchange->stream->text.size() > before);
  exchange->gone();
  run();
  CHECK(exchange->stream->cut);
}
