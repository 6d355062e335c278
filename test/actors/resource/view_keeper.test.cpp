#include "actors/resource/view_keeper.hpp"

#include "actors/resource/part_collector.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;
using outcome = view_keeper::apply_outcome;

namespace {

constexpr resource_id r1{1};
constexpr resource_id r2{2};

struct keeper_test {
  view_keeper keeper{{10s, 60s}};
  /// Gets what the keeper hands on, as a subscriber would.
  cluster_view follower;
  std::chrono::steady_clock::time_point now{1000s};
  view_changes changes;

  static pb::ViewDelta delta(resource_id origin, std::uint64_t epoch, std::uint64_t base, std::uint64_t version) {
    pb::ViewDelta result;
    result.set_origin(origin.value());
    result.set_origin_name("r" + std::to_string(origin.value()));
    result.set_epoch(epoch);
    result.set_base(base);
    result.set_version(version);
    return result;
  }

  static void add(pb::ViewDelta& to, std::uint64_t node, std::uint64_t home_epoch) {
    auto& row = *to.add_nodes();
    row.set_node(node);
    row.set_incarnation(1);
    row.set_home_epoch(home_epoch);
    row.set_liveness(pb::LIVENESS_ONLINE);
    row.mutable_profile()->set_name("n" + std::to_string(node));
  }

  outcome accept(pb::ViewDelta change) {
    auto result = keeper.accept(change, now, changes);
    if (result == outcome::applied)
      REQUIRE(follower.apply(change, now, changes) == outcome::applied);
    return result;
  }

  void lose(resource_id origin) {
    if (auto edit = keeper.lose(origin, now, changes))
      REQUIRE(follower.apply(*edit, now, changes) == outcome::applied);
  }

  std::size_t expire() {
    auto edits = keeper.expire(now, changes);
    for (auto& edit : edits)
      REQUIRE(follower.apply(edit, now, changes) == outcome::applied);
    return edits.size();
  }

  /// Both views agree; null when the node is in neither.
  const node_entry* node(std::uint64_t id) {
    auto here = keeper.view().find(node_id{id});
    auto there = follower.find(node_id{id});
    REQUIRE((here == nullptr) == (there == nullptr));
    if (here) {
      REQUIRE(here->row.liveness() == there->row.liveness());
      REQUIRE(here->origin == there->origin);
    }
    return here;
  }
};

} // namespace

TEST_CASE_FIXTURE(keeper_test, "the rows of a lost Resource wait 10 s, then are offline for 60 s, then are forgotten") {
  auto first = delta(r1, 1, 0, 1);
  add(first, 7, 1);
  accept(first);
  lose(r1);
  CHECK(follower.shards().at(r1).lost);
  now += 9900ms;
  CHECK(expire() == 0);
  CHECK(node(7)->usable());
  now += 100ms;
  CHECK(expire() == 1);
  CHECK(node(7)->row.liveness() == pb::LIVENESS_OFFLINE);
  CHECK(node(7)->row.reason() == "its Resource r1 was lost and it did not come to another");
  CHECK(node(7)->name() == "n7");
  CHECK(expire() == 0);
  now += 60s;
  CHECK(expire() == 1);
  CHECK_FALSE(node(7));
  CHECK(follower.shards().empty());
  CHECK(expire() == 0);
}

TEST_CASE_FIXTURE(keeper_test, "a node that turns up elsewhere is never offline and leaves the lost shard") {
  auto first = delta(r1, 1, 0, 1);
  add(first, 7, 1);
  accept(first);
  accept(delta(r2, 1, 0, 1));
  lose(r1);
  auto joined = delta(r2, 1, 1, 2);
  add(joined, 7, 2);
  accept(joined);
  CHECK(node(7)->usable());
  CHECK(expire() == 1);
  CHECK(node(7)->origin == r2);
  CHECK(keeper.view().rows(r1)->nodes.empty());
  now += 10s;
  expire();
  CHECK(follower.shards().size() == 1);
  CHECK(node(7)->usable());
}

