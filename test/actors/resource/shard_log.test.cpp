#include "actors/resource/shard_log.hpp"

#include "actors/resource/cluster_view.hpp"
#include "actors/resource/load_columns.hpp"
#include "actors/resource/part_collector.hpp"
#include "messages/wire.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

const shard_log::time_point start{1000s};

void join(shard_log& log, std::uint64_t node) {
  auto& row = log.change(node_id{node}, part_all, stream::liveness);
  row.set_incarnation(1);
  row.set_liveness(pb::LIVENESS_ONLINE);
  pb::NodeProfile profile;
  profile.set_name("n" + std::to_string(node));
  row.set_profile(profile);
  row.set_held({});
  log.heard(log.slot(node_id{node}), {}, start);
}

pb::NodeLoad load_of(std::uint32_t running, double utilisation = 0.0, std::uint64_t done = 0) {
  pb::NodeLoad result;
  result.set_running(running);
  result.set_host_utilisation(utilisation);
  result.set_requests_done(done);
  return result;
}

/// The only load in a delta.
told_load only_load(const pb::ViewDelta& delta) {
  REQUIRE(delta.loads_size() == 1);
  load_columns_reader reader{delta.loads(0)};
  REQUIRE(reader.valid());
  told_load result;
  REQUIRE(reader.next(result));
  told_load more;
  CHECK_FALSE(reader.next(more));
  return result;
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

  CHECK(only_load(*first).slot == first->nodes(0).slot());
  log.heard(log.slot(node_id{1}), node_load{load_of(3)}, start);
  log.change(node_id{1}, part_state, stream::liveness).set_liveness(pb::LIVENESS_SUSPECT);
  CHECK_FALSE(log.pending(stream::claims));
  auto second = log.flush(stream::liveness, start + 1500ms);
  REQUIRE(second);
  CHECK_FALSE(second->nodes(0).has_profile());
  CHECK(second->nodes(0).age_ms() == 1500);
  // Whoever hears of a row hears its load with it.
  CHECK(only_load(*second).values.running() == 3);
  CHECK_FALSE(log.pending(stream::load));

  log.heard(log.slot(node_id{1}), node_load{load_of(4)}, start);
  auto third = log.flush(stream::load, start);
  REQUIRE(third);
  CHECK(third->nodes_size() == 0);
  CHECK(only_load(*third).values.running() == 4);
  CHECK(only_load(*third).slot == first->nodes(0).slot());
}

TEST_CASE("a load that changes by no more than noise is told once it has settled, and so are counters") {
  shard_log log{resource_id{1}, "r1", 1};
  join(log, 1);
  log.flush(stream::liveness, start);
  log.heard(log.slot(node_id{1}), node_load{load_of(0, 0.5)}, start);
  REQUIRE(log.flush(stream::load, start));
  for (auto utilisation : {0.502, 0.498, 0.5, 0.504}) {
    log.heard(log.slot(node_id{1}), node_load{load_of(0, utilisation, 7)}, start + 5s);
    CHECK_FALSE(log.pending(stream::load));
  }
  log.heard(log.slot(node_id{1}), node_load{load_of(0, 0.504, 7)}, start + shard_log::settle);
  auto settled = log.flush(stream::load, start + shard_log::settle);
  REQUIRE(settled);
  CHECK(only_load(*settled).values.done == 7);
  CHECK(only_load(*settled).values.host_utilisation() == doctest::Approx(0.505));
  log.heard(log.slot(node_id{1}), node_load{load_of(0, 0.52, 9)}, start + shard_log::settle + 1s);
  auto jumped = log.flush(stream::load, start + shard_log::settle + 1s);
  REQUIRE(jumped);
  CHECK(only_load(*jumped).columns == 1);
}

TEST_CASE("a new life and a return tell the whole load, whatever was told before") {
  shard_log log{resource_id{1}, "r1", 1};
  join(log, 1);
  log.flush(stream::liveness, start);
  log.change(node_id{1}, part_all, stream::liveness).set_incarnation(2);
  auto delta = log.flush(stream::liveness, start);
  REQUIRE(delta);
  CHECK(only_load(*delta).columns == 0xff);
}

TEST_CASE("loads that one delta has no room for take turns, and none waits for ever") {
  shard_log log{resource_id{1}, "r1", 1};
  constexpr std::uint64_t nodes = 200;
  for (std::uint64_t node = 1; node <= nodes; ++node)
    join(log, node);
  while (log.pending(stream::liveness))
    log.flush(stream::liveness, start);
  std::map<std::uint32_t, int> told;
  for (std::uint32_t round = 1; round <= 40; ++round) {
    for (std::uint64_t node = 1; node <= nodes; ++node)
      log.heard(log.slot(node_id{node}), node_load{load_of(round)}, start);
    auto delta = log.flush(stream::load, start, 512);
    REQUIRE(delta);
    CHECK(delta->ByteSizeLong() <= 600);
    for (auto& columns : delta->loads()) {
      load_columns_reader reader{columns};
      told_load load;
      while (reader.valid() && reader.next(load))
        ++told[load.slot];
    }
  }
  CHECK(told.size() == nodes);
  auto [fewest, most] =
      std::minmax_element(told.begin(), told.end(), [](auto& a, auto& b) { return a.second < b.second; });
  CHECK(most->second - fewest->second <= 1);
}

TEST_CASE("what left with a faster stream does not leave again with the slower one") {
  shard_log log{resource_id{1}, "r1", 1};
  join(log, 1);
  log.change(node_id{1}, part_profile, stream::claims);
  REQUIRE(log.flush(stream::liveness, start));
  CHECK_FALSE(log.pending(stream::claims));
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
          log.change(node, 0, stream::load).set_sequence(counter);
          log.heard(log.slot(node), node_load{load_of(static_cast<std::uint32_t>(counter % 3), 0.0, counter)}, start);
        }
        break;
      case 3:
        if (log.find(node)) {
          pb::NodeProfile profile;
          profile.set_version(counter);
          log.change(node, part_profile, stream::claims).set_profile(profile);
        }
        break;
      case 4:
        if (log.find(node)) {
          pb::Resources held;
          held.set_cpu_milli(draw % 2 ? 0 : 100);
          log.change(node, part_held, stream::claims).set_held(held);
        }
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
    RC_ASSERT(sometimes.digest(resource_id{1}) == late.digest(resource_id{1}));
    RC_ASSERT(every_delta.digest(resource_id{1}) == late.digest(resource_id{1}));
    RC_ASSERT(late.nodes().size() == log.size());
  }));
}
