#include "actors/resource/view_excerpt.hpp"

#include "actors/resource/part_collector.hpp"
#include "actors/resource/shard_log.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;
using outcome = cluster_view::apply_outcome;

namespace {

const view_keeper::time_point start{1000s};
constexpr std::uint64_t node_count = 8;

view_filter filter_for(const std::vector<std::string>& apps, const std::string& zone = {}) {
  pb::ViewFilter wish;
  for (auto& app : apps)
    wish.add_apps(app);
  if (!zone.empty()) {
    auto& label = *wish.add_labels();
    label.set_key("zone");
    label.set_value(zone);
  }
  return view_filter{wish};
}

pb::NodeProfile profile_of(std::uint64_t node, std::uint64_t version) {
  pb::NodeProfile profile;
  profile.set_node(node);
  profile.set_name("n" + std::to_string(node));
  profile.set_version(version);
  auto& zone = *profile.add_labels();
  zone.set_key("zone");
  zone.set_value(node % 2 == 0 ? "a" : "b");
  return profile;
}

void add_replica(pb::NodeProfile& profile, const std::string& app) {
  profile.add_replicas()->set_app(app);
}

/// What a subscriber got, and what it holds after that.
class receiver {
public:
  void take(pb::ViewDelta delta) {
    bytes += delta.ByteSizeLong();
    rows += static_cast<std::size_t>(delta.nodes_size());
    std::vector<pb::ViewDelta> ready;
    RC_ASSERT(parts.add(delta, ready) != part_collector::outcome::gap);
    for (auto& whole : ready) {
      view_changes changes;
      auto result = keeper.accept(whole, start, changes);
      RC_ASSERT((whole.ahead() ? result != outcome::gap : result == outcome::applied));
    }
  }

  view_keeper keeper{view_keeper::limits{}};
  part_collector parts;
  std::size_t bytes = 0;
  std::size_t rows = 0;
};

/// Some Resources, a view of all of them, and a subscriber to it that has a filter.
class cluster {
public:
  explicit cluster(view_filter filter) : excerpt(std::move(filter)) {
    for (std::uint64_t origin = 1; origin <= 3; ++origin) {
      logs.push_back(std::make_unique<shard_log>(resource_id{origin}, "r" + std::to_string(origin), 1));
      publish(logs.back()->beginning());
    }
  }

  void publish(pb::ViewDelta delta) {
    view_changes changes;
    RC_ASSERT(keeper.accept(delta, start, changes) == outcome::applied);
    resource_id origin{delta.origin()};
    if (behind.count(origin) != 0)
      return;
    auto piece = excerpt.of(delta, keeper.view(), start);
    if (piece.nothing)
      return;
    excerpt.told(piece);
    if (piece.before)
      subscriber.take(std::move(*piece.before));
    subscriber.take(std::move(piece.delta));
  }

  void flush() {
    for (auto& log : logs)
      for (auto which : {stream::liveness, stream::claims, stream::load})
        if (auto delta = log->flush(which, start))
          publish(std::move(*delta));
  }

  /// From now on nothing of the shard is told.
  void fall_behind(resource_id origin, bool whole) {
    if (behind.count(origin) == 0)
      behind[origin] = whole ? 0 : keeper.view().shards().at(origin).version;
  }

  /// All that was not told, in parts, and what happens in between.
  template <class Between>
  void catch_up(std::size_t limit, const Between& between) {
    while (!behind.empty()) {
      auto [origin, version] = *behind.begin();
      auto cursor = keeper.view().cursor(origin, 1, version);
      std::uint32_t number = 0;
      ++transfer;
      for (;;) {
        auto piece = excerpt.next_part(cursor, keeper, limit, start);
        auto done = cursor.at == shard_cursor::section::done;
        if (!piece.nothing || done) {
          piece.delta.set_transfer(transfer);
          piece.delta.set_part(number++);
          piece.delta.set_more(!done);
          subscriber.take(std::move(piece.delta));
        }
        if (done)
          break;
        between();
        auto turn = turns;
        if (auto rows = keeper.view().turns_since(origin, turn, 1000, start)) {
          turns = turn;
          excerpt.narrow_turns(*rows, keeper.view());
          if (rows->nodes_size() > 0)
            subscriber.take(std::move(*rows));
        }
      }
      if (cursor.version == keeper.view().shards().at(origin).version)
        behind.erase(origin);
      else
        behind[origin] = cursor.version;
    }
  }