TEST_CASE_FIXTURE(keeper_test, "a Resource that restarts empty takes nothing from the view while its nodes return") {
  auto first = delta(r1, 1, 0, 9);
  add(first, 7, 1);
  add(first, 8, 1);
  first.add_apps()->mutable_spec()->set_name("ocr");
  accept(first);
  CHECK(accept(delta(r1, 2, 0, 1)) == outcome::applied);
  CHECK(node(7)->usable());
  CHECK(follower.find_app("ocr"));
  auto back = delta(r1, 2, 1, 2);
  add(back, 7, 2);
  accept(back);
  // A second snapshot of the same epoch does not know the other one either.
  auto again = delta(r1, 2, 0, 2);
  add(again, 7, 2);
  accept(again);
  CHECK(node(8)->usable());
  now += 10s;
  expire();
  CHECK(node(7)->usable());
  CHECK(node(8)->row.reason() == "its Resource r1 restarted and it did not come to another");
  CHECK(follower.find_app("ocr"));
}

TEST_CASE_FIXTURE(keeper_test, "what a relay kept for a restarted Resource is not that Resource's own word") {
  auto before = delta(r1, 1, 0, 5);
  add(before, 1, 1);
  REQUIRE(accept(before) == outcome::applied);
  REQUIRE(accept(delta(r1, 2, 0, 1)) == outcome::applied);
  // Somebody who hears of r1 from here, and then from r1 itself, which has not heard of the node yet.
  view_keeper other{{10s, 60s}};
  auto relayed = keeper.snapshot(r1, now);
  CHECK(relayed.kept_nodes_size() == 1);
  REQUIRE(other.accept(relayed, now, changes) == outcome::applied);
  auto first_hand = delta(r1, 2, 0, 2);
  REQUIRE(other.accept(first_hand, now, changes) == outcome::applied);
  CHECK(first_hand.kept_nodes_size() == 1); // whoever is told next
  REQUIRE(other.view().find(node_id{1}));
  now += 11s;
  CHECK(other.expire(now, changes).size() == 1);
  CHECK(other.view().find(node_id{1})->row.liveness() == pb::LIVENESS_OFFLINE);
}

TEST_CASE_FIXTURE(keeper_test, "a kept row is known as kept by those who get the shard in parts") {
  auto before = delta(r1, 1, 0, 5);
  for (std::uint64_t node = 1; node <= 6; ++node)
    add(before, node, 1);
  REQUIRE(accept(before) == outcome::applied);
  auto restarted = delta(r1, 2, 0, 1);
  add(restarted, 3, 2);
  REQUIRE(accept(restarted) == outcome::applied);
  auto cursor = keeper.view().cursor(r1, 0, 0);
  part_collector parts;
  std::vector<pb::ViewDelta> ready;
  for (std::uint32_t number = 0; cursor.at != shard_cursor::section::done; ++number) {
    auto part = keeper.next_part(cursor, 80, now);
    part.set_transfer(1);
    part.set_part(number);
    part.set_more(cursor.at != shard_cursor::section::done);
    // Meanwhile one of them speaks again: that is told next.
    if (number == 3) {
      auto found = delta(r1, 2, 1, 2);
      add(found, 1, 2);
      REQUIRE(accept(found) == outcome::applied);
    }
    REQUIRE(keeper.view().valid(cursor));
    parts.add(part, ready);
  }
  REQUIRE(ready.size() == 1);
  auto& whole = ready.front();
  CHECK(whole.nodes_size() == 6);
  CHECK(whole.kept_nodes_size() == 5);
  view_keeper other{{10s, 60s}};
  REQUIRE(other.accept(whole, now, changes) == outcome::applied);
  cursor = keeper.view().cursor(r1, 2, other.view().shards().at(r1).version);
  auto rest = keeper.next_part(cursor, 1000, now);
  CHECK(rest.base() == 1);
  REQUIRE(rest.nodes_size() == 1);
  REQUIRE(other.accept(rest, now, changes) == outcome::applied);
  now += 11s;
  other.expire(now, changes);
  for (std::uint64_t id = 1; id <= 6; ++id)
    CHECK((other.view().find(node_id{id})->row.liveness() == pb::LIVENESS_ONLINE) == (id == 1 || id == 3));
}

