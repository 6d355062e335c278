#include "actors/resource/shard_log.hpp"

#include "actors/resource/cluster_view.hpp"
#include "actors/resource/part_collector.hpp"
#include "messages/wire.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <optional>
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

TEST_CASE("what one delta has no room for waits for the next, and nothing waits for ever") {
  shard_log log{resource_id{1}, "r1", 1};
  for (std::uint64_t node = 1; node <= 20; ++node)
    join(log, node);
  cluster_view view;
  view_changes changes;
  view.apply(log.beginning(), start, changes);
  auto deltas = 0;
  while (auto delta = log.flush(stream::liveness, start, 200)) {
    CHECK(delta->ByteSizeLong() <= 200);
    CHECK(delta->nodes_size() > 0);
    CHECK(view.apply(*delta, start, changes) == cluster_view::apply_outcome::applied);
    ++deltas;
    // The first ones change all the time.
    if (deltas < 40)
      log.change(node_id{1}, part_state, stream::liveness);
  }
  CHECK(view.nodes().size() == 20);
  CHECK(deltas < 45);
}

TEST_CASE("an app never leaves after its scheduler, however little room there is") {
  shard_log log{resource_id{1}, "r1", 1};
  pb::SchedulerRow row;
  row.set_scheduler(5);
  log.put(row);
  for (auto name : {"a", "b", "c"}) {
    pb::AppRecord record;
    record.mutable_spec()->set_name(name);
    log.put(record, stream::liveness);
  }
  auto apps = 0;
  while (auto delta = log.flush(stream::liveness, start, 1)) {
    apps += delta->apps_size();
    if (delta->schedulers_size() > 0)
      CHECK(apps == 3);
  }
}

TEST_CASE("deltas, coalesced deltas in parts and snapshots bring every subscriber to the same rows") {
  CHECK(rc::check([] {
    shard_log log{resource_id{1}, "r1", 1};
    cluster_view every_delta;
    cluster_view sometimes;
    view_changes changes;
    std::uint32_t part = 0;
    every_delta.apply(log.beginning(), start, changes);
    sometimes.apply(log.beginning(), start, changes);
    part_collector parts;
    std::optional<shard_cursor> cursor;
    auto turn = every_delta.last_turn();
    // One part, made when it leaves.
    auto bring_up = [&] {
      if (!cursor)
        cursor = every_delta.cursor(resource_id{1}, 1, sometimes.versions()[0].version());
      RC_ASSERT(every_delta.valid(*cursor));
      auto number = parts.collecting() ? ++part : part = 0;
      auto delta = every_delta.next_part(*cursor, 150, start);
      auto done = cursor->at == shard_cursor::section::done;
      delta.set_transfer(1);
      delta.set_part(number);
      delta.set_more(!done);
      std::vector<pb::ViewDelta> ready;
      auto added = parts.add(delta, ready);
      RC_ASSERT(added == (done ? part_collector::outcome::whole : part_collector::outcome::partial));
      if (!done)
        return false;
      cursor.reset();
      RC_ASSERT(sometimes.apply(ready.at(0), start, changes) == cluster_view::apply_outcome::applied);
      return true;
    };
    auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
        rc::gen::pair(rc::gen::inRange(0, 12), rc::gen::inRange(1, 5)));
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
      case 9:
        if (log.find(node))
          log.change(node, part_state, stream::liveness)
              .set_liveness(draw % 2 ? pb::LIVENESS_SUSPECT : pb::LIVENESS_ONLINE);
        break;
      case 10:
        // Before its turn, and so never a row that the parts would undo.
        if (auto turns = every_delta.turns_since(resource_id{1}, turn, 100, start)) {
          auto first = turns->nodes(0);
          std::vector<pb::ViewDelta> ready;
          parts.add(*turns, ready);
          if (sometimes.apply(*turns, start, changes) == cluster_view::apply_outcome::applied)
            RC_ASSERT(sometimes.find(node_id{first.node()})->row.liveness() == first.liveness());
        }
        break;
      default:
        bring_up();
      }
    }
    for (auto which : {stream::load, stream::claims, stream::liveness})
      publish(which);
    while (!bring_up() || sometimes.versions()[0].version() != log.version())
      continue;
    cluster_view late;
    late.apply(every_delta.snapshot(resource_id{1}, start), start, changes);
    auto truth = encode(late.snapshot(resource_id{1}, start));
    RC_ASSERT(encode(every_delta.snapshot(resource_id{1}, start)) == truth);
    RC_ASSERT(encode(sometimes.snapshot(resource_id{1}, start)) == truth);
    RC_ASSERT(late.nodes().size() == log.size());
  }));
}
