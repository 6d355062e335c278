#include "actors/scheduler/planner.hpp"

#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

using namespace astra;
using namespace astra::test;

namespace {

const claim_book::time_point start{};

plan_input input_for(const pb::AppSpec& spec, const model_view& cluster) {
  plan_input input{spec, cluster.view.nodes()};
  for (std::uint32_t index = 0; index < spec.replicas(); ++index)
    input.missing.push_back(index);
  input.reachable = {model_home};
  return input;
}

void add_label(pb::NodeRow& row, const std::string& key, const std::string& value) {
  auto& label = *row.mutable_profile()->add_labels();
  label.set_key(key);
  label.set_value(value);
}

std::map<node_id, std::uint32_t> per_node(const plan_result& planned) {
  std::map<node_id, std::uint32_t> result;
  for (auto& placement : planned.placements)
    ++result[placement.node];
  return result;
}

} // namespace

TEST_CASE("6 replicas on 6 nodes of different size are one on each") {
  model_view cluster;
  for (std::uint32_t i = 1; i <= 6; ++i)
    cluster.rows["n" + std::to_string(i)] = make_row("n" + std::to_string(i), 2 * i, 64);
  cluster.publish(start);
  random_source random{1};
  auto planned = plan(input_for(small_app("ocr", 6), cluster), random);
  CHECK(planned.unplaced.empty());
  CHECK(planned.reason.empty());
  CHECK(per_node(planned).size() == 6);
}

TEST_CASE("new replicas go where fewer of the app are") {
  model_view cluster;
  cluster.rows["n1"] = make_row("n1", 16, 64);
  cluster.rows["n2"] = make_row("n2", 4, 64);
  cluster.publish(start);
  auto spec = small_app("ocr", 1);
  auto input = input_for(spec, cluster);
  input.placed[make_node_id("n1")] = 1;
  random_source random{1};
  CHECK(plan(input, random).placements.at(0).node == make_node_id("n2"));
}

TEST_CASE("an app that needs no accelerator leaves nodes with free ones to others") {
  model_view cluster;
  cluster.rows["plain"] = make_row("plain", 1, 64);
  cluster.rows["cards"] = make_row("cards", 64, 64);
  auto& card = *cluster.rows["cards"].mutable_profile()->mutable_capacity()->add_accelerators();
  card.set_kind("t4");
  card.set_count(2);
  cluster.publish(start);
  auto spec = small_app("ocr", 1);
  random_source random{1};
  CHECK(plan(input_for(spec, cluster), random).placements.at(0).node == make_node_id("plain"));
  auto& need = *spec.mutable_per_replica()->add_accelerators();
  need.set_kind("t4");
  need.set_count(2);
  spec.set_replicas(2);
  auto planned = plan(input_for(spec, cluster), random);
  CHECK(planned.placements.at(0).node == make_node_id("cards"));
  CHECK(planned.unplaced == std::vector<std::uint32_t>{1});
  CHECK(planned.reason == "0 of 2 nodes fit: 2 lack t4 accelerators (2 needed, none free)");
}

TEST_CASE("what cannot be placed says how many nodes lack what, and the nearest miss") {
  model_view cluster;
  for (auto name : {"n1", "n2", "n3", "n4"}) {
    cluster.rows[name] = make_row(name, 8, name == std::string{"n3"} ? 6 : 4);
    add_label(cluster.rows[name], "zone", "a");
  }
  cluster.rows["n5"] = make_row("n5", 8, 16);
  cluster.rows["n6"] = make_row("n6", 8, 16);
  cluster.publish(start);
  auto spec = small_app("llm", 2);
  spec.mutable_per_replica()->set_memory_bytes(8 * gibibyte);
  auto& label = *spec.add_require();
  label.set_key("zone");
  label.set_value("a");
  random_source random{1};
  auto planned = plan(input_for(spec, cluster), random);
  CHECK(planned.placements.empty());
  CHECK(planned.unplaced == std::vector<std::uint32_t>{0, 1});
  CHECK(planned.reason
        == "0 of 6 nodes fit: 4 lack memory (8 GiB needed, at most 6 GiB free, on n3), 2 lack the label zone=a");
}

TEST_CASE("draining, offline, excluded and unreachable nodes get nothing, each with its reason") {
  model_view cluster;
  for (auto name : {"n1", "n2", "n3"})
    cluster.rows[name] = make_row(name, 8, 8);
  cluster.rows["n1"].set_liveness(pb::LIVENESS_DRAINING);
  cluster.rows["n2"].set_liveness(pb::LIVENESS_OFFLINE);
  cluster.publish(start);
  auto spec = small_app("ocr", 1);
  auto input = input_for(spec, cluster);
  input.excluded[make_node_id("n3")] = "failed there a moment ago (exit code 1)";
  random_source random{1};
  auto planned = plan(input, random);
  CHECK(planned.placements.empty());
  CHECK(planned.reason == "0 of 3 nodes fit: 1 draining, 1 failed there a moment ago (exit code 1), 1 offline");
  input.excluded.clear();
  input.reachable.clear();
  CHECK(plan(input, random).reason.find("the home Resource does not answer") != std::string::npos);
  CHECK(plan({spec, {}, {0}}, random).reason == "no node is known yet");
}

