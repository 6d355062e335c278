#include "actors/resource/resource.hpp"

#include "test/actors/resource/resource_fixture.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;

namespace {

struct fixture : resource_fixture {
  pb::ClaimBatch batch(std::uint64_t epoch, std::uint32_t cpu_milli) {
    pb::ClaimBatch result;
    result.set_epoch(epoch);
    result.mutable_spec()->set_name("ocr");
    result.mutable_spec()->mutable_per_replica()->set_cpu_milli(cpu_milli);
    return result;
  }

  static void add_claim(pb::ClaimBatch& to, const fake_node& node, std::uint64_t token) {
    auto& claim = *to.add_claims();
    claim.set_sequence(token);
    claim.set_token(token);
    claim.set_node(make_node_id(node.name).value());
    claim.set_node_incarnation(node.incarnation);
  }

  pb::ClaimReply claim(const resource_actor& resource, const pb::ClaimBatch& claims) {
    auto reply = ask<claim_reply>(resource, claim_batch{claims});
    REQUIRE(reply);
    CHECK((*reply)->results_size() == claims.claims_size());
    return **reply;
  }

  static pb::Resources held(const fake_subscriber& seen, const fake_node& node) {
    return seen.view.find(make_node_id(node.name))->row.held();
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "silence counts only as far as what nodes send was read") {
  auto r1 = start("r1");
  auto node = join("r1");
  auto seen = watch(r1);
  advance(2s);
  node->silent = true;
  auto& unread = world_of("r1").unread_for;
  for (auto i = 0; i < 60; ++i) {
    unread += 100ms;
    advance(100ms);
  }
  CHECK(seen->state(node->name) == "ONLINE");
  // It was silent all the time, as is known now.
  unread = 0ms;
  advance(400ms);
  CHECK(seen->state(node->name) == "OFFLINE");
}

TEST_CASE_FIXTURE(fixture, "beats that are read late, three at a time, evict nobody") {
  auto r1 = start("r1");
  auto node = join("r1");
  auto seen = watch(r1);
  advance(2s);
  auto& unread = world_of("r1").unread_for;
  for (auto round = 0; round < 6; ++round) {
    // A probe takes 3.6 s, and when it comes out the next one starts behind as much.
    node->silent = true;
    for (auto i = 0; i < 36; ++i) {
      unread += 100ms;
      advance(100ms);
    }
    unread = 3600ms;
    node->silent = false;
    advance(1s);
  }
  CHECK_FALSE(seen->ever(node->name, "OFFLINE"));
}

TEST_CASE_FIXTURE(fixture, "a silent node is suspect within 1.8 s and leaves the online list within 3.5 s") {
  auto r1 = start("r1");
  auto node = join("r1");
  auto seen = watch(r1);
  advance(2s);
  REQUIRE(seen->state(node->name) == "ONLINE");
  CHECK(seen->view.find(make_node_id(node->name))->usable());
  node->silent = true;
  advance(1800ms);
  CHECK(seen->state(node->name) == "SUSPECT");
  advance(1700ms);
  CHECK(seen->state(node->name) == "OFFLINE");
  CHECK(seen->view.find(make_node_id(node->name))->row.reason().starts_with("no heartbeat for 3."));
  node->silent = false;
  advance(1100ms);
  CHECK(seen->state(node->name) == "ONLINE");
}

TEST_CASE_FIXTURE(fixture, "a drain is seen by the subscribers of another Resource within 100 ms") {
  start("r1");
  auto r2 = start("r2");
  auto node = join("r1");
  auto seen = watch(r2);
  advance(3s);
  REQUIRE(seen->state(node->name) == "ONLINE");
  CHECK(seen->view.find(make_node_id(node->name))->origin == make_resource_id("r1"));
  // Its next beat, 1 s after the last, tells of the drain.
  node->draining = true;
  auto before = node->sequence;
  while (node->sequence == before)
    advance(1ms);
  CHECK(seen->state(node->name) == "ONLINE");
  advance(100ms);
  CHECK(seen->state(node->name) == "DRAINING");
}

TEST_CASE_FIXTURE(fixture, "a Resource that hears nobody any more keeps its nodes until a peer says otherwise") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto r3 = start("r3");
  std::vector<std::shared_ptr<fake_node>> nodes;
  for (auto i = 0; i < 6; ++i)
    nodes.push_back(join("r1"));
  auto seen = watch(r1);
  advance(3s);
  for (auto& node : nodes)
    node->silent = true;
  SUBCASE("peers are heard: the nodes are gone") {
    advance(3500ms);
    for (auto& node : nodes)
      CHECK(seen->state(node->name) == "OFFLINE");
  }
  SUBCASE("nobody is heard: they are kept for a while, and then they are gone") {
    kill(r2);
    kill(r3);
    advance(3500ms);
    for (auto& node : nodes)
      CHECK(seen->state(node->name) == "SUSPECT");
    advance(4s);
    CHECK(seen->state(nodes[0]->name) == "SUSPECT");
    advance(3s);
    for (auto& node : nodes)
      CHECK(seen->state(node->name) == "OFFLINE");
  }
  SUBCASE("a peer is heard again: they are gone") {
    kill(r2);
    kill(r3);
    advance(4s);
    CHECK(seen->state(nodes[0]->name) == "SUSPECT");
    start("r2");
    start("r3");
    advance(3s);
    for (auto& node : nodes)
      CHECK(seen->state(node->name) == "OFFLINE");
  }
}

TEST_CASE_FIXTURE(fixture, "a goodbye makes a node offline within 100 ms, a closed connection suspect") {
  auto r1 = start("r1");
  auto leaves = join("r1");
  auto crashes = join("r1");
  auto seen = watch(r1);
  advance(2s);
  kill(crashes->handle);
  advance(100ms);
  CHECK(seen->state(crashes->name) == "SUSPECT");
  CHECK(seen->view.find(make_node_id(crashes->name))->row.reason() == "connection closed");
  leaves->leaving = true;
  auto before = leaves->sequence;
  while (leaves->sequence == before)
    advance(1ms);
  advance(100ms);
  CHECK(seen->state(leaves->name) == "OFFLINE");
  CHECK(seen->view.find(make_node_id(leaves->name))->row.reason() == "said goodbye");
  advance(3s);
  CHECK(seen->state(crashes->name) == "OFFLINE");
}

TEST_CASE_FIXTURE(fixture,
                  "a node that routers cannot reach is asked once by its home, and suspect when it is silent") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto frozen = join("r1");
  auto cut_off = join("r1");
  auto seen = watch(r2);
  advance(2s);
  // Just after a beat, so that its silence says nothing yet.
  auto before = frozen->sequence;
  while (frozen->sequence == before)
    advance(1ms);
  frozen->silent = true;
  pb::Subscribe request;
  request.set_scope(pb::Subscribe::ALL_SHARDS);
  request.set_subscriber("gateway");
  for (auto& node : {frozen, cut_off})
    for (auto incarnation : {0, 1}) {
      auto& accusation = *request.add_accusations();
      accusation.set_node(make_node_id(node->name).value());
      accusation.set_incarnation(static_cast<std::uint64_t>(incarnation));
      accusation.set_reason("no answer");
    }
  caf::scoped_actor self{sys};
  // Through the Resource that the gateway listens to, twice, as from two of its routers.
  for (auto i = 0; i < 2; ++i)
    self->send(r2, subscribe{request});
  run();
  CHECK(frozen->asked.size() == 1);
  CHECK(frozen->asked.at(0).claims_size() == 0);
  CHECK(cut_off->asked.size() >= 1);
  advance(299ms);
  CHECK(seen->state(frozen->name) == "ONLINE");
  advance(50ms);
  CHECK(seen->state(frozen->name) == "SUSPECT");
  CHECK(seen->view.find(make_node_id(frozen->name))->row.reason()
        == "cannot be reached by gateway: no answer, nor did it answer within 300 ms");
  CHECK_FALSE(seen->ever(cut_off->name, "SUSPECT"));
  frozen->silent = false;
  advance(1s);
  CHECK(seen->state(frozen->name) == "ONLINE");
  // One that answers is not asked again and again.
  auto asked = cut_off->asked.size();
  for (auto i = 0; i < 50; ++i) {
    self->send(r2, subscribe{request});
    advance(10ms);
  }
  CHECK(cut_off->asked.size() <= asked + 1);
}

