#include "actors/resource/scheduler_table.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct table {
  shard_log log{resource_id{1}, "r1", 1};
  scheduler_table schedulers{log, {1500ms, 3000ms}, 60s};
  std::chrono::steady_clock::time_point now{1000s};

  pb::SchedulerBeat beat(std::uint64_t scheduler, std::uint64_t sequence, std::vector<std::string> apps,
                         std::uint64_t epoch = 1, std::uint64_t version = 1) {
    pb::SchedulerBeat result;
    result.set_scheduler(scheduler);
    result.set_name("s" + std::to_string(scheduler));
    result.set_incarnation(1);
    result.set_sequence(sequence);
    for (auto& app : apps) {
      auto& record = *result.add_apps();
      record.mutable_spec()->set_name(app);
      record.set_scheduler(scheduler);
      record.set_epoch(epoch);
      record.set_version(version);
    }
    return result;
  }
};

} // namespace

TEST_CASE_FIXTURE(table, "app records follow their scheduler's beats and outlive its silence") {
  CHECK(schedulers.record(beat(1, 1, {"echo", "ocr"}), now).accepted);
  CHECK(log.find_app("echo"));
  CHECK(schedulers.record(beat(1, 2, {"ocr"}), now).accepted);
  CHECK_FALSE(log.find_app("echo"));
  now += 1600ms;
  schedulers.sweep(now);
  CHECK(log.find(scheduler_id{1})->liveness() == pb::LIVENESS_SUSPECT);
  now += 1400ms;
  schedulers.sweep(now);
  CHECK(log.find(scheduler_id{1})->liveness() == pb::LIVENESS_OFFLINE);
  CHECK(log.find(scheduler_id{1})->reason() == "no heartbeat for 3.0 s");
  now += 120s;
  schedulers.sweep(now);
  CHECK(log.find_app("ocr"));
  CHECK(log.find(scheduler_id{1}));
}

TEST_CASE_FIXTURE(table, "a connection that closed while the observer slept makes a scheduler suspect, not offline") {
  schedulers.record(beat(1, 1, {}), now);
  now += 10s;
  schedulers.connection_closed(scheduler_id{1}, now);
  CHECK(log.find(scheduler_id{1})->liveness() == pb::LIVENESS_SUSPECT);
  schedulers.extend_leases(10s, now);
  schedulers.sweep(now);
  CHECK(log.find(scheduler_id{1})->liveness() == pb::LIVENESS_SUSPECT);
  now += 3s;
  schedulers.sweep(now);
  schedulers.connection_closed(scheduler_id{1}, now);
  CHECK(log.find(scheduler_id{1})->liveness() == pb::LIVENESS_OFFLINE);
}

TEST_CASE_FIXTURE(table, "a process that has just started keeps its forerunner's records until it has settled") {
  schedulers.record(beat(1, 1, {"echo", "ocr"}), now);
  auto started = beat(1, 1, {"ocr"}, 2);
  started.set_incarnation(2);
  started.set_settling(true);
  schedulers.record(started, now);
  CHECK(log.find_app("ocr")->epoch() == 2);
  CHECK(log.find_app("echo"));
  started.set_sequence(2);
  started.set_settling(false);
  schedulers.record(started, now);
  CHECK_FALSE(log.find_app("echo"));
}

TEST_CASE_FIXTURE(table, "a scheduler process that is new to a Resource is told of together with its apps") {
  schedulers.record(beat(1, 1, {"echo"}), now);
  auto first = log.flush(stream::liveness, now);
  REQUIRE(first);
  CHECK(first->schedulers_size() == 1);
  CHECK(first->apps_size() == 1);
  schedulers.record(beat(1, 2, {"echo"}, 1, 2), now);
  CHECK_FALSE(log.pending(stream::liveness));
  CHECK(log.pending(stream::claims));
}

TEST_CASE_FIXTURE(table, "an app belongs to the scheduler with the larger epoch") {
  schedulers.record(beat(1, 1, {"ocr"}, 5, 3), now);
  schedulers.record(beat(2, 1, {"ocr"}, 6, 1), now);
  CHECK(log.find_app("ocr")->scheduler() == 2);
  schedulers.record(beat(1, 2, {"ocr"}, 5, 4), now);
  CHECK(log.find_app("ocr")->scheduler() == 2);
  schedulers.record(beat(1, 3, {}), now);
  CHECK(log.find_app("ocr"));
}

TEST_CASE_FIXTURE(table, "older incarnations are fenced, repeated beats ignored, a move takes the records along") {
  auto first = beat(1, 1, {"ocr"});
  schedulers.record(first, now);
  CHECK_FALSE(schedulers.record(first, now).accepted);
  first.set_incarnation(0);
  CHECK(schedulers.record(first, now).fenced);
  CHECK(schedulers.moved_away(scheduler_id{1}));
  CHECK_FALSE(log.find_app("ocr"));
  CHECK_FALSE(log.find(scheduler_id{1}));
}

TEST_CASE_FIXTURE(table, "a scheduler process that leaves keeps its records; without apps it is forgotten after 60 s") {
  schedulers.record(beat(1, 1, {"ocr"}), now);
  schedulers.record(beat(2, 1, {}), now);
  for (std::uint64_t id : {1U, 2U}) {
    auto goodbye = beat(id, 2, {});
    goodbye.set_leaving(true);
    schedulers.record(goodbye, now);
    CHECK(log.find(scheduler_id{id})->reason() == "said goodbye");
  }
  now += 60s;
  schedulers.sweep(now);
  CHECK(log.find_app("ocr"));
  CHECK(log.find(scheduler_id{1}));
  CHECK_FALSE(log.find(scheduler_id{2}));
}
