#include "actors/resource/member_table.hpp"
#include "actors/resource/mass_loss.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct table {
  shard_log log{resource_id{1}, "r1", 1};
  member_table members{log, {1500ms, 3000ms}, 60s};
  std::chrono::steady_clock::time_point now{1000s};
  pb::Heartbeat beat;

  table() {
    beat.set_node(7);
    beat.set_incarnation(4);
    beat.set_home_epoch(1);
    beat.set_sequence(1);
  }

  member_table::verdict next_beat() {
    auto result = members.record(beat, now);
    beat.set_sequence(beat.sequence() + 1);
    return result;
  }

  const node_row& row() const { return *members.find(node_id{7}); }

  member_table::verdict profile(std::uint64_t version, std::uint64_t incarnation = 4, std::uint64_t home_epoch = 1) {
    pb::ProfileUpdate update;
    update.mutable_profile()->set_node(7);
    update.mutable_profile()->set_incarnation(incarnation);
    update.mutable_profile()->set_version(version);
    update.mutable_profile()->set_name("n7");
    update.set_home_epoch(home_epoch);
    return members.record(update, now);
  }
};

} // namespace

TEST_CASE_FIXTURE(table, "a silent node is suspect after 1.5 s, offline after 3 s and forgotten after 60 s more") {
  CHECK(next_beat().fresh);
  now += 1400ms;
  CHECK(members.sweep(now).empty());
  now += 200ms;
  auto changes = members.sweep(now);
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].after == pb::LIVENESS_SUSPECT);
  CHECK(changes[0].reason == "no heartbeat for 1.6 s");
  now += 1400ms;
  changes = members.sweep(now);
  REQUIRE(changes.size() == 1);
  CHECK(row().liveness() == pb::LIVENESS_OFFLINE);
  CHECK(row().reason() == "no heartbeat for 3.0 s");
  CHECK(members.alive() == 0);
  now += 59900ms;
  members.sweep(now);
  CHECK(members.find(node_id{7}));
  CHECK(members.take_forgotten().empty());
  now += 100ms;
  members.sweep(now);
  CHECK_FALSE(members.find(node_id{7}));
  CHECK(members.take_forgotten() == std::vector{node_id{7}});
  CHECK(members.take_forgotten().empty());
}

TEST_CASE_FIXTURE(table, "a beat brings a suspect or offline node back") {
  next_beat();
  now += 3s;
  members.sweep(now);
  REQUIRE(row().liveness() == pb::LIVENESS_OFFLINE);
  auto verdict = next_beat();
  CHECK(verdict.accepted);
  CHECK(row().liveness() == pb::LIVENESS_ONLINE);
  CHECK(row().reason().empty());
  CHECK(members.alive() == 1);
}

TEST_CASE_FIXTURE(table, "a closed connection makes a node suspect at once, but an offline one stays offline") {
  next_beat();
  auto change = members.connection_closed(node_id{7}, now);
  REQUIRE(change);
  CHECK(change->reason == "connection closed");
  CHECK(row().liveness() == pb::LIVENESS_SUSPECT);
  next_beat();
  CHECK(row().liveness() == pb::LIVENESS_ONLINE);
  now += 3s;
  members.sweep(now);
  CHECK_FALSE(members.connection_closed(node_id{7}, now));
  CHECK(row().liveness() == pb::LIVENESS_OFFLINE);
}

TEST_CASE_FIXTURE(table, "a node that did not answer when others accused it is suspect until its next beat") {
  next_beat();
  now += 100ms;
  auto asked = now;
  now += 300ms;
  auto change = members.accused(node_id{7}, asked, "gateway cannot reach it", now);
  REQUIRE(change);
  CHECK(change->after == pb::LIVENESS_SUSPECT);
  CHECK(row().reason() == "gateway cannot reach it");
  CHECK_FALSE(members.accused(node_id{7}, asked, "another cannot reach it either", now));
  CHECK(row().reason() == "gateway cannot reach it");
  next_beat();
  CHECK(row().liveness() == pb::LIVENESS_ONLINE);
  CHECK_FALSE(members.accused(node_id{7}, asked, "it beat since", now));
  CHECK(row().liveness() == pb::LIVENESS_ONLINE);
  CHECK_FALSE(members.accused(node_id{8}, asked, "nobody knows it", now));
  now += 3s;
  members.sweep(now);
  CHECK_FALSE(members.accused(node_id{7}, now - 1ms, "it is offline", now));
  CHECK(row().liveness() == pb::LIVENESS_OFFLINE);
}

