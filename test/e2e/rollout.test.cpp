#include "test/e2e/cluster.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>

using namespace astra::test;
using namespace std::chrono_literals;

namespace {

/// A server that answers which version of it there is; a broken one ends at once.
std::string versioned(const std::string& version, const std::string& on_failure) {
  auto script = version == "broken" ? std::string{"import sys\nsys.exit(3)\n"}
                                    : fmt::format(R"(
import http.server, os
class Version(http.server.BaseHTTPRequestHandler):
    def reply(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "{}")
        self.end_headers()
        self.wfile.write(b"{}")
    do_GET = reply
    do_POST = reply
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Version).serve_forever()
)",
                                                  version.size(), version);
  return fmt::format("name = \"web\"\nkind = \"process\"\nmode = \"server\"\nreplicas = 4\ncommand = [\"python3\", "
                     "\"-u\", \"-c\", '''{}''']\nconcurrency = 4\ntimeout = \"20s\"\nidempotent = true\n[server]\n"
                     "ready_path = \"/\"\nready_timeout = \"30s\"\n[resources]\ncpu = 0.25\nmemory = \"64MiB\"\n"
                     "[restart]\nbackoff_min = \"50ms\"\nbackoff_max = \"100ms\"\nbudget = 2\n[update]\nmax_surge = 2\n"
                     "on_failure = \"{}\"\n",
                     script, on_failure);
}

finished apply(const cluster& up, const std::string& toml, bool wait) {
  auto file = up.directory() / "rollout-app.toml";
  std::ofstream{file} << toml;
  std::vector<std::string> arguments{"app", "apply", file.string()};
  if (wait)
    arguments.insert(arguments.end(), {"--wait", "55s"});
  return up.cli(arguments);
}

} // namespace

TEST_CASE(
    "an update under load fails no request; one that fails is halted, or rolled back, and the old ones serve on") {
  cluster up{{"--nodes", "3", "--cores", "2"}};
  REQUIRE(apply(up, versioned("one", "halt"), true).code == 0);
  {
    load work{up, "web", "x", 4};
    REQUIRE(eventually(20s, [&] { return work.count() > 20; }));
    auto applied = apply(up, versioned("two", "halt"), true);
    INFO(applied.out, applied.err);
    CHECK(applied.code == 0);
    CHECK(applied.out.find("up to 2 at once beside the old ones") != std::string::npos);
    auto updated = work.count();
    CHECK(eventually(20s, [&] { return work.count() > updated + 20; }));
    auto answers = work.stop();
    auto failed = std::count_if(answers.begin(), answers.end(), [](auto& answer) { return answer.status != 200; });
    CHECK(failed == 0);
    CHECK(answers.front().body == "one");
    CHECK(answers.back().body == "two");
  }

  auto refused = apply(up, versioned("broken", "halt"), true);
  CHECK(refused.code == 5);
  CHECK(refused.err.find("the update is halted with 0 of 4 replaced: replica ") != std::string::npos);
  CHECK(up.get("/v1/apps/web")["rollout"]["phase"] == "halted");
  CHECK(up.get("/v1/apps/web")["ready"] == 4);
  CHECK(up.cli({"app", "show", "web"}).out.find("halted, 0 of 4 replaced") != std::string::npos);
  CHECK(up.cli({"app", "list"}).out.find("the update is halted") != std::string::npos);
  CHECK(up.cli({"status"}).out.find("the update is halted") != std::string::npos);
  CHECK(up.cli({"invoke", "web"}, "x").out == "two");

  REQUIRE(apply(up, versioned("two", "rollback"), false).code == 0);
  CHECK(eventually(20s, [&] { return !up.get("/v1/apps/web").contains("rollout"); }));
  REQUIRE(apply(up, versioned("broken", "rollback"), false).code == 0);
  CHECK(eventually(40s, [&] {
    return up.cli({"app", "history", "web"}).out.find("rolled back by itself from revision") != std::string::npos;
  }));
  CHECK(eventually(20s, [&] {
    auto app = up.get("/v1/apps/web");
    return app["ready"] == 4 && !app.contains("rollout");
  }));
  CHECK(up.cli({"invoke", "web"}, "x").out == "two");
}

TEST_CASE("an app with [scale] gets more replicas under load, and fewer when that is over") {
  cluster up{{"--nodes", "2", "--cores", "4"}};
  up.apply("name = \"burn\"\nkind = \"actor\"\nreplicas = 1\nconcurrency = 1\ntimeout = \"20s\"\n[actor]\ntype = "
           "\"burn\"\n[resources]\ncpu = 0.5\nmemory = \"32MiB\"\n[scale]\nmin = 1\nmax = 3\ntarget_utilisation = 50\n"
           "up_after = \"3s\"\ndown_after = \"5s\"\n");
  CHECK(up.get("/v1/apps/burn")["scaled_to"] == 1);
  {
    load work{up, "burn", "300", 6};
    CHECK(eventually(40s, [&] { return up.ready("burn", 3); }));
    auto show = up.cli({"app", "show", "burn"}).out;
    INFO(show);
    CHECK(show.find("% of slots busy, target 50 %") != std::string::npos);
    work.stop();
  }
  CHECK(eventually(40s, [&] { return up.get("/v1/apps/burn")["scaled_to"] == 1; }));
  CHECK(eventually(20s, [&] { return up.ready("burn", 1) && up.get("/v1/apps/burn")["replicas_detail"].size() == 1; }));
}
