#include "test/runtime/sim/checks/staged_history.hpp"

#include <string>

namespace astra::sim::test {
namespace {

struct lives_fixture : staged_history {
  explicit lives_fixture(const std::string& name, nanoseconds bound = {}) : staged_history(name, bound) {
    facts(elder_machine).twin = twin_machine;
    facts(twin_machine).twin = elder_machine;
  }

  heartbeat_ack fence() {
    heartbeat_ack ack;
    ack->set_fenced(true);
    return ack;
  }

  machine_id home = machine("resource-1", {process_role::resource});
  machine_id elder_machine = machine("node-1", {process_role::node, process_role::scheduler});
  machine_id twin_machine = machine("node-1+twin", {process_role::node, process_role::scheduler});
  std::uint64_t resource = actor(home, "resource");
  std::uint64_t elder = actor(elder_machine, "node");
  std::uint64_t twin = actor(twin_machine, "node");
};

struct one_life_fixture : lives_fixture {
  one_life_fixture() : lives_fixture("one-life", 5s) {
    tell(elder, resource, beat_of(facts(elder_machine), 1, 1));
    auto beat = beat_of(facts(elder_machine), 1, 2);
    tell(twin, resource, beat);
  }

  heartbeat elder_beat(std::uint64_t sequence, std::uint64_t incarnation = 1) {
    return beat_of(facts(elder_machine), sequence, incarnation);
  }
};

TEST_CASE_FIXTURE(one_life_fixture, "one-life: the older one is told and says nothing more") {
  tell(resource, elder, fence());
  happen(event_kind::stop, elder_machine, "node gave up");
  tell(twin, resource, beat_of(facts(elder_machine), 2, 2));
  at(30s);
  happen(event_kind::boot, elder_machine);
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(one_life_fixture, "one-life: the older one is told and beats on") {
  tell(resource, elder, fence());
  tell(elder, resource, elder_beat(2));
  CHECK(failure().find("still speaks as incarnation 1") != std::string::npos);
}

TEST_CASE_FIXTURE(one_life_fixture, "one-life: a node that was told is started again in the same process") {
  tell(resource, elder, fence());
  tell(actor(elder_machine, "node"), resource, elder_beat(1, 3));
  CHECK(failure().find("still speaks as incarnation 3") != std::string::npos);
}

TEST_CASE_FIXTURE(one_life_fixture, "one-life: the later one is fenced") {
  tell(resource, twin, fence());
  CHECK(failure().find("nobody of its name has a later incarnation than 2") != std::string::npos);
}

TEST_CASE_FIXTURE(one_life_fixture, "one-life: the older one is still there after the bound") {
  for (auto second = 1s; second < 12s; second += 1s) {
    at(second);
    tell(twin, resource, beat_of(facts(elder_machine), 10 + static_cast<std::uint64_t>(second.count()), 2));
  }
  CHECK(failure().find("is still there with incarnation 1") != std::string::npos);
}

TEST_CASE_FIXTURE(one_life_fixture, "one-life: the older one may be there while it is cut off") {
  at(1s);
  happen(event_kind::fault, elder_machine, "cut node-1 -> resource-1");
  for (auto second = 2s; second < 20s; second += 1s) {
    at(second);
    tell(twin, resource, beat_of(facts(elder_machine), 10 + static_cast<std::uint64_t>(second.count()), 2));
  }
  CHECK(failure() == "");
}

struct yields_fixture : lives_fixture {
  yields_fixture() : lives_fixture("scheduler-yields") {
    app_detail report;
    report->mutable_record()->mutable_spec()->set_name("echo");
    report->mutable_record()->set_epoch(5);
    tell(scheduler, front, report);
  }

  view_delta with_app(view_delta delta, std::uint64_t epoch) {
    auto& record = *delta->add_apps();
    record.mutable_spec()->set_name("echo");
    record.set_epoch(epoch);
    return delta;
  }

  std::uint64_t view = actor(elder_machine, "view-client");
  std::uint64_t scheduler = actor(elder_machine, "scheduler");
  std::uint64_t front = actor(elder_machine, "apps");
};

TEST_CASE_FIXTURE(yields_fixture, "scheduler-yields: its own epoch and earlier ones are no reason to end") {
  tell(view, scheduler, with_app(delta_of("resource-1", 0, 1), 4));
  tell(view, scheduler, with_app(delta_of("resource-1", 1, 2), 5));
  tell(view, scheduler, delta_of("resource-1", 2, 3));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(yields_fixture, "scheduler-yields: a later epoch in the view is one") {
  tell(view, scheduler, with_app(delta_of("resource-1", 0, 1), 6));
  CHECK(failure() == "");
  tell(view, scheduler, delta_of("resource-1", 1, 2));
  CHECK(failure().find("although it was told of epoch 6") != std::string::npos);
}

TEST_CASE_FIXTURE(yields_fixture, "scheduler-yields: what it cannot take in tells it nothing") {
  tell(view, scheduler, delta_of("resource-1", 0, 3));
  SUBCASE("something is missing before it") {
    tell(view, scheduler, with_app(delta_of("resource-1", 5, 6), 6));
  }
  SUBCASE("it is not from the view client of its process") {
    tell(resource, scheduler, with_app(delta_of("resource-1", 3, 4), 6));
  }
  tell(view, scheduler, delta_of("resource-1", 3, 4));
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(yields_fixture, "scheduler-yields: a later epoch in the answer to a claim is one") {
  auto reply = answer_of({1}, pb::CLAIM_FENCED);
  reply->set_newer_epoch(6);
  tell(resource, scheduler, reply);
  tell(view, scheduler, delta_of("resource-1", 0, 1));
  CHECK(failure().find("although it was told of epoch 6") != std::string::npos);
}

struct epochs_fixture : staged_history {
  epochs_fixture() : staged_history("app-epochs") {}

  void say(std::uint64_t version, std::uint64_t epoch, std::uint64_t life = 1) {
    auto delta = delta_of("resource-1", version - 1, version, life);
    auto& record = *delta->add_apps();
    record.mutable_spec()->set_name("echo");
    record.set_epoch(epoch);
    tell(resource, view, delta);
  }

  machine_id home = machine("resource-1", {process_role::resource});
  machine_id front = machine("front-1", {process_role::scheduler});
  std::uint64_t resource = actor(home, "resource");
  std::uint64_t view = actor(front, "view-client");
};

TEST_CASE_FIXTURE(epochs_fixture, "app-epochs: epochs grow, also again after a restart or a removal") {
  say(1, 5);
  say(2, 5);
  say(3, 6);
  say(1, 5, 2);
  auto removal = delta_of("resource-1", 1, 2, 2);
  removal->add_removed_apps("echo");
  tell(resource, view, removal);
  say(3, 4, 2);
  CHECK(failure() == "");
}

TEST_CASE_FIXTURE(epochs_fixture, "app-epochs: an epoch falls") {
  say(1, 6);
  say(2, 5);
  CHECK(failure() == "resource-1 tells of epoch 5 of app echo after epoch 6");
}

} // namespace
} // namespace astra::sim::test
