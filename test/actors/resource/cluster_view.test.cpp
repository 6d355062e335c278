#include "actors/resource/cluster_view.hpp"
#include "actors/resource/load_columns.hpp"
#include "actors/resource/part_collector.hpp"
#include "messages/wire.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>
#include <optional>
#include <set>
#include <tuple>

using namespace astra;
using namespace std::chrono_literals;
using outcome = cluster_view::apply_outcome;
using time_point = cluster_view::time_point;

namespace {

constexpr resource_id r1{1};
constexpr resource_id r2{2};
const time_point start{1000s};

pb::ViewDelta delta(resource_id origin, std::uint64_t base, std::uint64_t version, std::uint64_t epoch = 1) {
  pb::ViewDelta result;
  result.set_origin(origin.value());
  result.set_origin_name("r" + std::to_string(origin.value()));
  result.set_epoch(epoch);
  result.set_base(base);
  result.set_version(version);
  return result;
}

pb::NodeRow row(std::uint64_t node, std::uint64_t incarnation, std::uint64_t home_epoch, std::uint64_t sequence) {
  pb::NodeRow result;
  result.set_node(node);
  result.set_incarnation(incarnation);
  result.set_home_epoch(home_epoch);
  result.set_sequence(sequence);
  result.set_liveness(pb::LIVENESS_ONLINE);
  return result;
}

pb::NodeRow full_row(std::uint64_t node, std::uint64_t incarnation, std::uint64_t home_epoch, std::uint64_t sequence) {
  auto result = row(node, incarnation, home_epoch, sequence);
  result.mutable_profile()->set_name("n" + std::to_string(node));
  result.mutable_load()->set_host_utilisation(0.5);
  return result;
}

outcome apply(cluster_view& view, const pb::ViewDelta& change, time_point now = start) {
  view_changes changes;
  return view.apply(change, now, changes);
}

} // namespace

TEST_CASE("what profiles have in common is told once per part, and comes out as if each had been told whole") {
  cluster_view view;
  auto first = delta(r1, 0, 1);
  for (std::uint64_t node = 1; node <= 60; ++node) {
    auto& added = *first.add_nodes();
    added = full_row(node, 1, 1, 1);
    auto& profile = *added.mutable_profile();
    profile.set_version(node);
    profile.set_address("10.0.0." + std::to_string(node) + ":9701");
    profile.mutable_capacity()->set_cpu_milli(4000);
    auto& zone = *profile.add_labels();
    zone.set_key("zone");
    zone.set_value(node % 2 ? "a" : "b");
    // Who runs something is like nobody else; one has no profile yet.
    if (node % 10 == 0)
      profile.add_replicas()->set_token(node);
    if (node == 5)
      added.clear_profile();
  }
  REQUIRE(apply(view, first) == outcome::applied);
  std::set<const pb::NodeProfile*> kept;
  for (auto& [id, entry] : view.nodes())
    if (entry.row.shape().replicas_size() == 0)
      kept.insert(entry.row.shared_shape());
  CHECK(kept.size() == 3); // two zones, and none

  part_collector parts;
  std::vector<pb::ViewDelta> ready;
  auto cursor = view.cursor(r1, 0, 0);
  std::uint32_t number = 0;
  while (cursor.at != shard_cursor::section::done) {
    auto part = view.next_part(cursor, 500, start, true);
    CHECK(part.shapes_size() <= 2);
    part.set_transfer(1);
    part.set_part(number++);
    part.set_more(cursor.at != shard_cursor::section::done);
    parts.add(part, ready);
  }
  CHECK(number > 3);
  REQUIRE(ready.size() == 1);
  CHECK(ready[0].ByteSizeLong() < view.snapshot(r1, start).ByteSizeLong());
  auto expanded = ready[0];
  expand_shapes(expanded);
  CHECK(expanded.shapes_size() == 0);
  for (auto& told : {ready[0], expanded}) {
    cluster_view copy;
    REQUIRE(apply(copy, told) == outcome::applied);
    CHECK(encode(copy.snapshot(r1, start)) == encode(view.snapshot(r1, start)));
  }
}

