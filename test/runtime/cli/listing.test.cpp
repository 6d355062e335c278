#include "runtime/cli/listing.hpp"
#include "test/runtime/cli/command_fixture.hpp"
#include "test/runtime/cli/shell_words.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <set>

using namespace astra;
using namespace std::chrono_literals;
using test::check_line;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void for_each_leaf(const command_node& node, const std::function<void(const command_node&)>& what) {
  if (node.below.empty())
    what(node);
  for (const auto& below : node.below)
    for_each_leaf(below, what);
}

/// Lists that are none of the cluster: an engine's own tables.
const std::set<std::string> other_lists{"sim checks"};

bool is_list(const command_node& command) {
  auto named = command.path == "events" || command.path == "router table";
  return (named || command.summary.starts_with("List ")) && !other_lists.contains(command.path);
}

/// A list of two rows, with what the command is called by and asks.
struct list_case {
  std::vector<const char*> words;
  std::string target;
  std::string body;
  /// A key that tells the rows apart, and its value in the first row.
  std::string key;
  std::string first;
  std::string noun;
  /// Of the two rows.
  std::string names;
};

const std::vector<list_case>& cases() {
  static const std::vector<list_case> all{
      {{"app", "list"},
       "GET /v1/apps",
       R"({"apps":[{"name":"b","kind":"actor","replicas":2,"ready":1},{"name":"a","replicas":1,"ready":1}]})",
       "name",
       "b",
       "app",
       "b\na\n"},
      {{"app", "history", "x"},
       "GET /v1/apps/x/history",
       R"({"revisions":[{"revision":1,"by":"alice","change":"created"},{"revision":2,"by":"bob","change":"replicas"}]})",
       "by",
       "bob",
       "revision",
       "2\n1\n"},
      {{"task", "list"},
       "GET /v1/tasks?limit=1000",
       R"({"tasks":[{"id":"g.2.b","app":"x","state":"done"},{"id":"g.1.a","app":"x","state":"failed"}]})",
       "state",
       "done",
       "task",
       "g.2.b\ng.1.a\n"},
      {{"quota", "list"},
       "GET /v1/quotas",
       R"({"quotas":[{"business":"media","reason":"used up","dimensions":[{"dimension":"cpu","unit":"cores","limit":4,)"
       R"("in_use":4,"left":0},{"dimension":"t4","unit":"cards","limit":8,"in_use":1,"left":7}]}]})",
       "dimension",
       "cpu",
       "quota",
       "media\nmedia\n"},
      {{"claims", "log", "x"},
       "GET /v1/apps/x/claims?limit=1000&from=1",
       R"({"last":2,"records":[{"number":1,"action":"claim","outcome":"confirmed"},)"
       R"({"number":2,"action":"claim","outcome":"no_room"}]})",
       "outcome",
       "confirmed",
       "record",
       "1\n2\n"},
      {{"router", "table", "x"},
       "GET /v1/routers/x",
       R"({"app":"x","rows":[{"name":"n1","weight":2,"in_flight":1},{"name":"n2","weight":1,"in_flight":0}]})",
       "name",
       "n1",
       "node",
       "n1\nn2\n"},
      {{"model", "list"},
       "GET /v1/models",
       R"({"models":[{"name":"llama","version":3,"size_bytes":2048},{"name":"tiny","version":1,"size_bytes":10}]})",
       "name",
       "llama",
       "model",
       "llama@3\ntiny@1\n"},
      {{"model", "nodes"},
       "GET /v1/model-nodes",
       R"({"nodes":[{"node":"n1","zone":"a"},{"node":"n2","zone":"b"}]})",
       "node",
       "n1",
       "node",
       "n1\nn2\n"},
      {{"events"},
       "GET /v1/events?follow=0&last=10000",
       R"({"time":"2026-11-26T10:00:00.000Z","kind":"joined","object":"n1","resource":"r1"})"
       "\n"
       R"({"time":"2026-11-26T10:00:01.000Z","kind":"offline","object":"n2","resource":"r1"})"
       "\n",
       "kind",
       "joined",
       "event",
       "n1\nn2\n"},
  };
  return all;
}

std::vector<const char*> with(const list_case& one, std::initializer_list<const char*> more) {
  auto words = one.words;
  words.insert(words.end(), more);
  return words;
}

} // namespace

