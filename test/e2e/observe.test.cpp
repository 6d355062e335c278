#include "runtime/http/fetch.hpp"
#include "test/e2e/cluster.hpp"
#include "test/support/prometheus_text.hpp"

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

using namespace astra::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> result;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);)
    if (auto parsed = json::parse(line, nullptr, false); parsed.is_object())
      result.push_back(std::move(parsed));
  return result;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in{file};
  return {std::istreambuf_iterator<char>{in}, {}};
}

bool has_event(const std::vector<json>& events, const std::string& kind, const std::string& object) {
  return std::any_of(events.begin(), events.end(), [&](auto& event) {
    return event.value("kind", "") == kind && event.value("object", "") == object;
  });
}

bool has_note(const std::vector<json>& events, const std::string& note) {
  return std::any_of(events.begin(), events.end(), [&](auto& event) { return event.value("note", "") == note; });
}

std::string metrics_of(const std::string& address) {
  astra::http_call call;
  auto colon = address.rfind(':');
  call.host = address.substr(0, colon);
  call.port = static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1)));
  call.target = "/metrics";
  call.timeout = 10s;
  auto answer = astra::fetch(call);
  REQUIRE(answer);
  REQUIRE(answer->status == 200);
  return answer->body;
}

} // namespace

TEST_CASE("every process serves metrics that Prometheus takes, a Resource with what it knows") {
  cluster up{{"--nodes", "2"}};
  for (auto& name : up.names()) {
    CAPTURE(name);
    auto run = json::parse(text_of(up.directory() / name / "run.json"));
    prometheus_text page{metrics_of(run["metrics"])};
    CHECK_MESSAGE(page.problems.empty(), page.all_problems());
    CHECK(page.value("process_start_time_seconds") != "");
    CHECK(page.families.count("caf_system_running_actors") == 1);
    if (name == "resource-1") {
      CHECK(eventually(5s, [&] {
        return prometheus_text{metrics_of(run["metrics"])}.value("astra_resource_nodes", {{"resource", name}}) == "2";
      }));
      CHECK(page.value("astra_resource_events_total", {{"kind", "joined"}, {"resource", "resource-1"}}) == "2");
    }
  }
  prometheus_text own{metrics_of(up.gateway())};
  CHECK(own.problems.empty());
  CHECK(own.value("process_open_fds") != "");
}

TEST_CASE("nodes are listed by a filter that the Resource evaluates, in every format") {
  cluster up{{"--nodes", "3", "--resources", "2", "--cores", "1,2,4"}};
  auto csv =
      up.cli({"node", "list", "--where", "zone=='b' or cores>=4", "-o", "csv", "--columns", "name,cores,labels"});
  CHECK(csv.code == 0);
  CHECK(csv.out == "name,cores,labels\r\nnode-2,2.0,zone=b\r\nnode-3,4.0,zone=c\r\n");
  auto lines = up.cli({"node", "list", "-o", "ndjson"});
  CHECK(lines_of(lines.out).size() == 3);
  CHECK(up.cli({"node", "list", "--sort", "-cores", "--limit", "1", "--columns", "name"}).out == "NAME\nnode-3\n");
  auto limited = up.cli({"node", "list", "--limit", "2"});
  CHECK(limited.err == "2 of 3 nodes are shown\n");
  auto bad = up.cli({"node", "list", "--where", "zon=='a'"});
  CHECK(bad.code == 2);
  CHECK(bad.err.find("--where, column 1: no field 'zon'") != std::string::npos);
  // A Resource that has just found its peer does not know the shard yet, and says so.
  CHECK(eventually(10s, [&] {
    auto views = up.get("/v1/status")["views"];
    return views["reports"].size() == 2 && views["unreachable"].empty()
           && std::all_of(views["differences"].begin(), views["differences"].end(),
                          [](auto& difference) { return difference["kind"] == "behind"; });
  }));
}

TEST_CASE("events tell of a killed node, and one who follows hears of the restart of a Resource") {
  cluster up{{"--nodes", "2", "--resources", "2"}};
  temporary_directory out;
  auto log = out.path() / "events";
  auto follower = start_astra({"events", "-f", "-o", "ndjson", "--gateway", up.gateway()}, log);
  REQUIRE(eventually(10s, [&] { return has_event(lines_of(text_of(log)), "joined", "node-2"); }));
  up.signal("node-2", SIGKILL);
  CHECK(eventually(10s, [&] { return has_event(lines_of(text_of(log)), "offline", "node-2"); }));
  auto listed = up.cli({"events", "--node", "node-2", "-o", "ndjson"});
  CHECK(listed.code == 0);
  auto events = lines_of(listed.out);
  CHECK(has_event(events, "suspect", "node-2"));
  CHECK(has_event(events, "offline", "node-2"));
  CHECK_FALSE(has_event(events, "joined", "node-1"));
  auto shown = up.cli({"node", "show", "node-2"});
  CHECK(shown.out.find("recent events\n") != std::string::npos);
  CHECK(shown.out.find("no heartbeat for") != std::string::npos);

  up.signal("resource-1", SIGKILL);
  CHECK(eventually(10s, [&] { return has_note(lines_of(text_of(log)), "unreachable"); }));
  CHECK(eventually(10s, [&] { return has_event(lines_of(text_of(log)), "peer_lost", "resource-1"); }));
  up.start_again("resource-1");
  CHECK(eventually(15s, [&] { return has_note(lines_of(text_of(log)), "restarted"); }));
  CHECK(eventually(15s, [&] { return has_event(lines_of(text_of(log)), "peer_found", "resource-1"); }));
  CHECK(alive(follower));
  ::kill(follower, SIGKILL);
  wait_for_end(follower, 5s);
}
