#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>

using namespace astra;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE_FIXTURE(command_fixture, "astra alone prints the 3 most useful commands and exits 0") {
  auto result = run({});
  CHECK(result.code == exit_ok);
  for (auto command : {"astra dev", "astra status", "astra help"})
    CHECK(contains(result.out, command));
  CHECK(result.err.empty());
}

TEST_CASE_FIXTURE(command_fixture, "every verb has a help text with usage, by 'help VERB' and by '--help'") {
  std::vector<std::vector<const char*>> verbs = {{"run"},
                                                 {"dev"},
                                                 {"status"},
                                                 {"node", "list"},
                                                 {"node", "show"},
                                                 {"node", "drain"},
                                                 {"app", "list"},
                                                 {"app", "show"},
                                                 {"app", "apply"},
                                                 {"app", "delete"},
                                                 {"invoke"},
                                                 {"router", "table"},
                                                 {"bench", "view"},
                                                 {"config", "check"},
                                                 {"config", "show"},
                                                 {"version"},
                                                 {"node"},
                                                 {"app"},
                                                 {"config"}};
  for (auto& verb : verbs) {
    std::string path;
    for (auto word : verb)
      path += std::string{" "} + word;
    auto words = verb;
    words.insert(words.begin(), "help");
    auto by_help = run(words);
    words = verb;
    words.push_back("--help");
    auto by_option = run(words);
    INFO(path);
    CHECK(by_help.code == exit_ok);
    CHECK(contains(by_help.out, "usage: astra" + path));
    CHECK(contains(by_help.out, "--gateway ADDRESS"));
    CHECK(by_help.out == by_option.out);
    CHECK(by_option.code == exit_ok);
    CHECK(calls.empty());
  }
}