TEST_CASE("every command that lists something takes the same options") {
  std::size_t lists = 0;
  for_each_leaf(command_tree(), [&](const command_node& command) {
    if (!is_list(command))
      return;
    ++lists;
    INFO(command.path);
    for (auto wanted : {"--where", "--sort", "--limit", "--watch"})
      CHECK(std::any_of(command.options.begin(), command.options.end(), [&](auto& option) {
        return std::find(option.names.begin(), option.names.end(), wanted) != option.names.end();
      }));
    for (const auto& option : command.options)
      if (option.names.front() == "--sort")
        CHECK(option.choices.size() > 2);
  });
  // Nodes, contexts and certificates beside those of the table.
  CHECK(lists == cases().size() + 3);
}

TEST_CASE_FIXTURE(command_fixture, "every command takes --timeout and --no-color, before its words and behind them") {
  for_each_leaf(command_tree(), [&](const command_node& command) {
    std::istringstream in{std::string{command.examples}};
    for (std::string line; std::getline(in, line);) {
      auto begin = line.find("astra ");
      if (begin == std::string::npos || contains(line, "--timeout") || contains(line, "--context"))
        continue;
      begin += 6;
      auto part = line.substr(begin, line.find_first_of("|<>)&", begin) - begin);
      auto result = check_line(*this, "astra --timeout 5s --no-color " + part);
      INFO(line, ": ", result.err);
      CHECK(result.code == exit_ok);
      result = check_line(*this, "astra " + part + " --no-color --timeout 5s");
      CHECK(result.code == exit_ok);
    }
  });
}

TEST_CASE_FIXTURE(command_fixture, "no colours with --no-color or NO_COLOR, on a terminal too") {
  environment.out_is_terminal = true;
  for (auto& one : cases()) {
    INFO(one.target);
    answer(one.target, 200, one.body);
    auto where = fmt::format("{} == '{}'", one.key, one.first);
    CHECK(contains(run(with(one, {"--where", where.c_str()})).out, "\033["));
    CHECK_FALSE(contains(run(with(one, {"--where", where.c_str(), "--no-color"})).out, "\033["));
    variables["NO_COLOR"] = "1";
    CHECK_FALSE(contains(run(with(one, {"--where", where.c_str()})).out, "\033["));
    variables.erase("NO_COLOR");
  }
}

TEST_CASE_FIXTURE(command_fixture, "rows are chosen, put in order and counted alike in every list") {
  for (auto& one : cases()) {
    INFO(one.target);
    answer(one.target, 200, one.body);
    auto falling = "-" + one.key;
    auto any = fmt::format("{0} == '{1}' or {0} != '{1}'", one.key, one.first);
    CHECK(run(with(one, {"-o", "name", "--where", any.c_str()})).out == one.names);
    auto is_first = fmt::format("{} == '{}'", one.key, one.first);
    auto is_not = fmt::format("{} != '{}'", one.key, one.first);
    auto nothing = fmt::format("{0} == '{1}' and not {0} == '{1}'", one.key, one.first);
    auto first = run(with(one, {"-o", "name", "--where", is_first.c_str()}));
    CHECK(first.err == "");
    CHECK(first.out == one.names.substr(0, one.names.find('\n') + 1));
    CHECK(run(with(one, {"-o", "name", "--where", is_not.c_str()})).out == one.names.substr(one.names.find('\n') + 1));
    auto up = run(with(one, {"-o", "ndjson", "--sort", one.key.c_str()})).out;
    auto down = run(with(one, {"-o", "ndjson", "--sort", falling.c_str()})).out;
    CHECK(std::count(up.begin(), up.end(), '\n') == 2);
    CHECK(down == up.substr(up.find('\n') + 1) + up.substr(0, up.find('\n') + 1));
    for (auto format : {"table", "json", "ndjson", "csv", "line", "name"}) {
      INFO(format);
      auto limited = run(with(one, {"-o", format, "--sort", one.key.c_str(), "--limit", "1"}));
      CHECK(limited.code == exit_ok);
      CHECK(limited.err == fmt::format("1 of 2 {} is shown\n", one.noun + "s"));
      CHECK(limited.out != "");
    }
    auto object = nlohmann::json::parse(run(with(one, {"-o", "json", "--sort", one.key.c_str(), "--limit", "1"})).out);
    CHECK(object["more"] == 1);
    auto none = run(with(one, {"--where", nothing.c_str()}));
    CHECK(none.code == exit_ok);
    CHECK(none.out == "");
    CHECK(none.err == fmt::format("no {} matches\n", one.noun));
  }
}