TEST_CASE("a shape that the delta does not have is no profile") {
  cluster_view view;
  auto first = delta(r1, 0, 1);
  auto& lost = *first.add_nodes();
  lost = row(7, 1, 1, 1);
  lost.set_shape(2);
  lost.set_name("n7");
  first.add_shapes();
  REQUIRE(apply(view, first) == outcome::applied);
  CHECK_FALSE(view.find(node_id{7})->row.has_profile());
  expand_shapes(first);
  CHECK_FALSE(first.nodes(0).has_profile());
}

TEST_CASE("a delta that leaves out profile and load does not clear them") {
  cluster_view view;
  auto first = delta(r1, 0, 1);
  *first.add_nodes() = full_row(7, 1, 1, 1);
  REQUIRE(apply(view, first) == outcome::applied);

  auto second = delta(r1, 1, 2);
  auto suspect = row(7, 1, 1, 1);
  suspect.set_liveness(pb::LIVENESS_SUSPECT);
  suspect.set_age_ms(1600);
  *second.add_nodes() = suspect;
  REQUIRE(apply(view, second) == outcome::applied);

  auto entry = view.find(node_id{7});
  REQUIRE(entry);
  CHECK(entry->name() == "n7");
  CHECK(view.load(*entry).host_utilisation() == 0.5);
  CHECK(entry->row.liveness() == pb::LIVENESS_SUSPECT);
  CHECK(entry->last_beat == start - 1600ms);
  CHECK(entry->usable());
}

TEST_CASE("draining, offline and undescribed nodes are not usable") {
  node_entry entry;
  entry.row = full_row(1, 1, 1, 1);
  CHECK(entry.usable());
  entry.row.set_liveness(pb::LIVENESS_DRAINING);
  CHECK_FALSE(entry.usable());
  entry.row.set_liveness(pb::LIVENESS_OFFLINE);
  CHECK_FALSE(entry.usable());
  entry.row = row(1, 1, 1, 1);
  CHECK_FALSE(entry.usable());
}

TEST_CASE("a new incarnation does not inherit what the old one said of itself") {
  cluster_view view;
  auto first = delta(r1, 0, 1);
  *first.add_nodes() = full_row(7, 1, 4, 9);
  apply(view, first);
  auto second = delta(r1, 1, 2);
  *second.add_nodes() = row(7, 2, 1, 1);
  apply(view, second);
  CHECK_FALSE(view.find(node_id{7})->row.has_profile());
  CHECK_FALSE(view.find(node_id{7})->usable());
}

TEST_CASE("a node that moves home stays usable and shows the later home, whichever delta comes first") {
  auto before = delta(r1, 0, 1);
  *before.add_nodes() = full_row(7, 1, 1, 30);
  auto joined = delta(r2, 0, 1);
  *joined.add_nodes() = row(7, 1, 2, 31); // the new home has no profile yet
  auto left = delta(r1, 1, 2);
  left.add_removed_nodes(7);

  for (auto joined_first : {true, false}) {
    cluster_view view;
    apply(view, before);
    if (joined_first) {
      apply(view, joined);
      REQUIRE(view.find(node_id{7}));
      CHECK(view.find(node_id{7})->usable());
      apply(view, left);
      CHECK(view.find(node_id{7})->usable());
    } else {
      apply(view, left);
      CHECK_FALSE(view.find(node_id{7}));
      apply(view, joined);
    }
    CHECK(view.find(node_id{7})->origin == r2);
    CHECK(view.nodes().size() == 1);
  }
}

TEST_CASE("a late delta of the old home does not take a moved node back") {
  cluster_view view;
  auto before = delta(r1, 0, 1);
  *before.add_nodes() = full_row(7, 1, 1, 30);
  apply(view, before);
  auto joined = delta(r2, 0, 1);
  *joined.add_nodes() = full_row(7, 1, 2, 31);
  apply(view, joined);
  auto late = delta(r1, 1, 2);
  auto offline = row(7, 1, 1, 30);
  offline.set_liveness(pb::LIVENESS_OFFLINE);
  *late.add_nodes() = offline;
  view_changes changes;
  view.apply(late, start, changes);
  CHECK(changes.empty());
  CHECK(view.find(node_id{7})->origin == r2);
  CHECK(view.find(node_id{7})->row.liveness() == pb::LIVENESS_ONLINE);
}

