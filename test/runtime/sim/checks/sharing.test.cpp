#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct sharing_fixture : staged_history {
  explicit sharing_fixture(const std::string& name) : staged_history(name) {
    quota_options quota;
    quota.business = "media";
    quota.cpu_milli = 3000;
    world.script.options.resource.quotas.push_back(quota);
    for (auto [app, priority] : {std::pair{"ocr", 0}, std::pair{"urgent", 5}}) {
      auto spec = std::make_shared<pb::AppSpec>(*spec_of(app, 2));
      spec->set_priority(static_cast<std::uint32_t>(priority));
      spec->set_gang(priority == 0);
      world.script.apps.emplace_back().spec = spec;
    }
  }

  machine_id home = machine("resource-1", {process_role::resource});
  machine_id first = machine("node-1", {process_role::node});
  machine_id second = machine("node-2", {process_role::node});
  machine_id planner = machine("scheduler-1", {process_role::scheduler});
  std::uint64_t resource = actor(home, "resource");
  std::uint64_t scheduler = actor(planner, "scheduler");
  std::map<machine_id, std::uint64_t> nodes{{first, actor(first, "node")}, {second, actor(second, "node")}};
  std::uint64_t version = 0;

  /// Replicas of a core each.
  void hold(machine_id where, const std::vector<replica_text>& held, const std::string& business = {}) {
    auto profile = profile_of(facts(where), ++version, held);
    for (auto& replica : *profile->mutable_profile()->mutable_replicas())
      replica.set_business(business);
    tell(nodes.at(where), resource, profile);
  }
};

struct quota_fixture : sharing_fixture {
  quota_fixture() : sharing_fixture("quota-kept") {
    at(50s);
    hold(first, {{"ocr", 1}, {"ocr", 2}}, "media");
  }
};

struct gang_fixture : sharing_fixture {
  gang_fixture() : sharing_fixture("gang-whole") { at(50s); }
};

TEST_CASE_FIXTURE(quota_fixture, "quota-kept: what runs on all nodes together stays within the quota") {
  hold(second, {{"tts", 3}}, "media");
  CHECK(good());
  SUBCASE("one more is too many") {
    hold(second, {{"tts", 3}, {"x", 4}}, "media");
    CHECK(!good());
  }
  SUBCASE("other businesses do not count") {
    hold(second, {{"tts", 3}, {"web", 9}}, "search");
    CHECK(good());
  }
  SUBCASE("what has failed takes nothing") {
    hold(second, {{"tts", 3}, {"tts", 4, pb::REPLICA_FAILED, "exit code 1"}}, "media");
    CHECK(good());
  }
  SUBCASE("what ran on a node that died is gone") {
    happen(event_kind::crash, first);
    hold(second, {{"tts", 3}, {"ocr", 4}}, "media");
    happen(event_kind::boot, first);
    hold(second, {{"tts", 3}, {"ocr", 4}, {"ocr", 5}}, "media");
    CHECK(good());
  }
}

TEST_CASE_FIXTURE(quota_fixture, "quota-kept: a node that was called offline counts again after the bound") {
  log(home, "resource.offline node=node-1 reason=\"no heartbeat for 3 s\"");
  hold(second, {{"ocr", 3}, {"ocr", 4}}, "media");
  at(69s);
  hold(second, {{"ocr", 3}, {"ocr", 4}}, "media");
  CHECK(good());
  at(75s);
  hold(second, {{"ocr", 3}, {"ocr", 4}}, "media");
  CHECK(!good());
}

TEST_CASE_FIXTURE(gang_fixture, "gang-whole: a part of a gang may be there for a while, and no longer") {
  hold(first, {{"ocr", 0}});
  at(60s);
  hold(second, {});
  CHECK(good());
  SUBCASE("it stays") {
    at(70s);
    hold(second, {});
    CHECK(!good());
  }
  SUBCASE("it stays until the end") {
    at(70s);
    CHECK(quiet() != "");
  }
  SUBCASE("the others come") {
    hold(second, {{"ocr", 1}});
    // One that is lost later is placed anew by itself.
    hold(first, {});
    at(90s);
    hold(first, {});
    CHECK(quiet() == "");
  }
  SUBCASE("it has become smaller") {
    apply_app wish;
    *wish->mutable_spec() = *spec_of("ocr", 1);
    tell(resource, scheduler, wish);
    at(90s);
    hold(first, {{"ocr", 0}});
    CHECK(quiet() == "");
  }
  SUBCASE("it is given up") {
    hold(first, {{"ocr", 0, pb::REPLICA_DRAINING, "not all of its gang"}});
    at(90s);
    hold(first, {});
    CHECK(quiet() == "");
  }
  SUBCASE("another scheduler takes it as it is") {
    log(planner, "apps.start app=ocr epoch=2");
    at(90s);
    hold(second, {});
    CHECK(quiet() == "");
  }
}

TEST_CASE("gang-patience: a place is held for 12 s at most") {
  sharing_fixture run{"gang-patience"};
  auto batch = claims_of("ocr", 1, run.facts(run.first), {1});
  batch->set_hold_ms(3000);
  run.at(1s).tell(run.scheduler, run.resource, batch);
  run.at(12s).tell(run.scheduler, run.resource, batch);
  CHECK(run.good());
  auto commit = batch;
  commit->set_hold_ms(0);
  run.at(14s).tell(run.scheduler, run.resource, commit);
  CHECK(run.good());
  run.at(15s).tell(run.scheduler, run.resource, batch);
  CHECK(!run.good());
}

TEST_CASE("priority-order: only the higher priority takes a place") {
  sharing_fixture run{"priority-order"};
  run.log(run.first, "node.preempt node=node-1 app=ocr replica=1 token=00000000000000aa reason=\"preempted by app "
                     "urgent (priority 5 over 0), notice 2 s\"");
  CHECK(run.good());
  run.log(run.first,
          "node.preempt node=node-1 app=urgent replica=1 token=00000000000000ab reason=\"preempted by app ocr "
          "(priority 0 over 5), notice 2 s\"");
  CHECK(!run.good());
}

} // namespace
} // namespace astra::sim::test