TEST_CASE_FIXTURE(fixture, "nodes of a killed Resource come to another and are never offline in any view") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto r3 = start("r3");
  std::vector<std::shared_ptr<fake_node>> nodes;
  for (auto i = 0; i < 5; ++i)
    nodes.push_back(join("r1"));
  auto at_r2 = watch(r2);
  auto at_r3 = watch(r3);
  advance(3s);
  kill(r1);
  advance(100ms);
  CHECK(at_r2->view.shards().at(make_resource_id("r1")).lost);
  advance(30s);
  for (auto& node : nodes) {
    for (auto& seen : {at_r2, at_r3}) {
      CHECK(seen->state(node->name) == "ONLINE");
      CHECK(seen->view.find(make_node_id(node->name))->origin != make_resource_id("r1"));
      CHECK_FALSE(seen->ever(node->name, "OFFLINE"));
      CHECK_FALSE(seen->ever(node->name, "gone"));
    }
  }
  // The lost shard is empty and forgotten.
  CHECK(at_r2->view.shards().size() == 2);
}

TEST_CASE_FIXTURE(fixture, "a node that died with its Resource is offline once the grace of 10 s is over") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto node = join("r1");
  auto seen = watch(r2);
  advance(3s);
  kill(r1);
  kill(node->handle);
  advance(9s);
  CHECK(seen->state(node->name) == "ONLINE");
  advance(1500ms);
  CHECK(seen->state(node->name) == "OFFLINE");
  CHECK(seen->view.find(make_node_id(node->name))->row.reason()
        == "its Resource r1 was lost and it did not come to another");
  advance(61s);
  CHECK(seen->state(node->name) == "gone");
  CHECK(seen->view.shards().size() == 1);
}