  /// Nothing is missing at the subscriber, and nothing is there that should not be.
  void check() const {
    auto& all = keeper.view();
    auto& some = subscriber.keeper.view();
    for (auto& [id, entry] : all.nodes()) {
      auto shown = some.find(id);
      auto wanted = entry.row.has_profile() && excerpt.filter().matches(entry.row.shape());
      if (entry.row.has_profile())
        RC_ASSERT((shown != nullptr) == wanted);
      if (shown == nullptr)
        continue;
      RC_ASSERT(shown->origin == entry.origin);
      RC_ASSERT(shown->row.to_pb().SerializeAsString() == entry.row.to_pb().SerializeAsString());
      RC_ASSERT(some.load(*shown).to_pb().SerializeAsString() == all.load(entry).to_pb().SerializeAsString());
    }
    for (auto& [id, entry] : some.nodes())
      RC_ASSERT(all.find(id) != nullptr);
    RC_ASSERT(some.apps().size() == all.apps().size());
    RC_ASSERT(some.schedulers().size() == all.schedulers().size());
  }

  std::vector<std::unique_ptr<shard_log>> logs;
  view_keeper keeper{view_keeper::limits{}};
  view_excerpt excerpt;
  receiver subscriber;
  /// Shards of which the subscriber has less than there is: the version it has.
  std::map<resource_id, std::uint64_t> behind;
  std::uint64_t transfer = 0;
  std::uint64_t turns = 0;
};

} // namespace

TEST_CASE("a filter asks for one of its apps and all of its labels, and looks where they are") {
  auto profile = profile_of(2, 1);
  add_replica(profile, "ocr");
  CHECK_FALSE(view_filter{}.narrows());
  CHECK(filter_for({"ocr", "web"}).matches(profile));
  CHECK(filter_for({"ocr"}, "a").matches(profile));
  CHECK_FALSE(filter_for({"ocr"}, "b").matches(profile));
  CHECK_FALSE(filter_for({"web"}).matches(profile));
  view_index index;
  index.add(node_id{2}, profile);
  index.add(node_id{4}, profile_of(4, 1));
  CHECK(filter_for({"ocr"}, "a").candidates(index).size_max() == 1);
  CHECK(filter_for({}, "a").candidates(index).size_max() == 2);
  CHECK(filter_for({}, "c").candidates(index).size_max() == 0);
}

TEST_CASE("a node that comes to match is told whole, one that matches no more is removed, others never leave") {
  cluster world{filter_for({"ocr"})};
  auto& log = *world.logs[0];
  for (std::uint64_t node = 1; node <= 2; ++node) {
    auto& row = log.change(node_id{node}, part_all, stream::liveness);
    row.set_incarnation(1);
    row.set_liveness(pb::LIVENESS_ONLINE);
    row.set_profile(profile_of(node, 1));
    pb::NodeLoad load;
    load.set_running(static_cast<std::uint32_t>(node));
    log.heard(log.slot(node_id{node}), node_load{load}, start);
  }
  world.flush();
  auto& seen = world.subscriber;
  CHECK(seen.keeper.view().nodes().empty());
  auto version = seen.keeper.view().shards().at(resource_id{1}).version;
  CHECK(version < world.keeper.view().shards().at(resource_id{1}).version);

  auto profile = profile_of(2, 2);
  add_replica(profile, "ocr");
  log.change(node_id{2}, part_profile, stream::claims).set_profile(profile);
  world.flush();
  REQUIRE(seen.keeper.view().find(node_id{2}));
  CHECK(seen.keeper.view().nodes().size() == 1);
  auto entry = seen.keeper.view().find(node_id{2});
  CHECK(entry->row.liveness() == pb::LIVENESS_ONLINE);
  CHECK(seen.keeper.view().load(*entry).running() == 2);
  world.check();

  // The loads of both, and only one is told.
  for (std::uint64_t node = 1; node <= 2; ++node) {
    pb::NodeLoad load;
    load.set_running(static_cast<std::uint32_t>(node + 10));
    log.heard(log.slot(node_id{node}), node_load{load}, start);
  }
  auto before = seen.bytes;
  world.flush();
  CHECK(seen.keeper.view().load(*seen.keeper.view().find(node_id{2})).running() == 12);
  CHECK(seen.bytes - before < 100);

  log.change(node_id{2}, part_profile, stream::claims).set_profile(profile_of(2, 3));
  world.flush();
  CHECK(seen.keeper.view().nodes().empty());
  world.check();
}

