#include "test/runtime/cli/command_fixture.hpp"

#include "runtime/shell/cluster_shape.hpp"
#include "runtime/shell/sim_world.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <utility>
#include <vector>

using namespace astra;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The last line that says what became of the run.
std::string hash_in(const std::string& narration) {
  auto at = narration.find("trace ");
  return at == std::string::npos ? std::string{} : narration.substr(at + 6, 16);
}

const std::string counter = "cluster nodes=2\n"
                            "spawn counter init=40 name=c as c\n"
                            "await @c ready 20s\n"
                            "ask @c 2 as answer\n"
                            "expect $answer == 42\n"
                            "send @c 8 as t\n"
                            "wait task/${t.task}\n"
                            "task result $t.task\n"
                            "expect $ == 50\n"
                            "kill @c\n"
                            "await @c gone 30s\n";

} // namespace

TEST_CASE_FIXTURE(command_fixture,
                  "a script runs against the production actors in virtual time, the same way each time") {
  auto path = file("counter.astra", counter);
  auto first = run({"sim", "run", path.c_str(), "-o", "ndjson", "--seed", "7"});
  INFO(first.err);
  REQUIRE(first.code == exit_ok);
  CHECK(contains(first.out, "\n42\n"));
  CHECK(contains(first.out, "\n50\n"));
  CHECK(contains(first.err, "passed  seed 7"));
  REQUIRE(hash_in(first.err).size() == 16);
  auto second = run({"sim", "run", path.c_str(), "-o", "ndjson", "--seed", "7"});
  CHECK(second.out == first.out);
  CHECK(second.err == first.err);
  auto other = run({"sim", "run", path.c_str(), "-o", "ndjson", "--seed", "8"});
  CHECK(other.code == exit_ok);
  CHECK(hash_in(other.err) != hash_in(first.err));
  // Nothing was asked of a real gateway.
  CHECK(calls.empty());
}

TEST_CASE_FIXTURE(command_fixture, "time passes while a script waits, and at no other time") {
  auto path = file("time.astra", "every 1h 3 times { node list | count }\nevents | count\n");
  auto before = time;
  auto result = run({"sim", "run", path.c_str()});
  INFO(result.err);
  CHECK(result.code == exit_ok);
  CHECK(time == before);
  auto at = result.err.find(" events in 72");
  CHECK(at != std::string::npos);
}

TEST_CASE_FIXTURE(command_fixture,
                  "a crashed node is seen to be gone, its replicas start elsewhere, and it comes back") {
  auto path = file("crash.astra", "cluster nodes=3\n"
                                  "spawn echo replicas=3 idempotent=true name=e as e\n"
                                  "await @e ready 20s\n"
                                  "fault crash node-1 60s as f\n"
                                  "expect $f.for == \"1m\"\n"
                                  "every 1s 12 times { ask @e hello }\n"
                                  "node list | where state == online | count\n"
                                  "expect $ == 2\n"
                                  "await @e ready 30s\n"
                                  "ps e | where node != node-1 and state == ready | count\n"
                                  "expect $ == 3\n"
                                  "fault partition node-2 <-> resource-1 2s\n"
                                  "every 10s 7 times { ask @e hello }\n"
                                  "node list | where state == online | count\n"
                                  "expect $ == 3\n");
  for (auto seed : {"1", "2", "3"}) {
    auto result = run({"sim", "run", path.c_str(), "--seed", seed});
    INFO(result.out, result.err);
    CHECK(result.code == exit_ok);
  }
}

TEST_CASE_FIXTURE(command_fixture, "what a script leaves behind is held to the invariants of a quiet cluster") {
  auto path = file("left.astra", "cluster nodes=2 cores=1\n"
                                 "spawn echo replicas=2 name=stays as a\n"
                                 "spawn counter replicas=4 cpu=0.8 name=too-many\n"
                                 "spawn counter name=goes as g\n"
                                 "await @a ready 20s\n"
                                 "scale @a 3\n"
                                 "fault kill node-2 5s\n"
                                 "sleep 1s\n"
                                 "kill @g\n");
  for (auto seed : {"1", "2", "3", "4"}) {
    auto result = run({"sim", "run", path.c_str(), "--seed", seed});
    INFO(result.out, result.err);
    CHECK(result.code == exit_ok);
  }
}

TEST_CASE_FIXTURE(command_fixture, "a gateway that is down is told as one, and answers again when it is back") {
  auto path = file("down.astra", "fault crash gateway-1 2s\nps\n");
  auto result = run({"sim", "run", path.c_str()});
  CHECK(result.code == 3);
  CHECK(contains(result.err, path + ":2: cannot reach the gateway at gateway-1:9750: Connection refused"));
  path = file("back.astra", "fault crash gateway-1 2s\nsleep 4s\nnode list | count\n");
  CHECK(run({"sim", "run", path.c_str()}).code == exit_ok);
  path = file("stalled.astra", "fault stall gateway-1 2s\nnode list | count\n");
  result = run({"sim", "run", path.c_str()});
  INFO(result.err);
  CHECK(result.code == exit_ok);
  CHECK(run({"--timeout", "1s", "sim", "run", path.c_str()}).code == 3);
}

