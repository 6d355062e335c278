#include "actors/scheduler/gang.hpp"

#include "actors/scheduler/preemption.hpp"
#include "test/actors/scheduler/gang_arena.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

pb::ReplicaStatus& add_replica(pb::NodeRow& row, const std::string& app, std::uint64_t token, std::uint32_t cores,
                               std::uint32_t priority) {
  auto& result = *row.mutable_profile()->add_replicas();
  result.set_app(app);
  result.set_token(token);
  result.set_state(pb::REPLICA_READY);
  result.set_priority(priority);
  result.mutable_resources()->set_cpu_milli(1000 * cores);
  return result;
}

struct preempting {
  preempting() : spec(small_app("big", 1)) {
    spec.set_priority(5);
    for (auto name : {"n1", "n2", "n3"})
      cluster.rows[name] = make_row(name, 4, 64);
  }

  std::vector<preempting_placement> plan(std::vector<std::uint32_t> missing = {0}) {
    cluster.publish({});
    plan_input input{spec, cluster.view.nodes()};
    input.missing = std::move(missing);
    input.reachable = {model_home};
    input.claimed = claimed;
    return plan_preemption(input, random);
  }

  pb::NodeRow& node(const std::string& name) { return cluster.rows.at(name); }

  pb::AppSpec spec;
  model_view cluster;
  std::map<node_id, std::uint32_t> claimed;
  random_source random{3};
};

} // namespace

TEST_CASE("a gang renews after half its hold time, and is complete while all its holds are fresh") {
  gang one{{.hold = 1000ms, .limit = 5000ms, .pause = 1000ms}};
  gang::time_point now{1h};
  one.begin(77);
  one.begin(99);
  CHECK(one.order("big").since_wall_ms() == 77);
  one.ask(claim_token{1}, {1, 0, node_id{7}, 1, {}, {}, {}}, now);
  one.ask(claim_token{2}, {2, 1, node_id{8}, 1, {}, {}, {}}, now);
  CHECK(one.asks());
  CHECK(one.on_held(claim_token{1}));
  CHECK_FALSE(one.complete({0, 1}, now));
  CHECK(one.on_held(claim_token{2}));
  CHECK_FALSE(one.on_held(claim_token{3}));
  CHECK_FALSE(one.asks());
  CHECK(one.complete({0, 1}, now + 999ms));
  CHECK_FALSE(one.complete({0, 1}, now + 1000ms));
  CHECK(one.renew(now + 499ms).empty());
  CHECK(one.renew(now + 500ms).size() == 2);
  CHECK(one.renew(now + 501ms).empty());
  one.on_held(claim_token{1});
  one.on_held(claim_token{2});
  CHECK(one.complete({0, 1}, now + 1499ms));
  CHECK_FALSE(one.complete({0, 1}, now + 1500ms));
  CHECK_FALSE(one.late(now + 4999ms));
  CHECK(one.late(now + 5000ms));
  CHECK(one.commit(now + 5000ms).size() == 2);
  CHECK(one.order("big").since_wall_ms() == 0);
  CHECK_FALSE(one.late(now + 5000ms));
  random_source random{1};
  one.pause(now + 5000ms, random);
  CHECK(one.paused(now + 5499ms));
  CHECK_FALSE(one.paused(now + 6500ms));
  CHECK(one.held() == 0);
  CHECK(one.order("big").since_wall_ms() == 77);
}

TEST_CASE("eight gangs that each need more than half of what there is all finish, in every one of 40 seeds") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    contention world{seed};
    CHECK(world.run(10min));
    CHECK(world.arena.sound());
  }
}

TEST_CASE("eight gangs all finish although a tenth of the messages is lost, in every one of 10 seeds") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    contention world{seed, 10};
    CHECK(world.run(30min));
    CHECK(world.arena.sound());
  }
}