TEST_CASE_FIXTURE(table, "of all nodes a tenth may be suspected for what others say, and one in any case") {
  auto join = [&](std::uint64_t node) {
    pb::Heartbeat other;
    other.set_node(node);
    other.set_incarnation(1);
    other.set_home_epoch(1);
    other.set_sequence(now.time_since_epoch().count());
    members.record(other, now);
  };
  for (std::uint64_t node = 100; node < 125; ++node)
    join(node);
  auto asked = now += 1ms;
  now += 300ms;
  auto suspected = 0;
  for (std::uint64_t node = 100; node < 125; ++node)
    suspected += members.accused(node_id{node}, asked, "nobody reaches it", now) ? 1 : 0;
  CHECK(suspected == 2);
  join(100);
  CHECK(members.accused(node_id{124}, asked, "nobody reaches it", now));
  CHECK_FALSE(members.accused(node_id{123}, asked, "nobody reaches it", now));
  // Those that are offline by now are not suspected any more.
  now += 3s;
  members.sweep(now);
  for (std::uint64_t node = 200; node < 205; ++node)
    join(node);
  asked = now += 1ms;
  now += 300ms;
  CHECK(members.accused(node_id{200}, asked, "nobody reaches it", now));
}

TEST_CASE_FIXTURE(table,
                  "a connection that closed while the observer slept for 10 s makes a node suspect, not offline") {
  next_beat();
  now += 10s;
  auto change = members.connection_closed(node_id{7}, now);
  REQUIRE(change);
  CHECK(change->after == pb::LIVENESS_SUSPECT);
  members.extend_leases(10s, now);
  CHECK(members.sweep(now).empty());
  now += 3s;
  members.sweep(now);
  CHECK(row().liveness() == pb::LIVENESS_OFFLINE);
}

TEST_CASE_FIXTURE(table, "an older incarnation is fenced, a newer one starts with an empty row") {
  next_beat();
  profile(1);
  beat.set_incarnation(3);
  beat.set_sequence(99);
  CHECK(next_beat().fenced);
  CHECK(row().incarnation() == 4);
  beat.set_incarnation(5);
  beat.set_sequence(1);
  auto verdict = next_beat();
  CHECK(verdict.accepted);
  CHECK(verdict.fresh);
  CHECK(verdict.profile_version == 0);
  CHECK_FALSE(row().has_profile());
  CHECK(members.alive() == 1);
}

TEST_CASE_FIXTURE(table, "repeated and reordered beats neither count nor extend the lease") {
  next_beat();
  next_beat();
  now += 2900ms;
  beat.set_sequence(2);
  CHECK_FALSE(next_beat().accepted);
  beat.set_home_epoch(0);
  beat.set_sequence(50);
  CHECK_FALSE(next_beat().accepted);
  now += 100ms;
  members.sweep(now);
  CHECK(row().liveness() == pb::LIVENESS_OFFLINE);
}

TEST_CASE_FIXTURE(table, "a draining node stays draining although it is silent, and ends as drained") {
  next_beat();
  beat.set_draining(true);
  next_beat();
  CHECK(row().liveness() == pb::LIVENESS_DRAINING);
  members.connection_closed(node_id{7}, now);
  now += 2s;
  members.sweep(now);
  CHECK(row().liveness() == pb::LIVENESS_DRAINING);
  beat.set_leaving(true);
  auto verdict = next_beat();
  REQUIRE(verdict.change);
  CHECK(verdict.change->after == pb::LIVENESS_OFFLINE);
  CHECK(verdict.change->reason == "drained");
}

TEST_CASE_FIXTURE(table, "a goodbye takes a node offline at once") {
  next_beat();
  beat.set_leaving(true);
  CHECK(next_beat().change->reason == "said goodbye");
  CHECK(row().liveness() == pb::LIVENESS_OFFLINE);
}

TEST_CASE_FIXTURE(table, "an observer that slept for 10 s evicts nobody who beats again within the usual time") {
  next_beat();
  now += 10s;
  members.extend_leases(9900ms, now);
  CHECK(members.sweep(now).empty());
  now += 2800ms;
  members.sweep(now);
  CHECK(row().liveness() == pb::LIVENESS_SUSPECT);
  now += 100ms;
  members.sweep(now);
  CHECK(row().liveness() == pb::LIVENESS_OFFLINE);
}

