#include "runtime/shell/interpreter.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/shell/parse.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

using namespace astra;
using namespace astra::shell;
using namespace std::chrono_literals;

namespace {

/// Answers what the test says; its clock moves only when somebody sleeps.
class fake_world : public shell_world {
public:
  caf::expected<reply> call(const request& what) override {
    std::string line = what.verb;
    for (auto& word : what.words)
      line += " " + (word.name.empty() ? "" : word.name + "=") + word.text;
    calls.push_back(line);
    if (on_call)
      on_call(line);
    if (what.verb == "echo")
      return reply{what.words.empty() ? json() : what.words.front().what, {}, false};
    if (auto known = answers.find(line); known != answers.end())
      return reply{known->second, {}, false};
    return caf::make_error(errc::invalid_argument, "no verb '" + what.verb + "'");
  }
  caf::expected<json> look(const std::string& app) override {
    ++looks;
    if (auto known = apps.find(app); known != apps.end())
      return known->second;
    return caf::make_error(errc::unknown_app, "no app '" + app + "'");
  }
  void sleep(std::chrono::nanoseconds duration) override {
    time += duration;
    if (on_sleep)
      on_sleep();
  }
  std::chrono::nanoseconds now() override { return time; }
  bool interrupted() override { return stopped; }

  std::map<std::string, json> answers, apps;
  std::vector<std::string> calls;
  std::function<void(const std::string&)> on_call;
  std::function<void()> on_sleep;
  std::chrono::nanoseconds time{0};
  int looks = 0;
  bool stopped = false;
};

struct fixture {
  /// "" when all went well, else "line:column: why".
  std::string run(std::string_view text) {
    auto parsed = parse(text);
    REQUIRE_MESSAGE(!parsed.error, parsed.error->message);
    auto failed = script_of.run(parsed.statements);
    if (!failed)
      return "";
    return std::to_string(failed->at.line) + ":" + std::to_string(failed->at.column) + ": " + error_text(failed->why);
  }

  fixture() {
    world.answers["ps"] = json::parse(R"([{"app":"a","index":0,"state":"ready","restarts":2,"age_ms":500},
      {"app":"b","index":0,"state":"failed","restarts":10,"age_ms":20000,"memory_bytes":1073741824},
      {"app":"b","index":1,"state":"ready","restarts":0,"age_ms":9000}])");
  }

  const json& last() const { return shown.back(); }

  fake_world world;
  std::vector<json> shown;
  interpreter script_of{world, [this](const reply& result) { shown.push_back(result.what); }};
};

json names(const json& rows) {
  json result = json::array();
  for (auto& row : rows)
    result.push_back(row["app"].get<std::string>() + std::to_string(row["index"].get<int>()));
  return result;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "where, sort, top, limit, select and count work on any list of objects") {
  CHECK(run("ps | where restarts > 0") == "");
  CHECK(names(last()) == json{"a0", "b0"});
  CHECK(run("ps | where state == ready and not app =~ \"a*\"") == "");
  CHECK(names(last()) == json{"b1"});
  CHECK(run("ps | where app in (a, c) or index == 1") == "");
  CHECK(names(last()) == json{"a0", "b1"});
  CHECK(run("ps | sort -restarts") == "");
  CHECK(names(last()) == json{"b0", "a0", "b1"});
  CHECK(run("ps | sort -app, restarts | limit 2") == "");
  CHECK(names(last()) == json{"b1", "b0"});
  CHECK(run("ps | top 1 age_ms") == "");
  CHECK(names(last()) == json{"b0"});
  CHECK(run("ps | select restarts, app | top 1") == "");
  CHECK(last() == json::parse(R"([{"restarts":2,"app":"a"}])"));
  CHECK(run("ps | where restarts > 100 | count") == "");
  CHECK(last() == 0);
}

TEST_CASE_FIXTURE(fixture, "an amount with a unit is compared in the unit of the key") {
  CHECK(run("ps | where age_ms >= 9s | count") == "");
  CHECK(last() == 2);
  CHECK(run("ps | where memory_bytes == 1GiB | count") == "");
  CHECK(last() == 1);
  CHECK(run("ps | where age_ms > 9parsecs | count").starts_with("1:6: '9parsecs' is neither a duration"));
}

TEST_CASE_FIXTURE(fixture, "a key that no row has is a mistake, one that some rows lack is not") {
  CHECK(run("ps | where restart > 0") == "1:6: no row has a key 'restart'; did you mean 'restarts'?");
  CHECK(run("ps | select nod").starts_with("1:6: no row has a key 'nod'"));
  CHECK(run("ps | where memory_bytes != 5 | count") == "");
  CHECK(last() == 3);
  CHECK(run("echo 5 | count") == "1:10: '5' is no list; where, sort, top, limit, select and count work on lists");
}

