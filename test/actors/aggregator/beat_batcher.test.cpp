#include "actors/aggregator/beat_batcher.hpp"
#include "actors/resource/aggregated_members.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

using time_point = std::chrono::steady_clock::time_point;

/// An aggregator and a Resource with nothing but a message between them.
struct pair {
  beat_batcher batcher;
  shard_log log{resource_id{1}, "r1", 1};
  member_table members{log, {1500ms, 3000ms}, 60s};
  aggregated_members behind;
  time_point now{1000s};
  std::size_t whole_beats = 0;
  std::vector<transition> changes;

  static pb::Heartbeat beat(const std::string& name, std::uint64_t sequence, std::uint64_t incarnation = 4) {
    pb::Heartbeat result;
    result.set_node(make_node_id(name).value());
    result.set_name(name);
    result.set_incarnation(incarnation);
    result.set_home_epoch(1);
    result.set_sequence(sequence);
    result.set_profile_version(1);
    return result;
  }

  /// As the Resource does it.
  pb::BeatBatchAck deliver(const pb::BeatBatch& batch) {
    pb::BeatBatchAck ack;
    for (auto& member : batch.members()) {
      ++whole_beats;
      auto verdict = members.record(member.beat(), now);
      if (verdict.change)
        changes.push_back(*verdict.change);
      auto& word = *ack.add_words();
      word.set_slot(member.slot());
      word.set_fenced(verdict.fenced);
      word.set_profile_version(verdict.profile_version);
      node_id node{member.beat().node()};
      auto row = members.find(node);
      if (row && row->incarnation() == member.beat().incarnation() && row->home_epoch() == member.beat().home_epoch())
        behind.introduce(member.slot(), {node, log.slot(node), row->incarnation(), row->home_epoch()});
    }
    auto outcome = behind.hear(batch, members, log, now);
    changes.insert(changes.end(), outcome.changes.begin(), outcome.changes.end());
    for (auto slot : outcome.unknown)
      ack.add_unknown(slot);
    return ack;
  }

  void exchange() { batcher.take(deliver(batcher.flush())); }

  pb::Liveness liveness(const std::string& name) const {
    auto row = members.find(make_node_id(name));
    return row ? row->liveness() : pb::LIVENESS_UNKNOWN;
  }
};

} // namespace

TEST_CASE_FIXTURE(pair, "a node is told whole once, and then by a bit as long as it beats") {
  CHECK(batcher.take(beat("n1", 1), now).urgent);
  exchange();
  CHECK(liveness("n1") == pb::LIVENESS_ONLINE);
  for (std::uint64_t i = 2; i <= 20; ++i) {
    now += 1s;
    CHECK_FALSE(batcher.take(beat("n1", i), now).urgent);
    auto batch = batcher.flush();
    CHECK(batch.members_size() == 0);
    CHECK(batch.heard() == "\x01");
    batcher.take(deliver(batch));
    CHECK(members.sweep(now).empty());
  }
  CHECK(whole_beats == 1);
  CHECK(members.find(make_node_id("n1"))->sequence() == 20);
  now += 1600ms;
  exchange();
  REQUIRE(members.sweep(now).size() == 1);
  CHECK(liveness("n1") == pb::LIVENESS_SUSPECT);
}

TEST_CASE_FIXTURE(pair, "a beat with nothing new but its load needs no message, until the home must be told") {
  batcher.take(beat("n1", 1), now);
  auto slot = batcher.slot(make_node_id("n1"));
  REQUIRE(slot == 1);
  CHECK(batcher.slot(make_node_id("n2")) == 0);
  node_load busy;
  busy.bytes[0] = 150;
  CHECK_FALSE(batcher.take_again(slot, 2, busy, now)); // not told yet
  exchange();
  CHECK(batcher.take_again(slot, 2, busy, now));
  auto batch = batcher.flush();
  CHECK(batch.members_size() == 0);
  CHECK(batch.heard() == "\x01");
  CHECK(batch.loads().utilisation() == std::string(1, '\x96'));
  batcher.take(deliver(batch));
  CHECK(log.load(make_node_id("n1"))->bytes[0] == 150);
  CHECK(members.find(make_node_id("n1"))->sequence() == 2);
  // The same load again is a bit.
  CHECK(batcher.take_again(slot, 3, busy, now));
  CHECK_FALSE(batcher.flush().has_loads());
  CHECK_FALSE(batcher.take(beat("n1", 3), now).urgent); // an old one

  batcher.closed(make_node_id("n1"));
  CHECK_FALSE(batcher.take_again(slot, 4, busy, now));
  batcher.take(beat("n1", 4), now);
  exchange();
  // A newer life is at home there.
  members.record(beat("n1", 1, 7), now);
  CHECK(batcher.take_again(slot, 5, busy, now));
  exchange();
  CHECK_FALSE(batcher.take_again(slot, 6, busy, now));
  batcher.take(beat("n1", 6), now);
  exchange();
  CHECK_FALSE(batcher.take_again(slot, 7, busy, now));
  CHECK(batcher.take(beat("n1", 7), now).fenced);
}

TEST_CASE_FIXTURE(pair, "a drain, a goodbye and the end of a connection are told at once") {
  batcher.take(beat("n1", 1), now);
  batcher.take(beat("n2", 1), now);
  exchange();
  auto drains = beat("n1", 2);
  drains.set_draining(true);
  CHECK(batcher.take(drains, now).urgent);
  CHECK(batcher.closed(make_node_id("n2")));
  CHECK(batcher.urgent());
  exchange();
  CHECK(liveness("n1") == pb::LIVENESS_DRAINING);
  CHECK(liveness("n2") == pb::LIVENESS_SUSPECT);
  CHECK_FALSE(batcher.urgent());
  auto leaves = beat("n1", 3);
  leaves.set_draining(true);
  leaves.set_leaving(true);
  CHECK(batcher.take(leaves, now).urgent);
  CHECK_FALSE(batcher.take(beat("n2", 2), now).urgent);
  exchange();
  CHECK(liveness("n1") == pb::LIVENESS_OFFLINE);
  CHECK(liveness("n2") == pb::LIVENESS_ONLINE);
}

