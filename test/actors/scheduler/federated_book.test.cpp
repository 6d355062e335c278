#include "actors/scheduler/claim_book.hpp"
#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

/// Nodes that start what is claimed on them within a tick, and a book.
class federated_model {
public:
  federated_model() {
    for (auto name : {"n1", "n2", "n3", "n4"})
      cluster.rows[name] = make_row(name, 4, 64);
    spec = small_app("dask", 1);
    spec.mutable_per_request()->add_command("job");
    auto& federation = *spec.mutable_federation();
    federation.set_clusters(1);
    federation.set_workers(2);
    federation.set_min_workers(1);
    federation.mutable_head()->mutable_resources()->set_cpu_milli(500);
    federation.mutable_worker()->mutable_resources()->set_cpu_milli(2000);
    book.want(spec);
    cluster.publish(now, &book);
  }

  claim_book::decision tick() {
    now += 100ms;
    auto decided = book.tick(cluster.view, {model_home}, now, random);
    for (auto& claim : decided.claims) {
      auto& row = row_of(claim.node());
      auto& replica = *row.mutable_profile()->add_replicas();
      replica.set_app("dask");
      replica.set_index(claim.replica_index());
      replica.set_token(claim.token());
      replica.set_epoch(1);
      replica.set_spec_hash(book.spec_hash());
      replica.set_state(pb::REPLICA_READY);
      *replica.mutable_resources() = book.spec_for(claim).per_replica();
      *replica.mutable_member() = claim.member();
      replica.set_host("host-of-" + row.profile().name());
    }
    for (auto& release : decided.releases) {
      auto& replicas = *row_of(release.node()).mutable_profile()->mutable_replicas();
      replicas.erase(std::remove_if(replicas.begin(), replicas.end(),
                                    [&](auto& replica) { return replica.token() == release.token(); }),
                     replicas.end());
    }
    cluster.publish(now, &book);
    return decided;
  }

  void ticks(int count) {
    for (int i = 0; i < count; ++i)
      tick();
  }

  pb::NodeRow& row_of(std::uint64_t node) {
    for (auto& [name, row] : cluster.rows)
      if (row.node() == node)
        return row;
    FAIL("no such node");
    return cluster.rows.begin()->second;
  }

  /// The replica of an index, and its node.
  pb::ReplicaStatus& find(std::uint32_t index, std::string* where = nullptr) {
    for (auto& [name, row] : cluster.rows)
      for (auto& replica : *row.mutable_profile()->mutable_replicas())
        if (replica.index() == index) {
          if (where)
            *where = name;
          return replica;
        }
    FAIL("no such replica");
    return *cluster.rows.begin()->second.mutable_profile()->add_replicas();
  }

  model_view cluster;
  pb::AppSpec spec;
  claim_book book{1, claim_book_options{}};
  random_source random{1};
  claim_book::time_point now = claim_book::time_point{} + 1h;
};

} // namespace

TEST_CASE_FIXTURE(federated_model,
                  "a head is claimed with its own resources, then its workers with theirs and its address") {
  auto first = tick();
  REQUIRE(first.claims.size() == 1);
  CHECK(first.claims[0].replica_index() == 0);
  CHECK(book.spec_for(first.claims[0]).per_replica().cpu_milli() == 500 + 1000);
  auto second = tick();
  REQUIRE(second.claims.size() == 2);
  CHECK(second.claims[0].member().slot() == 1);
  CHECK(second.claims[0].member().head_host().starts_with("host-of-n"));
  CHECK(book.spec_for(second.claims[0]).per_replica().cpu_milli() == 2000);
  tick();
  auto record = book.record(now);
  CHECK(record.ready() == 1);
  CHECK(record.reason().empty());
  REQUIRE(record.clusters_size() == 1);
  CHECK(record.clusters(0).state() == pb::CLUSTER_SERVING);
  CHECK(book.describe(now).replicas_size() == 3);
}

TEST_CASE_FIXTURE(federated_model, "the numbers of clusters and workers are no part of what a replica runs") {
  auto before = hash_of(spec);
  spec.mutable_federation()->set_clusters(5);
  spec.mutable_federation()->set_workers(9);
  spec.mutable_federation()->set_min_workers(2);
  CHECK(hash_of(spec) == before);
  spec.mutable_federation()->mutable_head()->add_command("other");
  CHECK(hash_of(spec) != before);
}

TEST_CASE_FIXTURE(federated_model,
                  "when a head has failed, all of its cluster is released without grace and another head claimed") {
  ticks(3);
  auto& head = find(0);
  auto old = head.member().cluster();
  head.set_state(pb::REPLICA_FAILED);
  head.set_reason("killed by signal 9");
  cluster.publish(now, &book);
  auto decided = tick();
  CHECK(decided.releases.size() == 3);
  CHECK(std::all_of(decided.releases.begin(), decided.releases.end(), [](auto& x) { return x.grace_ms() == 0; }));
  REQUIRE(decided.claims.size() == 1);
  CHECK(decided.claims[0].member().cluster() != old);
  ticks(3);
  CHECK(book.record(now).ready() == 1);
}

