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
  std::map<fair_queue::turn, std::string> waiting;
  std::uint64_t arrivals = 0;

  fair_queue::turn come(const std::string& client) {
    auto turn = queue.enter(client, ++arrivals);
    waiting.emplace(turn, client);
    return turn;
  }

  std::string serve() {
    auto next = waiting.extract(waiting.begin());
    queue.leave(next.mapped(), next.key(), true);
    return next.mapped();
  }

  std::string serve(std::size_t count) {
    std::string result;
    for (; count > 0; --count)
      result += serve();
    return result;
  }

  static bool any(const fair_queue::turn&) { return true; }
};

} // namespace

TEST_CASE_FIXTURE(fair_fixture, "requests of one client are served as they came") {
  std::vector<std::uint64_t> order;
  for (auto i = 0; i < 100; ++i)
    come("a");
  for (auto& [turn, client] : waiting)
    order.push_back(turn.arrival);
  CHECK(std::is_sorted(order.begin(), order.end()));
  CHECK(queue.places() == 100);
  serve(100);
  CHECK(queue.places() == 0);
}

TEST_CASE_FIXTURE(fair_fixture, "one that sends many does not keep out those that send few") {
  for (auto i = 0; i < 6; ++i)
    come("a");
  come("b");
  come("c");
  come("b");
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

TEST_CASE_FIXTURE(fair_fixture, "whoever was idle has saved nothing up") {
  for (auto i = 0; i < 10; ++i)
    come("a");
  serve(10);
  come("c");
  for (auto i = 0; i < 5; ++i) {
    come("a");
    come("b");
  }
  serve();
  auto turns = serve(10);
  for (std::size_t i = 0; i < turns.size(); i += 2)
    CHECK(turns.substr(i, 2).find('a') != std::string::npos);
}

TEST_CASE_FIXTURE(fair_fixture, "whoever has the most places gives the youngest to a client that has two fewer") {
  std::vector<fair_queue::turn> of_a;
  for (auto i = 0; i < 3; ++i)
    of_a.push_back(come("a"));
  come("b");
  CHECK(queue.to_give_way("c", any) == of_a[2]);
  CHECK(queue.to_give_way("b", any) == of_a[2]);
  CHECK_FALSE(queue.to_give_way("a", any));
  CHECK(queue.to_give_way("c", [&](auto& turn) { return turn != of_a[2]; }) == of_a[1]);
  CHECK_FALSE(queue.to_give_way("c", [](auto&) { return false; }));
  queue.leave("a", of_a[2], false);
  CHECK(queue.places_of("a") == 2);
  CHECK_FALSE(queue.to_give_way("b", any));
  CHECK(queue.to_give_way("c", any) == of_a[1]);
}

TEST_CASE_FIXTURE(fair_fixture, "places given back twice, and by strangers, count once") {
  auto turn = come("a");
  queue.leave("b", turn, true);
  CHECK(queue.places() == 1);
  queue.leave("a", turn, true);
  queue.leave("a", turn, true);
  CHECK(queue.places() == 0);
}