TEST_CASE_FIXTURE(command_fixture, "bench view: counts, shares and the Resources of a cluster that is there") {
  CHECK(run({"bench", "view"}).code == exit_ok);
  REQUIRE(started_bench);
  CHECK(started_bench->nodes == 10'000);
  CHECK(started_bench->resources == 3);
  CHECK(started_bench->joins_per_s == 10'000);
  CHECK(started_bench->changing == 0.3);
  CHECK(started_bench->die == 0.0);
  CHECK_FALSE(started_bench->json);
  CHECK(run({"bench", "view", "--nodes", "500", "--resources", "8", "--seconds", "5", "--changing", "100%", "--die",
             "0.1", "--hertz", "2", "--join-at-once", "-o", "json"})
            .code
        == exit_ok);
  CHECK(started_bench->nodes == 500);
  CHECK(started_bench->resources == 8);
  CHECK(started_bench->length == std::chrono::seconds{5});
  CHECK(started_bench->changing == 1.0);
  CHECK(started_bench->die == 0.1);
  CHECK(started_bench->hertz == 2);
  CHECK(started_bench->join_at_once);
  CHECK(started_bench->json);
  CHECK(started_bench->addresses.empty());
  CHECK(run({"bench", "view", "--join-rate", "100000"}).code == exit_ok);
  CHECK(started_bench->joins_per_s == 100'000);
  CHECK(run({"bench", "view", "--resources", "10.0.0.1:9700,10.0.0.2:9700"}).code == exit_ok);
  CHECK(started_bench->addresses == std::vector<std::string>{"10.0.0.1:9700", "10.0.0.2:9700"});
  started_bench.reset();
  for (auto share : {"150%", "-1", "x", "30 %", "nan"}) {
    auto refused = run({"bench", "view", "--die", share});
    INFO(share);
    CHECK(refused.code == exit_usage);
    CHECK(contains(refused.err, "is not a share, such as 30% or 0.3"));
  }
  CHECK(run({"bench", "view", "--resources", "a:b"}).code == exit_usage);
  CHECK(run({"bench", "view", "--join-rate", "0"}).code == exit_usage);
  CHECK(run({"bench", "view", "--join-rate", "5", "--join-at-once"}).code == exit_usage);
  CHECK_FALSE(started_bench);
}

TEST_CASE_FIXTURE(command_fixture, "'astra help' lists all 23 commands and the exit codes") {
  auto result = run({"help"});
  CHECK(result.code == exit_ok);
  for (auto command : {"run",          "dev",          "status",      "node list",  "node show",   "node drain",
                       "app list",     "app show",     "app apply",   "app delete", "quota list",  "why",
                       "invoke",       "task submit",  "task list",   "task show",  "task result", "task cancel",
                       "router table", "config check", "config show", "version",    "help"})
    CHECK(contains(result.out, std::string{"\n  "} + command + " "));
  CHECK(contains(result.out, "78 bad config"));
  CHECK(run({"--help"}).out == result.out);
}

TEST_CASE_FIXTURE(command_fixture, "a misspelt word exits 2, names the likely one and how to get help") {
  struct expectation {
    std::vector<const char*> words;
    std::string message;
    std::string help;
  };
  std::vector<expectation> expectations = {
      {{"stauts"}, "unknown command 'stauts'; did you mean 'status'?", "see 'astra help'"},
      {{"nod"}, "unknown command 'nod'; did you mean 'node'?", "see 'astra help'"},
      {{"frobnicate"}, "unknown command 'frobnicate'\n", "see 'astra help'"},
      {{"node", "lst"}, "unknown command 'node lst'; did you mean 'list'?", "see 'astra help node'"},
      {{"apply", "x.toml"}, "unknown command 'apply'; did you mean 'app apply'?", "see 'astra help'"},
      {{"status", "--gatway", "h:1"},
       "unknown option '--gatway'; did you mean '--gateway'?",
       "see 'astra help status'"},
      {{"invoke", "--n", "x"}, "unknown option '--n'", "see 'astra help invoke'"},
      {{"app", "apply", "a.toml", "--wiat=5s"},
       "unknown option '--wiat'; did you mean '--wait'?",
       "see 'astra help app apply'"},
      {{"status", "now"}, "'astra status' does not take 'now'", "see 'astra help status'"},
      {{"node"}, "'astra node' needs one of: list, show, drain", "see 'astra help node'"},
      {{"node", "show"}, "'astra node show' needs NAME", "see 'astra help node show'"},
      {{"run"}, "'astra run' needs -c FILE", "see 'astra help run'"},
      {{"run", "-c"}, "-c needs a value", "see 'astra help run'"},
      {{"status", "-o", "yaml"},
       "-o: 'yaml' is not a format; write table, json, or for lists ndjson, csv, line or name",
       "see 'astra help status'"},
      {{"status", "--timeout", "5"}, "--timeout: '5' has no unit", "see 'astra help status'"},
      {{"status", "--timeout", "0s"}, "--timeout: must be more than 0", "see 'astra help status'"},
      {{"status", "--gateway", "nowhere"}, "--gateway: 'nowhere' is not an address", "see 'astra help status'"},
      {{"dev", "--nodes", "0"}, "--nodes: '0' is not a number from 1 to 64", "see 'astra help dev'"},
      {{"dev", "--nodes", "3x"}, "--nodes: '3x' is not a number from 1 to 64", "see 'astra help dev'"},
      {{"app", "apply", "a.toml", "--wait=soon"}, "--wait: 'soon' is not a duration", "see 'astra help app apply'"},
      {{"help", "nod"}, "no command 'nod'; did you mean 'node'?", "see 'astra help'"},
  };
  for (const auto& expected : expectations) {
    auto result = run(expected.words);
    INFO(expected.message);
    CHECK(result.code == exit_usage);
    CHECK(contains(result.err, "astra: " + expected.message));
    CHECK(contains(result.err, expected.help + "\n"));
    CHECK(result.out.empty());
    CHECK(calls.empty());
  }
}

TEST_CASE_FIXTURE(command_fixture, "an app or node may be called like a command") {
  answer("GET /v1/apps/status", 200, R"({"name":"status"})");
  answer("POST /v1/apps/app/invoke", 200, "done");
  CHECK(run({"app", "show", "status"}).code == exit_ok);
  CHECK(run({"invoke", "app"}).out == "done");
}

TEST_CASE_FIXTURE(command_fixture, "global options stand before or behind the command") {
  answer("GET /v1/status", 200, "{}");
  for (const auto& words : {std::vector<const char*>{"--gateway", "10.0.0.7:80", "-o", "json", "status"},
                            std::vector<const char*>{"status", "-o", "json", "--gateway=10.0.0.7:80"}}) {
    auto result = run(words);
    CHECK(result.code == exit_ok);
    CHECK(result.out == "{}\n");
    CHECK(calls.back().host == "10.0.0.7");
    CHECK(calls.back().port == 80);
  }
}

TEST_CASE_FIXTURE(command_fixture, "the gateway is --gateway, else ASTRA_GATEWAY, else 127.0.0.1:9750") {
  answer("GET /v1/status", 200, "{}");
  run({"status"});
  CHECK(calls.back().host == "127.0.0.1");
  CHECK(calls.back().port == 9750);
  variables["ASTRA_GATEWAY"] = "[::1]:9000";
  run({"status"});
  CHECK(calls.back().host == "::1");
  CHECK(calls.back().port == 9000);
  run({"status", "--gateway", "b:2"});
  CHECK(calls.back().host == "b");
  variables["ASTRA_GATEWAY"] = "nonsense";
  auto result = run({"status"});
  CHECK(result.code == exit_usage);
  CHECK(contains(result.err, "ASTRA_GATEWAY: 'nonsense' is not an address"));
}

TEST_CASE_FIXTURE(command_fixture, "colours come on a terminal only, and not with NO_COLOR, --no-color or TERM=dumb") {
  answer("GET /v1/nodes?format=ndjson", 200, "{\"name\":\"n\",\"state\":\"online\"}\n{\"end\":true}\n");
  CHECK_FALSE(contains(run({"node", "list"}).out, "\033["));
  environment.out_is_terminal = true;
  CHECK(contains(run({"node", "list"}).out, "\033["));
  CHECK_FALSE(contains(run({"node", "list", "--no-color"}).out, "\033["));
  variables["NO_COLOR"] = "1";
  CHECK_FALSE(contains(run({"node", "list"}).out, "\033["));
  variables = {{"TERM", "dumb"}};
  CHECK_FALSE(contains(run({"node", "list"}).out, "\033["));
}

TEST_CASE_FIXTURE(command_fixture, "dev hands its options to the runtime") {
  auto result = run({"dev", "--nodes", "6", "--resources=3", "--cores", "0.5", "--memory", "256MiB", "--keep", "--app",
                     "a.toml", "--app", "b.toml", "--listen", "127.0.0.1:0"});
  CHECK(result.code == exit_ok);
  REQUIRE(started_dev);
  CHECK(started_dev->nodes == 6);
  CHECK(started_dev->resources == 3);
  CHECK(started_dev->cores == std::vector{0.5});
  CHECK(started_dev->memory_per_node_bytes == 256u * 1024 * 1024);
  CHECK(started_dev->keep);
  CHECK(started_dev->listen == "127.0.0.1:0");
  CHECK(started_dev->app_files == std::vector<std::string>{"a.toml", "b.toml"});
  run({"dev"});
  CHECK(started_dev->nodes == 3);
  CHECK(started_dev->resources == 1);
}

TEST_CASE_FIXTURE(command_fixture, "version and --version print the same line") {
  auto result = run({"version"});
  CHECK(result.code == exit_ok);
  CHECK(result.out.starts_with("astra "));
  CHECK(run({"--version"}).out == result.out);
}
