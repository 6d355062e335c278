#include "test/runtime/sim/checks/staged_history.hpp"

namespace astra::sim::test {
namespace {

struct app_fixture : staged_history {
  explicit app_fixture(const std::string& name) : staged_history(name) {
    auto& app = world.script.apps.emplace_back();
    app.spec = spec_of("ocr", 2);
    at(1s).tell(node, resource, beat_of(facts(worker), 1));
    hold({{"ocr", 1}, {"ocr", 2}});
    at(50s);
    world.calm = 20s;
  }

  machine_id scheduling = machine("scheduler-1", {process_role::scheduler});
  machine_id second = machine("scheduler-2", {process_role::scheduler});
  machine_id home = machine("resource-1", {process_role::resource});
  machine_id gate = machine("gateway-1", {process_role::gateway});
  machine_id worker = machine("node-1", {process_role::node});
  std::uint64_t apps = actor(scheduling, "apps");
  std::uint64_t resource = actor(home, "resource");
  std::uint64_t gateway = actor(gate, "gateway");
  std::uint64_t node = actor(worker, "node");
  std::uint64_t version = 0;
  std::string business;

  void hold(const std::vector<replica_text>& held, const std::string& business = {}) {
    auto profile = profile_of(facts(worker), ++version, held);
    for (auto& replica : *profile->mutable_profile()->mutable_replicas())
      replica.set_business(business);
    tell(node, resource, profile);
  }

  /// The app's business has a quota of so much.
  void limit(std::uint32_t cpu_milli) {
    quota_options quota;
    quota.business = "media";
    quota.cpu_milli = cpu_milli;
    world.script.options.resource.quotas.push_back(quota);
    business = "media";
    auto spec = *spec_of("ocr", 2);
    spec.set_business(business);
    apply(spec);
  }

  /// @param tokens of replicas 0, 1, ... that are ready.
  pb::AppDetail detail_of(std::vector<std::uint64_t> tokens, std::uint32_t wanted = 2) {
    pb::AppDetail detail;
    detail.set_found(true);
    auto& record = *detail.mutable_record();
    *record.mutable_spec() = *spec_of("ocr", wanted);
    if (!business.empty())
      record.mutable_spec()->set_business(business);
    record.set_epoch(1);
    record.set_ready(static_cast<std::uint32_t>(tokens.size()));
    std::uint32_t index = 0;
    for (auto token : tokens) {
      auto& replica = *detail.add_replicas();
      replica.set_app("ocr");
      replica.set_index(index++);
      replica.set_token(token);
      replica.set_state(pb::REPLICA_READY);
      replica.set_node(facts(worker).node.value());
    }
    return detail;
  }

  static void add_pending(pb::AppDetail& detail, std::uint32_t index) {
    auto& replica = *detail.add_replicas();
    replica.set_index(index);
    replica.set_state(pb::REPLICA_PLANNED);
    replica.set_reason("no room");
    detail.mutable_record()->set_pending(detail.record().pending() + 1);
  }

  const std::string& quiet_with(pb::AppDetail detail) {
    final_state state;
    state.apps[scheduling]["ocr"] = std::move(detail);
    return quiet(state);
  }

  void answered(bool ok = true) {
    control_reply reply;
    reply->set_ok(ok);
    tell(apps, gateway, reply);
  }

  void apply(const pb::AppSpec& spec, bool ok = true) {
    apply_app wish;
    *wish->mutable_spec() = spec;
    tell(gateway, apps, wish);
    answered(ok);
  }

  void scale(std::uint32_t replicas, bool ok = true) { apply(*spec_of("ocr", replicas), ok); }

