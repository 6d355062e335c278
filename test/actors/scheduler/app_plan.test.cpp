#include "actors/scheduler/app_plan.hpp"

#include "actors/scheduler/claim_book.hpp"
#include "actors/scheduler/federation.hpp"
#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>

using namespace astra;
using namespace astra::test;

namespace {

const claim_book::time_point start{};

struct fixture {
  fixture() {
    for (auto name : {"n1", "n2", "n3"})
      cluster.rows[name] = make_row(name, 4, 64);
  }

  void run_replica(const std::string& node, std::uint32_t index, const pb::AppSpec& spec,
                   pb::ReplicaState state = pb::REPLICA_READY) {
    auto& profile = *cluster.rows.at(node).mutable_profile();
    auto& replica = *profile.add_replicas();
    replica.set_app(spec.name());
    replica.set_index(index);
    replica.set_token(name_hash(node + std::to_string(index)));
    replica.set_epoch(1);
    replica.set_spec_hash(hash_of(spec));
    replica.set_state(state);
    *replica.mutable_resources() = spec.per_replica();
    profile.set_version(profile.version() + 1);
  }

  pb::AppPlan plan(const pb::AppSpec& wanted, const pb::AppSpec* current = nullptr, std::uint64_t revision = 1) {
    cluster.publish(start);
    app_plan_input input{cluster.view, wanted};
    input.current = current;
    input.revision = current ? revision : 0;
    input.replicas = replicas_in(cluster.view, wanted.name());
    input.home_group = "main";
    input.reachable = {model_home};
    return make_app_plan(input);
  }