TEST_CASE("a node that restarts stays until its new life says what it holds") {
  cluster world{filter_for({"ocr"})};
  auto& log = *world.logs[0];
  auto profile = profile_of(1, 1);
  add_replica(profile, "ocr");
  auto& row = log.change(node_id{1}, part_all, stream::liveness);
  row.set_incarnation(1);
  row.set_profile(profile);
  world.flush();
  auto& again = log.change(node_id{1}, part_all, stream::liveness);
  again.set_incarnation(2);
  again.clear_profile();
  world.flush();
  auto shown = world.subscriber.keeper.view().find(node_id{1});
  REQUIRE(shown);
  CHECK(shown->row.incarnation() == 2);
  CHECK_FALSE(shown->row.has_profile());
  log.change(node_id{1}, part_profile, stream::claims).set_profile(profile_of(1, 2));
  world.flush();
  CHECK_FALSE(world.subscriber.keeper.view().find(node_id{1}));
}

TEST_CASE("an edit by a relay is one to who has a filter too, and the origin's snapshot from behind replaces it") {
  cluster world{filter_for({"ocr"})};
  auto& log = *world.logs[0];
  for (std::uint64_t node = 1; node <= 2; ++node) {
    auto profile = profile_of(node, 1);
    if (node == 1)
      add_replica(profile, "ocr");
    auto& row = log.change(node_id{node}, part_all, stream::liveness);
    row.set_incarnation(1);
    row.set_profile(profile);
  }
  world.flush();
  // A version of which the subscriber hears nothing.
  log.change(node_id{2}, part_state, stream::liveness).set_liveness(pb::LIVENESS_SUSPECT);
  world.flush();
  auto edit = world.keeper.edit_of(resource_id{1});
  edit.add_removed_nodes(2);
  world.publish(edit);
  auto& seen = world.subscriber.keeper.view();
  CHECK(seen.shards().at(resource_id{1}).edited);
  CHECK(seen.shards().at(resource_id{1}).version == edit.version());
  auto behind = world.keeper.view().snapshot(resource_id{1}, start);
  CHECK(behind.edited());
  // As the origin would tell it.
  behind.clear_edited();
  behind.set_version(edit.version() - 1);
  behind.clear_nodes();
  world.publish(behind);
  CHECK(seen.nodes().empty());
  CHECK_FALSE(seen.shards().at(resource_id{1}).edited);
}

