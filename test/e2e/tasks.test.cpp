#include "test/e2e/cluster.hpp"

#include <doctest/doctest.h>
#include <signal.h>

#include <fstream>
#include <set>
#include <sstream>

using namespace astra::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

/// Answers with what it gets, in capitals, and leaves a line for each start.
std::string shout_app(const std::filesystem::path& starts) {
  return R"(name = "shout"
kind = "process"
mode = "per-request"
command = ["/bin/sh", "-c", "text=$(cat); echo $text >> )"
         + starts.string() + R"(; sleep 0.05; echo $text | tr a-z A-Z"]
replicas = 2
concurrency = 2
timeout = "20s"
[resources]
cpu = 0.1
memory = "64MiB"
)";
}

std::vector<std::string> lines_of(const std::filesystem::path& file) {
  std::ifstream in{file};
  std::vector<std::string> result;
  for (std::string line; std::getline(in, line);)
    result.push_back(line);
  return result;
}

struct shouting {
  shouting() { up.apply(shout_app(out.path() / "starts")); }

  /// Sends until the gateway has taken it: it may be dead at the moment.
  std::string submit(const std::string& body, const std::string& key) {
    std::string id;
    auto taken = eventually(30s, [&] {
      auto sent = up.cli({"task", "submit", "shout", "--key", key}, body);
      id = sent.out.substr(0, sent.out.find('\n'));
      return sent.code == 0;
    });
    REQUIRE(taken);
    return id;
  }

  void kill_gateway() {
    up.signal("gateway-1", SIGKILL);
    REQUIRE(eventually(10s, [&] { return up.call("GET", "/livez", "", 1s).status == 0; }));
    up.start_again("gateway-1");
    REQUIRE(eventually(20s, [&] { return up.call("GET", "/readyz", "", 1s).status == 200; }));
  }

  temporary_directory out;
  cluster up{{"--nodes", "2", "--cores", "2"}};
};

} // namespace

TEST_CASE_FIXTURE(shouting,
                  "tasks that were accepted are done with the right results though gateway and node are killed") {
  std::map<std::string, std::string> ids;
  auto submit_some = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      auto body = "page-" + std::to_string(i) + "-x";
      ids[body] = submit(body, "key-" + std::to_string(i));
    }
  };
  submit_some(0, 20);
  kill_gateway();
  submit_some(20, 30);
  up.signal("node-1", SIGKILL);
  kill_gateway();
  submit_some(30, 40);
  up.start_again("node-1");
  kill_gateway();
  // A key that was sent is the same task, over all of that.
  CHECK(submit("page-0-x", "key-0") == ids["page-0-x"]);
  auto other = up.cli({"task", "submit", "shout", "--key", "key-0"}, "something else");
  CHECK(other.code == 6);
  std::set<std::string> distinct;
  for (auto& [body, id] : ids) {
    CAPTURE(id);
    distinct.insert(id);
    auto ended = up.call("GET", "/v1/tasks/" + id + "?wait=60s", "", 90s);
    REQUIRE(ended.status == 200);
    auto task = json::parse(ended.body);
    INFO(ended.body);
    CHECK(task["state"] == "done");
    auto result = up.cli({"task", "result", id});
    CHECK(result.code == 0);
    auto number = body.substr(5, body.find('-', 5) - 5);
    CHECK(result.out == "PAGE-" + number + "-X\n");
  }
  CHECK(distinct.size() == 40);
  auto starts = lines_of(out.path() / "starts");
  CHECK(std::set<std::string>(starts.begin(), starts.end()).size() == 40);
  auto all = up.get("/v1/tasks?app=shout&state=done&limit=1000");
  CHECK(all["tasks"].size() == 40);
}

TEST_CASE("a cancelled task ends with its process, and events tell its story") {
  cluster up{{"--nodes", "1"}};
  up.apply("name = \"sleepy\"\nkind = \"process\"\nmode = \"per-request\"\n"
           "command = [\"/bin/sh\", \"-c\", \"exec sleep 98765\"]\nreplicas = 1\ntimeout = \"10m\"\n"
           "[resources]\ncpu = 0.1\nmemory = \"64MiB\"\n");
  auto sent = up.cli({"task", "submit", "sleepy"}, "x");
  REQUIRE(sent.code == 0);
  auto id = sent.out.substr(0, sent.out.find('\n'));
  REQUIRE(eventually(20s, [&] { return !processes_with("98765").empty(); }));
  auto shown = up.cli({"task", "show", id});
  CHECK(shown.out.find("task " + id + "   running\n") == 0);
  CHECK(up.cli({"task", "result", id}).code == 5);
  CHECK(up.cli({"task", "cancel", id}).code == 0);
  CHECK(eventually(10s, [&] { return processes_with("98765").empty(); }));
  CHECK(up.cli({"task", "result", id}).code == 1);
  CHECK(up.cli({"task", "cancel", id}).code == 6);
  auto events = up.call("GET", "/v1/tasks/" + id + "/events");
  CHECK(events.content_type == "text/event-stream");
  CHECK(events.body.find("event: cancelled\n") == 0);
  CHECK(up.cli({"task", "list", "--state", "cancelled"}).out.find(id) != std::string::npos);
}

TEST_CASE("a task that waits for an app that cannot run yet is done when it can") {
  cluster up{{"--nodes", "1", "--cores", "1"}};
  up.apply("name = \"echo\"\nkind = \"actor\"\nreplicas = 1\n[actor]\ntype = \"echo\"\n"
           "[resources]\ncpu = 0.1\nmemory = \"64MiB\"\n");
  up.signal("node-1", SIGKILL);
  REQUIRE(eventually(20s, [&] { return up.get("/v1/apps/echo").value("ready", 1U) == 0; }));
  auto sent = up.cli({"task", "submit", "echo", "--priority", "9"}, "hello");
  REQUIRE(sent.code == 0);
  auto id = sent.out.substr(0, sent.out.find('\n'));
  auto reason = std::string{};
  CHECK(eventually(20s, [&] {
    reason = up.get("/v1/tasks/" + id).value("reason", "");
    return !reason.empty();
  }));
  up.start_again("node-1");
  auto result = up.call("GET", "/v1/tasks/" + id + "/result?wait=60s", "", 90s);
  CHECK(result.status == 200);
  CHECK(result.body == "hello");
}
