#include "actors/scheduler/federation.hpp"
#include "actors/random.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

using time_point = federation::time_point;

/// Nodes that do at once what they are told, and what goes wrong with them.
struct model {
  struct running {
    member_sight sight;
    /// Whoever is placed is seen at the next tick, if only as a claim.
    bool seen = false;
  };

  explicit model(std::uint32_t workers, std::uint32_t min_workers, std::uint32_t clusters = 1) : clusters(clusters) {
    wanted.set_workers(workers);
    wanted.set_min_workers(min_workers);
  }

  /// One tick: places are found, members start, and stops are obeyed.
  void tick(std::chrono::milliseconds length = 100ms) {
    now += length;
    std::vector<member_sight> sights;
    for (auto& [token, one] : members) {
      one.seen = true;
      sights.push_back(one.sight);
    }
    auto decided = book.review(wanted, clusters, sights, unplaced, now, [this](auto&, auto) {
      ++room_tests;
      return room_without_old;
    });
    failures = decided.failures;
    wishes = decided.places;
    stops = decided.stops;
    for (auto& stop : decided.stops) {
      auto& one = members.at(stop.token);
      one.sight.released = true;
      if (stop.at_once || stops_at_once)
        members.erase(stop.token);
    }
    if (room)
      for (auto& wish : decided.places)
        start(wish);
  }

  void ticks(int count) {
    for (int i = 0; i < count; ++i)
      tick();
  }

  void start(const federation::place_wish& wish) {
    claim_token token{++last_token};
    auto& sight = members[token].sight;
    sight.token = token;
    sight.node = node_id{1 + last_token % 5};
    sight.node_name = "n" + std::to_string(1 + last_token % 5);
    sight.index = wish.index;
    sight.member = wish.member;
    sight.state = starts_ready ? pb::REPLICA_READY : pb::REPLICA_STARTING;
    if (wish.member.slot() == 0) {
      sight.host = "h" + std::to_string(last_token);
      auto& port = sight.ports.emplace_back();
      port.set_name("s");
      port.set_port(9000);
    }
    // Fencing: each slot of a cluster has larger incarnations only.
    auto& last = incarnations[{wish.member.cluster(), wish.member.slot()}];
    CHECK(wish.member.incarnation() > last);
    last = wish.member.incarnation();
  }

  void get_ready() {
    for (auto& [token, one] : members)
      if (one.sight.state == pb::REPLICA_STARTING)
        one.sight.state = pb::REPLICA_READY;
  }

  std::vector<claim_token> heads() const {
    std::vector<claim_token> result;
    for (auto& [token, one] : members)
      if (one.sight.head() && one.sight.state != pb::REPLICA_FAILED)
        result.push_back(token);
    return result;
  }

  claim_token head() const {
    auto found = heads();
    REQUIRE(found.size() == 1);
    return found[0];
  }

  claim_token worker(std::uint32_t slot) const {
    for (auto& [token, one] : members)
      if (one.sight.member.slot() == slot)
        return token;
    FAIL("no such worker");
    return {};
  }

  void fail(claim_token token, const std::string& reason) {
    members.at(token).sight.state = pb::REPLICA_FAILED;
    members.at(token).sight.reason = reason;
  }

  pb::ClusterState state() const {
    REQUIRE(book.records().size() == 1);
    return book.records()[0].state();
  }

  std::uint32_t clusters;
  pb::Federation wanted;
  federation book{"app", 7};
  std::map<claim_token, running> members;
  std::map<std::uint32_t, std::string> unplaced;
  /// What a plan without the old cluster says.
  bool room_without_old = true;
  int room_tests = 0;
  std::vector<federation::failure> failures;
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint32_t> incarnations;
  std::vector<federation::place_wish> wishes;
  std::vector<federation::stop> stops;
  time_point now = time_point{} + 1h;
  std::uint64_t last_token = 0;
  bool room = true;
  bool starts_ready = true;
  bool stops_at_once = true;
};

} // namespace

