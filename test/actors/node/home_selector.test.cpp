#include "actors/node/home_selector.hpp"
#include "actors/rendezvous.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {
const home_selector::time_point start{1h};
const std::vector<std::string> resources{"a:1", "b:1", "c:1"};
} // namespace

TEST_CASE("the first home is the first in rendezvous order, and homes are spread") {
  std::map<std::string, int> homes;
  for (auto i = 0; i < 300; ++i) {
    auto name = "node-" + std::to_string(i);
    home_selector selector{name, resources, 2s, start};
    CHECK(selector.home() == rendezvous_order(name, resources).front());
    CHECK(selector.epoch() == 1);
    ++homes[selector.home()];
  }
  for (auto& resource : resources)
    CHECK(homes[resource] > 60);
}

TEST_CASE("a home that is silent for 2 s is left, one that answers is kept") {
  home_selector selector{"n", resources, 2s, start};
  auto order = rendezvous_order("n", resources);
  selector.on_ack(start + 1s);
  CHECK_FALSE(selector.check_silence(start + 2999ms));
  CHECK(selector.check_silence(start + 3s));
  CHECK(selector.home() == order[1]);
  CHECK(selector.epoch() == 2);
  CHECK_FALSE(selector.check_silence(start + 4s));
}

TEST_CASE("an error moves on at once, until each of 3 choices failed; after an ack it starts anew") {
  home_selector selector{"n", resources, 2s, start};
  auto order = rendezvous_order("n", resources);
  CHECK(selector.on_error(start));
  CHECK(selector.home() == order[1]);
  CHECK(selector.on_error(start));
  CHECK(selector.home() == order[2]);
  CHECK_FALSE(selector.on_error(start));
  CHECK(selector.home() == order[0]);
  CHECK(selector.epoch() == 4);
  selector.on_ack(start);
  CHECK(selector.on_error(start));
}

TEST_CASE("with one Resource every error waits for the next beat") {
  home_selector selector{"n", {"a:1"}, 2s, start};
  CHECK_FALSE(selector.on_error(start));
  CHECK(selector.home() == "a:1");
}

TEST_CASE("aggregators come before Resources, and a node that had to do without finds back to one") {
  const std::vector<std::string> aggregators{"x:1", "y:1"};
  home_selector selector{"n", resources, 2s, start, aggregators};
  auto first = rendezvous_order("n", aggregators);
  CHECK(selector.home() == first[0]);
  CHECK(selector.aggregated());
  CHECK_FALSE(selector.check_return(start + 1h));
  CHECK(selector.on_error(start));
  CHECK(selector.home() == first[1]);
  selector.on_error(start);
  CHECK(selector.home() == rendezvous_order("n", resources).front());
  CHECK_FALSE(selector.aggregated());
  CHECK(selector.epoch() == 3);

  CHECK_FALSE(selector.check_return(start + 29s));
  auto now = start + 60s;
  auto found = selector.check_return(now);
  REQUIRE(found);
  CHECK(*found == first[0]);
  CHECK(selector.home() == rendezvous_order("n", resources).front()); // until it is there
  CHECK_FALSE(selector.check_return(now + 1s));
  now += 60s;
  found = selector.check_return(now);
  REQUIRE(found);
  CHECK(*found == first[1]);
  selector.return_to(*found, now);
  CHECK(selector.home() == first[1]);
  CHECK(selector.epoch() == 4);
  CHECK_FALSE(selector.check_return(now + 1h));
}

TEST_CASE("nodes look for an aggregator at different times") {
  std::map<std::chrono::seconds, int> times;
  for (auto i = 0; i < 300; ++i) {
    home_selector selector{"node-" + std::to_string(i), resources, 2s, start, {"x:1"}};
    selector.on_error(start);
    auto wait = 30s;
    while (!selector.check_return(start + wait))
      wait += 1s;
    CHECK(wait <= 60s);
    ++times[wait];
  }
  CHECK(times.size() > 25);
}
