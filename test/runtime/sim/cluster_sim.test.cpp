#include "test/support/sim_fixture.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

// Behaviours of the production cluster that need a fault at the right moment: what follows takes milliseconds here, and
// could be shown with real processes only by luck.

namespace astra::test {
namespace {

/// Resource, node and replica of each running replica of the app echo, with the epoch of its start.
std::map<std::string, std::string> running_replicas(sim_world& world) {
  std::map<std::string, std::string> result;
  auto app = world.app("echo");
  for (auto& replica : app.detail["replicas_detail"])
    if (replica["state"] == "ready")
      result[replica["index"].dump()] = replica["node"].get<std::string>() + " epoch " + replica["epoch"].dump();
  return result;
}

bool all_ready(sim_world& world) {
  auto app = world.app("echo");
  return app.ready == app.replicas;
}

void settle(sim_world& world) {
  world.advance(2s);
  REQUIRE(world.advance_until([&] { return all_ready(world); }));
}

TEST_CASE("a cluster comes up, serves, and starts the replicas of a killed node elsewhere") {
  sim_world world{plain_cluster(3, 6, 3)};
  settle(world);
  auto answer = world.request("echo", "hello");
  CHECK(answer.status == 200);
  CHECK(answer.body == "hello");
  auto victim = answer.node;
  REQUIRE_FALSE(victim.empty());
  world.fault("power", {victim}, 60s);
  auto gone = world.advance_until([&] { return world.node(victim).state == "offline"; });
  REQUIRE(gone);
  CHECK(*gone < 5s);
  REQUIRE(world.advance_until([&] { return all_ready(world); }));
  for (auto& [index, where] : running_replicas(world))
    CHECK(where.find(victim + ' ') == std::string::npos);
  CHECK(world.request("echo").status == 200);
}

TEST_CASE("of two nodes of one name the earlier one leaves, and comes back when the later one is gone") {
  sim_world world{plain_cluster(3, 3, 3)};
  settle(world);
  auto before = world.node("node-2").incarnation;
  world.fault("twin", {"node-2"}, 10s);
  world.advance(3s);
  auto first = *world.world().find("node-2");
  auto twin = *world.world().find("node-2+twin");
  CHECK_FALSE(world.world().core().up(first));
  CHECK(world.world().core().up(twin));
  CHECK(world.logged("node.fenced") == 1);
  auto between = world.node("node-2");
  CHECK(between.state == "online");
  CHECK(between.incarnation > before);
  world.advance(10s);
  CHECK(world.world().core().up(first));
  CHECK_FALSE(world.world().core().up(twin));
  CHECK(world.node("node-2").state == "online");
  CHECK(world.node("node-2").incarnation > between.incarnation);
  CHECK(world.logged("node.fenced") == 1);
  CHECK(world.request("echo").status == 200);
}

TEST_CASE("a scheduler process that was started elsewhere takes its apps over, and no replica is doubled or lost") {
  sim_world world{plain_cluster(3, 6, 6)};
  settle(world);
  auto before = running_replicas(world);
  world.fault("twin", {"scheduler-1"}, 60s);
  world.advance(5s);
  CHECK(world.logged("apps.fenced") == 1);
  CHECK_FALSE(world.world().core().up(*world.world().find("scheduler-1")));
  CHECK(running_replicas(world) == before);
  world.fault("power", {"node-1"}, 60s);
  world.advance(6s);
  CHECK(all_ready(world));
}

TEST_CASE("killing the home Resource of nodes evicts none of them and fails no request") {
  sim_world world{plain_cluster(3, 9, 9, R"(
[[load]]
app = "echo"
per_s = 20
)")};
  settle(world);
  auto home = world.node("node-1").home;
  auto before = running_replicas(world);
  REQUIRE(before.size() == 9);
  std::map<std::string, std::uint64_t> incarnations;
  for (auto i = 1; i <= 9; ++i)
    incarnations["node-" + std::to_string(i)] = world.node("node-" + std::to_string(i)).incarnation;
  auto moved_before = world.load();
  world.fault("power", {home}, 60s);
  // Nobody is taken for dead on the way to a new home.
  auto offline = world.advance_until(
      [&] {
        return std::any_of(incarnations.begin(), incarnations.end(),
                           [&](auto& one) { return world.node(one.first).state == "offline"; });
      },
      15s);
  CHECK_FALSE(offline);
  for (auto& [name, incarnation] : incarnations) {
    CAPTURE(name);
    auto node = world.node(name);
    CHECK(node.state == "online");
    CHECK(node.home != home);
    CHECK(node.incarnation == incarnation);
  }
  CHECK(running_replicas(world) == before);
  CHECK(world.load().answered > moved_before.answered + 200);
  CHECK(world.load().failed == moved_before.failed);
}

TEST_CASE("a zone that is cut off loses its nodes for the others, and they come back when the cut heals") {
  sim_world world{plain_cluster(3, 6, 6)};
  settle(world);
  world.fault("partition", {"zone:b"}, 20s);
  for (auto name : {"node-2", "node-5"}) {
    CAPTURE(name);
    auto gone = world.advance_until([&] { return world.node(name).state == "offline"; }, 6s);
    CHECK(gone);
  }
  // The replicas of the lost zone are started in the others.
  REQUIRE(world.advance_until([&] { return all_ready(world); }, 15s));
  for (auto& [index, where] : running_replicas(world)) {
    CHECK(where.find("node-2 ") == std::string::npos);
    CHECK(where.find("node-5 ") == std::string::npos);
  }
  auto back = world.advance_until(
      [&] { return world.node("node-2").state == "online" && world.node("node-5").state == "online"; }, 40s);
  CHECK(back);
  CHECK(world.request("echo").status == 200);
}

TEST_CASE("draining nodes under load fails no request and empties them") {
  sim_world world{plain_cluster(3, 6, 6, R"(
[[load]]
app = "echo"
per_s = 50
)")};
  settle(world);
  auto before = world.load();
  for (auto name : {"node-1", "node-4"}) {
    CHECK(world.call("POST", std::string{"/v1/nodes/"} + name + "/drain").status < 300);
    world.advance(1s);
    CHECK(world.node(name).state == "draining");
  }
  REQUIRE(world.advance_until([&] {
    auto running = running_replicas(world);
    return running.size() == 6 && std::none_of(running.begin(), running.end(), [](auto& one) {
             return one.second.starts_with("node-1 ") || one.second.starts_with("node-4 ");
           });
  }));
  world.advance(5s);
  auto after = world.load();
  CHECK(after.answered - before.answered > 200);
  CHECK(after.failed == before.failed);
}

TEST_CASE("a scheduler that dies while an app is scaled finds the running replicas and starts only what is missing") {
  sim_world world{plain_cluster(3, 6, 4)};
  settle(world);
  auto before = running_replicas(world);
  scenario_fault scale;
  scale.kind = "scale";
  scale.app = "echo";
  scale.amount = 12;
  world.fault(scale);
  world.advance(100ms);
  world.fault("crash", {"scheduler-1"}, 3s);
  REQUIRE(world.advance_until(
      [&] {
        auto app = world.app("echo");
        return app.replicas == 12 && app.ready == 12;
      },
      60s));
  auto after = running_replicas(world);
  CHECK(after.size() == 12);
  for (auto& [index, where] : before) {
    CAPTURE(index);
    auto now = after[index];
    CHECK(now.substr(0, now.find(' ')) == where.substr(0, where.find(' ')));
  }
}

TEST_CASE("a node that freezes for 2 s is not evicted; one that freezes for 5 s is, and comes back") {
  sim_world world{plain_cluster(3, 6, 6)};
  settle(world);
  auto incarnation = world.node("node-3").incarnation;
  world.fault("stall", {"node-3"}, 2s);
  CHECK_FALSE(world.advance_until([&] { return world.node("node-3").state == "offline"; }, 8s));
  CHECK(world.node("node-3").state == "online");
  CHECK(world.node("node-3").incarnation == incarnation);

  world.fault("stall", {"node-3"}, 5s);
  auto evicted = world.advance_until([&] { return world.node("node-3").state == "offline"; }, 5s);
  REQUIRE(evicted);
  CHECK(*evicted > 2s);
  CHECK(*evicted < 4500ms);
  auto back = world.advance_until([&] { return world.node("node-3").state == "online"; }, 10s);
  CHECK(back);
}

TEST_CASE("restarting all Resources one after the other leaves running replicas alone") {
  sim_world world{plain_cluster(3, 6, 12, R"(
[[load]]
app = "echo"
per_s = 20
)")};
  settle(world);
  auto before = running_replicas(world);
  REQUIRE(before.size() == 12);
  auto load_before = world.load();
  for (auto name : {"resource-1", "resource-2", "resource-3"}) {
    world.fault("stop", {name}, 1s);
    world.advance(10s);
  }
  world.advance(10s);
  CHECK(running_replicas(world) == before);
  CHECK(world.load().answered - load_before.answered > 500);
  CHECK(world.load().failed == load_before.failed);
}

TEST_CASE("a test on the simulator is repeatable") {
  auto hash = [](std::uint64_t seed) {
    sim_world world{plain_cluster(1, 2, 2), seed};
    world.advance(3s);
    world.fault("crash", {"node-1"}, 1s);
    world.advance(5s);
    return world.world().result().trace_hash;
  };
  CHECK(hash(1) == hash(1));
  CHECK(hash(1) != hash(2));
}

} // namespace
} // namespace astra::test
