#include "actors/scheduler/apps.hpp"

#include "actors/rendezvous.hpp"
#include "test/actors/scheduler/fake_shard.hpp"
#include "test/support/actor_fixture.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace astra;
using namespace astra::test;

namespace {

class fixture : public actor_fixture {
public:
  fixture() {
    for (auto name : {"n1", "n2", "n3"})
      nodes.rows[name] = make_row(name, 4, 64);
    resource = own(nodes.spawn(sys));
    run();
    home.publish(resource_service, caf::actor_cast<caf::strong_actor_ptr>(resource));
    options.name = "s1";
    options.resources = {"r1:1"};
  }

  ~fixture() {
    // Before `nodes`, which the Resource refers to.
    if (apps)
      kill(apps);
    kill(resource);
  }

  void start(std::vector<pb::AppSpec> files = {}) {
    apps = own(spawn_apps(sys, world, options, std::move(files), resource));
    advance(3s);
  }

  pb::ControlReply apply(const pb::AppSpec& spec, const std::string& plan_index = {}) {
    pb::ApplyApp wish;
    *wish.mutable_spec() = spec;
    wish.set_origin("test");
    wish.set_plan_index(plan_index);
    auto reply = ask<control_reply>(apps, apply_app{wish});
    REQUIRE(reply);
    return **reply;
  }

  pb::ControlReply remove(const std::string& name) {
    pb::DeleteApp wish;
    wish.set_app(name);
    wish.set_origin("test");
    auto reply = ask<control_reply>(apps, delete_app{wish});
    REQUIRE(reply);
    return **reply;
  }

  pb::AppDetail describe(const std::string& name) {
    pb::DescribeApp question;
    question.set_app(name);
    auto reply = ask<app_detail>(apps, describe_app{question});
    REQUIRE(reply);
    return **reply;
  }

  pb::ControlReply roll_back(const std::string& name, std::uint64_t to = 0) {
    pb::ApplyApp wish;
    wish.mutable_rollback()->set_app(name);
    wish.mutable_rollback()->set_to(to);
    wish.set_origin("test");
    auto reply = ask<control_reply>(apps, apply_app{wish});
    REQUIRE(reply);
    return **reply;
  }

  pb::AppHistory history(const std::string& name) {
    pb::DescribeApp question;
    question.set_app(name);
    question.set_history(true);
    auto reply = ask<app_detail>(apps, describe_app{question});
    REQUIRE(reply);
    return (*reply)->history();
  }

  pb::AppPlan plan(const pb::AppSpec& spec) {
    pb::DescribeApp question;
    question.set_app(spec.name());
    *question.mutable_plan()->mutable_spec() = spec;
    auto reply = ask<app_detail>(apps, describe_app{question});
    REQUIRE(reply);
    return (*reply)->plan();
  }

  /// What the home Resource heard last of an app; empty when it is not among the apps.
  pb::AppRecord told(const std::string& name) {
    REQUIRE_FALSE(nodes.beats.empty());
    for (auto& record : nodes.beats.back().apps())
      if (record.spec().name() == name)
        return record;
    return {};
  }

  bool each_index_once(std::uint32_t replicas) {
    auto found = nodes.replicas();
    for (std::uint32_t index = 0; index < replicas; ++index)
      if (found.count(index) != 1)
        return false;
    return found.size() == replicas;
  }

