#include "actors/scheduler/planner.hpp"

#include "actors/scheduler/explain.hpp"

#include "config/label_expression.hpp"
#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <array>
#include <set>

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

TEST_CASE("replicas go where their contents are already, though others have more room or are the app's own part") {
  model_view cluster;
  for (std::uint32_t i = 0; i < 40; ++i) {
    auto name = "n" + std::to_string(i);
    cluster.rows[name] = make_row(name, i % 10 == 3 ? 4 : 64, 64);
    if (i % 10 == 3)
      cluster.rows[name].mutable_profile()->add_contents(name_hash("ocr-det@3"));
  }
  cluster.publish(start);
  auto spec = small_app("ocr", 6);
  spec.add_contents("ocr-det@3");
  for (std::uint32_t partition = 0; partition < 4; ++partition) {
    auto input = input_for(spec, cluster);
    input.partition = partition;
    input.partitions = 4;
    random_source random{partition};
    auto planned = per_node(plan(input, random));
    CHECK(planned.size() == 6);
    for (auto name : {"n3", "n13", "n23", "n33"})
      CHECK(planned[make_node_id(name)] == 1);
  }
  // Another version is another content.
  spec.set_contents(0, "ocr-det@4");
  random_source random{1};
  auto planned = per_node(plan(input_for(spec, cluster), random));
  CHECK(planned.size() == 6);
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

TEST_CASE("a plan that looks at the app's own part first is the plan of a look at every node") {
  CHECK(rc::check([] {
    model_view cluster;
    auto spec = small_app("ocr", static_cast<std::uint32_t>(*rc::gen::inRange(1, 12)));
    if (*rc::gen::arbitrary<bool>())
      spec.mutable_placement()->set_strategy(pb::PLACEMENT_PACK);
    auto nodes = *rc::gen::inRange(0, 30);
    std::map<node_id, std::uint32_t> placed;
    for (auto i = 0; i < nodes; ++i) {
      auto name = "n" + std::to_string(i);
      auto& row = cluster.rows[name] = make_row(name, static_cast<std::uint32_t>(*rc::gen::inRange(0, 4)), 64);
      if (*rc::gen::inRange(0, 4) == 0) {
        auto& card = *row.mutable_profile()->mutable_capacity()->add_accelerators();
        card.set_kind("t4");
        card.set_count(1);
      }
      if (*rc::gen::inRange(0, 5) == 0)
        row.set_liveness(pb::LIVENESS_SUSPECT);
      if (*rc::gen::inRange(0, 3) == 0)
        placed[make_node_id(name)] = 1;
    }
    cluster.publish(start);
    auto input = input_for(spec, cluster);
    input.placed = placed;
    input.partitions = 3;
    random_source one{7};
    auto planned = plan(input, one);
    // A rule that nobody breaks, and that makes the plan look at all of them.
    auto ruled = spec;
    ruled.mutable_placement()->add_anti_affinity()->set_app("nobody");
    auto whole_input = input_for(ruled, cluster);
    whole_input.placed = placed;
    whole_input.partitions = 3;
    random_source other{7};
    auto whole = plan(whole_input, other);
    RC_ASSERT(planned.reason == whole.reason);
    RC_ASSERT(planned.placements.size() == whole.placements.size());
    for (std::size_t i = 0; i < planned.placements.size(); ++i)
      RC_ASSERT(planned.placements[i].node == whole.placements[i].node);
  }));
}

TEST_CASE("in a large cluster a plan looks at a sample, and at every node when it must") {
  model_view cluster;
  constexpr auto nodes = 5000;
  for (auto i = 0; i < nodes; ++i) {
    auto name = "n" + std::to_string(i);
    // Ten of them have room for more than one core.
    cluster.rows[name] = make_row(name, i % 500 == 0 ? 2 : 1, 64);
    add_label(cluster.rows[name], "rack", i % 2 == 0 ? "even" : "odd");
  }
  cluster.publish(start);
  auto spec = small_app("ocr", 3);
  std::set<node_id> used;
  auto quarters = std::array<int, 4>{};
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    random_source random{seed};
    auto planned = plan(input_for(spec, cluster), random);
    REQUIRE(per_node(planned).size() == 3);
    for (auto& [node, count] : per_node(planned)) {
      used.insert(node);
      ++quarters[node.value() >> 62U];
    }
  }
  // From all over the ring, and seldom the same ones: with 600 of 5,000 at random about 35 come twice.
  CHECK(used.size() > 500);
  for (auto quarter : quarters)
    CHECK(quarter > 90);
  auto large = small_app("ocr", 12);
  large.mutable_per_replica()->set_cpu_milli(2000);
  auto& only = *large.add_require();
  only.set_key("rack");
  only.set_value("even");
  for (auto indexed : {false, true}) {
    auto input = input_for(large, cluster);
    input.index = indexed ? &cluster.view.index() : nullptr;
    input.partitions = 7;
    random_source random{1};
    auto planned = plan(input, random);
    CHECK(per_node(planned).size() == 10);
    CHECK(planned.unplaced.size() == 2);
    CHECK(planned.reason.find("lack cores") != std::string::npos);
  }
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
  auto told = explain(input);
  REQUIRE(told.reasons.size() == 1);
  CHECK(told.reasons.front().text == "of the Resource group vision, which is not the app's");
  CHECK(told.reasons.front().nodes == 1);
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

namespace {

/// "n1" to "n<count>" with a zone each, in turn.
void add_zones(model_view& cluster, int count, const std::vector<std::string>& zones, std::uint32_t cores = 64) {
  for (int i = 0; i < count; ++i) {
    auto name = "n" + std::to_string(i + 1);
    cluster.rows[name] = make_row(name, cores, 64);
    add_label(cluster.rows[name], "zone", zones[static_cast<std::size_t>(i) % zones.size()]);
  }
}

std::map<std::string, std::uint32_t> per_zone(const plan_result& planned, const model_view& cluster) {
  std::map<std::string, std::uint32_t> result;
  for (auto& placement : planned.placements)
    ++result[cluster.view.find(placement.node)->row.shape().labels(0).value()];
  return result;
}

void require(pb::AppSpec& spec, const std::string& expression) {
  REQUIRE(parse_label_expression(expression, *spec.mutable_placement()->add_require()) == "");
}

void spread_over(pb::AppSpec& spec, const std::string& label, std::uint32_t max_skew) {
  auto& rule = *spec.mutable_placement()->add_spread();
  rule.set_label(label);
  rule.set_max_skew(max_skew);
}

} // namespace

TEST_CASE("label expressions leave only the nodes that meet all of them") {
  model_view cluster;
  add_zones(cluster, 6, {"a", "b", "c"});
  add_label(cluster.rows["n1"], "disk", "hdd");
  add_label(cluster.rows["n5"], "gpu", "");
  cluster.publish(start);
  auto nodes_for = [&](const std::vector<std::string>& expressions) {
    auto spec = small_app("ocr", 12);
    spec.mutable_placement()->add_anti_affinity()->set_app("ocr");
    for (auto& text : expressions)
      require(spec, text);
    auto input = input_for(spec, cluster);
    input.index = &cluster.view.index();
    random_source random{1};
    std::set<std::string> result;
    for (auto& [node, count] : per_node(plan(input, random)))
      result.insert(cluster.view.find(node)->name());
    return result;
  };
  using names = std::set<std::string>;
  CHECK(nodes_for({"zone in (a, b)"}) == names{"n1", "n2", "n4", "n5"});
  CHECK(nodes_for({"zone in (a, b)", "disk != hdd"}) == names{"n2", "n4", "n5"});
  CHECK(nodes_for({"zone not in (a, b)"}) == names{"n3", "n6"});
  CHECK(nodes_for({"gpu exists"}) == names{"n5"});
  CHECK(nodes_for({"zone == a", "disk not exists"}) == names{"n4"});
  CHECK(nodes_for({"zone == d"}).empty());
}

TEST_CASE("a node with a taint that is not tolerated gets nothing") {
  model_view cluster;
  for (auto name : {"n1", "n2", "n3"})
    cluster.rows[name] = make_row(name, 1, 1);
  auto taint = [&](const char* node, const char* key, const char* value) {
    auto& entry = *cluster.rows[node].mutable_profile()->add_taints();
    entry.set_key(key);
    entry.set_value(value);
  };
  taint("n2", "spot", "");
  taint("n3", "spot", "");
  taint("n3", "dedicated", "db");
  cluster.publish(start);
  auto spec = small_app("ocr", 3);
  random_source random{1};
  auto planned = plan(input_for(spec, cluster), random);
  CHECK(planned.placements.size() == 1);
  CHECK(planned.placements.at(0).node == make_node_id("n1"));
  CHECK(planned.reason
        == "0 of 3 nodes fit: 1 have the taint dedicated=db, 1 have the taint spot, 1 lack memory (1 GiB needed, none "
           "free)");
  spec.mutable_placement()->add_tolerate()->set_key("spot");
  CHECK(plan(input_for(spec, cluster), random).placements.size() == 2);
  auto& other = *spec.mutable_placement()->add_tolerate();
  other.set_key("dedicated");
  other.set_value("web");
  CHECK(plan(input_for(spec, cluster), random).placements.size() == 2);
  other.set_value("db");
  CHECK(plan(input_for(spec, cluster), random).placements.size() == 3);
}

TEST_CASE("a spread with max_skew 1 is 4, 3 and 3 replicas in three zones, however unequal they are") {
  model_view cluster;
  add_zones(cluster, 3, {"a", "b", "c"});
  for (int i = 4; i < 30; ++i) {
    auto name = "n" + std::to_string(i);
    cluster.rows[name] = make_row(name, 64, 64);
    add_label(cluster.rows[name], "zone", "a");
  }
  // Without the label a node is no part of it.
  cluster.rows["bare"] = make_row("bare", 64, 64);
  cluster.publish(start);
  auto spec = small_app("ocr", 10);
  spread_over(spec, "zone", 1);
  random_source random{1};
  auto placed = per_zone(plan(input_for(spec, cluster), random), cluster);
  CHECK(placed.size() == 3);
  for (auto& [zone, count] : placed)
    CHECK((count == 3 || count == 4));
}

TEST_CASE("a zone where only nodes of other Resource groups are has no part in a spread") {
  model_view cluster;
  add_zones(cluster, 2, {"a", "b"});
  cluster.publish(start);
  pb::ViewDelta other;
  other.set_origin(99);
  other.set_epoch(1);
  other.set_version(1);
  auto& row = *other.add_nodes();
  row = make_row("n3", 64, 64);
  add_label(row, "zone", "c");
  view_changes changes;
  REQUIRE(cluster.view.apply(other, start, changes) == cluster_view::apply_outcome::applied);
  auto spec = small_app("ocr", 6);
  spread_over(spec, "zone", 1);
  auto input = input_for(spec, cluster);
  input.elsewhere[resource_id{99}] = "vision";
  random_source random{1};
  CHECK(per_zone(plan(input, random), cluster) == std::map<std::string, std::uint32_t>{{"a", 3}, {"b", 3}});
  // Full up, and explained in the same way.
  for (auto name : {"n1", "n2"})
    cluster.rows[name].mutable_held()->set_cpu_milli(64000);
  cluster.publish(start);
  auto full = plan(input, random);
  CHECK(full.placements.empty());
  CHECK(full.reason.find("max_skew") == std::string::npos);
  CHECK(full.reason.find("2 lack cores") != std::string::npos);
}

TEST_CASE("a spread counts what is there, waits for a full zone, and not for one where no replica can ever be") {
  model_view cluster;
  add_zones(cluster, 3, {"a", "b", "c"});
  cluster.publish(start);
  auto spec = small_app("ocr", 4);
  spread_over(spec, "zone", 1);
  auto input = input_for(spec, cluster);
  input.placed[make_node_id("n1")] = 2;
  random_source random{1};
  CHECK(per_zone(plan(input, random), cluster) == std::map<std::string, std::uint32_t>{{"b", 2}, {"c", 2}});
  // c is full.
  cluster.rows["n3"].mutable_held()->set_cpu_milli(64000);
  cluster.publish(start);
  auto planned = plan(input_for(spec, cluster), random);
  CHECK(planned.placements.size() == 2);
  CHECK(planned.reason
        == "0 of 3 nodes fit: 2 have too many of it in their zone (max_skew 1), 1 lack cores (1 core needed, none "
           "free)");
  // c is not for this app.
  require(spec, "zone != c");
  CHECK(plan(input_for(spec, cluster), random).placements.size() == 4);
  // c is lost.
  spec.mutable_placement()->clear_require();
  cluster.rows["n3"].set_liveness(pb::LIVENESS_OFFLINE);
  cluster.publish(start);
  CHECK(plan(input_for(spec, cluster), random).placements.size() == 4);
}

TEST_CASE("anti-affinity to itself is one replica per node, or per zone") {
  model_view cluster;
  add_zones(cluster, 6, {"a", "b", "c"});
  cluster.publish(start);
  auto spec = small_app("ocr", 9);
  auto& rule = *spec.mutable_placement()->add_anti_affinity();
  rule.set_app("ocr");
  random_source random{1};
  auto planned = plan(input_for(spec, cluster), random);
  CHECK(planned.placements.size() == 6);
  CHECK(planned.reason == "0 of 6 nodes fit: 6 have a replica of ocr");
  rule.set_label("zone");
  CHECK(per_zone(plan(input_for(spec, cluster), random), cluster)
        == std::map<std::string, std::uint32_t>{{"a", 1}, {"b", 1}, {"c", 1}});
}

TEST_CASE("affinity goes where the other app is, anti-affinity where it is not, by node or by label") {
  model_view cluster;
  add_zones(cluster, 4, {"a", "b"});
  auto add_other = [&](const char* node, pb::ReplicaState state) {
    auto& replica = *cluster.rows[node].mutable_profile()->add_replicas();
    replica.set_app("cache");
    replica.set_state(state);
  };
  add_other("n1", pb::REPLICA_READY);
  add_other("n2", pb::REPLICA_STOPPED);
  cluster.publish(start);
  auto nodes_for = [&](bool anti, const std::string& label, bool indexed) {
    auto spec = small_app("ocr", 40);
    spec.mutable_placement()->add_anti_affinity()->set_app("ocr");
    auto& rule = anti ? *spec.mutable_placement()->add_anti_affinity() : *spec.mutable_placement()->add_affinity();
    rule.set_app("cache");
    rule.set_label(label);
    auto input = input_for(spec, cluster);
    if (indexed)
      input.index = &cluster.view.index();
    random_source random{1};
    std::set<std::string> result;
    for (auto& [node, count] : per_node(plan(input, random)))
      result.insert(cluster.view.find(node)->name());
    return result;
  };
  using names = std::set<std::string>;
  for (auto indexed : {false, true}) {
    CHECK(nodes_for(false, "", indexed) == names{"n1"});
    CHECK(nodes_for(false, "zone", indexed) == names{"n1", "n3"});
    CHECK(nodes_for(true, "", indexed) == names{"n2", "n3", "n4"});
    CHECK(nodes_for(true, "zone", indexed) == names{"n2", "n4"});
    // No node has the label: nobody is together there.
    CHECK(nodes_for(false, "rack", indexed).empty());
    CHECK(nodes_for(true, "rack", indexed).size() == 4);
  }
}

TEST_CASE("an app that is packed fills 16 cores on 2 of 8 nodes, a spread one uses all 8") {
  model_view cluster;
  for (int i = 0; i < 8; ++i) {
    auto name = "n" + std::to_string(i);
    cluster.rows[name] = make_row(name, 8, 64);
  }
  cluster.publish(start);
  auto spec = small_app("ocr", 16);
  random_source random{1};
  CHECK(per_node(plan(input_for(spec, cluster), random)).size() == 8);
  spec.mutable_placement()->set_strategy(pb::PLACEMENT_PACK);
  CHECK(per_node(plan(input_for(spec, cluster), random)).size() == 2);
}

TEST_CASE("of equal nodes those of a pool that loses fewer get three quarters of the replicas") {
  model_view cluster;
  for (int i = 0; i < 400; ++i) {
    auto name = "n" + std::to_string(i);
    cluster.rows[name] = make_row(name, 8, 64);
    add_label(cluster.rows[name], "pool", i % 2 == 0 ? "spot" : "steady");
  }
  cluster.publish(start);
  auto spec = small_app("ocr", 100);
  auto input = input_for(spec, cluster);
  input.hazard = {"pool", {{"spot", 0.5}}};
  random_source random{1};
  std::map<std::string, std::uint32_t> by_pool;
  for (auto& placement : plan(input, random).placements)
    ++by_pool[cluster.view.find(placement.node)->row.shape().labels(0).value()];
  CHECK(by_pool["steady"] >= 65);
  CHECK(by_pool["spot"] >= 10);
}

TEST_CASE("a plan with every kind of rule keeps them all, with and without an index, and repeats with its seed") {
  CHECK(rc::check([] {
    random_source draw{*rc::gen::inRange<std::uint64_t>(0, 1'000'000'000)};
    auto one_in = [&](std::uint64_t n) { return draw.below(n) == 0; };
    model_view cluster;
    auto zones = std::vector<std::string>{"a", "b", "c"};
    auto nodes = draw.below(20);
    for (std::uint64_t i = 0; i < nodes; ++i) {
      auto& row = cluster.rows["n" + std::to_string(i)];
      row = make_row("n" + std::to_string(i), static_cast<std::uint32_t>(1 + draw.below(6)), 64);
      add_label(row, "zone", zones[draw.below(3)]);
      add_label(row, "disk", one_in(2) ? "hdd" : "ssd");
      if (one_in(4))
        row.mutable_profile()->add_taints()->set_key("spot");
      if (one_in(4)) {
        auto& replica = *row.mutable_profile()->add_replicas();
        replica.set_app("db");
        replica.set_state(pb::REPLICA_READY);
      }
      if (one_in(8))
        row.set_liveness(pb::LIVENESS_OFFLINE);
    }
    cluster.publish(start);
    auto spec = small_app("ocr", static_cast<std::uint32_t>(1 + draw.below(30)));
    auto& placement = *spec.mutable_placement();
    if (one_in(2))
      REQUIRE(parse_label_expression("zone in (a, b)", *placement.add_require()) == "");
    if (one_in(3))
      REQUIRE(parse_label_expression("disk == ssd", *placement.add_require()) == "");
    if (one_in(2))
      placement.add_tolerate()->set_key("spot");
    auto max_skew = static_cast<std::uint32_t>(one_in(2) ? 1 + draw.below(2) : 0);
    if (max_skew > 0)
      spread_over(spec, "zone", max_skew);
    auto apart = one_in(3);
    if (apart)
      placement.add_anti_affinity()->set_app("db");
    auto alone = one_in(3);
    if (alone)
      placement.add_anti_affinity()->set_app("ocr");
    if (one_in(2))
      placement.set_strategy(pb::PLACEMENT_PACK);
    auto input = input_for(spec, cluster);
    input.partitions = 3;
    random_source one{7};
    auto planned = plan(input, one);
    input.index = &cluster.view.index();
    random_source other{7};
    auto indexed = plan(input, other);
    RC_ASSERT(planned.reason == indexed.reason);
    RC_ASSERT(planned.placements.size() == indexed.placements.size());
    std::map<std::string, std::uint32_t> counts;
    for (std::size_t i = 0; i < planned.placements.size(); ++i) {
      auto& entry = *cluster.view.find(planned.placements[i].node);
      RC_ASSERT(entry.id() == indexed.placements[i].node);
      RC_ASSERT(entry.usable());
      auto& shape = entry.row.shape();
      for (auto& expression : placement.require())
        RC_ASSERT(std::any_of(shape.labels().begin(), shape.labels().end(), [&](auto& label) {
          auto& values = expression.values();
          return label.key() == expression.key()
                 && std::find(values.begin(), values.end(), label.value()) != values.end();
        }));
      RC_ASSERT(shape.taints().empty() || placement.tolerate_size() > 0);
      RC_ASSERT(!apart || shape.replicas().empty());
      ++counts[shape.labels(0).value()];
    }
    for (auto& [node, count] : per_node(planned)) {
      RC_ASSERT(count <= room_for(spec, cluster.view.find(node)->row, 0));
      RC_ASSERT(!alone || count == 1);
    }
    if (max_skew > 0)
      for (auto& [zone, count] : counts)
        for (auto& [id, entry] : cluster.view.nodes()) {
          // Every zone with a node that could take one.
          auto& shape = entry.row.shape();
          auto usable = entry.usable() && (shape.taints().empty() || placement.tolerate_size() > 0)
                        && std::all_of(placement.require().begin(), placement.require().end(), [&](auto& expression) {
                             return std::any_of(shape.labels().begin(), shape.labels().end(), [&](auto& label) {
                               auto& values = expression.values();
                               return label.key() == expression.key()
                                      && std::find(values.begin(), values.end(), label.value()) != values.end();
                             });
                           });
          if (usable)
            RC_ASSERT(count <= counts[shape.labels(0).value()] + max_skew);
        }
  }));
}