TEST_CASE("a cluster is claimed, its head starts, its workers are told where that is, and it serves") {
  model it{2, 2};
  it.starts_ready = false;
  it.room = false;
  it.tick();
  CHECK(it.state() == pb::CLUSTER_PENDING);
  REQUIRE(it.wishes.size() == 1);
  CHECK(it.wishes[0].index == 0);
  CHECK(it.wishes[0].member.incarnation() == 1);
  it.unplaced[0] = "0 of 3 nodes fit";
  it.tick();
  CHECK(it.book.records()[0].reason() == "its head has no place: 0 of 3 nodes fit");
  it.room = true;
  it.ticks(2);
  CHECK(it.state() == pb::CLUSTER_HEAD_STARTING);
  CHECK(it.wishes.empty());
  it.get_ready();
  it.tick();
  CHECK(it.state() == pb::CLUSTER_FILLING);
  REQUIRE(it.wishes.size() == 2);
  CHECK(it.wishes[1].index == 2);
  CHECK(it.wishes[1].member.head_host() == "h1");
  CHECK(it.wishes[1].member.head_ports(0).port() == 9000);
  it.get_ready();
  it.tick();
  CHECK(it.state() == pb::CLUSTER_SERVING);
  CHECK(it.book.records()[0].reason().empty());
  CHECK(it.book.serving() == 1);
  CHECK(federation_summary(it.book, 1).empty());
}

TEST_CASE("a claim that came to nothing is followed by another cluster with another number") {
  model it{1, 1};
  it.starts_ready = false;
  it.tick();
  auto first = it.wishes.at(0).member.cluster();
  it.members.begin()->second.sight.state = pb::REPLICA_CLAIMED;
  it.tick();
  CHECK(it.state() == pb::CLUSTER_CLAIMED);
  it.members.clear();
  it.tick();
  REQUIRE(it.wishes.size() == 1);
  CHECK(it.wishes[0].member.cluster() != first);
}

TEST_CASE("a worker that is lost comes back in its slot, as the next incarnation, and the cluster serves on") {
  model it{2, 1};
  it.ticks(4);
  CHECK(it.state() == pb::CLUSTER_SERVING);
  auto cluster = it.members.begin()->second.sight.member.cluster();
  it.members.erase(it.worker(2));
  it.tick();
  CHECK(it.state() == pb::CLUSTER_DEGRADED);
  REQUIRE(it.wishes.size() == 1);
  CHECK(it.wishes[0].member.cluster() == cluster);
  CHECK(it.wishes[0].member.slot() == 2);
  CHECK(it.wishes[0].member.incarnation() == 2);
  it.tick();
  CHECK(it.state() == pb::CLUSTER_SERVING);
}

TEST_CASE("a worker that failed for good is placed elsewhere, and its node is named") {
  model it{1, 1};
  it.ticks(3);
  it.fail(it.worker(1), "exited with code 3");
  auto sights = it.members.at(it.worker(1)).sight;
  auto decided = it.book.review(it.wanted, 1, {it.members.at(it.head()).sight, sights}, {}, it.now,
                                [](auto&, auto) { return true; });
  REQUIRE(decided.failures.size() == 1);
  CHECK(decided.failures[0].node == sights.node);
  CHECK(decided.failures[0].reason == "exited with code 3");
  REQUIRE(decided.places.size() == 1);
  CHECK(decided.places[0].member.incarnation() == 2);
}

TEST_CASE("when a head ends, its workers are killed and a new cluster is claimed, in one tick") {
  model it{3, 1};
  it.ticks(4);
  auto old = it.members.begin()->second.sight.member.cluster();
  it.fail(it.head(), "signal 9");
  it.tick();
  CHECK(it.stops.size() == 4);
  CHECK(std::all_of(it.stops.begin(), it.stops.end(), [](auto& stop) { return stop.at_once; }));
  REQUIRE(it.wishes.size() == 1);
  CHECK(it.wishes[0].member.cluster() != old);
  CHECK(it.wishes[0].member.slot() == 0);
  it.ticks(3);
  CHECK(it.members.size() == 4);
  CHECK(it.state() == pb::CLUSTER_SERVING);
}

TEST_CASE("a head and a worker lost in one tick: the worker is not placed anew") {
  model it{2, 1};
  it.ticks(4);
  it.members.erase(it.worker(1));
  it.members.erase(it.head());
  it.tick();
  REQUIRE(it.wishes.size() == 1);
  CHECK(it.wishes[0].member.slot() == 0);
}