TEST_CASE_FIXTURE(fixture, "a Resource that restarts empty gets its profiles again and loses no node from any view") {
  addresses = {"r1:1", "r2:1"};
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto node = join("r1");
  auto seen = watch(r2);
  advance(3s);
  kill(r1);
  start("r1");
  advance(20s);
  CHECK(seen->state(node->name) == "ONLINE");
  CHECK(seen->view.find(make_node_id(node->name))->name() == node->name);
  CHECK_FALSE(seen->ever(node->name, "OFFLINE"));
  CHECK_FALSE(seen->ever(node->name, "gone"));
  CHECK_FALSE(seen->view.shards().at(make_resource_id("r1")).lost);
}

TEST_CASE_FIXTURE(fixture, "a Resource is published while it runs and not longer") {
  auto r1 = start("r1");
  CHECK(network.services.count({"r1:1", resource_service}) == 1);
  kill(r1);
  CHECK(network.services.count({"r1:1", resource_service}) == 0);
}

TEST_CASE_FIXTURE(fixture, "a Resource whose own clock jumps by 10 s evicts nobody") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto node = join("r1");
  auto seen = watch(r1);
  auto other = watch(r2);
  advance(3s);
  scheduler.clock().advance_time(10s);
  run();
  advance(5s);
  for (auto& view : {seen, other}) {
    CHECK(view->state(node->name) == "ONLINE");
    CHECK_FALSE(view->ever(node->name, "OFFLINE"));
    CHECK_FALSE(view->ever(node->name, "gone"));
  }
}

TEST_CASE_FIXTURE(fixture, "a Resource drops a row as moved when another one knows a later home") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto node = join("r1");
  auto at_r1 = watch(r1);
  advance(3s);
  // The node talks to r2 now, while r1 still believes in it.
  pb::Heartbeat beat;
  beat.set_node(make_node_id(node->name).value());
  beat.set_incarnation(1);
  beat.set_home_epoch(9);
  beat.set_sequence(100);
  node->silent = true;
  REQUIRE(ask<heartbeat_ack>(r2, heartbeat{beat}));
  advance(200ms);
  auto entry = at_r1->view.find(make_node_id(node->name));
  REQUIRE(entry);
  CHECK(entry->origin == make_resource_id("r2"));
  CHECK(entry->name() == node->name); // kept until the new home has its profile
  CHECK(at_r1->view.rows(make_resource_id("r1"))->nodes.empty());
  CHECK_FALSE(at_r1->ever(node->name, "OFFLINE"));
  // A beat that was long on its way does not bring the old row back, and an old incarnation is fenced.
  beat.set_home_epoch(1);
  beat.set_sequence(101);
  auto ack = ask<heartbeat_ack>(r1, heartbeat{beat});
  REQUIRE(ack);
  CHECK_FALSE((*ack)->fenced());
  beat.set_incarnation(0);
  ack = ask<heartbeat_ack>(r1, heartbeat{beat});
  CHECK((*ack)->fenced());
  advance(200ms);
  CHECK(at_r1->view.rows(make_resource_id("r1"))->nodes.empty());
}