TEST_CASE("whatever happens, in step or behind, a subscriber with a filter holds the nodes that match and no others") {
  CHECK(rc::check([] {
    auto by_label = *rc::gen::arbitrary<bool>();
    cluster world{by_label ? filter_for({}, "a") : filter_for({"ocr"})};
    struct node_state {
      std::uint64_t incarnation = 1;
      std::uint64_t home_epoch = 1;
      std::size_t home = 0;
    };
    std::map<std::uint64_t, node_state> nodes;
    std::uint64_t counter = 0;
    // There is one transfer at a time.
    auto transfers = false;
    auto steps = *rc::gen::container<std::vector<std::pair<int, std::uint64_t>>>(
        rc::gen::pair(rc::gen::inRange(0, 14), rc::gen::inRange<std::uint64_t>(0, 100'000)));
    std::size_t at = 0;
    auto step = [&](auto& self) -> bool {
      if (at == steps.size())
        return false;
      auto [what, draw] = steps[at++];
      auto id = draw % node_count + 1;
      auto& node = nodes[id];
      auto& log = *world.logs[node.home];
      ++counter;
      auto write = [&](shard_log& into, std::uint8_t parts, stream when) -> node_row& {
        auto fresh = into.find(node_id{id}) == nullptr;
        auto& row = into.change(node_id{id}, parts, when);
        if (fresh)
          row.set_held({});
        row.set_incarnation(node.incarnation);
        row.set_home_epoch(node.home_epoch);
        row.set_sequence(counter);
        return row;
      };
      auto known = log.find(node_id{id}) != nullptr;
      switch (what) {
      case 0:
      case 1: { // a profile, with the app or without
        auto profile = profile_of(id, counter);
        if (draw / 11 % 2 == 0)
          add_replica(profile, "ocr");
        if (by_label && draw / 7 % 3 == 0)
          profile.clear_labels();
        write(log, known ? part_profile : part_all, known ? stream::claims : stream::liveness).set_profile(profile);
        break;
      }
      case 2: // a beat
        if (known) {
          pb::NodeLoad load;
          load.set_running(static_cast<std::uint32_t>(draw % 100));
          log.heard(log.slot(node_id{id}), node_load{load}, start);
        }
        break;
      case 3: // liveness
        if (known)
          write(log, part_state, stream::liveness)
              .set_liveness(draw / 3 % 2 == 0 ? pb::LIVENESS_SUSPECT : pb::LIVENESS_ONLINE);
        break;
      case 4: // another life
        ++node.incarnation;
        node.home_epoch = 1;
        write(log, part_all, stream::liveness).clear_profile();
        break;
      case 5: // gone; should it come back, then as another
        log.remove(node_id{id});
        ++node.incarnation;
        node.home_epoch = 1;
        break;
      case 6: { // another home, without a profile at first; the old one hears of it
        // Of a row that left a shard and came back to it, who is behind keeps what the new one does not say.
        if (!world.behind.empty())
          break;
        auto& before = log;
        world.flush();
        node.home = (node.home + 1 + draw / 5 % 2) % world.logs.size();
        ++node.home_epoch;
        auto& there = *world.logs[node.home];
        there.remove(node_id{id});
        world.flush();
        write(there, part_all, stream::liveness).clear_profile();
        world.flush();
        before.remove(node_id{id});
        break;
      }
      case 7:
        if (known) {
          pb::Resources held;
          held.set_cpu_milli(static_cast<std::uint32_t>(draw % 3 * 100));
          write(log, part_held, stream::claims).set_held(held);
        }
        break;
      case 8: {
        pb::AppRecord record;
        record.mutable_spec()->set_name("app" + std::to_string(draw % 3));
        record.set_version(counter);
        log.put(record, stream::claims);
        break;
      }
      case 9: {
        // Removals elsewhere wait for who is behind (view_feed), so here all shards fall behind together.
        world.flush();
        for (std::uint64_t origin = 1; origin <= 3; ++origin)
          world.fall_behind(resource_id{origin}, draw % 3 == 0);
        break;
      }
      case 10:
        if (!world.behind.empty() && !std::exchange(transfers, true)) {
          world.catch_up(draw % 2 == 0 ? 150 : 100'000, [&] {
            self(self);
            world.flush();
          });
          transfers = false;
          world.check();
        }
        break;
      default:
        world.flush();
        if (world.behind.empty())
          world.check();
      }
      return true;
    };
    while (step(step))
      ;
    world.flush();
    world.catch_up(150, [] {});
    world.check();
  }));
}
