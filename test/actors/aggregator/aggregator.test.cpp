#include "actors/aggregator/aggregator.hpp"

#include "test/actors/resource/resource_fixture.hpp"

#include <caf/scoped_actor.hpp>
#include <caf/sec.hpp>
#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

struct rack : resource_fixture {
  aggregator_actor start_aggregator(std::vector<std::string> resources, std::vector<std::string> nodes = {}) {
    aggregator_options options;
    options.name = "rack1";
    options.resources = std::move(resources);
    auto result = own(spawn_aggregator(sys, world_of("rack1"), options, std::move(nodes)));
    run();
    return result;
  }

  /// A node that knows only the aggregator.
  std::shared_ptr<fake_node> join_rack(const std::string& name) {
    auto node = std::make_shared<fake_node>();
    node->name = name;
    node->service = aggregator_service;
    addresses = {"rack1:1"};
    auto result = join_as(node);
    addresses = {"r1:1", "r2:1", "r3:1"};
    return result;
  }
};

} // namespace

TEST_CASE_FIXTURE(rack,
                  "nodes behind an aggregator are seen with their profiles, and one that ends is suspect at once") {
  auto r1 = start("r1");
  auto seen = watch(r1);
  start_aggregator({"r1:1"});
  auto first = join_rack("n1");
  auto second = join_rack("n2");
  advance(3s);
  CHECK(seen->state("n1") == "ONLINE");
  CHECK(seen->state("n2") == "ONLINE");
  CHECK(seen->view.find(make_node_id("n1"))->usable());
  kill(first->handle);
  advance(100ms);
  CHECK(seen->state("n1") == "SUSPECT");
  CHECK(seen->view.find(make_node_id("n1"))->row.reason() == "connection closed");
  advance(3s);
  CHECK(seen->state("n1") == "OFFLINE");
  second->silent = true;
  advance(3500ms);
  CHECK(seen->state("n2") == "OFFLINE");
  second->silent = false;
  second->draining = true;
  advance(1200ms);
  CHECK(seen->state("n2") == "DRAINING");
}

TEST_CASE_FIXTURE(rack, "claims and releases find their way to a node behind an aggregator") {
  auto r1 = start("r1");
  auto seen = watch(r1);
  start_aggregator({"r1:1"});
  auto node = join_rack("n1");
  advance(2s);
  pb::ClaimBatch wanted;
  wanted.set_epoch(1);
  wanted.mutable_spec()->set_name("ocr");
  wanted.mutable_spec()->mutable_per_replica()->set_cpu_milli(1000);
  auto& claim = *wanted.add_claims();
  claim.set_sequence(1);
  claim.set_token(77);
  claim.set_node(make_node_id("n1").value());
  claim.set_node_incarnation(node->incarnation);
  auto reply = ask<claim_reply>(r1, claim_batch{wanted});
  REQUIRE(reply);
  REQUIRE((*reply)->results_size() == 1);
  CHECK((*reply)->results(0).outcome() == pb::CLAIM_CONFIRMED);
  REQUIRE(node->asked.size() == 1);
  CHECK(node->asked[0].claims(0).token() == 77);
  pb::ReleaseBatch done;
  done.add_releases()->set_token(77);
  done.mutable_releases(0)->set_node(make_node_id("n1").value());
  caf::scoped_actor self{sys};
  self->send(r1, release_batch{done});
  run();
  REQUIRE(node->released.size() == 1);
  CHECK(node->released[0].token() == 77);
}

TEST_CASE_FIXTURE(rack, "nodes of a lost aggregator have three seconds to find another home") {
  auto r1 = start("r1");
  auto seen = watch(r1);
  auto aggregator = start_aggregator({"r1:1"});
  join_rack("n1");
  advance(2500ms);
  REQUIRE(seen->state("n1") == "ONLINE");
  kill(aggregator);
  advance(2800ms);
  CHECK(seen->state("n1") != "OFFLINE");
  advance(400ms);
  CHECK(seen->state("n1") == "OFFLINE");
  // It finds the next one.
  start_aggregator({"r1:1"});
  advance(2s);
  CHECK(seen->state("n1") == "ONLINE");
}

TEST_CASE_FIXTURE(rack, "an aggregator whose Resource ends turns to the next one with its nodes") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto home = rendezvous_order("rack1", {"r1:1", "r2:1"}).front();
  auto other = home == "r1:1" ? r2 : r1;
  auto seen = watch(other);
  start_aggregator({"r1:1", "r2:1"});
  join_rack("n1");
  advance(2s);
  REQUIRE(seen->state("n1") == "ONLINE");
  CHECK(seen->view.find(make_node_id("n1"))->origin == make_resource_id(home.substr(0, 2)));
  kill(home == "r1:1" ? r1 : r2);
  advance(2500ms);
  CHECK(seen->view.find(make_node_id("n1"))->origin == make_resource_id(home == "r1:1" ? "r2" : "r1"));
  CHECK_FALSE(seen->ever("n1", "OFFLINE"));
}

TEST_CASE_FIXTURE(rack, "a node that the certificate does not name is sent on, and costs the others nothing") {
  auto r1 = start("r1");
  auto seen = watch(r1);
  start_aggregator({"r1:1"}, {"rack1-*"});
  join_rack("rack1-7");
  auto foreign = join_rack("other");
  advance(3s);
  CHECK(seen->state("rack1-7") == "ONLINE");
  CHECK(seen->view.find(make_node_id("other")) == nullptr);
  // It has only this one to try, again and again.
  CHECK(foreign->home_epoch > 3);
}

TEST_CASE_FIXTURE(rack, "an aggregator that reaches no Resource answers no beat") {
  auto aggregator = start_aggregator({"r1:1"});
  heartbeat beat;
  beat->set_node(make_node_id("n1").value());
  beat->set_name("n1");
  beat->set_incarnation(1);
  beat->set_home_epoch(1);
  beat->set_sequence(1);
  caf::scoped_actor self{sys};
  auto pending = self->request(caf::actor_cast<heartbeat_sink>(aggregator), caf::infinite, beat);
  run();
  // The silence that the node counts; an error would send it on at once.
  advance(2500ms);
  auto reason = caf::error{};
  pending.receive([](const heartbeat_ack&) {}, [&](const caf::error& why) { reason = why; });
  CHECK(reason == caf::sec::request_timeout);

  beat->set_sequence(2);
  auto second = self->request(caf::actor_cast<heartbeat_sink>(aggregator), caf::infinite, beat);
  run();
  start("r1");
  advance(900ms);
  auto home = resource_id{};
  second.receive([&](const heartbeat_ack& ack) { home = resource_id{ack->resource()}; },
                 [&](const caf::error& why) { reason = why; });
  CHECK(home == make_resource_id("r1"));
}