TEST_CASE_FIXTURE(fixture, "a subscriber that missed deltas asks and is in step again within a second") {
  auto r1 = start("r1");
  auto node = join("r1");
  auto seen = watch(r1);
  advance(2s);
  seen->lose_deltas = 3;
  node->draining = true;
  while (seen->lose_deltas > 0)
    advance(10ms);
  CHECK(seen->state(node->name) == "ONLINE");
  advance(1s);
  CHECK(seen->gaps > 0);
  CHECK(seen->state(node->name) == "DRAINING");
}

TEST_CASE_FIXTURE(fixture, "a late joiner sees every shard at once") {
  start("r1");
  auto r2 = start("r2");
  auto one = join("r1");
  auto two = join("r2");
  advance(5s);
  auto seen = watch(r2);
  CHECK(seen->state(one->name) == "ONLINE");
  CHECK(seen->state(two->name) == "ONLINE");
  CHECK(seen->view.find(make_node_id(one->name))->usable());
  CHECK(seen->gaps == 0);
}

TEST_CASE_FIXTURE(fixture, "a subscriber that ends or stops renewing is forgotten") {
  auto r1 = start("r1");
  join("r1");
  auto ends = watch(r1);
  auto stops = watch(r1);
  advance(2s);
  auto count = [&] {
    return sys.metrics()
        .gauge_instance("astra.resource", "subscribers", {{"resource", "r1"}},
                        "Processes that get view deltas from here.")
        ->value();
  };
  CHECK(count() == 2);
  kill(ends->handle);
  advance(200ms);
  CHECK(count() == 1);
  stops->renews = false;
  advance(4s);
  CHECK(count() == 0);
  auto before = stops->deltas;
  advance(4s);
  CHECK(stops->deltas == before);
}

TEST_CASE_FIXTURE(fixture, "schedulers and their apps travel in the shard and move with them") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto seen = watch(r2);
  pb::SchedulerBeat beat;
  beat.set_scheduler(3);
  beat.set_name("s1");
  beat.set_address("s1:1");
  beat.set_incarnation(1);
  beat.set_sequence(1);
  auto& record = *beat.add_apps();
  record.mutable_spec()->set_name("ocr");
  record.set_scheduler(3);
  record.set_epoch(1);
  record.set_version(1);
  caf::scoped_actor process{sys};
  auto send_beat = [&](const resource_actor& to) {
    auto pending = process->request(to, caf::infinite, scheduler_beat{beat});
    run();
    pending.receive([](const heartbeat_ack& ack) { CHECK_FALSE(ack->fenced()); },
                    [](const caf::error& reason) { FAIL(to_string(reason)); });
  };
  send_beat(r1);
  advance(200ms);
  REQUIRE(seen->view.find_scheduler(scheduler_id{3}));
  CHECK(seen->view.find_scheduler(scheduler_id{3})->row.liveness() == pb::LIVENESS_ONLINE);
  REQUIRE(seen->view.find_app("ocr"));
  for (auto i = 0; i < 5; ++i) {
    beat.set_sequence(beat.sequence() + 1);
    send_beat(r2);
    advance(1s);
  }
  CHECK(seen->view.find_scheduler(scheduler_id{3})->origin == make_resource_id("r2"));
  CHECK(seen->view.find_scheduler(scheduler_id{3})->row.liveness() == pb::LIVENESS_ONLINE);
  CHECK(seen->view.find_app("ocr")->origin == make_resource_id("r2"));
  CHECK(seen->view.rows(make_resource_id("r1"))->schedulers.empty());
  advance(5s);
  CHECK(seen->view.find_scheduler(scheduler_id{3})->row.liveness() == pb::LIVENESS_OFFLINE);
  CHECK(seen->view.find_app("ocr"));
}