TEST_CASE("a suspect node is used only when no other has room") {
  model_view cluster;
  cluster.rows["n1"] = make_row("n1", 64, 64);
  cluster.rows["n1"].set_liveness(pb::LIVENESS_SUSPECT);
  cluster.rows["n2"] = make_row("n2", 1, 1);
  cluster.publish(start);
  random_source random{1};
  auto planned = plan(input_for(small_app("ocr", 2), cluster), random);
  CHECK(planned.placements.at(0).node == make_node_id("n2"));
  CHECK(planned.placements.at(1).node == make_node_id("n1"));
}

TEST_CASE("8 schedulers that plan 10 replicas each on 200 equal nodes collide on at most 2 of the 80") {
  model_view cluster;
  for (int i = 0; i < 200; ++i) {
    auto name = "n" + std::to_string(i);
    cluster.rows[name] = make_row(name, 1, 1);
  }
  cluster.publish(start);
  std::map<node_id, std::uint32_t> claims;
  for (std::uint32_t app = 0; app < 8; ++app) {
    auto spec = small_app("app" + std::to_string(app), 10);
    auto input = input_for(spec, cluster);
    input.partition = app;
    input.partitions = 8;
    random_source random{app};
    for (auto& [node, count] : per_node(plan(input, random)))
      claims[node] += count;
  }
  CHECK(claims.size() >= 78);
}

TEST_CASE("without a home partition two schedulers do not choose the same best nodes") {
  model_view cluster;
  for (int i = 0; i < 100; ++i) {
    auto name = "n" + std::to_string(i);
    cluster.rows[name] = make_row(name, 1 + static_cast<std::uint32_t>(i), 64);
  }
  cluster.publish(start);
  auto spec = small_app("ocr", 10);
  random_source one{1};
  random_source two{2};
  auto first = per_node(plan(input_for(spec, cluster), one));
  std::size_t same = 0;
  for (auto& [node, count] : per_node(plan(input_for(spec, cluster), two)))
    same += first.count(node);
  CHECK(same <= 5);
}

TEST_CASE("apps have different home partitions") {
  std::map<std::string, app_entry> apps{{"a", {}}, {"b", {}}, {"c", {}}};
  CHECK(home_partition("a", apps) == std::pair{0u, 3u});
  CHECK(home_partition("c", apps) == std::pair{2u, 3u});
  CHECK(home_partition("d", apps) == std::pair{3u, 4u});
  CHECK(home_partition("a", {}) == std::pair{0u, 1u});
}

TEST_CASE(
    "a plan never exceeds what is free, respects labels, leaves nothing out that fits, and repeats with its seed") {
  CHECK(rc::check([] {
    model_view cluster;
    auto nodes = *rc::gen::inRange(0, 8);
    auto spec = small_app("ocr", static_cast<std::uint32_t>(*rc::gen::inRange(1, 20)));
    auto& label = *spec.add_require();
    label.set_key("zone");
    label.set_value("a");
    std::uint64_t room = 0;
    std::map<node_id, std::uint32_t> room_on;
    std::map<node_id, std::uint32_t> claimed;
    for (int i = 0; i < nodes; ++i) {
      auto name = "n" + std::to_string(i);
      auto cores = static_cast<std::uint32_t>(*rc::gen::inRange(0, 8));
      auto memory = static_cast<std::uint32_t>(*rc::gen::inRange(0, 8));
      auto used = static_cast<std::uint32_t>(*rc::gen::inRange(0, 4));
      auto held = static_cast<std::uint32_t>(*rc::gen::inRange(0, 3));
      auto own = static_cast<std::uint32_t>(*rc::gen::inRange(0, 3));
      auto labelled = *rc::gen::inRange(0, 4) != 0;
      auto online = *rc::gen::inRange(0, 4) != 0;
      auto& row = cluster.rows[name] = make_row(name, cores, memory);
      if (labelled)
        add_label(row, "zone", "a");
      if (!online)
        row.set_liveness(pb::LIVENESS_OFFLINE);
      auto& other = *row.mutable_profile()->add_replicas();
      other.set_app("other");
      other.set_state(pb::REPLICA_READY);
      other.mutable_resources()->set_cpu_milli(used * 1000);
      row.mutable_held()->set_cpu_milli(held * 1000);
      claimed[make_node_id(name)] = own;
      auto taken = std::max(held, own);
      auto free_cores = cores - std::min(cores, used + taken);
      auto free_memory = memory - std::min(memory, own);
      if (labelled && online)
        room += room_on[make_node_id(name)] = std::min(free_cores, free_memory);
    }
    cluster.publish(start);
    auto input = input_for(spec, cluster);
    input.claimed = claimed;
    input.placed = claimed;
    input.partitions = 3;
    random_source random{7};
    random_source again{7};
    auto planned = plan(input, random);
    auto repeated = plan(input, again);
    for (auto& [node, count] : per_node(planned))
      RC_ASSERT(count <= room_on[node]);
    RC_ASSERT(planned.placements.size() == std::min<std::uint64_t>(room, spec.replicas()));
    RC_ASSERT(planned.placements.size() + planned.unplaced.size() == spec.replicas());
    RC_ASSERT(planned.reason.empty() == planned.unplaced.empty());
    RC_ASSERT(planned.reason == repeated.reason);
    for (std::size_t i = 0; i < planned.placements.size(); ++i)
      RC_ASSERT(planned.placements[i].node == repeated.placements[i].node);
  }));
}