TEST_CASE("no replica of a gang runs before there is a place for all of them") {
  gang_arena arena{{.seed = 5, .nodes = 6, .resources = 2}};
  arena.occupy(0, 1);
  arena.publish();
  auto& app = arena.add(gang_app("train", 6), 0ms, 0ms);
  CHECK_FALSE(arena.run(8s, [&] { return arena.running("train") > 0; }));
  auto detail = app.book->describe(arena.now);
  CHECK(detail.record().pending() == 6);
  CHECK(detail.replicas(0).state() == pb::REPLICA_PLANNED);
  CHECK(detail.replicas(0).reason().starts_with(
      "a gang of 6: 5 fit; holds 5 of 6 places; waits for 0 of 6 nodes fit: 6 lack cores"));
  // It gives its places back for a while, so that others may have them.
  CHECK(arena.run(4s, [&] {
    return app.book->describe(arena.now).replicas(0).reason().find("gave back what it held") != std::string::npos;
  }));
  CHECK(arena.running("train") == 0);
}

TEST_CASE("a replica that a placed gang loses is placed anew by itself") {
  gang_arena arena{{.seed = 5, .nodes = 8, .resources = 2}};
  arena.publish();
  auto& app = arena.add(gang_app("train", 6), 0ms, 0ms);
  REQUIRE(arena.run(5s, [&] { return arena.running("train") == 6; }));
  arena.run(1s, [] { return false; });
  auto more = gang_app("train", 7);
  app.book->want(more);
  CHECK(arena.run(2s, [&] { return arena.running("train") == 7; }));
  // No places are left, and still all stay.
  app.book->want(gang_app("train", 10));
  arena.run(15s, [] { return false; });
  CHECK(arena.running("train") == 8);
}

TEST_CASE("a gang of 200 at 95 % full is placed within 200 ms, in every one of 5 seeds") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    auto took = gang_latency_ms(seed, 200, 1000, 0.95, 1000);
    REQUIRE(took);
    CHECK(*took <= 200.0);
  }
}

TEST_CASE_FIXTURE(preempting, "the fewest go first, and of these the lowest") {
  add_replica(node("n1"), "a", 11, 2, 0);
  add_replica(node("n1"), "a", 12, 2, 0);
  add_replica(node("n2"), "b", 21, 4, 2);
  add_replica(node("n3"), "c", 31, 4, 1);
  spec.mutable_per_replica()->set_cpu_milli(4000);
  auto planned = plan();
  REQUIRE(planned.size() == 1);
  CHECK(planned[0].node == make_node_id("n3"));
  CHECK(planned[0].victims == std::vector<std::uint64_t>{31});
  planned = plan({0, 1, 2});
  REQUIRE(planned.size() == 3);
  CHECK(planned[1].node == make_node_id("n2"));
  CHECK(planned[2].victims == std::vector<std::uint64_t>{11, 12});
}

TEST_CASE_FIXTURE(preempting, "nobody of the same priority goes, nor more than it takes") {
  add_replica(node("n1"), "a", 11, 4, 5);
  add_replica(node("n2"), "a", 21, 4, 6);
  add_replica(node("n3"), "a", 31, 4, 1).set_state(pb::REPLICA_DRAINING);
  spec.mutable_per_replica()->set_cpu_milli(1000);
  CHECK(plan().empty());
  node("n1").mutable_profile()->clear_replicas();
  add_replica(node("n1"), "low", 12, 1, 0);
  add_replica(node("n1"), "low", 13, 1, 0);
  add_replica(node("n1"), "mid", 14, 2, 1);
  spec.mutable_per_replica()->set_cpu_milli(2000);
  CHECK(plan()[0].victims == std::vector<std::uint64_t>{14});
  spec.mutable_per_replica()->set_cpu_milli(3000);
  CHECK(plan()[0].victims == std::vector<std::uint64_t>{12, 14});
  claimed[make_node_id("n1")] = 1;
  CHECK(plan().empty());
}
