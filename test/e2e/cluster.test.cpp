#include "test/e2e/cluster.hpp"

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <set>

using namespace astra::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

/// A per-request process app: `script` is run by sh for every request.
std::string shell_app(const std::string& name, const std::string& script, unsigned replicas,
                      const std::string& more = {}) {
  return "name = \"" + name + "\"\nkind = \"process\"\nmode = \"per-request\"\ncommand = [\"sh\", \"-c\", '''" + script
         + "''']\nreplicas = " + std::to_string(replicas) + "\n" + more + "\n";
}

const std::string slow_cat =
    shell_app("slowcat", "sleep 0.2; cat", 6,
              "idempotent = true\ntimeout = \"20s\"\n[resources]\ncpu = 0.1\nmemory = \"16MiB\"\n");

std::size_t failures(const std::vector<load::answer>& answers, const std::string& body) {
  return static_cast<std::size_t>(std::count_if(
      answers.begin(), answers.end(), [&](auto& answer) { return answer.status != 200 || answer.body != body; }));
}

std::string first_failure(const std::vector<load::answer>& answers) {
  for (auto& answer : answers)
    if (answer.status != 200)
      return std::to_string(answer.status) + " " + answer.body;
  return {};
}

/// Seconds from `event` until the last answer that the node began to work on.
double last_start(const std::vector<load::answer>& answers, const std::string& node,
                  std::chrono::steady_clock::time_point event, std::chrono::milliseconds service) {
  double last = 0;
  for (auto& answer : answers)
    if (answer.node == node)
      last = std::max(last, std::chrono::duration<double>(answer.end - service - event).count());
  return last;
}

} // namespace

TEST_CASE("a laptop cluster comes up, serves an app of each kind, and leaves nothing behind") {
  std::string mark;
  {
    cluster up{{"--nodes", "2", "--cores", "4"}};
    mark = up.directory().string();
    CHECK(up.get("/v1/status")["nodes"]["online"] == 2);

    up.apply("name = \"echo\"\nkind = \"actor\"\nreplicas = 2\n[actor]\ntype = \"echo\"\n");
    auto echoed = up.cli({"invoke", "echo"}, "hello");
    CHECK(echoed.code == 0);
    CHECK(echoed.out == "hello");

    up.apply(shell_app("upper", "tr a-z A-Z", 1));
    CHECK(up.cli({"invoke", "upper"}, "quiet").out == "QUIET");

    std::ifstream in{ASTRA_SOURCE_DIR "/config/examples/apps/web.toml"};
    up.apply({std::istreambuf_iterator<char>{in}, {}});
    CHECK(up.cli({"invoke", "web"}, "body").code == 0);

    auto list = up.cli({"app", "list", "-o", "json"});
    CHECK(nlohmann::json::parse(list.out)["apps"].size() == 3);
    CHECK(up.cli({"app", "delete", "upper"}).code == 0);
    CHECK(eventually(10s, [&] { return up.call("GET", "/v1/apps/upper").status == 404; }));
    CHECK(up.end() == 0);
  }
  CHECK(processes_with(mark).empty());
  CHECK_FALSE(fs::exists(mark));
}

TEST_CASE("kill, freeze and drain of a node under load fail no request, and each is out of routing in its time") {
  // Out of routing as a client sees it: the last request that began there.
  cluster up{{"--nodes", "4", "--resources", "2"}};
  up.apply(slow_cat);
  std::set<std::string> hosts;
  auto app = up.get("/v1/apps/slowcat");
  for (auto& replica : app["replicas_detail"])
    hosts.insert(replica["node"].get<std::string>());
  REQUIRE(hosts.size() == 4);

  struct event {
    std::string node;
    double bound_s;
  };
  for (auto [node, bound_s] : {event{"node-1", 4.0}, event{"node-2", 4.0}, event{"node-3", 0.5}}) {
    load work{up, "slowcat", "text", 6};
    REQUIRE(eventually(20s, [&] { return work.count() > 12; }));
    auto at = std::chrono::steady_clock::now();
    if (node == "node-1")
      up.signal(node, SIGKILL);
    else if (node == "node-2")
      up.signal(node, SIGSTOP);
    else
      CHECK(up.call("POST", "/v1/nodes/node-3/drain").status == 200);
    std::this_thread::sleep_for(5s);
    auto answers = work.stop();
    INFO(node, ": ", first_failure(answers));
    CHECK(failures(answers, "text") == 0);
    CHECK(last_start(answers, node, at, 200ms) < bound_s);
    auto row = up.node(node);
    INFO(row.dump());
    CHECK(row["state"] == (node == "node-3" ? "draining" : "offline"));
    CHECK_FALSE(row["reason"].get<std::string>().empty());
  }
}