TEST_CASE("members of a dead cluster that come back with their node are stopped") {
  model it{1, 1};
  it.ticks(3);
  auto away = it.members;
  it.members.clear();
  it.ticks(4);
  CHECK(it.state() == pb::CLUSTER_SERVING);
  auto now_there = it.members;
  it.members.insert(away.begin(), away.end());
  it.tick();
  CHECK(it.stops.size() == 2);
  CHECK(it.members.size() == now_there.size());
  for (auto& [token, one] : now_there)
    CHECK(it.members.count(token) == 1);
}

TEST_CASE("when the node of a head drains, the new cluster serves before the old one is stopped") {
  model it{2, 1};
  it.starts_ready = false;
  for (int i = 0; i < 4; ++i) {
    it.tick();
    it.get_ready();
  }
  it.tick();
  auto old = it.head();
  it.members.at(old).sight.leaving = true;
  for (int i = 0; i < 3; ++i) {
    it.tick();
    CHECK(it.stops.empty());
    CHECK(it.book.serving() == 1);
  }
  CHECK(it.heads().size() == 2);
  it.get_ready();
  it.tick();
  CHECK(it.stops.empty());
  it.get_ready();
  it.stops_at_once = false;
  it.tick();
  // The old head may finish what it does, with its workers.
  REQUIRE(it.stops.size() == 1);
  CHECK(it.stops[0].token == old);
  CHECK_FALSE(it.stops[0].at_once);
  it.ticks(3);
  CHECK(it.stops.empty());
  CHECK(it.members.size() == 6);
  it.members.erase(old);
  it.tick();
  CHECK(it.stops.size() == 2);
  CHECK(it.stops[0].at_once);
  CHECK(it.members.size() == 3);
}

TEST_CASE("when the node of a worker drains, its successor is ready before it is stopped") {
  model it{1, 1};
  it.ticks(3);
  auto old = it.worker(1);
  it.members.at(old).sight.leaving = true;
  it.starts_ready = false;
  it.ticks(3);
  CHECK(it.stops.empty());
  CHECK(it.members.size() == 3);
  it.get_ready();
  it.tick();
  REQUIRE(it.stops.size() == 1);
  CHECK(it.stops[0].token == old);
  CHECK(it.state() == pb::CLUSTER_SERVING);
}

TEST_CASE("heads that end again and again start after a pause that says what may be wrong") {
  model it{1, 1};
  it.starts_ready = false;
  auto deaths = 0;
  std::vector<time_point> at;
  for (int i = 0; i < 600 && deaths < 7; ++i) {
    it.tick();
    for (auto head : it.heads()) {
      it.fail(head, "exited with code 127");
      ++deaths;
      at.push_back(it.now);
    }
  }
  REQUIRE(deaths == 7);
  CHECK(at[2] - at[0] <= 1s);
  CHECK(at[3] - at[2] >= 1s);
  CHECK(at[4] - at[3] >= 2s);
  CHECK(at[6] - at[5] >= 8s);
  it.tick();
  CHECK(federation_summary(it.book, 1)
            .find("is federation.head.command or its environment wrong? the last one: its "
                  "head on")
        != std::string::npos);
  CHECK(federation_summary(it.book, 1).find("exited with code 127") != std::string::npos);
}

TEST_CASE("workers and clusters come and go with their numbers, and nothing else is touched") {
  model it{2, 1, 2};
  it.ticks(5);
  CHECK(it.members.size() == 6);
  auto before = it.members;
  it.wanted.set_workers(3);
  it.ticks(3);
  CHECK(it.members.size() == 8);
  for (auto& [token, one] : before)
    CHECK(it.members.count(token) == 1);
  it.wanted.set_workers(1);
  it.ticks(3);
  CHECK(it.members.size() == 4);
  it.clusters = 1;
  it.ticks(4);
  CHECK(it.members.size() == 2);
  CHECK(it.book.serving() == 1);
  it.clusters = 0;
  it.ticks(4);
  CHECK(it.members.empty());
  CHECK(it.book.records().empty());
}

TEST_CASE("a new spec replaces one cluster after the other, each when its successor serves") {
  model it{1, 1, 3};
  it.ticks(5);
  REQUIRE(it.book.serving() == 3);
  for (auto& [token, one] : it.members)
    one.sight.outdated = true;
  for (int i = 0; i < 40; ++i) {
    it.tick();
    CHECK(it.book.serving() == 3);
    CHECK(it.heads().size() <= 4);
  }
  CHECK(it.members.size() == 6);
  for (auto& [token, one] : it.members)
    CHECK_FALSE(one.sight.outdated);
}

