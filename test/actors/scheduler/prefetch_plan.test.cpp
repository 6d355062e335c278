#include "actors/scheduler/prefetch_plan.hpp"

#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>

#include <map>

using namespace astra;
using namespace astra::test;

namespace {

const std::string weights = "llama@3";

struct ahead_fixture {
  model_view cluster;
  pb::AppSpec spec = small_app("asr", 2);
  prefetch_plan plan;
  random_source random{1};
  std::map<node_id, std::uint32_t> placed;

  ahead_fixture() {
    for (std::uint32_t i = 0; i < 8; ++i)
      cluster.rows["n" + std::to_string(i)] = make_row("n" + std::to_string(i), 8, 64);
    spec.add_contents(weights);
    spec.set_prefetch(2);
    put_replica("n0");
    put_replica("n1");
  }

  void put_replica(const std::string& node) { placed[make_node_id(node)] = 1; }

  void give(const std::string& node) { cluster.rows.at(node).mutable_profile()->add_contents(name_hash(weights)); }

  std::vector<node_id> look() {
    cluster.publish({});
    plan_input input{spec, cluster.view.nodes()};
    input.reachable = {model_home};
    input.placed = placed;
    return plan.look(std::move(input), random);
  }

  std::string name_of(node_id id) const {
    for (auto& [name, row] : cluster.rows)
      if (make_node_id(name) == id)
        return name;
    return {};
  }
};

} // namespace

TEST_CASE_FIXTURE(ahead_fixture,
                  "as many nodes as wanted fetch ahead, none of them with a replica, and the same again") {
  auto first = look();
  REQUIRE(first.size() == 2);
  for (auto id : first)
    CHECK(placed.count(id) == 0);
  for (int i = 0; i < 20; ++i)
    CHECK(look() == first);
}

TEST_CASE_FIXTURE(ahead_fixture, "who has it is chosen first and told nothing") {
  give("n5");
  give("n6");
  CHECK(look().empty());
  CHECK(plan.nodes() == std::set{make_node_id("n5"), make_node_id("n6")});
}

TEST_CASE_FIXTURE(ahead_fixture, "who has got it is told no more, and stays chosen") {
  auto first = look();
  give(name_of(first[0]));
  CHECK(look() == std::vector{first[1]});
  CHECK(plan.nodes().size() == 2);
}

TEST_CASE_FIXTURE(ahead_fixture, "another one is chosen when a replica goes there, or none could") {
  auto first = look();
  put_replica(name_of(first[0]));
  auto second = look();
  CHECK(second.size() == 2);
  CHECK(plan.nodes().count(first[0]) == 0);
  CHECK(plan.nodes().count(first[1]) == 1);
  cluster.rows.at(name_of(first[1])).set_liveness(pb::LIVENESS_OFFLINE);
  CHECK(look().size() == 2);
  CHECK(plan.nodes().count(first[1]) == 0);
  // Where a replica would not go nothing is fetched.
  auto full = name_of(*plan.nodes().begin());
  cluster.rows.at(full) = make_row(full, 0, 64);
  look();
  CHECK(plan.nodes().count(make_node_id(full)) == 0);
}

TEST_CASE_FIXTURE(ahead_fixture, "fewer are wanted, or more than there is room for") {
  look();
  spec.set_prefetch(1);
  CHECK(look().size() == 1);
  spec.set_prefetch(0);
  CHECK(look().empty());
  CHECK(plan.nodes().empty());
  spec.set_prefetch(100);
  CHECK(look().size() == 6);
}