TEST_CASE_FIXTURE(keeper_test, "an edit ends what was being told of the shard, and so does a snapshot") {
  auto first = delta(r1, 1, 0, 5);
  add(first, 1, 1);
  accept(first);
  auto cursor = keeper.view().cursor(r1, 1, 5);
  CHECK(cursor.base == 5);
  SUBCASE("a delta does not") {
    auto next = delta(r1, 1, 5, 6);
    add(next, 2, 1);
    accept(next);
    CHECK(keeper.view().valid(cursor));
    return;
  }
  SUBCASE("an edit") {
    auto edit = delta(r1, 1, 5, 5);
    add(edit, 1, 1);
    accept(edit);
    CHECK(keeper.view().cursor(r1, 1, 5).base == 0);
  }
  SUBCASE("a snapshot") {
    accept(delta(r1, 1, 0, 6));
    CHECK(keeper.view().cursor(r1, 1, 5).base == 0);
    CHECK(keeper.view().cursor(r1, 1, 6).base == 6);
  }
  SUBCASE("the loss of the origin") {
    lose(r1);
    CHECK(keeper.view().cursor(r1, 1, 5).base == 0);
  }
  CHECK_FALSE(keeper.view().valid(cursor));
}

TEST_CASE_FIXTURE(keeper_test, "a Resource that comes back with its old epoch speaks for its rows again") {
  auto first = delta(r1, 1, 0, 5);
  add(first, 7, 1);
  add(first, 8, 1);
  accept(first);
  lose(r1);
  now += 10s;
  expire();
  CHECK(node(7)->row.liveness() == pb::LIVENESS_OFFLINE);
  auto back = delta(r1, 1, 0, 6);
  add(back, 7, 1);
  accept(back);
  CHECK(node(7)->usable());
  CHECK_FALSE(node(8)); // it said so
  CHECK_FALSE(follower.shards().at(r1).lost);
  now += 70s;
  CHECK(expire() == 0);
}

TEST_CASE_FIXTURE(keeper_test, "an app stays until its scheduler speaks elsewhere without naming it") {
  auto first = delta(r1, 1, 0, 1);
  for (auto name : {"ocr", "old"}) {
    auto& record = *first.add_apps();
    record.mutable_spec()->set_name(name);
    record.set_scheduler(3);
    record.set_epoch(1);
    record.set_version(1);
  }
  auto& scheduler = *first.add_schedulers();
  scheduler.set_scheduler(3);
  scheduler.set_liveness(pb::LIVENESS_ONLINE);
  accept(first);
  accept(delta(r2, 1, 0, 1));
  lose(r1);
  now += 100s;
  expire();
  CHECK(follower.find_app("ocr"));
  CHECK(follower.find_scheduler(scheduler_id{3})->row.liveness() == pb::LIVENESS_OFFLINE);
  auto joined = delta(r2, 1, 1, 2);
  *joined.add_schedulers() = scheduler;
  auto& record = *joined.add_apps();
  record.mutable_spec()->set_name("ocr");
  record.set_scheduler(3);
  record.set_epoch(1);
  record.set_version(2);
  accept(joined);
  expire();
  expire();
  CHECK(follower.find_app("ocr")->origin == r2);
  CHECK_FALSE(follower.find_app("old"));
  CHECK(follower.find_scheduler(scheduler_id{3})->origin == r2);
  CHECK(follower.shards().size() == 1);
}

TEST_CASE_FIXTURE(keeper_test, "an observer that slept gives orphans that much more time") {
  auto first = delta(r1, 1, 0, 1);
  add(first, 7, 1);
  accept(first);
  lose(r1);
  now += 30s;
  keeper.extend_grace(30s, now);
  CHECK(expire() == 0);
  CHECK(node(7)->usable());
}