  void remove() {
    delete_app wish;
    wish->set_app("ocr");
    tell(gateway, apps, wish);
    answered();
  }
};

struct converge_fixture : app_fixture {
  converge_fixture() : app_fixture("apps-converge") {}
};

TEST_CASE_FIXTURE(converge_fixture, "apps-converge: all that is wanted is ready") {
  world.running.push_back({worker, (std::uint64_t{1} << 24) + 1, "work"});
  CHECK(quiet_with(detail_of({1, 2})) == "");
}

TEST_CASE_FIXTURE(converge_fixture, "apps-converge: a wish that was refused changes nothing, one that was not does") {
  SUBCASE("refused") {
    at(30s);
    scale(5, false);
    at(50s);
    CHECK(quiet_with(detail_of({1, 2})) == "");
  }
  SUBCASE("granted and forgotten") {
    at(30s);
    scale(5);
    at(50s);
    CHECK(quiet_with(detail_of({1, 2})) != "");
  }
}

TEST_CASE_FIXTURE(converge_fixture, "apps-converge: an app that is lost, doubled, short, or believed in vain") {
  SUBCASE("lost") {
    quiet_with({});
  }
  SUBCASE("doubled") {
    auto detail = detail_of({1, 2});
    detail.mutable_replicas(1)->set_index(0);
    quiet_with(detail);
  }
  SUBCASE("short, with room") {
    hold({{"ocr", 1}});
    at(70s);
    auto detail = detail_of({1});
    add_pending(detail, 1);
    quiet_with(detail);
  }
  SUBCASE("short, with room in the quota, too") {
    limit(2000);
    hold({{"ocr", 1}}, "media");
    at(70s);
    auto detail = detail_of({1});
    add_pending(detail, 1);
    quiet_with(detail);
  }
  SUBCASE("starting for ever") {
    auto detail = detail_of({1, 2});
    detail.mutable_record()->set_ready(1);
    detail.mutable_record()->set_starting(1);
    detail.mutable_replicas(1)->set_state(pb::REPLICA_STARTING);
    detail.mutable_replicas(1)->set_reason("claimed");
    detail.mutable_replicas(1)->set_in_state_ms(30000);
    quiet_with(detail);
  }
  SUBCASE("a replica at a node that has none") {
    hold({{"ocr", 1}});
    at(70s);
    quiet_with(detail_of({1, 2}));
  }
  SUBCASE("a replica that its scheduler does not know") {
    hold({{"ocr", 1}, {"ocr", 2}, {"ocr", 3}});
    at(70s);
    quiet_with(detail_of({1, 2}));
  }
  SUBCASE("a process of an earlier life of the node") {
    facts(worker).boot = 2;
    tell(node, resource, beat_of(facts(worker), 1, 7));
    tell(node, resource, profile_of(facts(worker), 1, {{"ocr", 1}, {"ocr", 2}}, 7));
    at(70s);
    world.running.push_back({worker, (std::uint64_t{1} << 24) + 1, "work"});
    quiet_with(detail_of({1, 2}));
  }
  SUBCASE("a process on a machine that is down") {
    happen(event_kind::crash, worker);
    world.running.push_back({worker, 1, "work"});
    quiet_with(detail_of({1, 2}));
  }
  CHECK(!good());
}

TEST_CASE_FIXTURE(converge_fixture, "apps-converge: no room, and a crash of late, are good causes") {
  SUBCASE("no room") {
    hold({{"ocr", 1}, {"x", 5}, {"x", 6}, {"x", 7}});
    at(70s);
  }
  SUBCASE("no room in the quota") {
    limit(1000);
    hold({{"ocr", 1}}, "media");
    at(70s);
  }
  SUBCASE("a gang that wants more places than there are") {
    auto detail = detail_of({}, 5);
    detail.mutable_record()->mutable_spec()->set_gang(true);
    apply(detail.record().spec());
    hold({});
    at(70s);
    for (std::uint32_t index = 0; index < 5; ++index)
      add_pending(detail, index);
    CHECK(quiet_with(detail) == "");
    return;
  }
  SUBCASE("a crash") {
    hold({{"ocr", 1}});
    log(worker, "node.replica_failed node=node-1 app=ocr replica=1 reason=\"exit code 1\"");
    at(70s);
  }
  auto detail = detail_of({1});
  add_pending(detail, 1);
  CHECK(quiet_with(detail) == "");
}

TEST_CASE_FIXTURE(converge_fixture, "apps-converge: of a deleted app nothing is left") {
  at(30s);
  remove();
  SUBCASE("gone") {
    hold({});
    at(70s);
    CHECK(quiet_with({}) == "");
  }
  SUBCASE("a moment ago") {
    at(35s);
    CHECK(quiet_with(detail_of({1, 2})) == "");
  }
  SUBCASE("a replica is left") {
    at(70s);
    CHECK(quiet_with({}) != "");
  }
  SUBCASE("its scheduler is left") {
    hold({});
    at(70s);
    CHECK(quiet_with(detail_of({})) != "");
  }
}

struct scheduler_fixture : app_fixture {
  scheduler_fixture() : app_fixture("one-scheduler") {}

  final_state twice(const std::string& reason) {
    final_state state;
    state.apps[scheduling]["ocr"] = detail_of({1, 2});
    state.apps[second]["ocr"] = detail_of({1, 2});
    state.apps[second]["ocr"].mutable_record()->set_reason(reason);
    return state;
  }
};

TEST_CASE_FIXTURE(scheduler_fixture, "one-scheduler: of two one is fenced") {
  CHECK(quiet(twice("a newer scheduler has taken the app over (epoch 1)")) == "");
  CHECK(quiet(twice("")) != "");
}

TEST_CASE_FIXTURE(scheduler_fixture, "one-scheduler: Resources know the epoch of the one that is") {
  final_state state;
  state.apps[scheduling]["ocr"] = detail_of({1, 2});
  auto delta = delta_of("resource-1", 0, 1);
  auto& record = *delta->add_apps();
  record.mutable_spec()->set_name("ocr");
  record.set_epoch(1);
  view_changes changes;
  SUBCASE("the same") {
    state.views[home].apply(*delta, {}, changes);
    CHECK(quiet(state) == "");
  }
  SUBCASE("an older one") {
    record.set_epoch(0);
    state.views[home].apply(*delta, {}, changes);
    CHECK(quiet(state) != "");
  }
  SUBCASE("none") {
    state.views[home];
    CHECK(quiet(state) != "");
  }
}

} // namespace
} // namespace astra::sim::test