TEST_CASE("gaps, repetitions and older epochs change nothing") {
  cluster_view view;
  auto first = delta(r1, 0, 5, 2);
  *first.add_nodes() = full_row(7, 1, 1, 1);
  CHECK(apply(view, delta(r1, 4, 5, 2)) == outcome::gap);
  CHECK(apply(view, first) == outcome::applied);
  auto gone = delta(r1, 6, 7, 2);
  gone.add_removed_nodes(7);
  CHECK(apply(view, gone) == outcome::gap);
  gone.set_base(3);
  gone.set_version(4);
  CHECK(apply(view, gone) == outcome::stale);
  gone.set_version(5);
  CHECK(apply(view, gone) == outcome::stale);
  gone.set_epoch(1);
  gone.set_base(0);
  gone.set_version(9);
  CHECK(apply(view, gone) == outcome::stale);
  gone.set_epoch(3);
  gone.set_base(9);
  CHECK(apply(view, gone) == outcome::gap);
  CHECK(view.find(node_id{7}));
  CHECK(view.shards().at(r1).version == 5);
}

TEST_CASE("a snapshot of a new epoch replaces the shard") {
  cluster_view view;
  auto first = delta(r1, 0, 5);
  *first.add_nodes() = full_row(7, 1, 1, 1);
  first.add_apps()->mutable_spec()->set_name("ocr");
  apply(view, first);
  auto second = delta(r1, 0, 1, 2);
  *second.add_nodes() = full_row(8, 1, 1, 1);
  view_changes changes;
  CHECK(view.apply(second, start, changes) == outcome::applied);
  CHECK(changes.nodes == std::vector{node_id{7}, node_id{8}});
  CHECK(changes.apps == std::vector<std::string>{"ocr"});
  CHECK_FALSE(view.find(node_id{7}));
  CHECK_FALSE(view.find_app("ocr"));
  CHECK(view.find(node_id{8}));
}

TEST_CASE("rows before their turn change no version, and nothing for those who have it or another epoch") {
  cluster_view view;
  auto ahead = delta(r1, 9, 9);
  ahead.set_ahead(true);
  *ahead.add_nodes() = row(7, 1, 1, 4);
  ahead.mutable_nodes(0)->set_liveness(pb::LIVENESS_OFFLINE);
  CHECK(apply(view, ahead) == outcome::stale); // of a shard that is not known
  auto first = delta(r1, 0, 5);
  *first.add_nodes() = full_row(7, 1, 1, 1);
  apply(view, first);
  CHECK(apply(view, ahead) == outcome::applied);
  CHECK(view.find(node_id{7})->row.liveness() == pb::LIVENESS_OFFLINE);
  CHECK(view.find(node_id{7})->name() == "n7");
  CHECK(view.versions().at(0).version() == 5);
  CHECK_FALSE(view.shards().at(r1).edited);

  auto other_life = ahead;
  other_life.set_epoch(2);
  CHECK(apply(view, other_life) == outcome::stale);
  auto next = delta(r1, 5, 9);
  *next.add_nodes() = row(7, 1, 1, 5);
  CHECK(apply(view, next) == outcome::applied);
  CHECK(apply(view, ahead) == outcome::stale);
  CHECK(view.find(node_id{7})->row.liveness() == pb::LIVENESS_ONLINE);
}

TEST_CASE("who is behind is told of each turn of liveness once, as it is now") {
  cluster_view view;
  auto first = delta(r1, 0, 5);
  *first.add_nodes() = full_row(7, 1, 1, 1);
  *first.add_nodes() = full_row(8, 1, 1, 1);
  apply(view, first);
  auto last = view.last_turn();
  CHECK_FALSE(view.turns_since(r1, last, 1000, start));
  std::uint64_t version = 5;
  for (auto liveness : {pb::LIVENESS_SUSPECT, pb::LIVENESS_SUSPECT, pb::LIVENESS_OFFLINE}) {
    auto next = delta(r1, version, version + 1);
    ++version;
    *next.add_nodes() = row(7, 1, 1, version);
    next.mutable_nodes(0)->set_liveness(liveness);
    *next.add_nodes() = row(8, 1, 1, version);
    apply(view, next);
  }
  auto turns = view.turns_since(r1, last, 1000, start);
  REQUIRE(turns);
  CHECK(turns->ahead());
  CHECK(turns->version() == 8);
  REQUIRE(turns->nodes_size() == 1);
  CHECK(turns->nodes(0).liveness() == pb::LIVENESS_OFFLINE);
  CHECK_FALSE(turns->nodes(0).has_profile());
  CHECK(last == view.last_turn());
  CHECK_FALSE(view.turns_since(r1, last, 1000, start));
}