TEST_CASE("killing any Resource evicts no node and fails no request") {
  cluster up{{"--nodes", "3", "--resources", "3"}};
  up.apply(slow_cat);
  load work{up, "slowcat", "text", 4};
  std::set<std::string> seen;
  for (auto name : {"resource-1", "resource-2"}) {
    up.signal(name, SIGKILL);
    auto until = std::chrono::steady_clock::now() + 6s;
    while (std::chrono::steady_clock::now() < until) {
      auto list = up.get("/v1/nodes");
      for (auto& node : list["nodes"])
        seen.insert(node["state"].get<std::string>());
      std::this_thread::sleep_for(100ms);
    }
    CHECK(up.get("/v1/status")["nodes"]["online"] == 3);
  }
  CHECK(seen.count("offline") == 0);
  up.start_again("resource-1");
  up.signal("resource-3", SIGKILL);
  CHECK(eventually(10s, [&] {
    auto status = up.get("/v1/status");
    return status.is_object() && status["nodes"]["online"] == 3;
  }));
  auto answers = work.stop();
  INFO(first_failure(answers));
  CHECK(failures(answers, "text") == 0);
}

TEST_CASE("a scheduler that is killed and started again adopts what runs and doubles nothing") {
  cluster up{{"--nodes", "3"}};
  up.apply(slow_cat);
  auto tokens = [&] {
    std::multiset<std::string> result;
    auto list = up.get("/v1/nodes");
    for (auto& node : list["nodes"])
      for (auto& replica : node["replicas"])
        result.insert(node["name"].get<std::string>() + "/" + std::to_string(replica["index"].get<int>()));
    return result;
  };
  auto before = tokens();
  REQUIRE(before.size() == 6);
  up.signal("scheduler-1", SIGKILL);
  CHECK(up.cli({"invoke", "slowcat"}, "without a scheduler").out == "without a scheduler");
  up.start_again("scheduler-1");
  CHECK(eventually(15s, [&] { return up.ready("slowcat", 6); }));
  std::this_thread::sleep_for(2s);
  CHECK(tokens() == before);
  // Its disk knows what was applied, and what was before.
  auto file = (up.directory() / "less.toml").string();
  auto less = slow_cat;
  less.replace(less.find("replicas = 6"), 12, "replicas = 4");
  std::ofstream{file} << less;
  auto planned = up.cli({"app", "plan", file, "-o", "json"});
  CHECK(planned.code == 10);
  auto index = nlohmann::json::parse(planned.out)["index"].get<std::string>();
  CHECK(up.cli({"app", "apply", file, "--plan", index}).code == 0);
  CHECK(up.cli({"app", "apply", file, "--plan", index}).code == 6);
  CHECK(up.get("/v1/apps/slowcat/history")["revisions"].size() == 2);
  CHECK(up.cli({"app", "rollback", "slowcat", "--to", "9"}).code == 4);
  CHECK(up.cli({"app", "rollback", "slowcat"}).code == 0);
  CHECK(eventually(15s, [&] { return up.ready("slowcat", 6); }));
  CHECK(up.cli({"app", "history", "slowcat"}).out.find("rollback to 1: replicas 4 -> 6") != std::string::npos);
}

TEST_CASE("SIGTERM finishes the work in progress and leaves with 0; a second one leaves at once") {
  cluster up{{"--nodes", "1"}};
  up.apply(shell_app("slow", "sleep 2; echo done", 1));
  finished answer;
  std::thread client{[&] { answer = up.cli({"invoke", "slow"}); }};
  REQUIRE(eventually(10s, [&] { return up.node("node-1")["running"] == 1; }));
  up.signal("node-1", SIGTERM);
  client.join();
  CHECK(answer.out == "done\n");
  CHECK(eventually(
      10s, [&] { return up.log_of("node-1").find("process.end name=node-1 failed=false") != std::string::npos; }));

  up.start_again("node-1");
  REQUIRE(eventually(20s, [&] { return up.ready("slow", 1) && up.node("node-1")["running"] == 0; }));
  std::thread second{[&] { answer = up.cli({"invoke", "slow", "--timeout", "5s"}); }};
  REQUIRE(eventually(10s, [&] { return up.node("node-1")["running"] == 1; }));
  auto pid = up.pid("node-1");
  up.signal("node-1", SIGTERM);
  std::this_thread::sleep_for(100ms);
  up.signal("node-1", SIGTERM);
  auto code = wait_for_end(pid, 1s);
  CHECK(code.value_or(-1) == 128 + SIGTERM);
  second.join();
}