TEST_CASE_FIXTURE(fixture, "of two schedulers that race for the last place exactly one wins") {
  auto r1 = start("r1");
  auto node = join("r1", 1000);
  auto seen = watch(r1);
  advance(2s);
  auto one = batch(1, 1000);
  auto two = batch(1, 1000);
  two.mutable_spec()->set_name("echo");
  add_claim(one, *node, 11);
  add_claim(two, *node, 22);
  caf::scoped_actor self{sys};
  auto first = self->request(r1, caf::infinite, claim_batch{one});
  auto second = self->request(r1, caf::infinite, claim_batch{two});
  run();
  std::vector<pb::ClaimResult> results;
  auto take = [&](const claim_reply& reply) { results.push_back(reply->results(0)); };
  auto fail = [](const caf::error& reason) { FAIL(to_string(reason)); };
  first.receive(take, fail);
  second.receive(take, fail);
  REQUIRE(results.size() == 2);
  CHECK(results[0].outcome() == pb::CLAIM_CONFIRMED);
  CHECK(results[1].outcome() == pb::CLAIM_NO_ROOM);
  CHECK(results[1].reason() == "needs 1 cores, 0 free");
  CHECK(results[1].row().profile().name() == node->name);
  CHECK(node->asked.size() == 1);
  // The replica in the profile takes the place of the hold.
  advance(200ms);
  CHECK(held(*seen, *node).cpu_milli() == 0);
  CHECK(seen->view.find(make_node_id(node->name))->row.shape().replicas_size() == 1);
  CHECK(claim(r1, two).results(0).outcome() == pb::CLAIM_NO_ROOM);
}

TEST_CASE_FIXTURE(fixture, "a hold reserves without asking the node, and the claim of the same token commits it") {
  auto r1 = start("r1");
  auto node = join("r1", 1000);
  auto seen = watch(r1);
  advance(2s);
  auto wanted = batch(1, 1000);
  wanted.set_hold_ms(3000);
  wanted.mutable_gang()->set_since_wall_ms(10);
  add_claim(wanted, *node, 11);
  CHECK(claim(r1, wanted).results(0).outcome() == pb::CLAIM_HELD);
  advance(200ms);
  CHECK(node->asked.empty());
  CHECK(held(*seen, *node).cpu_milli() == 1000);
  auto other = batch(1, 1000);
  other.mutable_spec()->set_name("echo");
  add_claim(other, *node, 22);
  CHECK(claim(r1, other).results(0).outcome() == pb::CLAIM_NO_ROOM);
  SUBCASE("in time") {
    wanted.set_hold_ms(0);
    CHECK(claim(r1, wanted).results(0).outcome() == pb::CLAIM_CONFIRMED);
    CHECK(node->asked.size() == 1);
    advance(5s);
    CHECK(seen->view.find(make_node_id(node->name))->row.shape().replicas_size() == 1);
  }
  SUBCASE("or its time is over") {
    advance(4s);
    CHECK(held(*seen, *node).cpu_milli() == 0);
    CHECK(claim(r1, other).results(0).outcome() == pb::CLAIM_CONFIRMED);
  }
  SUBCASE("or an older gang takes it") {
    other.set_hold_ms(3000);
    other.mutable_gang()->set_since_wall_ms(5);
    CHECK(claim(r1, other).results(0).outcome() == pb::CLAIM_HELD);
    auto reply = claim(r1, wanted);
    CHECK(reply.results(0).outcome() == pb::CLAIM_NO_ROOM);
    CHECK(reply.results(0).reason() == "its hold went to an older gang");
    CHECK(node->asked.empty());
  }
}

TEST_CASE_FIXTURE(fixture,
                  "a gang that its business's quota has no room for holds nothing, and the report tells the quota") {
  quotas.push_back({"search", 4000, std::nullopt, {}});
  auto r1 = start("r1");
  start("r2");
  start("r3");
  auto node = join("r1", 8000);
  auto seen = watch(r1);
  advance(10s);
  auto wanted = batch(1, 1000);
  wanted.mutable_spec()->set_business("search");
  wanted.mutable_spec()->set_gang(true);
  wanted.mutable_spec()->set_replicas(5);
  wanted.set_hold_ms(3000);
  wanted.mutable_gang()->set_since_wall_ms(10);
  add_claim(wanted, *node, 11);
  auto refused = claim(r1, wanted);
  CHECK(refused.results(0).outcome() == pb::CLAIM_OVER_QUOTA);
  CHECK(refused.results(0).reason()
        == "business search has 0 of 4 cores in use, and 5 are needed; quota of [[resource.quotas]]");
  advance(200ms);
  CHECK(held(*seen, *node).cpu_milli() == 0);
  wanted.mutable_spec()->set_replicas(4);
  CHECK(claim(r1, wanted).results(0).outcome() == pb::CLAIM_HELD);
  // Its business has become too small for it meanwhile.
  wanted.mutable_spec()->set_replicas(5);
  CHECK(claim(r1, wanted).results(0).outcome() == pb::CLAIM_OVER_QUOTA);
  advance(200ms);
  CHECK(held(*seen, *node).cpu_milli() == 0);

  auto report = ask<resource_report>(r1, report_query{});
  REQUIRE((*report)->quotas_size() == 1);
  CHECK((*report)->quotas(0).business() == "search");
  CHECK((*report)->quotas(0).limit().cpu_milli() == 4000);
  CHECK((*report)->quotas(0).keeper() == rendezvous_order("search", {"r1", "r2", "r3"}).front());
}

