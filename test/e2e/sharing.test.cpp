#include "test/e2e/cluster.hpp"
#include "test/e2e/processes.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <fstream>
#include <future>
#include <sstream>

// Who may have how much and who goes first: quotas, gangs, priorities.

using namespace astra::test;
using namespace std::chrono_literals;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// One Resource, and a process that is scheduler and gateway.  A test adds the nodes.
class small_cluster {
public:
  explicit small_cluster(const std::string& resource_text = {}) {
    resource_ = all_.start("r1", "roles = [\"resource\"]\n" + resource_text)["address"];
    gateway_ = all_.start("front", fmt::format("roles = [\"scheduler\", \"gateway\"]\nresources = [\"{}\"]\n[gateway]\n"
                                               "listen = \"127.0.0.1:0\"\n",
                                               resource_))["gateway"];
  }

  void add_node(const std::string& name, int cores) {
    all_.start(name,
               fmt::format("roles = [\"node\"]\nresources = [\"{}\"]\n[capacity]\ncores = {}\nmemory = \"1GiB\"\n",
                           resource_, cores));
  }

  /// The Resource ends, and starts at its address with another file.
  void restart_resource(const std::string& text) {
    CHECK(all_.end("r1") == 0);
    all_.start("r1", fmt::format("roles = [\"resource\"]\n[net]\nlisten = \"{}\"\n{}", resource_, text));
  }

  finished cli(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"--gateway", gateway_});
    return run_astra(arguments);
  }

  /// An app of actors.
  finished apply(const std::string& name, const std::string& keys, double cores, bool wait) const {
    auto file = all_.path() / (name + ".toml");
    std::ofstream{file} << fmt::format(
        "name = \"{}\"\nkind = \"actor\"\n{}[actor]\ntype = \"echo\"\n[resources]\ncpu = "
        "{}\nmemory = \"16MiB\"\n",
        name, keys, cores);
    std::vector<std::string> arguments{"app", "apply", file.string()};
    if (wait)
      arguments.insert(arguments.end(), {"--wait", "50s"});
    return cli(arguments);
  }

  nlohmann::json app(const std::string& name) const {
    return nlohmann::json::parse(cli({"app", "show", name, "-o", "json"}).out, nullptr, false);
  }

private:
  processes all_;
  std::string resource_;
  std::string gateway_;
};

std::string quotas(double media) {
  return fmt::format("[[resource.quotas]]\nbusiness = \"media\"\ncpu = {}\n[[resource.quotas]]\nbusiness = \"search\"\n"
                     "cpu = 1.0\n",
                     media);
}

/// A server whose request ends when a file appears, and that writes down what happens to it.
std::string patient_server(const std::filesystem::path& diary, const std::filesystem::path& go) {
  auto script = fmt::format(R"(
import http.server, os, signal, sys, time
def note(what):
    with open("{}", "a") as diary:
        diary.write(what + "\n")
def stop(*ignored):
    note("SIGTERM")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
class Patient(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"ready")
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        note("begun")
        while not os.path.exists("{}"):
            time.sleep(0.02)
        note("finished")
        self.answer(b"done")
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Patient).serve_forever()
)",
                            diary.string(), go.string());
  return fmt::format(
      "name = \"low\"\nkind = \"process\"\nmode = \"server\"\nreplicas = 1\ncommand = [\"python3\", "
      "\"-u\", \"-c\", '''{}''']\nconcurrency = 2\ntimeout = \"50s\"\npreempt_notice = \"45s\"\n[server]\n"
      "ready_path = \"/\"\nready_timeout = \"30s\"\n[resources]\ncpu = 1.5\nmemory = \"64MiB\"\n",
      script);
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in{file};
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

} // namespace