TEST_CASE("a plan that looks only where an index points is the plan of a look at every node") {
  CHECK(rc::check([] {
    model_view cluster;
    auto nodes = *rc::gen::inRange(0, 30);
    auto draw = *rc::gen::inRange<std::uint64_t>(0, 1'000'000);
    for (auto i = 0; i < nodes; ++i) {
      draw = draw * 6364136223846793005U + 1442695040888963407U;
      auto chance = draw >> 33U;
      auto& row = cluster.rows["n" + std::to_string(i)];
      row = make_row("n" + std::to_string(i), static_cast<std::uint32_t>(1 + chance % 4), 1 + chance / 5 % 4);
      if (chance % 3 != 0)
        add_label(row, "zone", chance % 2 == 0 ? "a" : "b");
      for (auto kind : {"a100", "t4"})
        if (chance / 7 % 3 == (kind == std::string{"t4"} ? 0U : 1U) || chance % 5 == 0) {
          auto& card = *row.mutable_profile()->mutable_capacity()->add_accelerators();
          card.set_kind(kind);
          card.set_count(static_cast<std::uint32_t>(chance % 3));
        }
      if (chance % 11 == 0)
        row.set_liveness(pb::LIVENESS_OFFLINE);
    }
    cluster.publish(start);
    auto spec = small_app("ocr", *rc::gen::inRange(1U, 40U));
    if (draw % 2 == 0) {
      auto& label = *spec.add_require();
      label.set_key("zone");
      label.set_value(draw % 3 == 0 ? "a" : "c");
    }
    for (auto kind : {"a100", "t4"})
      if (draw / 3 % 3 != (kind == std::string{"t4"} ? 0U : 1U)) {
        auto& need = *spec.mutable_per_replica()->add_accelerators();
        need.set_kind(kind);
        need.set_count(1);
      }
    auto input = input_for(spec, cluster);
    random_source one{draw};
    auto everywhere = plan(input, one);
    input.index = &cluster.view.index();
    random_source other{draw};
    auto narrowed = plan(input, other);
    RC_ASSERT(narrowed.unplaced == everywhere.unplaced);
    RC_ASSERT(narrowed.reason == everywhere.reason);
    RC_ASSERT(narrowed.placements.size() == everywhere.placements.size());
    for (std::size_t i = 0; i < narrowed.placements.size(); ++i)
      RC_ASSERT(narrowed.placements[i].node == everywhere.placements[i].node);
  }));
}

TEST_CASE("an app has nodes of its Resource groups only, and says what it leaves out") {
  model_view cluster;
  cluster.rows["n1"] = make_row("n1", 16, 64);
  cluster.publish(start);
  auto spec = small_app("ocr", 1);
  auto input = input_for(spec, cluster);
  input.elsewhere[model_home] = "vision";
  random_source random{1};
  auto planned = plan(input, random);
  CHECK(planned.placements.empty());
  CHECK(planned.reason == "0 of 1 node fits: 1 of the Resource group vision, which is not the app's");
  CHECK(groups_of(spec, "main") == std::set<std::string>{"main"});
  spec.add_groups("speech");
  spec.add_groups("vision");
  CHECK(groups_of(spec, "main") == std::set<std::string>{"speech", "vision"});
}

TEST_CASE("a book claims in the groups that its app names, or at home") {
  model_view cluster;
  cluster.rows["n1"] = make_row("n1", 16, 64);
  cluster.publish(start);
  random_source random{1};
  auto claims = [&](const std::string& home, std::vector<std::string> named) {
    claim_book book{1, {}};
    auto spec = small_app("ocr", 1);
    for (auto& group : named)
      spec.add_groups(group);
    book.want(spec);
    book.set_home_group(home);
    return book.tick(cluster.view, {model_home}, start, random).claims.size();
  };
  CHECK(claims("main", {}) == 1);
  CHECK(claims("vision", {}) == 0);
  CHECK(claims("vision", {"main", "speech"}) == 1);
  CHECK(claims("main", {"vision"}) == 0);
}