TEST_CASE("who missed more removals than are remembered gets the whole shard") {
  cluster_view view;
  auto first = delta(r1, 0, 1);
  for (std::uint64_t node = 1; node <= 4100; ++node)
    *first.add_nodes() = row(node, 1, 1, 1);
  apply(view, first);
  for (std::uint64_t node = 1; node <= 4097; ++node) {
    auto next = delta(r1, node, node + 1);
    next.add_removed_nodes(node);
    apply(view, next);
  }
  CHECK(view.cursor(r1, 1, 1).base == 0);
  auto cursor = view.cursor(r1, 1, 2);
  CHECK(cursor.base == 2);
  CHECK(view.next_part(cursor, 100000, start).removed_nodes_size() == 4096);
  CHECK(view.cursor(r1, 1, 5000).base == 0); // of the future: it cannot be this shard's
  CHECK(view.cursor(r1, 2, 2).base == 0);
}

TEST_CASE("an edited or lost shard is wanted anew, and a snapshot heals it") {
  cluster_view view;
  auto first = delta(r1, 0, 5);
  *first.add_nodes() = full_row(7, 1, 1, 1);
  apply(view, first);
  CHECK(view.versions().size() == 1);
  auto edit = delta(r1, 5, 5);
  auto offline = row(7, 1, 1, 1);
  offline.set_liveness(pb::LIVENESS_OFFLINE);
  *edit.add_nodes() = offline;
  CHECK(apply(view, edit) == outcome::applied);
  CHECK(view.find(node_id{7})->row.liveness() == pb::LIVENESS_OFFLINE);
  CHECK(view.versions().empty());
  auto healed = delta(r1, 0, 4); // from a relay that is behind
  *healed.add_nodes() = full_row(7, 1, 1, 1);
  CHECK(apply(view, healed) == outcome::applied);
  CHECK(view.find(node_id{7})->row.liveness() == pb::LIVENESS_ONLINE);
  CHECK(view.versions().size() == 1);
  auto lost = delta(r1, 4, 4);
  lost.set_origin_lost(true);
  CHECK(apply(view, lost) == outcome::applied);
  CHECK(view.shards().at(r1).lost);
  CHECK(view.versions().empty());
}

TEST_CASE("a snapshot of an edited shard says so itself") {
  cluster_view relay;
  auto first = delta(r1, 0, 5);
  *first.add_nodes() = full_row(7, 1, 1, 1);
  *first.add_nodes() = full_row(8, 1, 1, 1);
  apply(relay, first);
  auto digest = relay.digest(r1);
  auto edit = delta(r1, 5, 5);
  edit.add_removed_nodes(7);
  apply(relay, edit);
  cluster_view view;
  apply(view, relay.snapshot(r1, start));
  CHECK(view.versions().empty());
  // The origin is back, and what it says of its rows is not what is held.
  auto word = delta(r1, 5, 5);
  word.mutable_digest()->set_rows(digest.rows);
  word.mutable_digest()->set_hash(digest.hash);
  apply(view, word);
  CHECK(view.in_step(word));
  CHECK(apply(view, first) == outcome::applied);
  CHECK(view.versions().size() == 1);
}

