#include "actors/resource/view_client.hpp"

#include "test/actors/resource/resource_fixture.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;

namespace {

struct fixture : resource_fixture {
  /// Of clients.
  std::vector<resource_group> groups;

  /// Resources from now on are of another group.
  void found(const std::string& name, std::vector<std::string> resources) {
    group = name;
    addresses = std::move(resources);
  }

  /// A view client that prefers the Resource `home`.
  view_source client(const std::string& home) {
    view_client_options options;
    auto number = 0;
    do
      options.name = "gateway" + std::to_string(++number);
    while (rendezvous_order(options.name, addresses).front() != home + ":1");
    options.resources = addresses;
    options.groups = groups;
    auto result = own(spawn_view_client(sys, process("gateway:1"), options));
    run();
    return result;
  }

  /// A Resource that takes messages and says nothing.
  resource_actor frozen() {
    auto result = sys.spawn([](resource_actor::pointer self) -> resource_actor::behavior_type {
      auto never = [self] { return self->make_response_promise<heartbeat_ack>(); };
      return {
          [self](const subscribe&) -> caf::result<subscribe_ack> {
            // It is not even seen to have dropped them.
            auto promise = std::make_shared<caf::typed_response_promise<subscribe_ack>>(
                self->make_response_promise<subscribe_ack>());
            self->run_delayed(1h, [promise] {});
            return *promise;
          },
          [never](const heartbeat&) -> caf::result<heartbeat_ack> { return never(); },
          [never](const profile_update&) -> caf::result<heartbeat_ack> { return never(); },
          [self](const beat_batch&) -> caf::result<beat_batch_ack> {
            return self->make_response_promise<beat_batch_ack>();
          },
          [never](const scheduler_beat&) -> caf::result<heartbeat_ack> { return never(); },
          [](const claim_batch&) -> caf::result<claim_reply> { return claim_reply{}; },
          [](const release_batch&) {},
          [](const prefetch_batch&) {},
          [](const view_delta&) {},
          [](const event_query&) { return event_page{}; },
          [](const node_query&) { return node_page{}; },
          [](const report_query&) { return resource_report{}; },
      };
    });
    own(result);
    return result;
  }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "the actors of a process see the whole cluster through their view client") {
  start("r1");
  start("r2");
  auto one = join("r1");
  auto two = join("r2");
  auto view = client("r1");
  auto early = watch(view);
  advance(3s);
  auto late = watch(view);
  for (auto& seen : {early, late}) {
    CHECK(seen->view.find(make_node_id(one->name))->usable());
    CHECK(seen->view.find(make_node_id(two->name))->usable());
    CHECK(seen->gaps == 0);
  }
}

TEST_CASE_FIXTURE(fixture, "a view client moves to another Resource and no node is lost or offline on the way") {
  auto r1 = start("r1");
  start("r2");
  start("r3");
  std::vector<std::shared_ptr<fake_node>> nodes;
  for (auto home : {"r1", "r1", "r2", "r3"})
    nodes.push_back(join(home));
  auto seen = watch(client("r1"));
  advance(3s);
  kill(r1);
  advance(30s);
  for (auto& node : nodes) {
    CHECK(seen->state(node->name) == "ONLINE");
    CHECK_FALSE(seen->ever(node->name, "OFFLINE"));
    CHECK_FALSE(seen->ever(node->name, "gone"));
  }
  CHECK(seen->view.shards().count(make_resource_id("r1")) == 0);
  // And it goes on hearing of changes.
  nodes[0]->draining = true;
  advance(1200ms);
  CHECK(seen->state(nodes[0]->name) == "DRAINING");
}

TEST_CASE_FIXTURE(fixture, "what a router says of a node comes to the node's home at once") {
  start("r1");
  start("r2");
  auto node = join("r2");
  auto view = client("r1");
  auto seen = watch(view);
  advance(3s);
  node->silent = true;
  pb::Subscribe request;
  auto& accusation = *request.add_accusations();
  accusation.set_node(make_node_id(node->name).value());
  accusation.set_incarnation(1);
  caf::scoped_actor self{sys};
  self->send(view, subscribe{request});
  run();
  CHECK(node->asked.size() == 1);
}

TEST_CASE_FIXTURE(fixture, "the only Resource restarts: the view stays as it was until the nodes have come back") {
  addresses = {"r1:1"};
  auto r1 = start("r1");
  auto node = join("r1");
  auto seen = watch(client("r1"));
  advance(3s);
  kill(r1);
  advance(3s);
  CHECK(seen->state(node->name) == "ONLINE");
  start("r1");
  advance(20s);
  CHECK(seen->state(node->name) == "ONLINE");
  CHECK(seen->view.find(make_node_id(node->name))->usable());
  CHECK_FALSE(seen->ever(node->name, "OFFLINE"));
  CHECK_FALSE(seen->ever(node->name, "gone"));
}

TEST_CASE_FIXTURE(fixture,
                  "the view stays as it was for 60 s without any Resource, although the last one had restarted") {
  addresses = {"r1:1"};
  auto first = start("r1");
  auto node = join("r1");
  auto seen = watch(client("r1"));
  advance(3s);
  node->silent = true;
  kill(first);
  auto second = start("r1");
  advance(3s);
  kill(second);
  advance(60s);
  CHECK(seen->state(node->name) == "ONLINE");
  CHECK_FALSE(seen->ever(node->name, "OFFLINE"));
}

TEST_CASE_FIXTURE(fixture,
                  "a row that a relay kept for a restarted Resource has its grace when that one is listened to") {
  addresses = {"r1:1", "r2:1"};
  auto before = start("r1");
  auto relay = start("r2");
  auto dead = join("r1");
  auto seen = watch(client("r2"));
  advance(3s);
  kill(dead->handle);
  kill(before);
  start("r1");
  advance(3s);
  REQUIRE(seen->state(dead->name) == "ONLINE");
  kill(relay);
  advance(5s);
  CHECK(seen->state(dead->name) == "ONLINE");
  advance(10s);
  CHECK(seen->state(dead->name) == "OFFLINE");
  advance(61s);
  CHECK(seen->state(dead->name) == "gone");
  CHECK_FALSE(seen->view.find(make_node_id(dead->name)));
}

TEST_CASE_FIXTURE(fixture, "a shard that the next Resource does not know is removed once its grace is over") {
  auto r1 = start("r1");
  auto lonely = join("r1");
  auto view = client("r1");
  auto seen = watch(view);
  advance(3s);
  kill(r1);
  kill(lonely->handle);
  addresses = {"r2:1"};
  start("r2");
  advance(9s);
  CHECK(seen->state(lonely->name) == "ONLINE");
  advance(4s);
  CHECK(seen->state(lonely->name) == "OFFLINE");
  // Whoever joins now knows as well that this is not the origin's word.
  auto late = watch(view);
  CHECK(late->view.shards().at(make_resource_id("r1")).edited);
  advance(61s);
  CHECK(seen->state(lonely->name) == "gone");
  CHECK(seen->view.shards().count(make_resource_id("r1")) == 0);
  CHECK(seen->view.shards().count(make_resource_id("r2")) == 1);
}

TEST_CASE_FIXTURE(fixture, "while Resources take connections and say nothing, no node is given up") {
  auto r1 = start("r1");
  auto lonely = join("r1");
  auto view = client("r1");
  auto seen = watch(view);
  advance(3s);
  kill(r1);
  kill(lonely->handle);
  addresses = {"r2:1"};
  auto r2 = start("r2");
  advance(5s);
  // From here on nobody could tell that the node is elsewhere.
  kill(r2);
  world_of("r2").publish(resource_service, caf::actor_cast<caf::strong_actor_ptr>(frozen()));
  advance(60s);
  CHECK(seen->state(lonely->name) == "ONLINE");
}

TEST_CASE_FIXTURE(fixture, "a Resource that falls silent is left within 2.5 s") {
  addresses = {"r1:1", "r2:1"};
  world_of("r1").publish(resource_service, caf::actor_cast<caf::strong_actor_ptr>(frozen()));
  start("r2");
  auto seen = watch(client("r1"));
  advance(1900ms);
  CHECK(seen->view.shards().empty());
  advance(600ms);
  CHECK(seen->view.shards().count(make_resource_id("r2")) == 1);
}

TEST_CASE_FIXTURE(fixture, "a local subscriber that ends is forgotten and the others go on") {
  start("r1");
  auto node = join("r1");
  auto view = client("r1");
  auto ends = watch(view);
  auto stays = watch(view);
  advance(2s);
  kill(ends->handle);
  auto before = ends->deltas;
  node->draining = true;
  advance(1200ms);
  CHECK(ends->deltas == before);
  CHECK(stays->state(node->name) == "DRAINING");
}

TEST_CASE_FIXTURE(fixture, "a view client without any Resource waits, with pauses, and joins the first that comes") {
  addresses = {"r1:1", "r2:1"};
  auto seen = watch(client("r1"));
  advance(20s);
  CHECK(seen->view.shards().empty());
  start("r2");
  advance(2500ms);
  CHECK(seen->view.shards().count(make_resource_id("r2")) == 1);
}

TEST_CASE_FIXTURE(fixture, "groups know nothing of each other, and who follows both sees all of it") {
  groups = {{"vision", {"v1:1", "v2:1"}}};
  found("vision", {"v1:1", "v2:1"});
  start("v1");
  auto v2 = start("v2");
  auto seeing = join("v1");
  auto other = join("v2");
  found("main", {"r1:1", "r2:1"});
  auto r1 = start("r1");
  start("r2");
  auto node = join("r1");
  auto view = client("r1");
  auto all = watch(view);
  auto main_only = watch(view_source{r1});
  advance(3s);
  for (auto& one : {seeing, other, node})
    CHECK(all->state(one->name) == "ONLINE");
  CHECK(all->view.shards().at(make_resource_id("v1")).group == "vision");
  CHECK(all->view.shards().at(make_resource_id("r2")).group == "main");
  CHECK(main_only->state(node->name) == "ONLINE");
  CHECK(main_only->state(seeing->name) == "gone");
  CHECK(all->ack.group().empty());
  CHECK(all->ack.missing_groups().empty());
  CHECK(all->ack.shards_size() == 4);
  // One group loses a Resource, then all of them; the other one goes on.
  kill(v2);
  advance(5s);
  CHECK_FALSE(all->ever(other->name, "OFFLINE"));
  node->draining = true;
  advance(1200ms);
  CHECK(all->state(node->name) == "DRAINING");
  CHECK(all->gaps == 0);
}

TEST_CASE_FIXTURE(fixture, "a group that is down is missing, and keeps nobody from seeing the others") {
  groups = {{"vision", {"v1:1"}}};
  addresses = {"r1:1"};
  auto r1 = start("r1");
  auto node = join("r1");
  auto view = client("r1");
  auto seen = watch(view);
  advance(5s);
  CHECK(seen->state(node->name) == "ONLINE");
  REQUIRE(seen->ack.missing_groups_size() == 1);
  CHECK(seen->ack.missing_groups(0) == "vision");
  // It comes, and the home group goes: its rows are kept while none of its Resources speaks.
  found("vision", {"v1:1"});
  auto v1 = start("v1");
  auto seeing = join("v1");
  advance(5s);
  CHECK(seen->state(seeing->name) == "ONLINE");
  CHECK(seen->ack.missing_groups().empty());
  kill(r1);
  advance(40s);
  CHECK_FALSE(seen->ever(node->name, "OFFLINE"));
  seeing->draining = true;
  advance(1200ms);
  CHECK(seen->state(seeing->name) == "DRAINING");
}

TEST_CASE_FIXTURE(fixture, "a Resource of another group than its list says is not listened to") {
  addresses = {"r1:1", "v1:1"};
  groups = {{"speech", {"s1:1"}}};
  start("r1");
  group = "vision";
  start("v1");
  start("s1");
  auto view = client("r1");
  auto seen = watch(view);
  advance(5s);
  CHECK(seen->view.shards().size() == 1);
  CHECK(seen->view.shards().count(make_resource_id("r1")) == 1);
  CHECK(seen->ack.missing_groups_size() == 1);
  // Nor do Resources mix.
  auto stranger = watch(view_source{caf::actor_cast<view_source>(network.services.at({"v1:1", resource_service}))});
  advance(3s);
  CHECK(stranger->view.shards().size() == 1);
}
