#include "actors/apps/app_registry.hpp"
#include "test/support/actor_fixture.hpp"

#include <caf/scoped_actor.hpp>
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

work_request body(std::string text) {
  return {std::make_shared<const std::string>(std::move(text)), "text/plain"};
}

struct fixture : test::actor_fixture {
  fixture() { add_builtin_apps(registry); }

  app_actor start(const std::string& type, const app_arguments& args = {}) {
    auto spawned = registry.spawn(sys, type, args);
    REQUIRE(spawned);
    return own(*spawned);
  }

  std::string refusal(const std::string& type, const app_arguments& args) {
    auto spawned = registry.spawn(sys, type, args);
    REQUIRE_FALSE(spawned);
    return to_string(spawned.error());
  }

  app_registry registry;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "echo answers what it is sent, content type included") {
  auto answer = ask<work_result>(start("echo"), body("hello"));
  REQUIRE(answer);
  CHECK(answer->body == "hello");
  CHECK(answer->content_type == "text/plain");
  CHECK(ask<work_result>(start("echo"), work_request{})->body.empty());
}

TEST_CASE_FIXTURE(fixture, "counter adds integers from its start value, and an empty body reads it") {
  auto counter = start("counter", {{"init", "40"}});
  CHECK(ask<work_result>(counter, body(" 3\n"))->body == "43");
  CHECK(ask<work_result>(counter, body("-1"))->body == "42");
  CHECK(ask<work_result>(counter, body(""))->body == "42");
}

TEST_CASE_FIXTURE(fixture, "counter refuses what is no integer or would overflow, and keeps its value") {
  auto counter = start("counter", {{"init", "9223372036854775807"}});
  auto bad = ask<work_result>(counter, body("three"));
  REQUIRE_FALSE(bad);
  CHECK(bad.error() == errc::invalid_argument);
  CHECK(to_string(bad.error()).find("got 'three'") != std::string::npos);
  CHECK(ask<work_result>(counter, body("1")).error() == errc::invalid_argument);
  CHECK(ask<work_result>(counter, body(""))->body == "9223372036854775807");
}

TEST_CASE_FIXTURE(fixture, "burn computes the same for the same milliseconds, and takes the default without a body") {
  auto burn = start("burn", {{"cpu_ms", "3"}});
  auto by_default = ask<work_result>(burn, body(""));
  auto by_body = ask<work_result>(burn, body("3"));
  REQUIRE(by_default);
  REQUIRE(by_body);
  CHECK(by_default->body == by_body->body);
  CHECK(ask<work_result>(burn, body("1"))->body != by_body->body);
  CHECK(ask<work_result>(burn, body("-1")).error() == errc::invalid_argument);
  CHECK(ask<work_result>(burn, body("soon")).error() == errc::invalid_argument);
}

TEST_CASE_FIXTURE(fixture, "a burn of 4 ms overtakes one of 40 ms that came first") {
  auto burn = start("burn");
  caf::scoped_actor self{sys};
  std::vector<std::string> order;
  auto slow = self->request(burn, caf::infinite, body("40"));
  auto fast = self->request(burn, caf::infinite, body("4"));
  auto slices_until_fast = 0;
  while (!self->has_next_message() && slices_until_fast < 100) {
    REQUIRE(scheduler.try_run_once());
    ++slices_until_fast;
  }
  // Two requests, then at most two slices of each.
  CHECK(slices_until_fast <= 6);
  fast.receive([&](work_result&) { order.push_back("fast"); }, [](caf::error&) {});
  run();
  slow.receive([&](work_result&) { order.push_back("slow"); }, [](caf::error&) {});
  CHECK(order == std::vector<std::string>{"fast", "slow"});
}

TEST_CASE_FIXTURE(fixture, "unknown types and bad arguments are refused with what would be right") {
  CHECK(refusal("ecko", {}).find("there are: burn, counter, echo") != std::string::npos);
  CHECK(refusal("echo", {{"x", "1"}}).find("echo: it has no argument 'x'; it takes none") != std::string::npos);
  CHECK(refusal("counter", {{"int", "1"}}).find("no argument 'int'; did you mean 'init'?") != std::string::npos);
  CHECK(refusal("burn", {{"cpu_ms", "fast"}}).find("'cpu_ms' must be int64, not 'fast'") != std::string::npos);
  CHECK(refusal("burn", {{"cpu_ms", "3600001"}}).find("is not from 0 to 3600000") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture, "counter and burn take messages beside raw bodies, and describe themselves") {
  auto counter = start("counter", {{"init", "40"}});
  auto sum = ask<work_result>(counter, body(R"({"add":{"amount":2}})"));
  REQUIRE(sum);
  CHECK(sum->body == "42");
  CHECK(sum->content_type == "application/json");
  CHECK(ask<work_result>(counter, body(R"({"get":{}})"))->body == "42");
  CHECK(ask<work_result>(counter, body("1"))->content_type == "text/plain");
  auto misspelt = ask<work_result>(counter, body(R"({"add":{"amout":2}})"));
  REQUIRE_FALSE(misspelt);
  CHECK(to_string(misspelt.error()).find("did you mean 'amount'?") != std::string::npos);
  CHECK(ask<work_result>(counter, body(R"({"info":{}})"))->body.find("\"value\":43") != std::string::npos);

  auto burn = start("burn", {{"cpu_ms", "3"}});
  auto raw = ask<work_result>(burn, body("3"));
  auto message = ask<work_result>(burn, body(R"({"burn":{}})"));
  REQUIRE(message);
  CHECK(message->body == "\"" + raw->body + "\"");
  CHECK(message->content_type == "application/json");
  CHECK(ask<work_result>(burn, body(R"({"burn":{"cpu_ms":-1}})")).error() == errc::invalid_argument);
  CHECK(ask<work_result>(burn, body(R"({"describe":{}})"))->body.find("milliseconds of work") != std::string::npos);

  // Echo has no messages of its own, and everything that is none of Astra's comes back.
  CHECK(ask<work_result>(start("echo"), body(R"({"add":{"amount":2}})"))->body == R"({"add":{"amount":2}})");
  CHECK(ask<work_result>(start("echo"), body(R"({"describe":{}})"))->body.find("Answers with what")
        != std::string::npos);

  for (auto& name : registry.names())
    CHECK(registry.schema(name).starts_with("{\"actor\":\"" + name + "\""));
  CHECK(registry.schema("nobody").empty());
}
