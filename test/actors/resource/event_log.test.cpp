#include "actors/resource/event_log.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace astra;

namespace {

pb::Event event(std::string name, std::uint64_t wall_ms = 0) {
  pb::Event result;
  result.set_kind(pb::EVENT_JOINED);
  result.set_object(make_node_id(name).value());
  result.set_name(std::move(name));
  result.set_wall_ms(wall_ms);
  return result;
}

pb::EventQuery after(std::uint64_t epoch, std::uint64_t number) {
  pb::EventQuery result;
  result.set_epoch(epoch);
  result.set_after(number);
  return result;
}

std::vector<std::uint64_t> numbers(const pb::EventPage& page) {
  std::vector<std::uint64_t> result;
  for (auto& one : page.events())
    result.push_back(one.sequence());
  return result;
}

constexpr std::size_t plenty = 1 << 20;

} // namespace

TEST_CASE("events are numbered, and read on from where one was") {
  event_log log{7, 10};
  CHECK(log.read({}, plenty).events_size() == 0);
  CHECK(log.read({}, plenty).next() == 0);
  CHECK(log.add(event("a")) == 1);
  CHECK(log.add(event("b")) == 2);
  CHECK(log.add(event("c")) == 3);
  auto page = log.read(after(7, 1), plenty);
  CHECK(numbers(page) == std::vector<std::uint64_t>{2, 3});
  CHECK(page.epoch() == 7);
  CHECK(page.next() == 3);
  CHECK(page.lost() == 0);
  CHECK_FALSE(page.more());
  CHECK(log.read(after(7, 3), plenty).events_size() == 0);
}

TEST_CASE("who reads on too late is told how many events are gone") {
  event_log log{7, 3};
  for (auto i = 0; i < 10; ++i)
    log.add(event("n"));
  auto page = log.read(after(7, 2), plenty);
  CHECK(numbers(page) == std::vector<std::uint64_t>{8, 9, 10});
  CHECK(page.lost() == 5); // 3 to 7
  CHECK(log.read(after(7, 7), plenty).lost() == 0);
}

TEST_CASE("numbers of another life of the Resource, or of its future, mean nothing: all is told") {
  event_log log{8, 3};
  log.add(event("a"));
  log.add(event("b"));
  CHECK(numbers(log.read(after(7, 2), plenty)) == std::vector<std::uint64_t>{1, 2});
  CHECK(numbers(log.read(after(8, 9), plenty)) == std::vector<std::uint64_t>{1, 2});
}

TEST_CASE("a page is as long as allowed, one event at least, and the next goes on without a hole") {
  event_log log{1, 100};
  for (auto i = 0; i < 20; ++i)
    log.add(event("node-" + std::to_string(i)));
  std::vector<std::uint64_t> all;
  std::uint64_t next = 0;
  for (auto more = true; more;) {
    auto page = log.read(after(1, next), 1);
    CHECK(page.events_size() == 1);
    for (auto number : numbers(page))
      all.push_back(number);
    next = page.next();
    more = page.more();
  }
  CHECK(all.size() == 20);
  CHECK(all.back() == 20);
  CHECK(log.read({}, plenty).events_size() == 20);
}

TEST_CASE("events of one node, and those not older than a time, are told without the rest") {
  event_log log{1, 100};
  for (std::uint64_t i = 1; i <= 9; ++i)
    log.add(event(i % 3 == 0 ? "third" : "other", 1000 * i));
  pb::EventQuery query;
  query.set_node(make_node_id("third").value());
  auto page = log.read(query, plenty);
  CHECK(numbers(page) == std::vector<std::uint64_t>{3, 6, 9});
  query.set_since_wall_ms(6000);
  CHECK(numbers(log.read(query, plenty)) == std::vector<std::uint64_t>{6, 9});
  query.set_node(make_node_id("nobody").value());
  page = log.read(query, plenty);
  CHECK(page.events_size() == 0);
  // What was passed over need not be read again.
  CHECK(page.next() == 9);
}