TEST_CASE("a relay that is behind is believed that the origin is lost, and what it then decides of its rows") {
  cluster_view view;
  auto first = delta(r1, 0, 9);
  *first.add_nodes() = full_row(7, 1, 1, 1);
  REQUIRE(apply(view, first) == outcome::applied);
  auto behind = delta(r1, 0, 8);
  *behind.add_nodes() = full_row(7, 1, 1, 1);
  CHECK(apply(view, behind) == outcome::stale);

  SUBCASE("told by a snapshot") {
    behind.set_origin_lost(true);
    CHECK(apply(view, behind) == outcome::applied);
  }
  SUBCASE("told by an edit") {
    auto edit = delta(r1, 8, 8);
    CHECK(apply(view, edit) == outcome::stale);
    edit.set_origin_lost(true);
    CHECK(apply(view, edit) == outcome::applied);
  }
  CHECK(view.shards().at(r1).lost);
  auto decided = delta(r1, 8, 8);
  decided.set_origin_lost(true);
  auto offline = row(7, 1, 1, 1);
  offline.set_liveness(pb::LIVENESS_OFFLINE);
  *decided.add_nodes() = offline;
  CHECK(apply(view, decided) == outcome::applied);
  CHECK_FALSE(view.find(node_id{7})->usable());
}

TEST_CASE("a removed origin takes its rows along, those of others stay") {
  cluster_view view;
  auto one = delta(r1, 0, 1);
  *one.add_nodes() = full_row(7, 1, 1, 1);
  auto two = delta(r2, 0, 1);
  *two.add_nodes() = full_row(8, 1, 1, 1);
  apply(view, one);
  apply(view, two);
  auto removed = delta(r1, 1, 1);
  removed.set_origin_removed(true);
  CHECK(apply(view, removed) == outcome::applied);
  CHECK_FALSE(view.find(node_id{7}));
  CHECK(view.find(node_id{8}));
  CHECK(view.shards().size() == 1);
  CHECK(apply(view, removed) == outcome::stale);
}

TEST_CASE("apps follow (epoch, version), schedulers incarnation and then liveness") {
  cluster_view view;
  auto record = [](std::uint64_t epoch, std::uint64_t version, std::uint32_t ready) {
    pb::AppRecord result;
    result.mutable_spec()->set_name("ocr");
    result.set_epoch(epoch);
    result.set_version(version);
    result.set_ready(ready);
    return result;
  };
  auto scheduler = [](std::uint64_t incarnation, pb::Liveness liveness) {
    pb::SchedulerRow result;
    result.set_scheduler(3);
    result.set_incarnation(incarnation);
    result.set_liveness(liveness);
    return result;
  };
  auto one = delta(r1, 0, 1);
  *one.add_apps() = record(1, 9, 1);
  *one.add_schedulers() = scheduler(1, pb::LIVENESS_OFFLINE);
  auto two = delta(r2, 0, 1);
  *two.add_apps() = record(2, 1, 2);
  *two.add_schedulers() = scheduler(1, pb::LIVENESS_ONLINE);
  apply(view, two);
  apply(view, one);
  CHECK(view.find_app("ocr")->record.ready() == 2);
  CHECK(view.find_scheduler(scheduler_id{3})->row.liveness() == pb::LIVENESS_ONLINE);
  auto gone = delta(r2, 1, 2);
  gone.add_removed_apps("ocr");
  gone.add_removed_schedulers(3);
  apply(view, gone);
  CHECK(view.find_app("ocr")->record.ready() == 1);
  CHECK(view.find_scheduler(scheduler_id{3})->origin == r1);
}

TEST_CASE("a snapshot carries everything, with ages brought up to now") {
  cluster_view view;
  auto first = delta(r1, 0, 5);
  auto described = full_row(7, 1, 1, 1);
  described.set_age_ms(100);
  *first.add_nodes() = described;
  apply(view, first);
  auto copy = view.snapshot(r1, start + 400ms);
  CHECK(copy.base() == 0);
  CHECK(copy.version() == 5);
  CHECK(copy.nodes(0).age_ms() == 500);
  CHECK(copy.nodes(0).profile().name() == "n7");
  CHECK(view.snapshot(r2, start).origin_removed());
}

namespace {

void tell_load(pb::ViewDelta& change, std::uint32_t slot, double utilisation) {
  pb::NodeLoad exact;
  exact.set_host_utilisation(utilisation);
  load_columns_writer writer;
  writer.add(slot, node_load{exact}, 0xff);
  *change.add_loads() = writer.finish();
}

pb::NodeRow row_in_slot(std::uint64_t node, std::uint32_t slot) {
  auto result = row(node, 1, 1, 1);
  result.mutable_profile()->set_version(1);
  result.set_slot(slot);
  return result;
}

/// One Resource as the property below drives it: its true rows, and every delta it ever sent.
struct model_shard {
  resource_id origin;
  std::uint64_t version = 1;
  std::map<std::uint64_t, pb::NodeRow> rows;
  std::vector<pb::ViewDelta> sent;

