#include "actors/resource/accusation_list.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

pb::Accusation accusation(std::uint64_t node, std::string reason = "no answer") {
  pb::Accusation result;
  result.set_node(node);
  result.set_incarnation(1);
  result.set_reason(std::move(reason));
  return result;
}

struct fixture {
  accusation_list list;
  accusation_list::time_point now{1h};

  std::vector<pb::Accusation> tell() {
    pb::Subscribe message;
    list.tell(message, now);
    return {message.accusations().begin(), message.accusations().end()};
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "the first is told at once, the next ones together 100 ms later, each node once") {
  CHECK_FALSE(list.wait(now));
  list.add(accusation(1));
  CHECK(list.wait(now) == 0ms);
  CHECK(tell().size() == 1);
  CHECK_FALSE(list.wait(now));
  now += 30ms;
  list.add(accusation(2, "first"));
  list.add(accusation(3));
  list.add(accusation(2, "second"));
  CHECK(list.wait(now) == 70ms);
  now += 70ms;
  CHECK(list.wait(now) == 0ms);
  auto told = tell();
  REQUIRE(told.size() == 2);
  CHECK(told[0].reason() == "second");
}

TEST_CASE_FIXTURE(fixture, "of very many 256 go in one message, and none is forgotten") {
  for (std::uint64_t node = 1; node <= 1000; ++node)
    list.add(accusation(node));
  std::set<std::uint64_t> nodes;
  auto messages = 0;
  for (; list.wait(now); now += 100ms, ++messages)
    for (auto& told : tell())
      nodes.insert(told.node());
  CHECK(messages == 4);
  CHECK(nodes.size() == 1000);
}

TEST_CASE_FIXTURE(fixture, "what would spoil a log, or a row, is left out of a reason") {
  list.add(accusation(1, "a\nb\"c"));
  list.add(accusation(2, std::string(199, 'x') + "\u00e9"));
  auto told = tell();
  REQUIRE(told.size() == 2);
  CHECK(told[0].reason() == "a b c");
  CHECK(told[1].reason() == std::string(199, 'x'));
}