  model_view cluster;
};

/// "0 keep n1>n1, 1 create >n2"
std::string text_of(const pb::AppPlan& plan) {
  static const char* names[] = {"keep", "create", "move", "replace", "stop"};
  std::string text;
  for (auto& row : plan.replicas())
    text += (text.empty() ? "" : ", ") + std::to_string(row.index()) + " " + names[row.action()] + " " + row.from()
            + ">" + (row.unplaced() ? "?" : row.to());
  return text;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "a new app is one creation per replica, on different nodes, and the same plan every time") {
  auto first = plan(small_app("ocr", 3));
  CHECK(first.changes());
  CHECK(first.change() == "created with 3 replicas");
  REQUIRE(first.replicas_size() == 3);
  std::set<std::string> nodes;
  for (auto& row : first.replicas()) {
    CHECK(row.action() == pb::PLAN_CREATE);
    nodes.insert(row.to());
  }
  CHECK(nodes.size() == 3);
  auto second = plan(small_app("ocr", 3));
  CHECK(second.index() == first.index());
  CHECK(second.SerializeAsString() == first.SerializeAsString());
}

TEST_CASE_FIXTURE(fixture, "the same spec changes nothing and keeps everything") {
  auto spec = small_app("ocr", 2);
  run_replica("n1", 0, spec);
  run_replica("n2", 1, spec);
  auto same = plan(spec, &spec);
  CHECK_FALSE(same.changes());
  CHECK(same.change() == "unchanged");
  CHECK(text_of(same) == "0 keep n1>n1, 1 keep n2>n2");
}

TEST_CASE_FIXTURE(fixture, "more replicas are created where fewer are, fewer are stopped from the end") {
  auto two = small_app("ocr", 2);
  run_replica("n1", 0, two);
  run_replica("n2", 1, two);
  CHECK(text_of(plan(small_app("ocr", 3), &two)) == "0 keep n1>n1, 1 keep n2>n2, 2 create >n3");
  auto less = plan(small_app("ocr", 1), &two);
  CHECK(less.changes());
  CHECK(text_of(less) == "0 keep n1>n1, 1 stop n2>");
}

TEST_CASE_FIXTURE(fixture, "another spec replaces every replica, on what the ones before it have left") {
  auto before = small_app("ocr", 3);
  for (std::uint32_t i = 0; i < 3; ++i)
    run_replica("n" + std::to_string(i + 1), i, before);
  auto after = before;
  after.set_concurrency(8);
  auto planned = plan(after, &before);
  CHECK(planned.change() == "concurrency 1 -> 8");
  for (auto& row : planned.replicas()) {
    CHECK(row.action() == pb::PLAN_REPLACE);
    CHECK_FALSE(row.to().empty());
  }
  // No room for old and new side by side: the old ones go first.
  auto large = before;
  large.mutable_per_replica()->set_cpu_milli(4000);
  planned = plan(large, &before);
  REQUIRE(planned.replicas_size() == 3);
  for (auto& row : planned.replicas()) {
    CHECK(row.action() == pb::PLAN_REPLACE);
    CHECK_FALSE(row.unplaced());
    CHECK(contains(row.reason(), "the old one stops first"));
  }
}

TEST_CASE_FIXTURE(fixture, "what has no place says why; of a replacement the old one goes on") {
  auto three = plan(small_app("ocr", 14));
  CHECK(three.replicas(11).unplaced() == false);
  CHECK(three.replicas(12).unplaced());
  CHECK(contains(three.replicas(13).reason(), "0 of 3 nodes fit: 3 lack cores"));
  auto before = small_app("ocr", 1);
  run_replica("n1", 0, before);
  auto after = before;
  after.mutable_per_replica()->set_cpu_milli(8000);
  auto planned = plan(after, &before);
  CHECK(text_of(planned) == "0 replace n1>?");
  CHECK(contains(planned.replicas(0).reason(), "lack cores (8 cores needed"));
  CHECK(contains(planned.replicas(0).reason(), "the old one goes on"));
}

TEST_CASE_FIXTURE(fixture, "a replica moves from a draining node and is created anew for one on a lost node") {
  auto spec = small_app("ocr", 2);
  run_replica("n1", 0, spec);
  run_replica("n2", 1, spec);
  cluster.rows["n1"].set_liveness(pb::LIVENESS_DRAINING);
  cluster.rows["n2"].set_liveness(pb::LIVENESS_OFFLINE);
  auto planned = plan(spec, &spec);
  CHECK_FALSE(planned.changes());
  CHECK(text_of(planned) == "0 move n1>n3, 1 create >n3");
  CHECK(planned.replicas(0).reason() == "n1 is draining");
  CHECK(planned.replicas(1).reason() == "n2 is offline");
}

TEST_CASE_FIXTURE(fixture, "a claim that is not seen yet counts as placed") {
  auto spec = small_app("ocr", 1);
  cluster.publish(start);
  app_plan_input input{cluster.view, spec};
  input.current = &spec;
  input.revision = 1;
  input.reachable = {model_home};
  input.home_group = "main";
  auto& claimed = input.replicas.emplace_back();
  claimed.set_app("ocr");
  claimed.set_node(make_node_id("n2").value());
  claimed.set_token(7);
  claimed.set_spec_hash(hash_of(spec));
  claimed.set_state(pb::REPLICA_CLAIMED);
  CHECK(text_of(make_app_plan(input)) == "0 keep n2>n2");
}

TEST_CASE_FIXTURE(fixture, "the index says what has moved: the revision, the spec, the replicas or the nodes") {
  auto spec = small_app("ocr", 2);
  run_replica("n1", 0, spec);
  run_replica("n2", 1, spec);
  auto wanted = small_app("ocr", 3);
  auto index = plan(wanted, &spec, 3).index();
  CHECK(index.size() == 22);
  CHECK(index.substr(0, 2) == "3-");
  CHECK(why_plan_moved(index, plan(wanted, &spec, 3)).empty());
  SUBCASE("another revision") {
    auto moved = why_plan_moved(index, plan(wanted, &spec, 4));
    CHECK(contains(moved, "the app was at revision 3 and is at 4 now"));
  }
  SUBCASE("another file") {
    auto other = wanted;
    other.set_queue_limit(1);
    CHECK(contains(why_plan_moved(index, plan(other, &spec, 3)), "the file says something else"));
  }
  SUBCASE("a node that it uses is another one") {
    cluster.rows["n3"].set_incarnation(2);
    cluster.rows["n3"].mutable_profile()->set_incarnation(2);
    CHECK(why_plan_moved(index, plan(wanted, &spec, 3))
          == "the nodes have changed on which it runs or would run (now n1, n2, n3)");
  }
  SUBCASE("a node that it does not use is not in it") {
    cluster.rows["n3"].set_liveness(pb::LIVENESS_OFFLINE);
    auto same = plan(spec, &spec, 3).index();
    cluster.rows["n3"].set_incarnation(2);
    cluster.rows["n3"].mutable_profile()->set_incarnation(2);
    CHECK(plan(spec, &spec, 3).index() == same);
  }
  SUBCASE("its replicas are elsewhere") {
    cluster.rows["n2"].mutable_profile()->clear_replicas();
    cluster.rows["n2"].mutable_profile()->set_version(9);
    CHECK(contains(why_plan_moved(index, plan(wanted, &spec, 3)), "its replicas are not where they were"));
  }
  SUBCASE("what is no index says so") {
    for (auto wrong : {"", "x", "3-a-b", "3-a-b-c-d", "3-A-b-c", "11111111111111111-a-b-c"})
      CHECK(contains(why_plan_moved(wrong, plan(wanted, &spec, 3)), "is not the index of a plan"));
  }
}

namespace {

pb::AppSpec clusters_of(std::uint32_t clusters, std::uint32_t workers) {
  auto spec = small_app("dask", clusters);
  auto& federation = *spec.mutable_federation();
  federation.set_clusters(clusters);
  federation.set_workers(workers);
  federation.set_min_workers(1);
  federation.mutable_head()->mutable_resources()->set_cpu_milli(500);
  federation.mutable_worker()->mutable_resources()->set_cpu_milli(2000);
  return spec;
}

struct federated_fixture : fixture {
  void run_member(const std::string& node, std::uint64_t cluster, std::uint32_t place, std::uint32_t slot,
                  const pb::AppSpec& spec) {
    run_replica(node, place * cluster_stride + slot, spec);
    auto& replicas = *cluster_of(node);
    auto& replica = replicas[replicas.size() - 1];
    replica.mutable_member()->set_cluster(cluster);
    replica.mutable_member()->set_slot(slot);
    replica.mutable_member()->set_incarnation(1);
    *replica.mutable_resources() =
        slot == 0 ? spec.federation().head().resources() : spec.federation().worker().resources();
  }