  void snapshot() {
    auto& change = sent.emplace_back(delta(origin, 0, version));
    for (auto& [id, value] : rows)
      *change.add_nodes() = value;
  }
};

template <class Row>
auto rank(const Row& value) {
  return std::tuple{value.incarnation(), value.home_epoch(), value.sequence()};
}

} // namespace

TEST_CASE("a slot is its last owner's, whatever becomes of the row that had it before") {
  cluster_view view;
  auto first = delta(r1, 0, 1);
  *first.add_nodes() = row_in_slot(7, 3);
  tell_load(first, 3, 0.5);
  apply(view, first);
  CHECK(view.load(*view.find(node_id{7})).host_utilisation() == 0.5);
  // Node 8 takes it over before the removal of node 7 is told.
  auto second = delta(r1, 1, 2);
  *second.add_nodes() = row_in_slot(8, 3);
  tell_load(second, 3, 0.9);
  apply(view, second);
  CHECK(view.load(*view.find(node_id{8})).host_utilisation() == doctest::Approx(0.9).epsilon(0.01));
  CHECK(view.load(*view.find(node_id{7})).host_utilisation() == 0.0);
  auto third = delta(r1, 2, 3);
  third.add_removed_nodes(7);
  tell_load(third, 9, 0.1); // of nobody
  tell_load(third, 0, 0.1);
  apply(view, third);
  CHECK(view.load(*view.find(node_id{8})).host_utilisation() == doctest::Approx(0.9).epsilon(0.01));
  cluster_view late;
  apply(late, view.snapshot(r1, start));
  CHECK(late.load(*late.find(node_id{8})) == view.load(*view.find(node_id{8})));
}

TEST_CASE("a slot that no shard can have is none") {
  cluster_view view;
  auto first = delta(r1, 0, 1);
  *first.add_nodes() = row_in_slot(7, ~0U);
  apply(view, first);
  CHECK(view.find(node_id{7})->slot == 0);
}

TEST_CASE("a node that moves home keeps its load until its new home tells another, and a new life has none") {
  cluster_view view;
  auto before = delta(r1, 0, 1);
  *before.add_nodes() = row_in_slot(7, 1);
  tell_load(before, 1, 0.5);
  apply(view, before);
  auto joined = delta(r2, 0, 1);
  auto there = row(7, 1, 2, 5);
  there.set_slot(4);
  *joined.add_nodes() = there;
  apply(view, joined);
  CHECK(view.find(node_id{7})->origin == r2);
  CHECK(view.load(*view.find(node_id{7})).host_utilisation() == 0.5);
  auto left = delta(r1, 1, 2);
  left.add_removed_nodes(7);
  apply(view, left);
  CHECK(view.load(*view.find(node_id{7})).host_utilisation() == 0.5);
  auto told = delta(r2, 1, 2);
  tell_load(told, 4, 0.0);
  apply(view, told);
  CHECK(view.load(*view.find(node_id{7})).host_utilisation() == 0.0);
  auto busy = delta(r2, 2, 3);
  tell_load(busy, 4, 1.0);
  apply(view, busy);
  auto reborn = delta(r2, 3, 4);
  there.set_incarnation(2);
  *reborn.add_nodes() = there;
  apply(view, reborn);
  CHECK(view.load(*view.find(node_id{7})).host_utilisation() == 0.0);
}

TEST_CASE("the age of a row of which nothing is said is that of its origin's last word") {
  cluster_view view;
  auto first = delta(r1, 0, 1);
  first.set_heard_within_ms(1600);
  *first.add_nodes() = row_in_slot(7, 1);
  apply(view, first);
  CHECK(view.age(*view.find(node_id{7}), start + 500ms) == 500ms);
  auto later = delta(r1, 1, 1);
  later.set_heard_within_ms(1600);
  apply(view, later, start + 60s);
  CHECK(view.age(*view.find(node_id{7}), start + 61s) == 2600ms);
  // Of a lost origin nobody knows more than what it said last.
  later.set_origin_lost(true);
  apply(view, later, start + 62s);
  CHECK(view.age(*view.find(node_id{7}), start + 70s) == 11600ms);
}

