#include "actors/resource/shard_log.hpp"

#include "actors/resource/cluster_view.hpp"
#include "messages/wire.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <deque>
#include <utility>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

const shard_log::time_point start{1000s};

pb::NodeRow& join(shard_log& log, std::uint64_t node) {
  auto& row = log.change(node_id{node}, part_all, stream::liveness);
  row.set_incarnation(1);
  row.set_liveness(pb::LIVENESS_ONLINE);
  row.mutable_profile()->set_name("n" + std::to_string(node));
  row.mutable_load();
  row.mutable_held();
  log.heard(node_id{node}, start);
  return row;
}

} // namespace

TEST_CASE("a delta carries only the parts that changed, each with its stream") {
  shard_log log{resource_id{1}, "r1", 7};
  join(log, 1);
  auto first = log.flush(stream::liveness, start);
  REQUIRE(first);
  CHECK(first->base() == 1);
  CHECK(first->version() == 2);
  CHECK(first->epoch() == 7);
  CHECK(first->nodes(0).has_profile());
  CHECK_FALSE(log.flush(stream::liveness, start));

  log.change(node_id{1}, part_load, stream::load).mutable_load()->set_running(3);
  log.change(node_id{1}, part_state, stream::liveness).set_liveness(pb::LIVENESS_SUSPECT);
  CHECK_FALSE(log.pending(stream::claims));
  auto second = log.flush(stream::liveness, start + 1500ms);
  REQUIRE(second);
  CHECK_FALSE(second->nodes(0).has_load());
  CHECK_FALSE(second->nodes(0).has_profile());
  CHECK(second->nodes(0).age_ms() == 1500);
  auto third = log.flush(stream::load, start);
  REQUIRE(third);
  CHECK(third->nodes(0).load().running() == 3);
  CHECK_FALSE(third->nodes(0).has_profile());
}

TEST_CASE("what left with a faster stream does not leave again with the slower one") {
  shard_log log{resource_id{1}, "r1", 1};
  join(log, 1);
  log.change(node_id{1}, part_load, stream::load);
  REQUIRE(log.flush(stream::liveness, start));
  CHECK_FALSE(log.pending(stream::load));
}

TEST_CASE("a row that leaves and returns within one tick is not removed") {
  shard_log log{resource_id{1}, "r1", 1};
  join(log, 1);
  log.flush(stream::liveness, start);
  log.remove(node_id{1});
  join(log, 1);
  auto delta = log.flush(stream::liveness, start);
  REQUIRE(delta);
  CHECK(delta->removed_nodes_size() == 0);
  CHECK(delta->nodes_size() == 1);
}

TEST_CASE("a subscriber that missed more removals than are remembered gets a snapshot") {
  shard_log log{resource_id{1}, "r1", 1, 2};
  for (std::uint64_t node = 1; node <= 4; ++node)
    join(log, node);
  log.flush(stream::liveness, start); // version 2
  for (std::uint64_t node = 1; node <= 3; ++node) {
    log.remove(node_id{node});
    log.flush(stream::liveness, start); // versions 3, 4, 5
  }
  CHECK(log.since(2, start).base() == 0);
  CHECK(log.since(2, start).nodes_size() == 1);
  CHECK(log.since(3, start).base() == 3);
  CHECK(log.since(3, start).removed_nodes_size() == 2);
  CHECK(log.since(5, start).nodes_size() == 0);
  CHECK(log.since(6, start).base() == 0); // of the future: it cannot be ours
}

TEST_CASE("deltas, coalesced deltas and snapshots bring every subscriber to the same rows") {
  CHECK(rc::check([] {
    shard_log log{resource_id{1}, "r1", 1, 3};
    cluster_view every_delta;
    cluster_view sometimes;
    view_changes changes;
    every_delta.apply(log.since(0, start), start, changes);
    sometimes.apply(log.since(0, start), start, changes);
    auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
        rc::gen::pair(rc::gen::inRange(0, 10), rc::gen::inRange(1, 5)));
    std::uint64_t counter = 0;
    auto publish = [&](stream which) {
      if (auto delta = log.flush(which, start))
        RC_ASSERT(every_delta.apply(*delta, start, changes) == cluster_view::apply_outcome::applied);
    };
    for (auto [what, draw] : steps) {
      node_id node{static_cast<std::uint64_t>(draw)};
      auto app = "app" + std::to_string(draw);
      ++counter;
      switch (what) {
      case 0:
        if (!log.find(node))
          join(log, node.value());
        break;
      case 1:
        log.remove(node);
        break;
      case 2:
        if (log.find(node)) {
          auto& row = log.change(node, part_load, stream::load);
          row.set_sequence(counter);
          row.mutable_load()->set_requests_done(counter);
        }
        break;
      case 3:
        if (log.find(node))
          log.change(node, part_profile, stream::claims).mutable_profile()->set_version(counter);
        break;
      case 4:
        if (log.find(node))
          log.change(node, part_held, stream::claims).mutable_held()->set_cpu_milli(draw % 2 ? 0 : 100);
        break;
      case 5: {
        pb::AppRecord record;
        record.mutable_spec()->set_name(app);
        record.set_version(counter);
        log.put(record, stream::claims);
        break;
      }
      case 6:
        log.remove_app(app);
        break;
      case 7:
        publish(static_cast<stream>(draw % 3));
        break;
      case 8: {
        pb::SchedulerRow row;
        row.set_scheduler(node.value());
        row.set_incarnation(counter);
        if (draw % 2)
          log.put(row);
        else
          log.remove(scheduler_id{node.value()});
        break;
      }
      default: {
        auto known = sometimes.versions();
        auto result = sometimes.apply(log.since(known[0].version(), start), start, changes);
        RC_ASSERT(result == cluster_view::apply_outcome::applied);
      }
      }
    }
    for (auto which : {stream::load, stream::claims, stream::liveness})
      publish(which);
    sometimes.apply(log.since(sometimes.versions()[0].version(), start), start, changes);
    cluster_view late;
    late.apply(log.since(0, start), start, changes);
    auto truth = encode(late.snapshot(resource_id{1}, start));
    RC_ASSERT(encode(every_delta.snapshot(resource_id{1}, start)) == truth);
    RC_ASSERT(encode(sometimes.snapshot(resource_id{1}, start)) == truth);
    RC_ASSERT(late.nodes().size() == log.size());
  }));
}