TEST_CASE_FIXTURE(command_fixture, "a script that stops says where, with exit code 3 and the way back") {
  auto path = file("wrong.astra", "cluster nodes=1\nps\nexpect $ == 17\nps\n");
  auto result = run({"sim", "run", path.c_str(), "--seed", "5"});
  CHECK(result.code == 3);
  CHECK(contains(result.err, path + ":3: expected $ == 17; $ is []\n"));
  CHECK(contains(result.err, "FAIL    seed 5"));
  CHECK(contains(result.err, "repro:  astra sim run " + path + " --seed 5\n"));
  path = file("syntax.astra", "ps\nps | wher x == 1\n");
  result = run({"sim", "run", path.c_str()});
  CHECK(result.code == 3);
  CHECK(contains(result.err, path + ":2:6: expected where, sort, top, limit, select or count\n"));
  CHECK(result.out == "");
}

TEST_CASE_FIXTURE(command_fixture, "what a simulated cluster cannot do is told with its name") {
  auto command = file("ocr.toml", "name = \"ocr\"\ncommand = [\"ocr\"]\nresources = { cpu = 1, memory = \"64MiB\" }\n");
  for (auto& [statement, why] : std::vector<std::pair<std::string, std::string>>{
           {"fault crash nod-1 2s", "crash: targets[0]: \"nod-1\" matches no machine; did you mean 'node-1'?"},
           {"fault melt node-1", "fault: no kind 'melt'"},
           {"sim run x.astra", "the simulator runs this script already"},
           {"cluster nodes=9", "this cluster has 3 nodes, and the script is for 9; state it in the first statement"},
           {"spawn " + command, "a simulated cluster runs actors, and ocr is a command"},
           {"app apply " + command, "a simulated cluster runs actors, and ocr is a command"},
           {"spawn tally library=/lib/libtally.so",
            "a simulated cluster runs actors that come with Astra, and tally is one of a library"},
           {"dev", "'dev' is not for the shell"}}) {
    auto path = file("one.astra", "ps\n" + statement + "\n");
    auto result = run({"sim", "run", path.c_str()});
    INFO(statement, ": ", result.err);
    CHECK(result.code == 3);
    CHECK(contains(result.err, path + ":2: "));
    CHECK(contains(result.err, why));
  }
}

TEST_CASE_FIXTURE(command_fixture, "many seeds of a script are explored, and each failure brings its repro") {
  auto path = file("counter.astra", counter);
  auto good = run({"sim", "explore", path.c_str(), "--seeds", "1..5", "--twice"});
  CHECK(good.code == exit_ok);
  CHECK(good.out == path + ": 5 passed, 0 failed\n");
  // Where the counter is depends on the seed.
  path = file("place.astra", "spawn counter name=c as c\nawait @c ready 20s\nps c | where node == node-1 | count\n"
                             "expect $ == 1\nkill @c\nawait @c gone 30s\n");
  auto some = run({"sim", "explore", path.c_str(), "--seeds", "1..12"});
  CHECK(some.code == exit_failed);
  CHECK(contains(some.out, path + ":4: expected $ == 1; $ is 0\n"));
  CHECK(contains(some.out, "repro:  astra sim run " + path + " --seed "));
  CHECK(!contains(some.out, "12 failed"));
  auto as_json = nlohmann::json::parse(run({"sim", "explore", path.c_str(), "--seeds", "1..12", "-o", "json"}).out);
  CHECK(as_json[0]["seeds_run"] == 12);
  CHECK(as_json[0]["failures"].size() == as_json[0]["failed"]);
}

TEST_CASE_FIXTURE(command_fixture, "other commands of the simulator take scenarios, and say so") {
  auto path = file("counter.astra", counter);
  for (auto verb : {"lint", "replay", "bench"}) {
    auto result = run({"sim", verb, path.c_str()});
    INFO(verb);
    CHECK(result.code != exit_ok);
    CHECK(contains(result.err, "is a script, not a scenario; scripts go with astra sim run"));
  }
  auto scenario = file("some.toml", "");
  auto mixed = run({"sim", "explore", path.c_str(), scenario.c_str()});
  CHECK(mixed.code != exit_ok);
  CHECK(contains(mixed.err, "is a script, not a scenario"));
  CHECK(run({"sim", "run", path.c_str(), "--seed", "1..5"}).code == exit_usage);
}

TEST_CASE("a cluster for a script is called as that of astra dev") {
  auto what = shell::scenario_of({});
  // Only that it has no end is no scenario's.
  what.horizon = std::chrono::hours{1};
  CHECK(validate(what).empty());
  std::string all;
  for (auto& group : what.machines)
    all += group.name + " " + std::to_string(group.count) + "; ";
  CHECK(all == "resource 1; scheduler 1; gateway 1; node 3; ");
  shell::cluster_shape shape;
  shape.nodes = 5;
  shape.resources = 3;
  shape.cpu_milli = 500;
  shape.memory_bytes = 1 << 20;
  what = shell::scenario_of(shape);
  what.horizon = std::chrono::hours{1};
  CHECK(validate(what).empty());
  CHECK(what.machines.front().count == 3);
  CHECK(what.machines.back().count == 5);
  CHECK(what.machines.back().cpu_milli == 500);
  CHECK(what.machines.back().memory_bytes == 1 << 20);
}