  fake_shard nodes;
  fake_platform& home = process("r1:1");
  fake_platform& world = process("s1:1");
  resource_actor resource;
  scheduler_options options;
  apps_actor apps;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "an applied app is stored, claimed and ready within 500 ms, and the home Resource knows") {
  start();
  auto reply = apply(small_app("ocr", 3));
  CHECK(reply.ok());
  CHECK(reply.message() == "app 'ocr' is created with 3 replicas");
  CHECK(world.store.specs.count("ocr") == 1);
  advance(500ms);
  CHECK(each_index_once(3));
  CHECK(told("ocr").ready() == 3);
  CHECK(told("ocr").reason().empty());
  CHECK(nodes.beats.back().name() == "s1");
  CHECK(nodes.beats.back().address() == "s1:1");
  auto detail = describe("ocr");
  CHECK(detail.found());
  REQUIRE(detail.replicas_size() == 3);
  CHECK(detail.replicas(1).index() == 1);
  CHECK_FALSE(detail.replicas(1).node_name().empty());
  CHECK_FALSE(describe("ocrr").found());
}

TEST_CASE_FIXTURE(fixture, "applying the same spec again changes nothing, another number of replicas scales") {
  start();
  apply(small_app("ocr", 2));
  advance(500ms);
  auto claims = nodes.batches.size();
  CHECK(apply(small_app("ocr", 2)).message() == "app 'ocr' is unchanged");
  advance(1s);
  CHECK(nodes.batches.size() == claims);
  CHECK(nodes.releases.empty());
  CHECK(apply(small_app("ocr", 4)).message() == "app 'ocr' is changed: replicas 2 -> 4");
  advance(500ms);
  CHECK(each_index_once(4));
  CHECK(nodes.releases.empty());
}

TEST_CASE_FIXTURE(fixture,
                  "where the next replicas would go contents are fetched ahead, said again until they are there") {
  for (auto name : {"spare1", "spare2"})
    nodes.rows[name] = make_row(name, 8, 64);
  start();
  auto spec = small_app("ocr", 3);
  spec.add_contents("ocr-det@1");
  spec.set_prefetch(2);
  REQUIRE(apply(spec).ok());
  advance(21s);
  REQUIRE(nodes.prefetches.size() >= 2);
  auto& last = nodes.prefetches.back();
  CHECK(last.app() == "ocr");
  CHECK(last.contents(0) == "ocr-det@1");
  CHECK(last.nodes_size() == 2);
  std::set<std::string> with_replica;
  for (auto& [index, node] : nodes.replicas())
    with_replica.insert(node);
  for (auto& [name, row] : nodes.rows)
    if (std::find(last.nodes().begin(), last.nodes().end(), row.node()) != last.nodes().end()) {
      CHECK(with_replica.count(name) == 0);
      row.mutable_profile()->add_contents(name_hash("ocr-det@1"));
      row.mutable_profile()->set_version(row.profile().version() + 1);
    }
  nodes.publish();
  advance(1s);
  auto said = nodes.prefetches.size();
  advance(30s);
  CHECK(nodes.prefetches.size() == said);
}

TEST_CASE_FIXTURE(fixture, "a malformed spec and a full store change nothing, and say why") {
  start();
  auto broken = small_app("ocr", 2);
  broken.clear_actor();
  auto reply = apply(broken);
  CHECK_FALSE(reply.ok());
  CHECK(reply.code() == "invalid_argument");
  CHECK_FALSE(reply.message().empty());
  world.store.full = true;
  reply = apply(small_app("ocr", 2));
  CHECK_FALSE(reply.ok());
  CHECK(reply.code() == "io_failed");
  CHECK(reply.message().find("no space left on device") != std::string::npos);
  advance(2s);
  CHECK(nodes.batches.empty());
  CHECK_FALSE(describe("ocr").found());
  world.store.full = false;
  CHECK(apply(small_app("ocr", 2)).ok());
  advance(500ms);
  world.store.full = true;
  CHECK_FALSE(apply(small_app("ocr", 4)).ok());
  CHECK_FALSE(remove("ocr").ok());
  advance(2s);
  CHECK(each_index_once(2));
}

TEST_CASE_FIXTURE(fixture, "a deleted app is marked, releases everything and then disappears, also from the store") {
  start();
  apply(small_app("ocr", 3));
  advance(500ms);
  nodes.ignore_releases = true;
  CHECK(remove("ocr").ok());
  advance(500ms);
  CHECK(nodes.releases.size() == 3);
  CHECK(told("ocr").deleting());
  CHECK(world.store.specs.at("ocr").deleting());
  auto again = apply(small_app("ocr", 3));
  CHECK(again.code() == "conflict");
  CHECK(again.message().find("is being deleted") != std::string::npos);
  CHECK(remove("ocr").ok());
  nodes.ignore_releases = false;
  advance(3s);
  CHECK(nodes.replicas().empty());
  CHECK(told("ocr").spec().name().empty());
  CHECK(world.store.specs.empty());
  CHECK_FALSE(describe("ocr").found());
  CHECK(remove("ocr").code() == "unknown_app");
  CHECK(apply(small_app("ocr", 1)).ok());
  advance(500ms);
  CHECK(each_index_once(1));
}

TEST_CASE_FIXTURE(fixture, "a store that cannot forget a deleted app is tried once per heartbeat, and told of once") {
  start();
  apply(small_app("ocr", 1));
  advance(500ms);
  remove("ocr");
  world.store.full = true;
  advance(3s);
  CHECK(nodes.replicas().empty());
  CHECK(told("ocr").reason().find("deleted, but the store cannot be told") != std::string::npos);
  auto beats = nodes.beats.size();
  advance(10s);
  CHECK(nodes.beats.size() <= beats + 10);
  world.store.full = false;
  advance(1100ms);
  CHECK(told("ocr").spec().name().empty());
  CHECK(world.store.specs.empty());
}

TEST_CASE_FIXTURE(fixture, "a store that cannot forget many deleted apps is tried with one of them") {
  start();
  for (auto name : {"a", "b", "c"}) {
    apply(small_app(name, 1));
    advance(500ms);
  }
  for (auto name : {"a", "b", "c"})
    remove(name);
  world.store.full = true;
  advance(3s);
  auto before = world.store.writes;
  advance(5s);
  CHECK(world.store.writes > before);
  CHECK(world.store.writes - before <= 6);
  world.store.full = false;
  advance(1100ms);
  CHECK(world.store.specs.empty());
}

TEST_CASE_FIXTURE(fixture, "an app that the next process is not given any more goes on, until it is deleted") {
  start({small_app("ocr", 2), small_app("echo", 1)});
  for (auto name : {"ocr", "echo"})
    nodes.apps.push_back(told(name));
  kill(apps);
  apps = own(spawn_apps(sys, world, options, {small_app("ocr", 2)}, resource));
  advance(500ms);
  CHECK(nodes.beats.back().settling());
  CHECK(nodes.replicas().size() == 3);
  advance(5s);
  CHECK_FALSE(nodes.beats.back().settling());
  CHECK(told("ocr").ready() == 2);
  CHECK(told("echo").ready() == 1);
  CHECK(nodes.replicas().size() == 3);
  CHECK(world.store.specs.count("echo") == 1);
  CHECK(remove("echo").ok());
  advance(5s);
  CHECK(nodes.replicas().size() == 2);
  CHECK(told("echo").spec().name().empty());
  CHECK(world.store.specs.empty());
}

TEST_CASE_FIXTURE(fixture, "apps of a living scheduler elsewhere are left alone by a process that starts") {
  pb::AppRecord record;
  *record.mutable_spec() = small_app("ocr", 2);
  record.set_scheduler(make_scheduler_id("s2").value());
  record.set_epoch(7);
  nodes.apps.push_back(record);
  nodes.schedulers.emplace_back().set_scheduler(make_scheduler_id("s2").value());
  nodes.schedulers.back().set_liveness(pb::LIVENESS_ONLINE);
  start();
  advance(5s);
  CHECK_FALSE(describe("ocr").found());
  CHECK(remove("ocr").code() == "unknown_app");
  CHECK(world.store.specs.empty());
}

TEST_CASE_FIXTURE(fixture, "a replica that comes back after its app was deleted is released within 2 s") {
  start();
  apply(small_app("ocr", 1));
  advance(500ms);
  auto name = nodes.replicas().begin()->second;
  auto frozen = nodes.rows[name];
  nodes.rows.erase(name);
  nodes.publish();
  advance(5s);
  remove("ocr");
  advance(5s);
  REQUIRE(world.store.specs.empty());
  REQUIRE(nodes.replicas().empty());
  frozen.set_sequence(frozen.sequence() + 1);
  nodes.rows[name] = frozen;
  nodes.publish();
  advance(2s);
  CHECK(nodes.replicas().empty());
  advance(1s);
  CHECK_FALSE(describe("ocr").found());
  CHECK(world.store.specs.empty());
}

TEST_CASE_FIXTURE(fixture, "an app of a scheduler process that is gone can be deleted and applied here") {
  start();
  apply(small_app("ocr", 1));
  apply(small_app("echo", 1));
  advance(500ms);
  for (auto name : {"ocr", "echo"}) {
    nodes.apps.push_back(told(name));
    nodes.apps.back().set_epoch(1000);
  }
  kill(apps);
  world.store.log = {};
  options.name = "s2";
  start();
  CHECK_FALSE(describe("ocr").found());
  CHECK(nodes.replicas().size() == 2);
  CHECK(remove("ocr").ok());
  auto reply = apply(small_app("echo", 2));
  CHECK(reply.message() == "app 'echo' is taken over from its former scheduler");
  advance(3s);
  CHECK(each_index_once(2));
  CHECK(told("echo").ready() == 2);
  CHECK(told("echo").epoch() > 1000);
  CHECK(told("ocr").spec().name().empty());
}

TEST_CASE_FIXTURE(fixture, "a deletion goes on in the next process") {
  start();
  apply(small_app("ocr", 3));
  advance(500ms);
  nodes.ignore_releases = true;
  remove("ocr");
  kill(apps);
  nodes.ignore_releases = false;
  start();
  advance(3s);
  CHECK(nodes.replicas().empty());
  CHECK(world.store.specs.empty());
}

TEST_CASE_FIXTURE(fixture,
                  "apps of files start with the process; after a restart their replicas are adopted, not doubled") {
  start({small_app("ocr", 3)});
  CHECK(each_index_once(3));
  auto claims = nodes.batches.size();
  auto epoch = told("ocr").epoch();
  caf::anon_send_exit(apps, caf::exit_reason::user_shutdown);
  advance(1s);
  CHECK(nodes.beats.back().leaving());
  start({small_app("ocr", 3)});
  advance(5s);
  CHECK(nodes.batches.size() == claims);
  CHECK(each_index_once(3));
  CHECK(told("ocr").ready() == 3);
  CHECK(told("ocr").epoch() > epoch);
}

TEST_CASE_FIXTURE(fixture, "the store wins over the file for an app that is in both") {
  world.store.log.save(small_app("ocr", 1), {});
  start({small_app("ocr", 3)});
  advance(1s);
  CHECK(each_index_once(1));
}

TEST_CASE_FIXTURE(fixture, "replicas of a node that goes offline run elsewhere within 500 ms") {
  start({small_app("ocr", 3)});
  nodes.rows["n1"].set_liveness(pb::LIVENESS_OFFLINE);
  nodes.rows["n1"].set_reason("silent for 3 s");
  nodes.rows["n1"].mutable_profile()->clear_replicas();
  nodes.publish();
  advance(500ms);
  CHECK(each_index_once(3));
  CHECK(nodes.rows["n1"].profile().replicas().empty());
}

TEST_CASE_FIXTURE(fixture, "an app that fits nowhere has a reason with the nearest miss") {
  nodes.rows["n1"] = make_row("n1", 6, 64);
  start();
  auto spec = small_app("llm", 2);
  spec.mutable_per_replica()->set_cpu_milli(8000);
  apply(spec);
  advance(500ms);
  CHECK(told("llm").pending() == 2);
  CHECK(told("llm").reason()
        == "0 of 2 ready; 2 not placed: 0 of 3 nodes fit: 3 lack cores (8 cores needed, at most 6 cores free, on n1)");
  auto detail = describe("llm");
  REQUIRE(detail.replicas_size() == 2);
  CHECK(detail.replicas(0).state() == pb::REPLICA_PLANNED);
  CHECK(detail.replicas(0).reason().find("0 of 3 nodes fit") != std::string::npos);
}

TEST_CASE_FIXTURE(fixture,
                  "a scheduler whose claim is fenced stops, the record leaves the beat, and an apply takes over") {
  start();
  nodes.fence = 1000;
  apply(small_app("ocr", 2));
  advance(1s);
  CHECK(nodes.replicas().empty());
  CHECK(told("ocr").spec().name().empty());
  CHECK(describe("ocr").record().reason().find("a newer scheduler has taken the app over (epoch 1000)")
        != std::string::npos);
  auto claims = nodes.batches.size();
  advance(5s);
  CHECK(nodes.batches.size() == claims);
  CHECK(apply(small_app("ocr", 2)).ok());
  advance(1s);
  CHECK(each_index_once(2));
  CHECK(told("ocr").epoch() > 1000);
}

TEST_CASE_FIXTURE(fixture, "without its home Resource the process beats to the next choice within 3 s") {
  std::map<std::string, fake_shard> homes;
  std::map<std::string, resource_actor> handles;
  options.resources = {"r2:1", "r3:1"};
  for (auto& address : options.resources) {
    handles[address] = homes[address].spawn(sys);
    run();
    process(address).publish(resource_service, caf::actor_cast<caf::strong_actor_ptr>(handles[address]));
  }
  auto order = rendezvous_order("s1", options.resources);
  start();
  CHECK_FALSE(homes[order[0]].beats.empty());
  CHECK(homes[order[1]].beats.empty());
  network.cut.insert(order[0]);
  kill(handles[order[0]]);
  advance(3s);
  CHECK_FALSE(homes[order[1]].beats.empty());
  kill(apps);
  kill(handles[order[1]]);
}

TEST_CASE_FIXTURE(fixture, "a killed scheduler is back with a new epoch within 100 ms, adopts, and doubles nothing") {
  start({small_app("ocr", 3)});
  auto claims = nodes.batches.size();
  auto epoch = told("ocr").epoch();
  kill(nodes.subscribers.back());
  advance(100ms);
  CHECK(told("ocr").epoch() > epoch);
  advance(5s);
  CHECK(nodes.batches.size() == claims);
  CHECK(nodes.releases.empty());
  CHECK(told("ocr").ready() == 3);
  CHECK(told("ocr").reason().empty());
}

TEST_CASE_FIXTURE(fixture,
                  "a scheduler killed 6 times within a minute stays down with a reason until the app is applied") {
  start({small_app("ocr", 2)});
  for (int i = 0; i < 6; ++i) {
    kill(nodes.subscribers.back());
    advance(4s);
  }
  CHECK(told("ocr").reason().find("its scheduler died 6 times within 60 s") != std::string::npos);
  CHECK(told("ocr").reason().find("apply the app again") != std::string::npos);
  CHECK(each_index_once(2));
  CHECK(apply(small_app("ocr", 2)).ok());
  advance(1s);
  CHECK(told("ocr").reason().empty());
  CHECK(told("ocr").ready() == 2);
}

TEST_CASE_FIXTURE(fixture, "a node that drains keeps its replica until the one elsewhere is ready") {
  start({small_app("ocr", 1)});
  auto first = nodes.replicas().begin()->second;
  nodes.first_state = pb::REPLICA_STARTING;
  nodes.rows[first].set_liveness(pb::LIVENESS_DRAINING);
  nodes.publish();
  advance(2s);
  CHECK(nodes.releases.empty());
  CHECK(nodes.replicas().size() == 2);
  CHECK(told("ocr").ready() == 1);
  for (auto& [name, row] : nodes.rows)
    if (name != first)
      nodes.set_state(name, pb::REPLICA_READY, "");
  advance(500ms);
  CHECK(each_index_once(1));
  CHECK(nodes.rows[first].profile().replicas().empty());
}

TEST_CASE_FIXTURE(fixture, "a claim that nobody answers is released by its token and claimed anew elsewhere") {
  start();
  std::vector<std::uint64_t> unanswered;
  nodes.decide = [&](const pb::Claim& claim) {
    unanswered.push_back(claim.token());
    pb::ClaimResult result;
    result.set_outcome(pb::CLAIM_TIMED_OUT);
    nodes.decide = nullptr;
    return result;
  };
  apply(small_app("ocr", 1));
  advance(1s);
  REQUIRE(unanswered.size() == 1);
  REQUIRE(nodes.releases.size() == 1);
  CHECK(nodes.releases[0].token() == unanswered[0]);
  CHECK(each_index_once(1));
}

TEST_CASE_FIXTURE(fixture, "of two processes with one app the one with the older epoch stops by itself") {
  start({small_app("ocr", 2)});
  auto& elsewhere = process("s2:1");
  elsewhere.last_incarnation = 500;
  auto older = apps;
  options.name = "s2";
  apps = own(spawn_apps(sys, elsewhere, options, {small_app("ocr", 3)}, resource));
  advance(5s);
  CHECK(each_index_once(3));
  std::swap(apps, older);
  // It has nothing to claim and learns of the other one from the view.
  pb::AppRecord newer = told("ocr");
  nodes.apps.push_back(newer);
  nodes.publish();
  advance(1s);
  CHECK(describe("ocr").record().reason().find("a newer scheduler has taken the app over") != std::string::npos);
  advance(5s);
  CHECK(each_index_once(3));
  kill(older);
}

TEST_CASE_FIXTURE(fixture, "an app taken over from a process whose clock is ahead stays here after a restart") {
  pb::AppRecord theirs;
  *theirs.mutable_spec() = small_app("ocr", 2);
  theirs.set_scheduler(make_scheduler_id("s2").value());
  theirs.set_epoch(900);
  nodes.apps.push_back(theirs);
  start();
  CHECK(apply(small_app("ocr", 2)).message() == "app 'ocr' is taken over from its former scheduler");
  advance(1s);
  auto ours = told("ocr");
  CHECK(ours.epoch() > 900);
  nodes.apps = {ours};
  nodes.publish();
  kill(apps);
  start();
  CHECK(told("ocr").epoch() > ours.epoch());
  CHECK(describe("ocr").record().reason().empty());
  CHECK(each_index_once(2));
}

TEST_CASE_FIXTURE(fixture, "a scheduler that loses its parent ends, and its replicas run on") {
  start({small_app("ocr", 2)});
  auto claims = nodes.batches.size();
  kill(apps);
  advance(5s);
  CHECK(nodes.batches.size() == claims);
  CHECK(nodes.releases.empty());
  CHECK(each_index_once(2));
}

TEST_CASE_FIXTURE(fixture, "every apply, delete and rollback is a revision with who, when and what") {
  start();
  apply(small_app("ocr", 1));
  advance(1s);
  apply(small_app("ocr", 3));
  apply(small_app("ocr", 3)); // changes nothing: no revision
  auto all = history("ocr");
  REQUIRE(all.revisions_size() == 2);
  CHECK(all.revisions(0).number() == 1);
  CHECK(all.revisions(0).change() == "created with 1 replica");
  CHECK(all.revisions(1).origin() == "test");
  CHECK(all.revisions(1).change() == "replicas 1 -> 3");
  CHECK(all.revisions(1).wall_ms() >= all.revisions(0).wall_ms() + 1000);
  auto reply = roll_back("ocr");
  CHECK(reply.message() == "app 'ocr' is changed: replicas 3 -> 1 (rolled back to revision 1)");
  advance(1s);
  CHECK(each_index_once(1));
  CHECK(history("ocr").revisions(2).change() == "rollback to 1: replicas 3 -> 1");
  // A second one undoes the first.
  CHECK(roll_back("ocr").ok());
  advance(1s);
  CHECK(each_index_once(3));
  CHECK(history("ocr").revisions(3).note() == "rollback to 2");
  CHECK(history("never").revisions().empty());
}

TEST_CASE_FIXTURE(fixture, "a rollback to a revision that is not there says which there are") {
  start();
  CHECK(roll_back("ocr").code() == "unknown_app");
  apply(small_app("ocr", 1));
  CHECK(roll_back("ocr").message() == "app 'ocr' has no revision before 1 to go back to");
  CHECK(roll_back("ocr", 7).message() == "app 'ocr' has no revision 7; there is only 1");
  apply(small_app("ocr", 2));
  auto reply = roll_back("ocr", 7);
  CHECK(reply.code() == "unknown_name");
  CHECK(reply.message() == "app 'ocr' has no revision 7; there are 1 to 2");
  CHECK(roll_back("ocr", 2).message() == "app 'ocr' is unchanged (rolled back to revision 2)");
  CHECK(history("ocr").revisions_size() == 2);
}

TEST_CASE_FIXTURE(fixture, "a deleted app keeps its history, and a rollback brings it back") {
  start();
  apply(small_app("ocr", 2));
  advance(500ms);
  remove("ocr");
  CHECK(roll_back("ocr").code() == "conflict");
  advance(5s);
  CHECK_FALSE(describe("ocr").found());
  auto all = history("ocr");
  REQUIRE(all.revisions_size() == 2);
  CHECK(all.revisions(1).change() == "deleted");
  CHECK(roll_back("ocr", 2).code() == "invalid_argument");
  CHECK(roll_back("ocr").ok());
  advance(1s);
  CHECK(each_index_once(2));
  CHECK(history("ocr").revisions(2).change() == "rollback to 1: created again");
}

TEST_CASE_FIXTURE(fixture, "an app of a file can be rolled back to what the file said") {
  start({small_app("ocr", 2)});
  CHECK(history("ocr").revisions().empty());
  apply(small_app("ocr", 3));
  auto all = history("ocr");
  REQUIRE(all.revisions_size() == 2);
  CHECK(all.revisions(0).note() == "as in its app file");
  CHECK(roll_back("ocr").ok());
  CHECK(world.store.specs.at("ocr").replicas() == 2);
}

TEST_CASE_FIXTURE(fixture, "a process that cannot read its store ends and touches nothing") {
  world.store.log.save(small_app("ocr", 1), {});
  world.store.unreadable = true;
  start({small_app("echo", 1)});
  CHECK(nodes.batches.empty());
  CHECK(nodes.beats.empty());
  CHECK_FALSE(ask<app_detail>(apps, describe_app{}));
  apps = nullptr;
}

TEST_CASE_FIXTURE(fixture, "a plan of a new and of a known app tells what applying does, and changes nothing") {
  start();
  auto fresh = plan(small_app("ocr", 2));
  CHECK_FALSE(fresh.has_refused());
  CHECK(fresh.changes());
  REQUIRE(fresh.replicas_size() == 2);
  CHECK(fresh.replicas(0).action() == pb::PLAN_CREATE);
  CHECK(nodes.batches.empty());
  CHECK(world.store.specs.empty());
  CHECK(apply(small_app("ocr", 2), fresh.index()).ok());
  advance(1s);
  CHECK(each_index_once(2));
  CHECK(history("ocr").revisions(0).note() == "as planned");
  auto same = plan(small_app("ocr", 2));
  CHECK_FALSE(same.changes());
  CHECK(same.replicas(1).action() == pb::PLAN_KEEP);
  auto more = plan(small_app("ocr", 13));
  CHECK(more.change() == "replicas 2 -> 13");
  REQUIRE(more.replicas_size() == 13);
  CHECK(more.replicas(2).action() == pb::PLAN_CREATE);
  CHECK(more.replicas(12).unplaced());
  CHECK(more.index().starts_with("1-"));
  advance(1s);
  CHECK(each_index_once(2));
}

TEST_CASE_FIXTURE(fixture, "an apply with a plan that does not hold any more is a conflict that says what moved") {
  start();
  apply(small_app("ocr", 1));
  advance(1s);
  auto planned = plan(small_app("ocr", 2));
  apply(small_app("ocr", 3));
  advance(1s);
  auto reply = apply(small_app("ocr", 2), planned.index());
  CHECK(reply.code() == "conflict");
  CHECK(reply.message().find("the app was at revision 1 and is at 2 now") != std::string::npos);
  CHECK(reply.message().find("its replicas are not where they were") != std::string::npos);
  CHECK(reply.message().find("astra app plan FILE") != std::string::npos);
  CHECK(world.store.specs.at("ocr").replicas() == 3);
  CHECK(apply(small_app("ocr", 2), "nonsense").code() == "conflict");
  CHECK(apply(small_app("ocr", 2), plan(small_app("ocr", 2)).index()).ok());
  advance(1s);
  CHECK(each_index_once(2));
}

TEST_CASE_FIXTURE(fixture, "there is no plan for a broken spec or for an app that is being deleted") {
  start();
  auto broken = small_app("ocr", 2);
  broken.clear_actor();
  CHECK(plan(broken).refused().code() == "invalid_argument");
  apply(small_app("ocr", 1));
  advance(1s);
  nodes.ignore_releases = true;
  remove("ocr");
  CHECK(plan(small_app("ocr", 1)).refused().code() == "conflict");
  CHECK(apply(small_app("ocr", 1), "1-a-b-c").code() == "conflict");
}

namespace {

pb::AppSpec rolling(std::uint32_t replicas, pb::UpdateFailure on_failure) {
  auto spec = small_app("ocr", replicas);
  spec.mutable_update()->set_max_surge(2);
  spec.mutable_update()->set_progress_ms(60'000);
  spec.mutable_update()->set_on_failure(on_failure);
  return spec;
}

pb::AppSpec with_argument(pb::AppSpec spec, const std::string& argument) {
  spec.mutable_actor()->add_args("version=" + argument);
  return spec;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "an apply says how many replicas are replaced at once") {
  start();
  auto spec = small_app("ocr", 4);
  apply(spec);
  advance(500ms);
  CHECK(apply(with_argument(spec, "a")).message() == "app 'ocr' is changed: its replicas are replaced one at a time");
  advance(3s);
  CHECK(apply(with_argument(rolling(4, pb::UPDATE_HALT), "b")).message()
        == "app 'ocr' is changed: its replicas are replaced, up to 2 at once beside the old ones");
  advance(3s);
  CHECK(each_index_once(4));
  CHECK_FALSE(told("ocr").has_rollout());
  for (auto& [name, row] : nodes.rows)
    for (auto& replica : row.profile().replicas())
      CHECK(replica.spec_hash() == told("ocr").spec_hash());
}

TEST_CASE_FIXTURE(fixture, "a failed update with on_failure = halt is halted, and another spec ends that") {
  start();
  auto good = rolling(3, pb::UPDATE_HALT);
  apply(good);
  advance(500ms);
  nodes.first_state = pb::REPLICA_FAILED;
  apply(with_argument(good, "broken"));
  advance(3s);
  auto record = told("ocr");
  CHECK(record.ready() == 3);
  CHECK(record.rollout().phase() == pb::ROLLOUT_HALTED);
  CHECK(record.reason().find("the update is halted with 0 of 3 replaced: replica ") == 0);
  REQUIRE(history("ocr").revisions_size() == 3);
  CHECK(history("ocr").revisions(2).note().find("its update is halted: replica ") == 0);
  nodes.first_state = pb::REPLICA_READY;
  apply(with_argument(good, "cured"));
  advance(3s);
  CHECK_FALSE(told("ocr").has_rollout());
  CHECK(told("ocr").reason().empty());
  CHECK(each_index_once(3));
}

TEST_CASE_FIXTURE(fixture,
                  "a halt holds over the death of the scheduler and of its process, until something is applied") {
  start();
  auto good = rolling(3, pb::UPDATE_HALT);
  apply(good);
  advance(500ms);
  auto first = told("ocr").spec_hash();
  nodes.first_state = pb::REPLICA_FAILED;
  apply(with_argument(good, "broken"));
  advance(3s);
  auto reason = told("ocr").rollout().reason();
  REQUIRE(told("ocr").rollout().phase() == pb::ROLLOUT_HALTED);
  // From now on it would succeed.
  nodes.first_state = pb::REPLICA_READY;
  auto is_as_before = [&] {
    CHECK(told("ocr").rollout().phase() == pb::ROLLOUT_HALTED);
    CHECK(told("ocr").rollout().reason() == reason);
    CHECK(history("ocr").revisions_size() == 3);
    for (auto& [name, row] : nodes.rows)
      for (auto& replica : row.profile().replicas())
        if (replica.state() == pb::REPLICA_READY)
          CHECK(replica.spec_hash() == first);
  };
  kill(nodes.subscribers.back());
  advance(70s);
  is_as_before();
  kill(apps);
  start();
  advance(70s);
  is_as_before();
  CHECK(roll_back("ocr").message().find("(rolled back to revision 1)") != std::string::npos);
  advance(3s);
  CHECK_FALSE(told("ocr").has_rollout());
  CHECK(told("ocr").ready() == 3);
}

TEST_CASE_FIXTURE(fixture, "a failed update with on_failure = rollback is undone by a revision that says so, once") {
  start();
  auto good = rolling(3, pb::UPDATE_ROLLBACK);
  apply(good);
  advance(500ms);
  nodes.first_state = pb::REPLICA_FAILED;
  apply(with_argument(good, "broken"));
  advance(3s);
  auto revisions = history("ocr").revisions();
  REQUIRE(revisions.size() == 3);
  CHECK(revisions[2].note().find("rolled back by itself from revision 2: replica ") == 0);
  CHECK(revisions[2].origin() == "s1");
  CHECK(encode(revisions[2].spec()) == encode(good));
  CHECK(encode(told("ocr").spec()) == encode(good));
  CHECK(told("ocr").ready() == 3);
  CHECK_FALSE(told("ocr").has_rollout());
}

TEST_CASE_FIXTURE(fixture, "what was gone back to by itself and fails, too, is halted: going back makes no circle") {
  start();
  auto good = rolling(3, pb::UPDATE_ROLLBACK);
  good.mutable_update()->set_max_surge(0);
  good.mutable_update()->set_max_unavailable(1);
  apply(good);
  advance(500ms);
  // Whatever starts from now on fails: the broken one, and then the good one in the place that is free now.
  nodes.first_state = pb::REPLICA_FAILED;
  apply(with_argument(good, "broken"));
  advance(3s);
  CHECK(history("ocr").revisions_size() == 4);
  auto record = told("ocr");
  CHECK(record.ready() == 2);
  CHECK(record.rollout().phase() == pb::ROLLOUT_HALTED);
  CHECK(record.rollout().reason().find("(not rolled back: it is what revision 2 was rolled back to by itself)")
        != std::string::npos);
  auto detail = describe("ocr").record();
  CHECK(detail.rollout().phase() == pb::ROLLOUT_HALTED);
  CHECK(detail.reason() == record.reason());
  CHECK(detail.reason().find("the update is halted with 2 of 3 replaced: replica 0 on ") == 0);
  nodes.first_state = pb::REPLICA_READY;
  advance(70s);
  CHECK(each_index_once(3));
  CHECK_FALSE(told("ocr").has_rollout());
}

TEST_CASE_FIXTURE(fixture, "an app with [scale] begins with its replicas, and after a restart with those that run") {
  start();
  auto spec = small_app("ocr", 3);
  spec.mutable_scale()->set_min(2);
  spec.mutable_scale()->set_max(8);
  spec.mutable_scale()->set_target_utilisation(60);
  spec.mutable_scale()->set_up_after_ms(10'000);
  spec.mutable_scale()->set_down_after_ms(30'000);
  apply(spec);
  advance(500ms);
  CHECK(each_index_once(3));
  CHECK(told("ocr").scaled_to() == 3);
  auto more = spec;
  more.set_replicas(5);
  CHECK(apply(more).message()
        == "app 'ocr' is changed: replicas 3 -> 5 (only what it begins with: its [scale] decides on 2 to 8; to have a "
           "fixed number, take [scale] out)");
  advance(1s);
  CHECK(each_index_once(3));
  CHECK(plan(more).replicas_size() == 3);
  kill(apps);
  start();
  CHECK(told("ocr").scaled_to() == 3);
  CHECK(told("ocr").scale_reason() == "3: as many as were running");
  CHECK(each_index_once(3));
  // Nothing asks for anything: down to the least after 30 s.
  advance(35s);
  CHECK(each_index_once(2));
  CHECK(told("ocr").scale_reason() == "2: 0 % of slots busy, target 60 % at most in the last 30 s; 2 is the least");
}