TEST_CASE_FIXTURE(command_fixture,
                  "a key that no row has is told with what is meant, and a bad filter with its place") {
  for (auto& one : cases()) {
    INFO(one.target);
    answer(one.target, 200, one.body);
    auto misspelt = one.key + "x";
    auto filter = misspelt + " == 1";
    auto where = run(with(one, {"--where", filter.c_str()}));
    CHECK(where.code == exit_usage);
    CHECK(contains(where.err, fmt::format("--where: no row has a key '{}'; did you mean '{}'?", misspelt, one.key)));
    auto sort = run(with(one, {"--sort", misspelt.c_str()}));
    CHECK(sort.code == exit_usage);
    CHECK(contains(sort.err, fmt::format("--sort: no row has a key '{}'; did you mean '{}'?", misspelt, one.key)));
    calls.clear();
    auto bad = run(with(one, {"--where", "a == b and"}));
    CHECK(bad.code == exit_usage);
    CHECK(bad.err
          == "astra: --where, column 11: expected a condition behind and\n"
             "  a == b and\n"
             "            ^\n");
    CHECK(run(with(one, {"--where", "a == $x"})).code == exit_usage);
    CHECK(run(with(one, {"--sort", "a,,b"})).code == exit_usage);
  }
}

TEST_CASE_FIXTURE(command_fixture,
                  "rows come as csv, lines and names; the gateway's answer stays around them as JSON") {
  auto& tasks = cases()[2];
  answer(tasks.target, 200, tasks.body);
  // All keys that tasks may have, whatever these have.
  auto columns = std::string{"id,app,state,reason,key,priority,attempts,failures,node,code,stderr,body_bytes,created,"
                             "started,next_try,deadline,ended,kept_until,result_bytes,result_type\r\n"};
  std::string none(17, ',');
  CHECK(run(with(tasks, {"--sort", "id", "-o", "csv"})).out
        == columns + "g.1.a,x,failed" + none + "\r\ng.2.b,x,done" + none + "\r\n");
  CHECK(run(with(tasks, {"--where", "app == nobody", "-o", "csv"})).out == columns);
  CHECK(run(with(tasks, {"--sort", "id", "-o", "line"})).out
        == "id    = g.1.a\napp   = x\nstate = failed\n\n"
           "id    = g.2.b\napp   = x\nstate = done\n");
  auto& quotas = cases()[3];
  answer(quotas.target, 200, quotas.body);
  auto left = nlohmann::json::parse(run(with(quotas, {"--where", "left == 0", "-o", "json"})).out);
  CHECK(left["quotas"].size() == 1);
  CHECK(left["quotas"][0]["reason"] == "used up");
  CHECK(left["quotas"][0]["dimensions"].size() == 1);
  CHECK(left["quotas"][0]["dimensions"][0]["dimension"] == "cpu");
  CHECK(run({"quota", "list", "--where", "left > 0"}).out
        == "BUSINESS  WHAT  LIMIT  IN USE  GIVEN OUT  LEFT  REASON\n"
           "media     t4        8       1          0     7  used up\n");
}

TEST_CASE_FIXTURE(command_fixture,
                  "where and sort look at all tasks, page by page; without them the newest are listed") {
  answer("GET /v1/tasks?limit=100", 200, R"({"tasks":[{"id":"g.3.c"}],"next":"g.3.c"})");
  auto some = run({"task", "list", "-o", "name"});
  // A page that is shorter than what was asked for is no end.
  CHECK(some.code == exit_unreachable);
  answer("GET /v1/tasks?limit=2", 200, R"({"tasks":[{"id":"g.3.c"},{"id":"g.2.b"}],"next":"g.2.b"})");
  some = run({"task", "list", "-o", "name", "--limit", "2"});
  CHECK(some.out == "g.3.c\ng.2.b\n");
  CHECK(some.err == "2 tasks shown, and there are more; --limit says how many are wanted\n");
  answer("GET /v1/tasks?limit=1000", 200, R"({"tasks":[{"id":"g.3.c"},{"id":"g.2.b"}],"next":"g.2.b"})");
  answer("GET /v1/tasks?limit=1000&before=g.2.b", 200, R"({"tasks":[{"id":"g.1.a"}]})");
  auto all = run({"task", "list", "-o", "name", "--sort", "id"});
  CHECK(all.out == "g.1.a\ng.2.b\ng.3.c\n");
  CHECK(all.err == "");
}

