#include "messages/profile_limits.hpp"
#include "test/actors/node/node_fixture.hpp"

using namespace astra;
using namespace astra::test;

TEST_CASE_FIXTURE(node_fixture, "a node joins its first choice with beat and profile, then beats every second") {
  options.accelerators = {{.kind = "t4", .count = 2, .memory_bytes = 16, .coefficient = 0.5}};
  options.capacity_origin = "stated";
  options.limits_backend = "cgroup2";
  start_node();
  REQUIRE(home().beats.size() == 1);
  REQUIRE(home().profiles.size() == 1);
  CHECK(profile().name() == "n1");
  CHECK(profile().address() == "node:1");
  CHECK(profile().capacity().cpu_milli() == 4000);
  CHECK(profile().capacity().accelerators(0).count() == 2);
  CHECK(profile().accelerators(0).coefficient() == 0.5);
  CHECK(profile().labels(0).key() == "zone");
  CHECK(profile().capacity_origin() == "stated");
  CHECK(profile().limits_backend() == "cgroup2");
  advance(10s);
  CHECK(home().beats.size() == 11);
  CHECK(home().profiles.size() == 1);
  for (std::size_t i = 0; i < home().beats.size(); ++i) {
    CHECK(home().beats[i].sequence() == i + 1);
    CHECK(home().beats[i].home_epoch() == 1);
    CHECK(home().beats[i].incarnation() == world.last_incarnation);
  }
  CHECK(resources.at(order[1]).beats.empty());
}

TEST_CASE_FIXTURE(node_fixture, "beats carry averages of the machine's counters") {
  start_node();
  world.probe.value.host_busy_core_s = 2.0;
  world.probe.value.own_busy_core_s = 1.0;
  world.probe.value.memory_used_bytes = 12345;
  advance(1s);
  auto& load = home().beats.back().load();
  CHECK(load.host_utilisation() == doctest::Approx(0.5));
  CHECK(load.own_busy_cores() == doctest::Approx(1.0));
  CHECK(load.memory_used_bytes() == 12345);
}

TEST_CASE_FIXTURE(node_fixture, "a home that falls silent is left within 3 s, for the second choice with a new epoch") {
  start_node();
  advance(5500ms);
  home().silent = true;
  auto silent_since = now();
  auto& next = resources.at(order[1]);
  while (next.beats.empty() && now() - silent_since < 10s)
    advance(100ms);
  CHECK(now() - silent_since <= 3s);
  REQUIRE_FALSE(next.beats.empty());
  CHECK(next.beats[0].home_epoch() == 2);
  REQUIRE_FALSE(next.profiles.empty());
  auto beats_before = home().beats.size();
  advance(3s);
  CHECK(home().beats.size() == beats_before);
}

TEST_CASE_FIXTURE(node_fixture, "a home whose connection breaks is left at once, not with the next beat") {
  start_node();
  advance(1500ms);
  network.services.erase({order[0], resource_service});
  kill(home().handle);
  advance(10ms);
  auto& next = resources.at(order[1]);
  REQUIRE(next.beats.size() == 1);
  CHECK(next.beats[0].home_epoch() == 2);
  CHECK(next.profiles.size() == 1);
}

TEST_CASE_FIXTURE(node_fixture,
                  "with every Resource away the node asks each once per beat, and joins when one is back") {
  for (auto& address : options.resources)
    network.cut.insert(address);
  start_node();
  advance(10s);
  for (auto& entry : resources)
    CHECK(entry.second.beats.empty());
  network.cut.erase(order[2]);
  advance(1s);
  CHECK(resources.at(order[2]).beats.size() >= 1);
}

TEST_CASE_FIXTURE(node_fixture, "a Resource that forgot the profile gets it again with the next beat") {
  start_node();
  home().profiles.clear();
  advance(1s);
  CHECK(home().profiles.size() == 1);
}

TEST_CASE_FIXTURE(node_fixture, "changes are told within 20 ms, and 3 changes in that time at once") {
  start_node();
  advance(1s);
  auto before = profile().version();
  claim(echo_spec(), 1);
  claim(echo_spec(), 2);
  claim(echo_spec(), 3);
  advance(20ms);
  CHECK(profile().replicas_size() == 3);
  CHECK(home().profiles.size() <= 3);
  CHECK(profile().version() > before);
  CHECK(profile().replicas(2).state() == pb::REPLICA_READY);
  CHECK(profile().replicas(2).reason().empty());
}

TEST_CASE_FIXTURE(node_fixture, "a node whose replicas have much to tell stays within what a session carries") {
  options.cpu_milli = 1'000'000;
  start_node();
  auto spec = echo_spec();
  spec.mutable_actor()->set_type(std::string(500, '?'));
  spec.mutable_per_replica()->set_cpu_milli(1);
  spec.mutable_per_replica()->set_memory_bytes(1);
  auto refused = 0;
  for (std::uint64_t token = 1; token <= 600 && refused == 0; ++token)
    refused += claim(spec, token).outcome() == pb::CLAIM_NO_ROOM;
  advance(1s);
  CHECK(refused == 1);
  CHECK(profile().replicas_size() > 200);
  CHECK(profile().replicas(0).state() == pb::REPLICA_FAILED);
  for (auto& told : home().profiles)
    CHECK(told.ByteSizeLong() <= edge_body_max);
}

TEST_CASE_FIXTURE(node_fixture, "a node whose labels do not fit into a profile beats and keeps its session") {
  for (auto i = 0; i < 1000; ++i)
    options.labels.emplace_back("label-" + std::to_string(i), std::string(100, 'v'));
  start_node();
  advance(5s);
  CHECK(home().beats.size() == 6);
  CHECK(home().profiles.empty());
}

TEST_CASE_FIXTURE(node_fixture,
                  "a fenced node stops: its processes are killed, its service is gone, its replies are sent") {
  start_node();
  place(command_spec());
  auto& work = work_on("ocr", 7);
  home().fences = true;
  advance(1s);
  REQUIRE(work.done());
  CHECK(work.body().outcome() == pb::INVOKE_REPLICA_LOST);
  CHECK(world.processes.killed.size() == 1);
  CHECK(network.services.count({"node:1", node_service("n1")}) == 0);
  auto reply = ask<drain_reply>(node, drain{});
  CHECK_FALSE(reply);
}
