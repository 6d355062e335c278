#include "runtime/cli/commands/commands.hpp"
#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace astra;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const auto node_file = "name = \"node-1\"\n"
                       "roles = [\"node\"]\n"
                       "resources = [\"127.0.0.1:9700\"]\n"
                       "\n"
                       "[node]\n"
                       "heartbeat = \"500ms\"\n";

const auto echo_file = "name = \"echo\"\n"
                       "kind = \"actor\"\n"
                       "[actor]\n"
                       "type = \"echo\"\n";

} // namespace

TEST_CASE("a file's kind is told by its top-level names, not by what stands in tables and comments") {
  CHECK(guess_file_kind("name = \"a\"\nroles = [\"node\"]\n") == file_kind::process);
  CHECK(guess_file_kind("# kind = \"actor\"\nname = \"a\"\n[node]\nreplicas = 3\n") == file_kind::process);
  CHECK(guess_file_kind("name = \"a\"\nreplicas = 2\ncommand = [\"x\"]\n") == file_kind::app);
  CHECK(guess_file_kind("  kind='actor'\n[ actor ]\ntype = \"echo\"\n") == file_kind::app);
  CHECK(guess_file_kind("") == file_kind::process);
  CHECK(guess_file_kind("\xff\xfe[[[\n=\n") == file_kind::process);
}

TEST_CASE_FIXTURE(command_fixture, "config check says of each good file what it is") {
  auto node = file("node.toml", node_file);
  auto echo = file("echo.toml", echo_file);
  auto result = run({"config", "check", node.c_str(), echo.c_str()});
  CHECK(result.err.empty());
  CHECK(result.code == exit_ok);
  CHECK(result.out == node + ": good, process node-1 (node)\n" + echo + ": good, app echo, 1 replica\n");
}

TEST_CASE_FIXTURE(command_fixture, "config check prints all problems of all files with their places and exits 78") {
  auto node = file("node.toml", "name = \"node-1\"\nroles = [\"nod\"]\n[node]\nhearbeat = \"1s\"\nheartbeat = 1\n");
  auto app = file("app.toml", "name = \"echo\"\nkind = \"actr\"\nreplicas = -1\n");
  auto good = file("good.toml", echo_file);
  auto result = run({"config", "check", node.c_str(), app.c_str(), good.c_str()});
  CHECK(result.code == exit_bad_config);
  for (const auto& place : {node + ":2:", node + ":4:", node + ":5:", app + ":2:", app + ":3:"})
    CHECK_MESSAGE(contains(result.err, place), result.err);
  CHECK(contains(result.err, "did you mean 'heartbeat'?"));
  CHECK(contains(result.err, "in 2 of 3 files\n"));
  CHECK(contains(result.out, "good.toml: good"));
}

TEST_CASE_FIXTURE(command_fixture, "config check of a file that cannot be read exits 78 and names it") {
  auto result = run({"config", "check", "/nowhere/node.toml"});
  CHECK(result.code == exit_bad_config);
  CHECK(contains(result.err, "/nowhere/node.toml"));
  CHECK(run({"config", "check", directory.c_str()}).code == exit_bad_config);
}

TEST_CASE_FIXTURE(command_fixture, "config check -o json holds the same problems as data") {
  auto path = file("app.toml", "name = \"echo\"\nkind = \"actr\"\n");
  auto result = run({"config", "check", "-o", "json", "--app", path.c_str()});
  CHECK(result.code == exit_bad_config);
  CHECK(contains(result.out, "\"line\": 2"));
  CHECK(contains(result.out, "\"key\": \"kind\""));
}

TEST_CASE_FIXTURE(command_fixture,
                  "config show prints what the file says; --effective adds every default with its origin") {
  auto path = file("node.toml", node_file);
  auto brief = run({"config", "show", path.c_str()});
  CHECK(brief.err.empty());
  CHECK(brief.code == exit_ok);
  CHECK(contains(brief.out, "node.heartbeat"));
  CHECK(contains(brief.out, "node.toml:6"));
  CHECK_FALSE(contains(brief.out, "net.dial_timeout"));
  auto effective = run({"config", "show", path.c_str(), "--effective"});
  CHECK(contains(effective.out, "net.dial_timeout"));
  CHECK(std::count(effective.out.begin(), effective.out.end(), '\n')
        > std::count(brief.out.begin(), brief.out.end(), '\n') + 30);
}

TEST_CASE_FIXTURE(command_fixture, "config show of an app prints it as the API takes it") {
  auto result = run({"config", "show", file("echo.toml", echo_file).c_str()});
  CHECK(result.code == exit_ok);
  CHECK(contains(result.out, "\"request_timeout_ms\": \""));
}

TEST_CASE_FIXTURE(command_fixture, "run starts a good file's process and nothing for a bad one") {
  auto good = run({"run", "-c", file("node.toml", node_file).c_str()});
  CHECK(good.err.empty());
  CHECK(good.code == exit_ok);
  REQUIRE(started);
  CHECK(started->name == "node-1");
  CHECK(started->node.heartbeat.count() == 500);
  started.reset();
  auto bad = run({"run", "-c", file("bad.toml", "name = \"node-1\"\nrolls = [\"node\"]\n").c_str()});
  CHECK(bad.code == exit_bad_config);
  CHECK(contains(bad.err, "bad.toml:2:"));
  CHECK(contains(bad.err, "did you mean 'roles'?"));
  CHECK(contains(bad.err, "nothing was started"));
  CHECK_FALSE(started);
}