TEST_CASE_FIXTURE(federated_model,
                  "workers that have no place are waited for, with the reason, and explained as workers") {
  for (auto& [name, row] : cluster.rows)
    row.mutable_profile()->mutable_capacity()->set_cpu_milli(1500);
  cluster.publish(now, &book);
  ticks(4);
  auto record = book.record(now);
  CHECK(record.ready() == 0);
  REQUIRE(record.clusters_size() == 1);
  CHECK(record.clusters(0).state() == pb::CLUSTER_FILLING);
  CHECK(record.clusters(0).reason().find("worker 1 has no place: 0 of 4 nodes fit") == 0);
  CHECK(record.reason().find("0 of 1 clusters serve; cluster ") == 0);
  auto placed = book.placement(cluster.view, {model_home}, now);
  REQUIRE(placed);
  CHECK(placed->fitting() == 0);
}

TEST_CASE_FIXTURE(federated_model, "a deleted app is gone when nothing of its clusters is left") {
  ticks(3);
  book.remove();
  ticks(4);
  CHECK(book.gone(now));
}

TEST_CASE_FIXTURE(federated_model, "a federated app whose business has used up its quota waits and says so") {
  auto first = tick();
  REQUIRE(first.claims.size() == 1);
  pb::ClaimResult refusal;
  refusal.set_token(first.claims[0].token());
  refusal.set_outcome(pb::CLAIM_OVER_QUOTA);
  refusal.set_reason("the quota of media is used up");
  // It never came to the node.
  auto& replicas = *row_of(first.claims[0].node()).mutable_profile()->mutable_replicas();
  replicas.Clear();
  claim_book other{2, claim_book_options{}};
  other.want(spec);
  cluster.publish(now, &other);
  auto asked = other.tick(cluster.view, {model_home}, now, random);
  REQUIRE(asked.claims.size() == 1);
  refusal.set_token(asked.claims[0].token());
  other.on_result(refusal, now, random);
  int claims = 0;
  for (int i = 0; i < 40; ++i) {
    now += 100ms;
    auto decided = other.tick(cluster.view, {model_home}, now, random);
    for (auto& claim : decided.claims) {
      ++claims;
      refusal.set_token(claim.token());
      other.on_result(refusal, now, random);
    }
  }
  // It asks once in half a second to a second.
  CHECK(claims >= 3);
  CHECK(claims <= 9);
  CHECK(other.record(now).reason().find("the quota of media is used up") != std::string::npos);
  auto report = other.placement(cluster.view, {model_home}, now);
  REQUIRE(report);
  REQUIRE(report->reasons_size() > 0);
  CHECK(report->reasons(0).text() == "the quota of media is used up");
}

TEST_CASE_FIXTURE(federated_model, "another spec that no node can take leaves the cluster that serves alone") {
  ticks(4);
  REQUIRE(book.record(now).ready() == 1);
  auto other = spec;
  other.mutable_federation()->mutable_head()->mutable_resources()->set_memory_bytes(1000 * gibibyte);
  book.want(other);
  ticks(200);
  CHECK(book.record(now).ready() == 1);
  CHECK(book.record(now).reason().find("lack") != std::string::npos);
  // One that takes what the old head has: 4 cores on each of four nodes, all of them in use.
  for (auto& [name, row] : cluster.rows)
    if (row.profile().replicas_size() == 0)
      row.mutable_profile()->mutable_capacity()->set_cpu_milli(100);
  auto replaced = spec;
  replaced.mutable_per_request()->add_command("other");
  book.want(replaced);
  ticks(400);
  CHECK(book.record(now).ready() == 1);
  for (auto& [name, row] : cluster.rows)
    for (auto& replica : row.profile().replicas())
      CHECK(replica.spec_hash() == book.spec_hash());
}

TEST_CASE_FIXTURE(federated_model, "a head of a per-request app has room for the commands beside it") {
  spec.mutable_per_replica()->set_cpu_milli(700);
  spec.mutable_per_replica()->set_memory_bytes(gibibyte);
  spec.mutable_federation()->mutable_head()->mutable_resources()->set_memory_bytes(gibibyte);
  CHECK(role_spec(spec, true).per_replica().cpu_milli() == 1200);
  CHECK(role_spec(spec, true).per_replica().memory_bytes() == 2 * gibibyte);
  CHECK(role_spec(spec, false).per_replica().cpu_milli() == 2000);
}