TEST_CASE_FIXTURE(fixture, "a claim that the node refuses frees its hold") {
  auto r1 = start("r1");
  auto node = join("r1", 1000);
  advance(2s);
  node->refusal = pb::CLAIM_NO_ROOM;
  auto wanted = batch(1, 1000);
  add_claim(wanted, *node, 1);
  auto reply = claim(r1, wanted);
  CHECK(reply.results(0).outcome() == pb::CLAIM_NO_ROOM);
  CHECK(reply.results(0).reason() == "the node says no");
  CHECK(reply.results(0).has_row());
  node->refusal = pb::CLAIM_UNKNOWN;
  wanted.mutable_claims(0)->set_token(2);
  CHECK(claim(r1, wanted).results(0).outcome() == pb::CLAIM_CONFIRMED);
}

TEST_CASE_FIXTURE(fixture, "a silent node's claims are answered after 2 s, others of the batch are not spoilt by it") {
  auto r1 = start("r1");
  auto silent = join("r1", 1000);
  auto healthy = join("r1", 1000);
  auto seen = watch(r1);
  advance(2s);
  silent->silent = true;
  auto wanted = batch(1, 1000);
  add_claim(wanted, *silent, 1);
  add_claim(wanted, *healthy, 2);
  auto begin = now();
  auto reply = claim(r1, wanted);
  CHECK(now() - begin <= 2050ms);
  std::map<std::uint64_t, pb::ClaimResult> by_token;
  for (auto& result : reply.results())
    by_token[result.token()] = result;
  CHECK(by_token[1].outcome() == pb::CLAIM_TIMED_OUT);
  CHECK(by_token[1].reason() == "the node did not answer within 2000 ms");
  CHECK(by_token[2].outcome() == pb::CLAIM_CONFIRMED);
  advance(100ms);
  CHECK(held(*seen, *silent).cpu_milli() == 0);
}

TEST_CASE_FIXTURE(fixture, "a refusal that waits for another node of its batch tells how its own node is by then") {
  auto r1 = start("r1");
  auto silent = join("r1", 1000);
  auto full = join("r1", 1000);
  advance(2s);
  auto first = batch(1, 1000);
  first.mutable_spec()->set_name("echo");
  add_claim(first, *full, 1);
  REQUIRE(claim(r1, first).results(0).outcome() == pb::CLAIM_CONFIRMED);
  advance(200ms);
  silent->silent = true;
  auto wanted = batch(1, 1000);
  add_claim(wanted, *silent, 2);
  add_claim(wanted, *full, 3);
  caf::scoped_actor self{sys};
  auto pending = self->request(r1, caf::infinite, claim_batch{wanted});
  run();
  full->profile.clear_replicas();
  full->profile.set_version(full->profile.version() + 1);
  advance(2100ms);
  pending.receive(
      [&](const claim_reply& reply) {
        auto refused = std::find_if(reply->results().begin(), reply->results().end(),
                                    [](auto& result) { return result.token() == 3; });
        REQUIRE(refused != reply->results().end());
        CHECK(refused->outcome() == pb::CLAIM_NO_ROOM);
        CHECK(refused->row().profile().version() == full->profile.version());
      },
      [](const caf::error& reason) { FAIL(to_string(reason)); });
}