TEST_CASE("a shard that is not what its origin says is wanted anew, until it is told whole") {
  auto first = delta(r1, 0, 1);
  *first.add_nodes() = row_in_slot(7, 1);
  *first.add_nodes() = row_in_slot(8, 2);
  cluster_view truth;
  apply(truth, first);
  auto digest_of = [](pb::ViewDelta& change, const cluster_view& view) {
    change.mutable_digest()->set_rows(view.digest(r1).rows);
    change.mutable_digest()->set_hash(view.digest(r1).hash);
  };
  auto second = delta(r1, 1, 2);
  auto suspect = row_in_slot(8, 2);
  suspect.set_liveness(pb::LIVENESS_SUSPECT);
  *second.add_nodes() = suspect;
  apply(truth, second);
  digest_of(second, truth);

  cluster_view view;
  apply(view, first);
  CHECK(apply(view, second) == outcome::applied);
  CHECK(view.in_step(second));
  CHECK(view.versions().size() == 1);

  cluster_view broken;
  auto forgetful = first;
  forgetful.mutable_nodes()->RemoveLast();
  *forgetful.add_nodes() = row_in_slot(9, 2);
  apply(broken, forgetful);
  apply(broken, second);
  CHECK_FALSE(broken.in_step(second));
  CHECK(broken.versions().empty());
  auto whole = truth.snapshot(r1, start);
  CHECK(apply(broken, whole) == outcome::applied);
  digest_of(whole, truth);
  CHECK(broken.in_step(whole));
  CHECK(broken.versions().size() == 1);
}

TEST_CASE("rows before their turn do not count as a difference") {
  auto first = delta(r1, 0, 1);
  *first.add_nodes() = row_in_slot(7, 1);
  cluster_view view;
  apply(view, first);
  auto digest = view.digest(r1);
  auto ahead = delta(r1, 3, 3);
  ahead.set_ahead(true);
  auto gone = row_in_slot(7, 1);
  gone.set_liveness(pb::LIVENESS_OFFLINE);
  *ahead.add_nodes() = gone;
  apply(view, ahead);
  auto second = delta(r1, 1, 2);
  second.mutable_digest()->set_rows(digest.rows);
  second.mutable_digest()->set_hash(digest.hash);
  // Who is told by this one has the row, too.
  auto told = view.snapshot(r1, start);
  auto step = view.cursor(r1, 1, 1);
  auto since = view.next_part(step, std::numeric_limits<std::size_t>::max(), start);
  CHECK(told.ahead_of() == 3);
  CHECK(since.ahead_of() == 3);
  apply(view, second);
  CHECK(view.in_step(second));
  cluster_view next;
  apply(next, told);
  apply(next, second);
  CHECK(next.in_step(second));
  // The version in which the row has its turn is compared again.
  auto third = delta(r1, 2, 3);
  third.mutable_digest()->set_rows(digest.rows);
  third.mutable_digest()->set_hash(digest.hash);
  apply(next, third);
  CHECK_FALSE(next.in_step(third));
}