TEST_CASE("a business whose quota is used up waits with its reason, another one does not, and a larger quota helps") {
  small_cluster up{quotas(1.0)};
  up.add_node("n1", 4);
  REQUIRE(up.apply("ocr", "business = \"media\"\nreplicas = 2\n", 0.5, true).code == 0);
  REQUIRE(up.apply("index", "business = \"search\"\n", 0.5, true).code == 0);
  REQUIRE(up.apply("tts", "business = \"media\"\n", 0.5, false).code == 0);
  auto reason = "business media has 1 of 1 cores in use, and 0.5 are needed; quota of [[resource.quotas]]";
  CHECK(eventually(20s, [&] { return contains(up.cli({"app", "show", "tts"}).out, reason); }));
  CHECK(eventually(20s, [&] {
    auto why = up.cli({"why", "app/tts"}).out;
    return contains(why, std::string{"   "} + reason) && !contains(why, std::string{" 0 "} + reason);
  }));
  std::string list;
  CHECK(eventually(20s, [&] {
    list = up.cli({"quota", "list"}).out;
    return contains(list, "cpu used up: 1 replica waits (1 of tts for ");
  }));
  INFO(list);
  CHECK(contains(list, "media     cpu       1       1          0     0  r1"));
  CHECK(contains(list, "search    cpu       1     0.5          0   0.5  r1"));
  CHECK(eventually(20s, [&] {
    return contains(up.cli({"status"}).out,
                    "quotas     2 businesses, 1 used up: media (cpu 1 of 1, 1 replica waits)\n");
  }));
  CHECK(up.app("tts")["ready"] == 0);

  up.restart_resource(quotas(2.0));
  CHECK(eventually(50s, [&] { return up.app("tts").value("ready", 0) == 1; }));
  CHECK(eventually(20s, [&] {
    auto answer = nlohmann::json::parse(up.cli({"quota", "list", "-o", "json"}).out, nullptr, false);
    auto& media = answer["quotas"][0];
    return media["dimensions"][0]["left"] == 0.5 && media["reason"] == "" && media["waiting"].empty();
  }));
  CHECK(up.app("ocr")["ready"] == 2);
}

TEST_CASE("a gang of 3 starts nothing where 2 have room, and all of it as soon as there is room for 3") {
  small_cluster up;
  up.add_node("n1", 2);
  REQUIRE(up.apply("train", "gang = true\nreplicas = 3\n", 1.0, false).code == 0);
  CHECK(eventually(30s, [&] {
    return contains(up.cli({"app", "show", "train"}).out, "a gang of 3: 2 fit; holds 2 of 3 places; waits for ");
  }));
  auto waiting = up.app("train");
  CHECK(waiting["pending"] == 3);
  CHECK(waiting["ready"] == 0);
  CHECK(up.cli({"node", "list", "-o", "csv", "--columns", "name,replicas"}).out == "name,replicas\r\nn1,0\r\n");
  up.add_node("n2", 2);
  CHECK(eventually(50s, [&] { return up.app("train").value("ready", 0) == 3; }));
}

TEST_CASE("an app of a higher priority takes a place, whose replica finishes its request first and comes back later") {
  cluster up{{"--nodes", "1", "--cores", "2"}};
  auto diary = up.directory() / "diary";
  auto go = up.directory() / "go";
  up.apply(patient_server(diary, go));
  auto request = std::async(std::launch::async, [&] { return up.cli({"invoke", "low"}, "x"); });
  REQUIRE(eventually(20s, [&] { return text_of(diary) == "begun\n"; }));

  auto high = up.directory() / "high.toml";
  std::ofstream{high}
      << "name = \"high\"\nkind = \"actor\"\npriority = 5\n[actor]\ntype = \"echo\"\n[resources]\ncpu = "
         "1.5\nmemory = \"16MiB\"\n";
  REQUIRE(up.cli({"app", "apply", high.string()}).code == 0);
  CHECK(eventually(20s, [&] {
    return contains(up.cli({"app", "show", "low"}).out, "preempted by app high (priority 5 over 0), notice 45 s");
  }));
  CHECK(contains(up.cli({"app", "show", "high"}).out, "waits for replica low/0 to go, at most 45 s"));
  // It works on, although it has had notice.
  CHECK(text_of(diary) == "begun\n");
  std::ofstream{go} << "go";
  auto answer = request.get();
  INFO(answer.err);
  CHECK(answer.code == 0);
  CHECK(answer.out == "done");
  CHECK(eventually(30s, [&] { return up.ready("high", 1); }));
  CHECK(text_of(diary) == "begun\nfinished\nSIGTERM\n");
  CHECK(up.get("/v1/apps/low")["ready"] == 0);

  REQUIRE(up.cli({"app", "delete", "high"}).code == 0);
  CHECK(eventually(40s, [&] { return up.ready("low", 1); }));
}
