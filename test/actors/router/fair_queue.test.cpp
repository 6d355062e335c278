#include "actors/router/fair_queue.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

using namespace astra;

namespace {

struct fair_fixture {
  fair_queue queue;
  std::map<fair_queue::request, std::string> clients;
  fair_queue::request arrivals = 0;

  fair_queue::request come(const std::string& client) {
    auto who = ++arrivals;
    queue.take_place(client, who);
    queue.park(client, who);
    clients[who] = client;
    return who;
  }

  std::string serve() {
    queue.begin_round();
    auto who = queue.next();
    REQUIRE(who);
    queue.give_back(clients[*who], *who, true);
    return clients[*who];
  }

  std::string serve(std::size_t count) {
    std::string result;
    for (; count > 0; --count)
      result += serve();
    return result;
  }

  /// Those that are let go in one round, in which nobody gets anything.
  std::string round(std::size_t count) {
    std::string result;
    std::vector<fair_queue::request> back;
    queue.begin_round();
    for (; count > 0; --count) {
      auto who = queue.next();
      if (!who)
        break;
      result += clients[*who];
      back.push_back(*who);
      queue.park(clients[*who], *who);
    }
    return result;
  }

  static bool any(fair_queue::request) { return true; }
};

} // namespace

TEST_CASE_FIXTURE(fair_fixture, "requests of one client are served as they came") {
  for (auto i = 0; i < 100; ++i)
    come("a");
  CHECK(queue.places() == 100);
  for (fair_queue::request expected = 1; expected <= 100; ++expected) {
    queue.begin_round();
    CHECK(queue.next() == expected);
    queue.give_back("a", expected, true);
  }
  CHECK(queue.places() == 0);
  CHECK_FALSE(queue.next());
}

TEST_CASE_FIXTURE(fair_fixture, "one that sends many does not keep out those that send few") {
  for (auto i = 0; i < 6; ++i)
    come("a");
  come("b");
  come("c");
  come("b");
  CHECK(round(9) == "abcabaaaa");
  CHECK(round(2) == "ab");
  CHECK(serve(9) == "abcabaaaa");
}

TEST_CASE_FIXTURE(fair_fixture, "a client that always has one waiting gets every second turn, and not all of them") {
  for (auto i = 0; i < 20; ++i)
    come("a");
  come("b");
  std::map<std::string, int> served;
  for (auto i = 0; i < 20; ++i) {
    auto who = serve();
    ++served[who];
    if (who == "b")
      come("b");
  }
  CHECK(served["a"] == 10);
  CHECK(served["b"] == 10);
}

TEST_CASE_FIXTURE(fair_fixture, "what was given up counts as nothing: who sends too much gets half, and not less") {
  std::map<std::string, int> served;
  std::vector<fair_queue::request> of_a;
  for (auto second = 0; second < 100; ++second) {
    for (auto i = 0; i < 10; ++i)
      of_a.push_back(come("a"));
    come("b");
    come("b");
    for (auto i = 0; i < 2; ++i)
      ++served[serve()];
    for (auto who : of_a)
      queue.give_back("a", who, false);
    of_a.clear();
  }
  CHECK(std::abs(served["a"] - served["b"]) <= 2);
}

TEST_CASE_FIXTURE(fair_fixture, "whoever was idle has saved nothing up") {
  for (auto i = 0; i < 11; ++i)
    come("a");
  serve(10);
  for (auto i = 0; i < 5; ++i) {
    come("a");
    come("b");
  }
  auto turns = serve(10);
  for (std::size_t i = 0; i < turns.size(); i += 2)
    CHECK(turns.substr(i, 2).find('a') != std::string::npos);
}

TEST_CASE_FIXTURE(fair_fixture, "names that come and get nothing leave nothing behind") {
  come("a");
  for (auto i = 0; i < 1000; ++i) {
    auto name = "client-" + std::to_string(i);
    queue.give_back(name, come(name), false);
    CHECK(queue.places_of(name) == 0);
  }
  CHECK(queue.places() == 1);
  CHECK(serve() == "a");
}

TEST_CASE_FIXTURE(fair_fixture, "whoever has the most places gives the youngest to a client that has two fewer") {
  std::vector<fair_queue::request> of_a;
  for (auto i = 0; i < 3; ++i)
    of_a.push_back(come("a"));
  auto first_of_b = come("b");
  CHECK(queue.to_give_way("c", any) == of_a[2]);
  CHECK(queue.to_give_way("b", any) == of_a[2]);
  CHECK_FALSE(queue.to_give_way("a", any));
  CHECK(queue.to_give_way("c", [&](auto who) { return who != of_a[2]; }) == of_a[1]);
  CHECK_FALSE(queue.to_give_way("c", [](auto) { return false; }));
  // The next one, when the first has nothing that can be sent away.
  auto second_of_b = come("b");
  CHECK(queue.to_give_way("c", [&](auto who) { return who == first_of_b || who == second_of_b; }) == second_of_b);
  queue.give_back("b", second_of_b, false);
  queue.give_back("a", of_a[2], false);
  CHECK(queue.places_of("a") == 2);
  CHECK_FALSE(queue.to_give_way("b", any));
  CHECK(queue.to_give_way("c", any) == of_a[1]);
}

TEST_CASE_FIXTURE(fair_fixture, "places given back twice, and by strangers, count once") {
  auto who = come("a");
  queue.give_back("b", who, true);
  CHECK(queue.places() == 1);
  CHECK(queue.is_parked("a", who));
  queue.give_back("a", who, true);
  queue.give_back("a", who, true);
  CHECK(queue.places() == 0);
  CHECK(queue.parked() == 0);
  queue.park("a", who);
  CHECK(queue.parked() == 0);
}
