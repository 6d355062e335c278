#include "actors/scheduler/spec_change.hpp"

#include "test/actors/scheduler/model_cluster.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace astra::test;

TEST_CASE("a change is said with the names and units of app files") {
  auto before = small_app("ocr", 3);
  auto after = before;
  CHECK(describe_change(before, after) == "unchanged");
  after.set_replicas(5);
  CHECK(describe_change(before, after) == "replicas 3 -> 5");
  after.mutable_per_replica()->set_cpu_milli(1500);
  after.mutable_per_replica()->set_memory_bytes(2 * gibibyte);
  after.set_request_timeout_ms(60'000);
  after.set_idempotent(true);
  CHECK(describe_change(before, after)
        == "replicas 3 -> 5; cores 1 -> 1.5; memory 1GiB -> 2GiB; request_timeout 10s -> 1m; idempotent false -> true");
  after = before;
  after.mutable_restart()->set_backoff_max_ms(60'000);
  CHECK(describe_change(before, after) == "restart.backoff_max 30s -> 1m");
}

TEST_CASE("lists are said as a whole, long values not, and those of env never") {
  auto before = small_app("ocr", 1);
  before.mutable_per_request()->add_command("cat");
  before.mutable_per_request()->add_env("TOKEN=abc");
  auto after = before;
  after.mutable_per_request()->add_command("-v");
  *after.mutable_per_request()->mutable_env(0) = "TOKEN=xyz";
  auto& label = *after.add_require();
  label.set_key("zone");
  label.set_value("a");
  CHECK(describe_change(before, after) == "require none -> zone=a; command cat -> cat -v; env changed");
  after.mutable_per_request()->add_command(std::string(100, 'x'));
  CHECK(describe_change(before, after) == "require none -> zone=a; command changed; env changed");
}

TEST_CASE("an app of another kind says so") {
  auto before = small_app("ocr", 1);
  auto after = before;
  after.mutable_per_request()->add_command("cat");
  CHECK(describe_change(before, after) == "now per_request");
}

TEST_CASE("each revision says what it changed, from the creation over the deletion to the return") {
  pb::AppHistory history;
  auto add = [&](std::uint64_t number, std::uint32_t replicas, bool deleted, const char* note) {
    auto& revision = *history.add_revisions();
    revision.set_number(number);
    *revision.mutable_spec() = small_app("ocr", replicas);
    revision.mutable_spec()->set_deleting(deleted);
    revision.set_note(note);
  };
  add(1, 3, false, "");
  add(2, 5, false, "");
  add(3, 5, true, "");
  add(4, 5, false, "rollback to 2");
  add(5, 3, false, "rollback to 1");
  describe_changes(history);
  CHECK(history.revisions(0).change() == "created with 3 replicas");
  CHECK(history.revisions(1).change() == "replicas 3 -> 5");
  CHECK(history.revisions(2).change() == "deleted");
  CHECK(history.revisions(3).change() == "rollback to 2: created again");
  CHECK(history.revisions(4).change() == "rollback to 1: replicas 5 -> 3");
  history.mutable_revisions()->erase(history.mutable_revisions()->begin());
  describe_changes(history);
  CHECK(history.revisions(0).change() == "what was before is not kept any more");
  // The same behind one that was kept for longer.
  add(9, 4, false, "");
  describe_changes(history);
  CHECK(history.revisions(4).change() == "what was before is not kept any more");
}