TEST_CASE_FIXTURE(table, "profiles are taken in order and only from the home epoch that beats") {
  CHECK_FALSE(profile(1).accepted); // it does not beat here
  next_beat();
  CHECK(profile(2).accepted);
  CHECK_FALSE(profile(1).accepted);
  CHECK(profile(1).profile_version == 2);
  CHECK_FALSE(profile(3, 4, 2).accepted);
  CHECK(profile(3, 3).fenced);
  CHECK(row().profile_version() == 2);
}

TEST_CASE_FIXTURE(table, "a node that moved away is removed, not evicted") {
  next_beat();
  log.flush(stream::liveness, now);
  CHECK(members.moved_away(node_id{7}));
  CHECK_FALSE(members.moved_away(node_id{7}));
  auto delta = log.flush(stream::liveness, now);
  REQUIRE(delta);
  CHECK(delta->nodes_size() == 0);
  CHECK(delta->removed_nodes(0) == 7);
  CHECK(members.alive() == 0);
}

TEST_CASE_FIXTURE(table,
                  "a node that comes and goes stays suspect for a while, one that drains and restarts does not") {
  auto live = [this](std::chrono::milliseconds time) {
    for (auto end = now + time; now < end; now += 500ms) {
      members.sweep(now);
      next_beat();
    }
  };
  auto die_and_return = [&] {
    now += 4s;
    members.sweep(now);
    CHECK(row().liveness() == pb::LIVENESS_OFFLINE);
    live(2s);
  };
  live(2s);
  die_and_return();
  die_and_return();
  die_and_return();
  CHECK(row().liveness() == pb::LIVENESS_ONLINE);
  die_and_return();
  CHECK(row().liveness() == pb::LIVENESS_SUSPECT);
  CHECK(row().reason() == "flapping: came back 4 times; it must stay for a while");
  members.connection_closed(node_id{7}, now);
  CHECK(row().reason() == "flapping: came back 4 times; it must stay for a while");
  next_beat();
  now += 1600ms;
  members.sweep(now);
  live(15s);
  CHECK(row().reason() == "flapping: came back 4 times; it must stay for a while");
  CHECK(row().liveness() == pb::LIVENESS_SUSPECT);
  live(30s);
  CHECK(row().liveness() == pb::LIVENESS_ONLINE);
  CHECK(row().reason().empty());
  for (auto i = 0; i < 8; ++i) {
    beat.set_leaving(true);
    next_beat();
    beat.set_leaving(false);
    beat.set_incarnation(beat.incarnation() + 1);
    beat.set_sequence(1);
    live(1s);
    CHECK(row().liveness() == pb::LIVENESS_ONLINE);
  }
}

TEST_CASE("many losses at once are believed when two peers are heard, or nobody can be asked, and not for ever") {
  mass_loss losses{6000ms};
  mass_loss::time_point now{1000s};
  CHECK_FALSE(losses.doubted(3, 20, 3, 0, now)); // few
  CHECK_FALSE(losses.doubted(9, 100, 3, 0, now));
  CHECK_FALSE(losses.doubted(50, 100, 0, 0, now));
  CHECK_FALSE(losses.doubted(50, 100, 3, 2, now));
  CHECK_FALSE(losses.doubted(50, 100, 1, 1, now));
  CHECK(losses.doubted(50, 100, 3, 1, now));
  CHECK(losses.doubted(50, 100, 3, 0, now + 5900ms));
  CHECK_FALSE(losses.doubted(50, 100, 3, 0, now + 6000ms));
  CHECK_FALSE(losses.doubted(0, 100, 3, 0, now + 7s));
  CHECK(losses.doubted(50, 100, 3, 0, now + 20s));
}

TEST_CASE_FIXTURE(table,
                  "transitions leave with the liveness stream, beats with the load stream, profiles with claims") {
  next_beat();
  profile(1);
  log.flush(stream::liveness, now);
  next_beat();
  CHECK_FALSE(log.pending(stream::load)); // nothing changed
  beat.mutable_load()->set_running(2);
  next_beat();
  CHECK_FALSE(log.pending(stream::liveness));
  CHECK(log.pending(stream::load));
  profile(2);
  CHECK(log.pending(stream::claims));
  beat.set_draining(true);
  next_beat();
  CHECK(log.pending(stream::liveness));
}