TEST_CASE_FIXTURE(fixture, "a claim under way to a node that dies is answered at once") {
  auto r1 = start("r1");
  auto node = join("r1", 1000);
  advance(2s);
  node->silent = true;
  auto wanted = batch(1, 1000);
  add_claim(wanted, *node, 1);
  caf::scoped_actor self{sys};
  auto pending = self->request(r1, caf::infinite, claim_batch{wanted});
  run();
  REQUIRE(node->asked.size() == 1);
  kill(node->handle);
  pending.receive([](const claim_reply& reply) { CHECK(reply->results(0).outcome() == pb::CLAIM_TIMED_OUT); },
                  [](const caf::error& reason) { FAIL(to_string(reason)); });
  // The next one is not even sent.
  wanted.mutable_claims(0)->set_token(2);
  auto reply = claim(r1, wanted);
  CHECK(reply.results(0).outcome() == pb::CLAIM_NODE_GONE);
  CHECK(reply.results(0).reason() == "the connection to the node is closed");
}

TEST_CASE_FIXTURE(fixture, "claims of a fenced epoch, of unknown nodes and at the wrong Resource say so") {
  auto r1 = start("r1");
  auto r2 = start("r2");
  auto node = join("r1", 4000);
  advance(3s);
  auto newer = batch(5, 1000);
  add_claim(newer, *node, 1);
  CHECK(claim(r1, newer).results(0).outcome() == pb::CLAIM_CONFIRMED);
  auto older = batch(4, 1000);
  add_claim(older, *node, 2);
  auto reply = claim(r1, older);
  CHECK(reply.results(0).outcome() == pb::CLAIM_FENCED);
  CHECK(reply.newer_epoch() == 5);
  CHECK(node->asked.size() == 1);
  auto astray = batch(5, 1000);
  add_claim(astray, *node, 3);
  reply = claim(r2, astray);
  CHECK(reply.results(0).outcome() == pb::CLAIM_NOT_HOME);
  CHECK(reply.results(0).reason() == "its home is r1");
  astray.mutable_claims(0)->set_node(99);
  CHECK(claim(r2, astray).results(0).outcome() == pb::CLAIM_NODE_GONE);
  CHECK(claim(r2, batch(5, 1000)).results_size() == 0);
}

TEST_CASE_FIXTURE(fixture, "releases reach the node and free holds by their token") {
  auto r1 = start("r1");
  auto node = join("r1", 1000);
  advance(2s);
  pb::ReleaseBatch releases;
  auto& release = *releases.add_releases();
  release.set_app("ocr");
  release.set_token(5);
  release.set_node(make_node_id(node->name).value());
  caf::anon_send(r1, release_batch{releases});
  run();
  REQUIRE(node->released.size() == 1);
  CHECK(node->released[0].token() == 5);
}

TEST_CASE_FIXTURE(fixture, "what a node is to fetch ahead reaches it, without the names of the others") {
  auto r1 = start("r1");
  auto node = join("r1", 1000);
  advance(2s);
  pb::PrefetchBatch batch;
  batch.set_app("ocr");
  batch.add_contents("ocr-det@1");
  batch.add_nodes(make_node_id("unknown").value());
  batch.add_nodes(make_node_id(node->name).value());
  caf::anon_send(r1, prefetch_batch{batch});
  run();
  REQUIRE(node->prefetched.size() == 1);
  CHECK(node->prefetched[0].contents(0) == "ocr-det@1");
  REQUIRE(node->prefetched[0].nodes_size() == 1);
  CHECK(node->prefetched[0].nodes(0) == make_node_id(node->name).value());
}

TEST_CASE_FIXTURE(fixture, "a node that restarts drops what was held for it, and its old incarnation is fenced") {
  auto r1 = start("r1");
  auto old = join("r1", 1000);
  auto seen = watch(r1);
  advance(2s);
  auto fresh = std::make_shared<fake_node>();
  fresh->name = old->name;
  fresh->incarnation = 2;
  join_as(fresh, 1000);
  advance(2s);
  CHECK(old->fenced);
  CHECK_FALSE(fresh->fenced);
  CHECK(seen->view.find(make_node_id(fresh->name))->row.incarnation() == 2);
  CHECK(seen->view.find(make_node_id(fresh->name))->row.incarnation() == 2);
}