TEST_CASE("deltas of several origins, in any interleaving and with repetitions, end in the merge of the true shards") {
  CHECK(rc::check([] {
    constexpr std::uint64_t node_count = 4;
    std::vector<model_shard> shards(3);
    for (std::size_t i = 0; i < shards.size(); ++i) {
      shards[i].origin = resource_id{i + 1};
      shards[i].snapshot();
    }
    // The nodes live their lives: beat, restart, move; old homes hear of a move late or never.
    struct node_state {
      std::uint64_t incarnation = 1;
      std::uint64_t home_epoch = 1;
      std::uint64_t sequence = 0;
      std::size_t home = 0;
    };
    std::vector<node_state> nodes(node_count);
    auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
        rc::gen::pair(rc::gen::inRange(0, 6), rc::gen::inRange(0, 1000)));
    for (auto [what, draw] : steps) {
      auto id = static_cast<std::uint64_t>(draw) % node_count;
      auto& node = nodes[id];
      if (what == 1) {
        node = {node.incarnation + 1, 1, 0, node.home};
      } else if (what == 2) {
        node.home = static_cast<std::size_t>(draw / 7) % shards.size();
        ++node.home_epoch;
      } else if (what == 3) {
        auto& shard = shards[static_cast<std::size_t>(draw / 7) % shards.size()];
        if (shard.origin != shards[node.home].origin && shard.rows.erase(id + 1) > 0) {
          auto& change = shard.sent.emplace_back(delta(shard.origin, shard.version, shard.version + 1));
          change.add_removed_nodes(id + 1);
          ++shard.version;
        }
        continue;
      } else if (what == 4) {
        shards[static_cast<std::size_t>(draw) % shards.size()].snapshot();
        continue;
      }
      ++node.sequence;
      auto& shard = shards[node.home];
      auto part = row(id + 1, node.incarnation, node.home_epoch, node.sequence);
      auto& stored = shard.rows[id + 1];
      auto fresh = stored.incarnation() != node.incarnation || stored.home_epoch() != node.home_epoch;
      if (fresh || what == 5) {
        auto& profile = *part.mutable_profile();
        profile.set_node(id + 1);
        profile.set_incarnation(node.incarnation);
        profile.set_version(node.incarnation * 1000 + node.sequence);
      }
      auto merged = part;
      if (!merged.has_profile())
        *merged.mutable_profile() = stored.profile();
      stored = merged;
      auto& change = shard.sent.emplace_back(delta(shard.origin, shard.version, shard.version + 1));
      *change.add_nodes() = part;
      ++shard.version;
    }
    cluster_view view;
    std::vector<std::size_t> next(shards.size());
    std::map<std::uint64_t, std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>> shown;
    auto order = *rc::gen::container<std::vector<std::pair<int, bool>>>(
        steps.size() * 2, rc::gen::pair(rc::gen::inRange(0, 3), rc::gen::arbitrary<bool>()));
    auto deliver = [&](const pb::ViewDelta& change) {
      view_changes changes;
      auto result = view.apply(change, start, changes);
      RC_ASSERT(result != outcome::gap);
      // Of a node that left the view nothing is remembered: whatever is heard of it next is news.
      std::erase_if(shown, [&](auto& entry) { return !view.find(node_id{entry.first}); });
      for (auto& [id, entry] : view.nodes()) {
        auto& best = shown[id.value()];
        // A shard that drops its row may bring an older one of a slower Resource to light; nothing else goes back.
        if (change.removed_nodes_size() == 0 && change.base() != 0)
          RC_ASSERT(rank(entry.row) >= best);
        best = rank(entry.row);
      }
    };
    for (auto [which, repeat] : order) {
      auto i = static_cast<std::size_t>(which);
      if (repeat && next[i] > 0)
        deliver(shards[i].sent[next[i] / 2]);
      else if (next[i] < shards[i].sent.size())
        deliver(shards[i].sent[next[i]++]);
    }
    for (std::size_t i = 0; i < shards.size(); ++i)
      while (next[i] < shards[i].sent.size())
        deliver(shards[i].sent[next[i]++]);
    std::map<std::uint64_t, pb::NodeRow> expected;
    for (auto& shard : shards)
      for (auto& [id, value] : shard.rows)
        if (!expected.count(id) || rank(value) > rank(expected[id]))
          expected[id] = value;
    RC_ASSERT(view.nodes().size() == expected.size());
    for (auto& [id, value] : expected) {
      auto entry = view.find(node_id{id});
      RC_ASSERT(entry);
      RC_ASSERT(encode(entry->row.to_pb()) == encode(value));
    }
    // A snapshot equals the deltas it stands for.
    cluster_view copy;
    for (auto& [origin, info] : view.shards()) {
      view_changes changes;
      RC_ASSERT(copy.apply(view.snapshot(origin, start), start, changes) == outcome::applied);
    }
    RC_ASSERT(copy.nodes().size() == view.nodes().size());
    for (auto& [id, entry] : view.nodes())
      RC_ASSERT(rank(copy.find(id)->row) == rank(entry.row));
  }));
}
