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