TEST_CASE("apps that misbehave are bounded, reported and cleaned") {
  cluster up{{"--nodes", "1", "--cores", "4"}};
  auto limits = std::string{"timeout = \"2s\"\n[resources]\ncpu = 0.1\nmemory = \"64MiB\"\n"};
  auto invoke = [&](const std::string& app) {
    auto answer = up.call("POST", "/v1/apps/" + app + "/invoke", "x");
    return std::pair{answer.status, nlohmann::json::parse(answer.body, nullptr, false)};
  };
  up.apply(shell_app("hangs", "trap '' TERM; sleep 4242", 1, limits));
  auto [hang_status, hang] = invoke("hangs");
  CHECK(hang_status == 504);
  INFO(hang.dump());
  CHECK(eventually(2s, [] { return processes_with(std::string{"sleep\0004242", 10}).empty(); }));

  up.apply(shell_app("crashes", "echo about to die >&2; kill -SEGV $$$$", 1, limits));
  auto [crash_status, crash] = invoke("crashes");
  INFO(crash.dump());
  CHECK(crash_status == 502);
  CHECK(crash["error"]["stderr"].get<std::string>().find("about to die") != std::string::npos);
  CHECK(crash["error"]["message"].get<std::string>().find("signal 11") != std::string::npos);

  up.apply(shell_app("forks", "setsid sleep 4343 & (setsid sleep 4343 &) ; echo forked", 1, limits));
  auto [fork_status, fork_answer] = invoke("forks");
  CHECK(fork_status == 200);
  CHECK(eventually(3s, [] { return processes_with(std::string{"sleep\0004343", 10}).empty(); }));

  up.apply(shell_app("shouts", "head -c 1000000000 /dev/zero >&2; echo quiet again", 1,
                     "timeout = \"30s\"\n[resources]\ncpu = 0.1\nmemory = \"64MiB\"\n"));
  auto [shout_status, shout] = invoke("shouts");
  CHECK(shout_status == 200);

  up.apply(
      shell_app("eats", "exec /usr/bin/python3 -c 'x = bytearray(1 << 30); import time; time.sleep(5)'", 1, limits));
  auto [eat_status, eat] = invoke("eats");
  INFO(eat.dump());
  CHECK(eat_status == 502);
  CHECK(eat["error"]["message"].get<std::string>().find("memory") != std::string::npos);

  // The node is none the worse.
  CHECK(up.get("/v1/status")["nodes"]["online"] == 1);
  CHECK(eventually(3s, [&] { return up.node("node-1")["running"] == 0; }));
}

TEST_CASE("a node that is killed and started again is back with its replicas, and a twin is fenced") {
  cluster up{{"--nodes", "1"}};
  up.apply(shell_app("upper", "tr a-z A-Z", 1));
  up.signal("node-1", SIGKILL);
  CHECK(eventually(6s, [&] { return up.node("node-1")["state"] == "offline"; }));
  up.start_again("node-1");
  CHECK(eventually(15s, [&] { return up.ready("upper", 1); }));
  CHECK(up.cli({"invoke", "upper"}, "again").out == "AGAIN");

  // The same name twice: the newer one stays, the older one leaves by itself.
  auto older = up.pid("node-1");
  std::ifstream in{up.directory() / "node-1.toml"};
  std::string config{std::istreambuf_iterator<char>{in}, {}};
  auto twin = up.directory() / "twin.toml";
  auto state = config.find("state_dir");
  config.replace(state, config.find('\n', state) - state, "state_dir = \"" + (up.directory() / "twin").string() + "\"");
  std::ofstream{twin} << config;
  auto newer = start_astra({"run", "-c", twin.string()}, up.directory() / "twin.log");
  auto ended = wait_for_end(older, 15s);
  CHECK(ended.value_or(-1) == 1);
  CHECK(up.log_of("node-1").find(".fenced") != std::string::npos);
  std::ifstream twin_log{up.directory() / "twin.log"};
  std::string told{std::istreambuf_iterator<char>{twin_log}, {}};
  CHECK(told.find("node.fenced") == std::string::npos);
  ::kill(newer, SIGTERM);
  CHECK(wait_for_end(newer, 20s).value_or(-1) == 0);
}

TEST_CASE("killing astra dev takes its children with it") {
  cluster up{{"--nodes", "2"}};
  auto mark = up.directory().string();
  REQUIRE(processes_with(mark).size() > 4);
  ::kill(up.dev(), SIGKILL);
  CHECK(eventually(5s, [&] { return processes_with(mark).empty(); }));
}