TEST_CASE_FIXTURE(fixture, "results have numbers and names, and go into texts") {
  CHECK(run("ps as all; echo 7; $1 | count; echo \"n=${2} ${all.0.app}\"; echo $all.1.restarts; echo x-$2-y; echo $")
        == "");
  CHECK(shown[2] == 3);
  CHECK(shown[3] == "n=7 a");
  CHECK(shown[4] == 10);
  CHECK(shown[5] == "x-7-y");
  CHECK(shown[6] == "x-7-y");
  CHECK(run("echo $99") == "1:1: there is no $99; the last result is $7");
  CHECK(run("echo $alll") == "1:1: nothing is called $alll; did you mean $all?");
  CHECK(run("echo $all.0.ap") == "1:1: $all has no '0.ap'");
}

TEST_CASE_FIXTURE(fixture, "@name is the app that a result names, else the app of that name") {
  world.answers["spawn counter"] = json{{"app", "counter-7"}};
  world.answers["kill counter-7"] = "gone";
  world.answers["kill ocr"] = "gone";
  CHECK(run("spawn counter as c; kill @c; kill @ocr") == "");
  CHECK(world.calls == std::vector<std::string>{"spawn counter", "kill counter-7", "kill ocr"});
}

TEST_CASE_FIXTURE(fixture, "for counts up and ends with the first failure, at its place") {
  CHECK(run("for i in 1..3 {\n  echo $i\n}") == "");
  CHECK(shown == std::vector<json>{1, 2, 3});
  CHECK(run("for i in 1..3 {\n  echo $i\n  oops\n}") == "3:3: no verb 'oops'");
  CHECK(shown.size() == 4);
  CHECK(run("for i in 3..1 { oops }") == "");
}

TEST_CASE_FIXTURE(fixture, "every keeps its pace and does not make up for what took too long") {
  std::vector<std::chrono::nanoseconds> at;
  world.on_call = [&](const std::string&) {
    at.push_back(world.time);
    if (at.size() == 2)
      world.time += 250ms;
  };
  CHECK(run("every 100ms 5 times { echo 1 }") == "");
  CHECK(at == std::vector<std::chrono::nanoseconds>{0ms, 100ms, 350ms, 450ms, 550ms});
}

TEST_CASE_FIXTURE(fixture, "every without a number ends with ^C and is no failure; one with a number is cut short") {
  auto rounds = 0;
  world.on_call = [&](const std::string&) { world.stopped = ++rounds == 4; };
  CHECK(run("every 1s { echo 1 }") == "");
  CHECK(rounds == 4);
  world.stopped = false;
  rounds = 0;
  CHECK(run("every 1s 9 times { echo 1 }") == "1:1: interrupted");
  world.stopped = false;
  rounds = 0;
  CHECK(run("for i in 1..1000000 { echo 1 }").ends_with("interrupted"));
  CHECK(rounds == 4);
}

TEST_CASE_FIXTURE(fixture, "await asks again until the state is there, and tells what it is when it is not") {
  world.apps["c"] = json{{"state", "starting"}, {"reason", "no place"}};
  auto sleeps = 0;
  world.on_sleep = [&] {
    if (++sleeps == 3)
      world.apps["c"]["state"] = "ready";
  };
  CHECK(run("await @c ready 10s") == "");
  CHECK(world.time == 600ms);
  CHECK(run("await @c failed 1s") == "1:1: c is not failed after 1s: it is ready: no place");
  CHECK(world.time == 1600ms);
  CHECK(run("await @nobody gone") == "");
  CHECK(run("await @nobody ready 1s") == "1:1: nobody is not ready after 1s: it is not known");
}

TEST_CASE_FIXTURE(fixture, "expect fails with what it found") {
  world.apps["c"] = json{{"state", "ready"}, {"ready", 3}};
  CHECK(run("expect @c.ready == 3 and @c.state == ready") == "");
  CHECK(run("echo 5; expect $ > 4") == "");
  CHECK(run("expect @c.ready > 3") == "1:1: expected @c.ready > 3; @c.ready is 3");
  CHECK(run("ps | limit 1; expect $.0.restarts == 2") == "");
  CHECK(run("echo {\"n\": 1}; expect n == 2") == "1:16: expected n == 2; n is 1");
}

TEST_CASE_FIXTURE(fixture, "of many results the last thousand are kept") {
  for (auto i = 0; i < 1001; ++i)
    REQUIRE(run("echo 1") == "");
  CHECK(run("echo $1") == "1:1: $1 is not kept any more; the oldest is $2");
  CHECK(run("echo $2") == "");
}

TEST_CASE_FIXTURE(fixture, "a number that is none fails its statement and ends nothing else") {
  CHECK(run("echo 1\n  echo 1e999") == "2:3: 1e999 is too large for a number");
  CHECK(run("expect $ == -1e999") == "1:1: -1e999 is too large for a number");
  CHECK(run("ps | where restarts > 1e999") == "1:6: 1e999 is too large for a number");
  CHECK(run("ps | where age_ms > 1e999s").find("1e999s") != std::string::npos);
  CHECK(run("echo 1e308") == "");
}