TEST_CASE_FIXTURE(fixture,
                  "three Resources together give out a business's quota and no more, also when its keeper dies") {
  quotas.push_back({"search", 4000, std::nullopt, {}});
  std::map<std::string, resource_actor> resources;
  for (auto name : {"r1", "r2", "r3"})
    resources[name] = start(name);
  std::map<std::string, std::shared_ptr<fake_node>> nodes;
  for (auto name : {"r1", "r2", "r3"})
    nodes[name] = join(name, 64'000);
  advance(10s);
  std::uint64_t token = 0;
  std::string reason;
  auto claims = [&](const std::string& home, const std::string& business) {
    auto wanted = batch(1, 1000);
    wanted.mutable_spec()->set_business(business);
    add_claim(wanted, *nodes[home], ++token);
    auto reply = claim(resources[home], wanted);
    reason = reply.results(0).reason();
    CHECK((reply.results(0).outcome() == pb::CLAIM_CONFIRMED || reply.results(0).outcome() == pb::CLAIM_OVER_QUOTA));
    return reply.results(0).outcome() == pb::CLAIM_CONFIRMED;
  };
  std::size_t granted = 0;
  for (auto round = 0; round < 20; ++round) {
    for (auto name : {"r1", "r2", "r3"})
      granted += claims(name, "search") ? 1 : 0;
    advance(500ms);
  }
  CHECK(granted == 4);
  CHECK(reason == "business search has 4 of 4 cores in use, and 1 is needed; quota of [[resource.quotas]]");
  // Others are not touched by it.
  CHECK(claims("r1", "maps"));
  CHECK(claims("r2", ""));

  // Room for one more, and whoever kept the quota is gone.
  auto keeper = rendezvous_order("search", {"r1", "r2", "r3"}).front();
  auto other = rendezvous_order("search", {"r1", "r2", "r3"}).back();
  kill(resources[keeper]);
  for (auto& [name, node] : nodes) {
    auto& replicas = *node->profile.mutable_replicas();
    auto found = std::find_if(replicas.begin(), replicas.end(), [](auto& one) { return one.business() == "search"; });
    if (granted == 4 && found != replicas.end()) {
      replicas.erase(found);
      node->profile.set_version(node->profile.version() + 1);
      --granted;
    }
  }
  for (auto round = 0; round < 60; ++round) {
    granted += claims(other, "search") ? 1 : 0;
    advance(500ms);
  }
  CHECK(granted == 4);
}

TEST_CASE_FIXTURE(fixture, "holds count against a quota: a gang that is over it starts nothing, and gives all back") {
  quotas.push_back({"search", 10'000, std::nullopt, {}});
  auto r1 = start("r1");
  start("r2");
  start("r3");
  auto node = join("r1", 64'000);
  advance(10s);
  auto gang = batch(1, 1000);
  gang.mutable_spec()->set_business("search");
  gang.mutable_gang()->set_since_wall_ms(1);
  gang.set_hold_ms(3000);
  for (std::uint64_t token = 1; token <= 16; ++token)
    add_claim(gang, *node, token);
  auto count = [&](const pb::ClaimBatch& claims, pb::ClaimOutcome outcome) {
    auto reply = claim(r1, claims);
    return std::count_if(reply.results().begin(), reply.results().end(),
                         [&](auto& result) { return result.outcome() == outcome; });
  };
  for (auto round = 0; round < 8; ++round) {
    count(gang, pb::CLAIM_HELD);
    advance(500ms);
  }
  CHECK(count(gang, pb::CLAIM_HELD) == 10);
  CHECK(count(gang, pb::CLAIM_OVER_QUOTA) == 6);
  auto other = batch(1, 10'000);
  other.mutable_spec()->set_name("echo");
  other.mutable_spec()->set_business("search");
  add_claim(other, *node, 100);
  CHECK(count(other, pb::CLAIM_OVER_QUOTA) == 1);
  SUBCASE("its smaller spec fits, and is committed whole") {
    for (auto i = 0; i < 6; ++i)
      gang.mutable_claims()->RemoveLast();
    gang.set_hold_ms(0);
    CHECK(count(gang, pb::CLAIM_CONFIRMED) == 10);
    CHECK(node->profile.replicas_size() == 10);
  }
  SUBCASE("it is released") {
    pb::ReleaseBatch releases;
    for (auto& claim : gang.claims()) {
      auto& release = *releases.add_releases();
      release.set_token(claim.token());
      release.set_node(claim.node());
    }
    caf::anon_send(r1, release_batch{releases});
    advance(1s);
    CHECK(count(other, pb::CLAIM_CONFIRMED) == 1);
  }
  SUBCASE("its time is over") {
    advance(4s);
    CHECK(count(other, pb::CLAIM_CONFIRMED) == 1);
  }
}