TEST_CASE_FIXTURE(pair, "a Resource that forgot a node asks for its whole beat, and a new one is told all") {
  for (auto name : {"n1", "n2", "n3"})
    batcher.take(beat(name, 1), now);
  exchange();
  members.moved_away(make_node_id("n2"));
  for (auto name : {"n1", "n2", "n3"})
    batcher.take(beat(name, 2), now);
  exchange();
  CHECK(liveness("n2") == pb::LIVENESS_UNKNOWN);
  exchange();
  CHECK(liveness("n2") == pb::LIVENESS_ONLINE);
  CHECK(whole_beats == 4);

  batcher.rehomed();
  CHECK_FALSE(batcher.urgent());
  CHECK(batcher.take(beat("n3", 3), now).urgent);
  CHECK(batcher.flush().members_size() == 1);
}

TEST_CASE_FIXTURE(pair, "an older life is fenced, at the aggregator and by the Resource") {
  batcher.take(beat("n1", 1, 5), now);
  exchange();
  CHECK(batcher.take(beat("n1", 9, 4), now).fenced);
  // A newer life that came to the Resource on another way.
  members.record(beat("n1", 1, 7), now);
  batcher.take(beat("n1", 2, 5), now);
  exchange(); // the bit means nothing there any more
  exchange();
  CHECK(batcher.take(beat("n1", 3, 5), now).fenced);
  CHECK(members.find(make_node_id("n1"))->incarnation() == 7);
  auto sequence = members.find(make_node_id("n1"))->sequence();
  exchange();
  CHECK(members.find(make_node_id("n1"))->sequence() == sequence);
}

TEST_CASE_FIXTURE(pair,
                  "a node that is not known must say its name, and one that is silent leaves its slot to others") {
  auto nameless = beat("n1", 1);
  nameless.clear_name();
  CHECK(batcher.take(nameless, now).nameless);
  nameless.set_name("n2");
  CHECK(batcher.take(nameless, now).nameless);
  nameless.clear_name();
  batcher.take(beat("n1", 1), now);
  batcher.take(nameless, now);
  exchange();
  now += 11s;
  batcher.forget(now - 10s);
  CHECK(batcher.size() == 0);
  batcher.take(beat("n2", 1), now);
  auto batch = batcher.flush();
  REQUIRE(batch.members_size() == 1);
  CHECK(batch.members(0).slot() == 1);
  batcher.take(deliver(batch));
  // The old meaning of the slot does not count for the new node.
  batcher.take(beat("n2", 2), now);
  exchange();
  CHECK(members.find(make_node_id("n2"))->sequence() == 2);
}

TEST_CASE("more nodes than one batch takes are told in turns") {
  pair rack;
  for (std::size_t i = 0; i < beat_batcher::members_max + 10; ++i)
    rack.batcher.take(pair::beat("n" + std::to_string(i), 1), rack.now);
  rack.exchange();
  CHECK(rack.log.size() == beat_batcher::members_max);
  CHECK(rack.batcher.urgent());
  rack.exchange();
  CHECK(rack.log.size() == beat_batcher::members_max + 10);
}

TEST_CASE("behind an aggregator a Resource knows the same of nodes as without one") {
  CHECK(rc::check([] {
    pair rack;
    shard_log log{resource_id{1}, "r1", 1};
    member_table direct{log, {1500ms, 3000ms}, 60s};
    std::map<std::string, pb::Heartbeat> nodes;
    auto steps = *rc::gen::inRange(1, 60);
    for (int step = 0; step < steps; ++step) {
      auto name = "n" + std::to_string(*rc::gen::inRange(1, 12));
      auto& beat = nodes.try_emplace(name, pair::beat(name, 0)).first->second;
      switch (*rc::gen::inRange(0, 8)) {
      case 0:
        beat.set_incarnation(beat.incarnation() + 1);
        beat.set_sequence(0);
        beat.clear_draining();
        break;
      case 1:
        beat.set_draining(true);
        break;
      case 2:
        // The Resource has forgotten it, here and there.
        rack.members.moved_away(make_node_id(name));
        direct.moved_away(make_node_id(name));
        break;
      case 3:
        rack.batcher.closed(make_node_id(name));
        rack.exchange();
        direct.connection_closed(make_node_id(name), rack.now);
        continue;
      default:
        beat.mutable_load()->set_host_utilisation(*rc::gen::inRange(0, 100) / 100.0);
        beat.mutable_load()->set_requests_done(beat.sequence());
      }
      beat.set_sequence(beat.sequence() + 1);
      rack.now += 10ms;
      rack.batcher.take(beat, rack.now);
      direct.record(beat, rack.now);
      rack.exchange();
      rack.exchange(); // what the Resource did not know
    }
    for (auto& [name, beat] : nodes) {
      auto id = make_node_id(name);
      auto row = rack.members.find(id);
      auto expected = direct.find(id);
      RC_ASSERT((row != nullptr) == (expected != nullptr));
      if (!row)
        continue;
      RC_ASSERT(row->liveness() == expected->liveness());
      RC_ASSERT(row->incarnation() == expected->incarnation());
      RC_ASSERT(*rack.log.load(id) == *log.load(id));
    }
  }));
}