TEST_CASE_FIXTURE(command_fixture,
                  "the claims of an app are counted by their numbers, and all are looked at for where") {
  answer("GET /v1/apps/x/claims?limit=2", 200, R"({"last":9,"records":[{"number":8},{"number":9}]})");
  auto last = run({"claims", "log", "x", "--limit", "2", "-o", "name"});
  CHECK(last.out == "8\n9\n");
  CHECK(last.err == "2 of 9 records are shown\n");
  answer("GET /v1/apps/x/claims?limit=1000&from=1", 200, R"({"last":3,"records":[{"number":1},{"number":2}]})");
  answer("GET /v1/apps/x/claims?limit=1000&from=3", 200, R"({"last":3,"records":[{"number":3}]})");
  CHECK(run({"claims", "log", "x", "--where", "number >= 2", "-o", "name"}).out == "2\n3\n");
}

TEST_CASE_FIXTURE(command_fixture, "watch shows the list again until ^C, and outlives a gateway that goes away") {
  auto& apps = cases()[0];
  answer(apps.target, 200, apps.body);
  auto slept = 0ms;
  on_sleep = [&] {
    slept = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
    if (slept == 2s)
      answers.erase(apps.target);
    if (slept == 4s)
      answer(apps.target, 200, apps.body);
    interrupted = slept >= 6s;
  };
  auto result = run({"app", "list", "-o", "name", "--watch", "2s"});
  CHECK(result.code == exit_ok);
  CHECK(result.out == "b\na\nb\na\n");
  CHECK(contains(result.err, "cannot reach the gateway"));
  interrupted = false;
  time = {};
  auto plain = run({"app", "list", "--watch", "-o", "line", "--where", "name == a", "--limit", "1"});
  CHECK(plain.code == exit_ok);
  CHECK(contains(plain.out, "\n\nname "));
  // What is wrong from the start does not come right by itself.
  interrupted = false;
  on_sleep = nullptr;
  answers.clear();
  CHECK(run({"app", "list", "--watch"}).code == exit_unreachable);
  CHECK(run({"events", "-f", "--watch"}).code == exit_usage);
  CHECK(contains(run({"app", "list", "--watch=fast"}).err, "--watch"));
}

TEST_CASE_FIXTURE(command_fixture, "on a terminal each time is drawn over the one before, without a remainder of it") {
  environment.out_is_terminal = true;
  auto& apps = cases()[0];
  answer(apps.target, 200, apps.body);
  on_sleep = [&] { interrupted = time.time_since_epoch() >= 2s; };
  auto result = run({"app", "list", "-o", "name", "--watch", "--no-color"});
  CHECK(result.out == "\033[2J\033[Hb\033[K\r\na\033[K\r\n\033[J\033[Hb\033[K\r\na\033[K\r\n\033[J");
}

TEST_CASE_FIXTURE(command_fixture, "in the shell the result of a list is what it shows") {
  auto& apps = cases()[0];
  answer(apps.target, 200, apps.body);
  CHECK(run({"shell", "-o", "ndjson", "-c", "app list --where 'name == a'", "-c", "$1 | count"}).out
        == R"({"name":"a","replicas":1,"ready":1,"state":"ready"})"
           "\n1\n");
  auto shown = run({"shell", "-c", "app list --limit 1", "-c", "$1 | count"});
  CHECK(contains(shown.out, "\n1\n"));
  CHECK(contains(shown.err, "1 of 2 apps is shown"));
}

TEST_CASE_FIXTURE(command_fixture, "contexts and certificates are lists like others") {
  variables["XDG_CONFIG_HOME"] = directory.string();
  std::filesystem::create_directory(directory / "astra");
  file("astra/contexts.toml", "current = \"b\"\n[contexts.a]\ngateway = \"h:1\"\n[contexts.b]\ngateway = \"h:2\"\n");
  CHECK(run({"context", "list", "-o", "name", "--sort", "-name"}).out == "b\na\n");
  CHECK(run({"context", "list", "--where", "current == true"}).out == "   NAME  GATEWAY\n*  b     h:2\n");
  auto ca = (directory / "ca").string();
  CHECK(run({"ca", "init", "--dir", ca.c_str(), "--cluster", "c"}).code == exit_ok);
  CHECK(run({"ca", "list", "--dir", ca.c_str()}).out == "nothing was issued yet; see 'astra help ca issue'\n");
  auto out = (directory / "out").string();
  CHECK(run({"ca", "issue", "--dir", ca.c_str(), "--role", "node", "--name", "n1", "--out", out.c_str()}).code
        == exit_ok);
  CHECK(run({"ca", "list", "--dir", ca.c_str(), "-o", "name", "--where", "state == valid and left_s > 1h"}).out
        == "n1\n");
}
