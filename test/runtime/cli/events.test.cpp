#include "runtime/cli/commands/commands.hpp"
#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace astra;
using test::command_fixture;

namespace {

const std::string lost =
    R"({"note":"lost","resource":"r1","count":12,"message":"12 events lost: its memory is bounded"})"
    "\n";
const std::string offline =
    R"({"time":"2026-11-26T19:10:03.045Z","kind":"offline","object":"node-2","cause":"no heartbeat for 3.1 s",)"
    R"("resource":"r1","witness":"silence"})"
    "\n";

} // namespace

TEST_CASE_FIXTURE(command_fixture, "events are a table on stdout, and what is missing is told on stderr") {
  answer("GET /v1/events?follow=0", 200, lost + "\n" + offline);
  auto result = run({"events"});
  CHECK(result.code == exit_ok);
  CHECK(
      result.out
      == "TIME (UTC)               EVENT       OBJECT            SEEN BY                         CAUSE\n"
         "2026-11-26 19:10:03.045  offline     node-2            r1 (silence)                    no heartbeat for 3.1 "
         "s\n");
  CHECK(result.err == "-- r1: 12 events lost: its memory is bounded\n");
}

TEST_CASE_FIXTURE(command_fixture, "options reach the gateway, and lines come out as they came in") {
  answer("GET /v1/events?follow=1&node=node-2&since=600000ms&last=5", 200, lost + offline);
  auto result = run({"events", "-f", "--node", "node-2", "--since", "10m", "--last", "5", "-o", "ndjson"});
  CHECK(result.out == lost + offline);
  CHECK(result.code == exit_ok);
  answer("GET /v1/events?follow=0", 200, lost + offline);
  auto object = nlohmann::json::parse(run({"events", "-o", "json"}).out);
  CHECK(object["events"].size() == 1);
  CHECK(object["notes"][0]["count"] == 12);
}

TEST_CASE_FIXTURE(command_fixture,
                  "a stream that ends is an error, and what cannot be is told before anything is asked") {
  answer("GET /v1/events?follow=1", 200,
         offline + R"({"note":"end","resource":"","message":"this gateway shuts down; ask another one"})" + "\n");
  auto result = run({"events", "-f"});
  CHECK(result.code == exit_unreachable);
  CHECK(result.err == "-- this gateway shuts down; ask another one\n");
  cut_pieces = true;
  CHECK(run({"events", "-f"}).code == exit_unreachable);
  calls.clear();
  CHECK(run({"events", "-f", "-o", "json"}).code == exit_usage);
  CHECK(run({"events", "--since", "10"}).code == exit_usage);
  CHECK(calls.empty());
}

TEST_CASE_FIXTURE(command_fixture, "node show has the node's recent events, or why there are none") {
  answer("GET /v1/nodes/node-2", 200, R"({"name":"node-2","state":"offline","reason":"no heartbeat for 3.1 s"})");
  answer("GET /v1/events?node=node-2&last=10", 200, offline);
  auto result = run({"node", "show", "node-2"});
  CHECK(result.code == exit_ok);
  CHECK(result.out.find("recent events\n2026-11-26 19:10:03.045  offline") != std::string::npos);
  answer("GET /v1/events?node=node-2&last=10", 503,
         R"({"error":{"code":"unavailable","message":"no Resource answers"}})");
  auto without = run({"node", "show", "node-2"});
  CHECK(without.code == exit_ok);
  CHECK(without.err == "the events cannot be shown: no Resource answers\n");
}

TEST_CASE("escape sequences of an event are not obeyed") {
  auto event = nlohmann::ordered_json::parse(R"({"time":"t","kind":"joined","object":"\u001b[31mx","cause":"a\nb"})");
  auto text = render_event(event, false);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find("a\\nb") != std::string::npos);
}