TEST_CASE("a new spec that has no room beside the old one takes its place after a while") {
  model it{1, 1};
  it.ticks(3);
  for (auto& [token, one] : it.members)
    one.sight.outdated = true;
  it.room = false;
  it.unplaced[0] = "0 of 1 nodes fit";
  it.ticks(40);
  CHECK(it.members.size() == 2);
  it.ticks(20);
  CHECK(it.members.empty());
}

TEST_CASE("a new spec that no node could take, with the old cluster gone or not, leaves the old one alone") {
  model it{1, 1};
  it.ticks(3);
  for (auto& [token, one] : it.members)
    one.sight.outdated = true;
  it.room = false;
  it.room_without_old = false;
  it.unplaced[0] = "0 of 1 nodes fit: 1 lacks memory";
  it.ticks(200);
  CHECK(it.room_tests > 0);
  CHECK(it.members.size() == 2);
  CHECK(it.book.serving() == 1);
  CHECK(federation_summary(it.book, 1).find("0 of 1 nodes fit: 1 lacks memory") != std::string::npos);
}

TEST_CASE("a place that waits for a node does not hold the update of the others up") {
  model it{1, 1, 2};
  it.ticks(5);
  REQUIRE(it.book.serving() == 2);
  // A third one is wanted and has no place; then comes another spec.
  it.clusters = 3;
  it.room = false;
  it.unplaced[2 * cluster_stride] = "0 of 2 nodes fit";
  it.ticks(2);
  for (auto& [token, one] : it.members)
    one.sight.outdated = true;
  it.tick();
  std::set<std::uint32_t> asked;
  for (auto& wish : it.wishes)
    asked.insert(wish.index);
  CHECK(asked == std::set<std::uint32_t>{0, 2 * cluster_stride});
}

TEST_CASE("a node where a head ended by itself is named, as one where a worker failed") {
  model it{1, 1};
  it.ticks(3);
  auto node = it.members.at(it.head()).sight.node;
  it.fail(it.head(), "no such program");
  it.tick();
  REQUIRE(it.failures.size() == 1);
  CHECK(it.failures[0].node == node);
  CHECK(it.failures[0].reason == "no such program");
}

TEST_CASE("replicas from before the app was federated serve until a cluster does, and may finish what they do") {
  model it{1, 1};
  it.starts_ready = false;
  for (std::uint32_t index = 0; index < 2; ++index) {
    auto& sight = it.members[claim_token{1000 + index}].sight;
    sight.token = claim_token{1000 + index};
    sight.node = node_id{1 + index};
    sight.index = index;
    sight.state = pb::REPLICA_READY;
    sight.outdated = true;
  }
  it.ticks(20);
  CHECK(it.stops.empty());
  it.get_ready();
  it.ticks(2);
  CHECK(it.stops.empty());
  it.get_ready();
  it.tick();
  REQUIRE(it.stops.size() == 2);
  CHECK_FALSE(it.stops[0].at_once);
  CHECK(it.stops[0].reason == "the app consists of clusters now");
  CHECK(it.book.serving() == 1);
}

TEST_CASE("replicas from before the app was federated make room after a while") {
  model it{1, 1};
  it.room = false;
  auto& sight = it.members[claim_token{1000}].sight;
  sight.token = claim_token{1000};
  sight.node = node_id{1};
  sight.state = pb::REPLICA_READY;
  it.unplaced[0] = "0 of 1 nodes fit";
  it.ticks(45);
  CHECK(it.stops.empty());
  it.ticks(10);
  CHECK(it.members.empty());
}

TEST_CASE("an app that is federated a second time gets clusters with other numbers") {
  std::set<std::uint64_t> numbers;
  for (std::uint32_t life = 0; life < 3; ++life) {
    federation book{"app", 7, life};
    pb::Federation wanted;
    auto decided = book.review(wanted, 3, {}, {}, {}, [](auto&, auto) { return true; });
    for (auto& wish : decided.places)
      numbers.insert(wish.member.cluster());
  }
  CHECK(numbers.size() == 9);
}