  google::protobuf::RepeatedPtrField<pb::ReplicaStatus>* cluster_of(const std::string& node) {
    return cluster.rows.at(node).mutable_profile()->mutable_replicas();
  }
};

/// "head of cluster 1 create >n2"
std::string members_of(const pb::AppPlan& plan, bool places = true) {
  static const char* names[] = {"keep", "create", "move", "replace", "stop"};
  std::string text;
  for (auto& row : plan.replicas())
    text += (text.empty() ? "" : ", ") + row.role() + " " + names[row.action()]
            + (places           ? " " + row.from() + ">" + (row.unplaced() ? "?" : row.to())
               : row.unplaced() ? " ?"
                                : "");
  return text;
}

} // namespace

TEST_CASE_FIXTURE(federated_fixture, "a plan of a federated app tells where heads and workers go") {
  auto spec = clusters_of(2, 2);
  auto made = plan(spec);
  CHECK(members_of(made, false)
        == "head of cluster 1 create, worker 1 of cluster 1 create, worker 2 of cluster 1 create, "
           "head of cluster 2 create, worker 1 of cluster 2 create, worker 2 of cluster 2 create");
  std::map<std::string, int> cores;
  for (auto& row : made.replicas()) {
    REQUIRE_FALSE(row.to().empty());
    cores[row.to()] += row.index() % cluster_stride == 0 ? 500 : 2000;
  }
  for (auto& [node, milli] : cores)
    CHECK(milli <= 4000);
  CHECK(plan(spec).index() == made.index());
}

TEST_CASE_FIXTURE(federated_fixture, "members of a federated app without room say why, workers wait for their head") {
  // Each node has room for one worker beside a head, or for two workers: five in all.
  auto made = plan(clusters_of(1, 7));
  auto lacking = 0;
  for (auto& row : made.replicas())
    if (row.unplaced()) {
      ++lacking;
      CHECK(contains(row.reason(), "lack"));
    }
  CHECK(lacking == 2);
  for (auto& [name, row] : cluster.rows)
    row.mutable_profile()->mutable_capacity()->set_cpu_milli(400);
  auto none = plan(clusters_of(1, 1));
  REQUIRE(none.replicas_size() == 2);
  CHECK(contains(none.replicas(0).reason(), "lack"));
  CHECK(none.replicas(1).reason() == "its head has no place yet");
}

TEST_CASE_FIXTURE(federated_fixture,
                  "what runs stays; fewer workers and clusters are stopped, another spec replaces clusters") {
  auto spec = clusters_of(1, 2);
  run_member("n1", 7, 0, 0, spec);
  run_member("n2", 7, 0, 1, spec);
  run_member("n3", 7, 0, 2, spec);
  CHECK(members_of(plan(spec, &spec))
        == "head of cluster 1 keep n1>n1, worker 1 of cluster 1 keep n2>n2, worker 2 of cluster 1 keep n3>n3");
  auto fewer = clusters_of(1, 1);
  CHECK(members_of(plan(fewer, &spec))
        == "head of cluster 1 keep n1>n1, worker 1 of cluster 1 keep n2>n2, worker 2 of cluster 1 stop n3>");
  auto other = spec;
  other.mutable_actor()->add_args("version=2");
  CHECK(members_of(plan(other, &spec), false)
        == "head of cluster 1 replace, worker 1 of cluster 1 replace, worker 2 of cluster 1 replace");
  cluster.rows["n3"].set_liveness(pb::LIVENESS_DRAINING);
  auto moved = plan(spec, &spec);
  CHECK(moved.replicas(2).action() == pb::PLAN_MOVE);
  CHECK(moved.replicas(2).from() == "n3");
  CHECK(moved.replicas(2).to() != "n3");
}