TEST_CASE("another scheduler takes over what runs, and stops workers that have no head") {
  model it{2, 1};
  it.ticks(4);
  it.book = federation{"app", 8};
  it.tick();
  CHECK(it.stops.empty());
  CHECK(it.wishes.empty());
  CHECK(it.state() == pb::CLUSTER_SERVING);
  it.book = federation{"app", 9};
  it.members.erase(it.head());
  it.room = false;
  it.tick();
  CHECK(it.stops.empty());
  it.ticks(25);
  CHECK(it.members.empty());
}

TEST_CASE("whatever happens, a place has one cluster that stays, workers of dead ones are stopped, and it converges") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    random_source random{seed};
    CAPTURE(seed);
    auto clusters = static_cast<std::uint32_t>(1 + random.below(3));
    auto workers = static_cast<std::uint32_t>(1 + random.below(4));
    model it{workers, static_cast<std::uint32_t>(random.below(workers + 1)), clusters};
    it.starts_ready = false;
    std::map<claim_token, model::running> away;
    std::set<std::uint64_t> dead;
    for (int step = 0; step < 150; ++step) {
      it.room = random.below(4) != 0;
      it.stops_at_once = random.below(3) != 0;
      it.tick();
      for (auto& [token, one] : it.members)
        if (one.sight.state == pb::REPLICA_STARTING && random.below(2) == 0)
          one.sight.state = pb::REPLICA_READY;
      std::vector<claim_token> tokens;
      for (auto& [token, one] : it.members)
        if (one.seen)
          tokens.push_back(token);
      if (tokens.empty())
        continue;
      auto token = tokens[random.below(tokens.size())];
      auto& sight = it.members.at(token).sight;
      switch (random.below(12)) {
      case 0: // its process ends
        it.fail(token, "killed");
        if (sight.head())
          dead.insert(sight.member.cluster());
        break;
      case 1: // its node is lost ...
        away[token] = it.members.at(token);
        if (sight.head())
          dead.insert(sight.member.cluster());
        it.members.erase(token);
        break;
      case 2: // ... and may come back
        it.members.insert(away.begin(), away.end());
        away.clear();
        break;
      case 3:
        sight.leaving = true;
        break;
      case 4:
        it.wanted.set_workers(static_cast<std::uint32_t>(1 + random.below(4)));
        it.wanted.set_min_workers(std::min(it.wanted.min_workers(), it.wanted.workers()));
        break;
      case 5:
        if (sight.released)
          it.members.erase(token);
        break;
      default:
        break;
      }
      // At most one cluster of a place is to stay: the others are released, leave, or are dead.
      std::map<std::uint32_t, std::set<std::uint64_t>> staying;
      for (auto& [other, one] : it.members)
        if (one.sight.head() && !one.sight.released && !one.sight.leaving && one.sight.state != pb::REPLICA_FAILED
            && dead.count(one.sight.member.cluster()) == 0)
          staying[one.sight.index / cluster_stride].insert(one.sight.member.cluster());
      for (auto& [place, ids] : staying)
        CHECK(ids.size() <= 2);
    }
    it.tick();
    // Calm: everything that was away is back, and all is as wanted in the end.
    it.members.insert(away.begin(), away.end());
    it.room = true;
    for (int step = 0; step < 600; ++step) {
      it.stops_at_once = true;
      it.tick();
      std::erase_if(it.members, [](auto& entry) { return entry.second.sight.released; });
      for (auto& [token, one] : it.members)
        if (one.sight.state == pb::REPLICA_STARTING)
          one.sight.state = pb::REPLICA_READY;
      // Nodes that drain are gone at last.
      if (step == 100)
        std::erase_if(it.members, [](auto& entry) { return entry.second.sight.leaving; });
    }
    CHECK(it.book.serving() == clusters);
    CHECK(it.members.size() == clusters * (it.wanted.workers() + 1));
    std::map<std::uint32_t, std::set<std::uint64_t>> ids;
    for (auto& [token, one] : it.members) {
      ids[one.sight.index / cluster_stride].insert(one.sight.member.cluster());
      CHECK(dead.count(one.sight.member.cluster()) == 0);
    }
    for (auto& [place, here] : ids)
      CHECK(here.size() == 1);
  }
}
