#include "p2p/swarm_table.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

using namespace astra::p2p;
using namespace std::chrono_literals;

namespace {

content_address address_of(std::uint8_t number) {
  content_address result;
  result.bytes[0] = number;
  return result;
}

const auto model = address_of(1);

struct fixture {
  swarm_table::time_point now{1h};
  swarm_table table{{}};
  std::map<std::uint64_t, swarm_table::report> reports;

  static peer_endpoint endpoint(std::uint64_t who) {
    return {"10.0." + std::to_string(who / 250) + "." + std::to_string(who % 250), 7000};
  }

  /// One that is about to fetch the model.
  swarm_table::report& add(std::uint64_t who, location at = {"z", "r", ""}, std::size_t pieces = 64) {
    auto& report = reports[who];
    report.where = endpoint(who);
    report.at = std::move(at);
    report.holdings = {{model, std::vector<bool>(pieces), true, false, {}}};
    return report;
  }

  swarm_table::report& add_seeder(std::uint64_t who, location at = {"z", "r", ""}, std::size_t pieces = 64) {
    auto& report = add(who, std::move(at), pieces);
    report.holdings[0].have.assign(pieces, true);
    report.holdings[0].wants = false;
    return report;
  }

  swarm_table::answer tell(std::uint64_t who) { return table.on_report(who, reports.at(who), now); }

  /// Everybody reports, in the order of their numbers: who was told to connect to whom.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> tell_all() {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> result;
    for (auto& [who, report] : reports)
      for (auto& errand : tell(who).errands)
        for (auto& [other, where] : errand.connect)
          result.emplace_back(who, other);
    return result;
  }

  std::optional<stripe> stripe_of(std::uint64_t who) { return tell(who).errands.at(0).preferred; }
};

} // namespace

TEST_CASE_FIXTURE(fixture, "of two members the one that reports second is told to connect, until it has") {
  add_seeder(1);
  add(2);
  CHECK(tell(1).allowed.empty());
  auto first = tell(2);
  REQUIRE(first.errands.size() == 1);
  // The other one would not let it in yet.
  CHECK(first.errands[0].connect.empty());
  CHECK(first.allowed == std::vector{endpoint(1)});
  auto second = tell(1);
  REQUIRE(second.errands[0].connect.size() == 1);
  CHECK(second.errands[0].connect[0] == std::pair<std::uint64_t, peer_endpoint>{2, endpoint(2)});
  CHECK(second.allowed == std::vector{endpoint(2)});
  CHECK(tell(2).errands[0].connect.empty());
  // The answer was lost, or the connection.
  CHECK(tell(1).errands[0].connect.size() == 1);
  reports[1].holdings[0].dialled = {2};
  CHECK(tell(1).errands[0].connect.empty());
  // It was killed and came back at the same address.
  reports[1].holdings[0].dialled.clear();
  CHECK(tell(1).errands[0].connect.size() == 1);
  CHECK(tell(2).errands[0].connect.empty());
}

TEST_CASE_FIXTURE(fixture, "who had all of it and fetches again connects to those that it met, once they let it in") {
  add_seeder(1);
  add(2);
  tell_all();
  tell_all();
  reports[2].holdings[0].have.assign(64, true);
  reports[2].holdings[0].wants = false;
  tell_all();
  tell_all();
  // A piece was damaged.  The engine of the other one remembers that this one had all.
  reports[2].holdings[0].have[7] = false;
  reports[2].holdings[0].wants = true;
  CHECK(tell(2).errands[0].connect.empty());
  CHECK(tell(1).errands[0].connect.empty());
  CHECK(tell(2).errands[0].connect.size() == 1);
  CHECK(tell(1).errands[0].connect.empty());
}

TEST_CASE_FIXTURE(fixture, "a member that comes again at another address is a new one") {
  add_seeder(1);
  add(2);
  tell_all();
  reports[2].where.port = 7001;
  CHECK(tell(2).allowed == std::vector{endpoint(1)});
  CHECK(tell(1).allowed == std::vector{reports[2].where});
  CHECK(tell_all().size() == 1);
}

TEST_CASE_FIXTURE(fixture, "who has all needs nobody who has all") {
  add_seeder(1);
  add_seeder(2);
  add(3);
  tell_all();
  CHECK(tell_all().size() == 2);
  reports[3].holdings[0].have.assign(64, true);
  tell_all();
  for (auto who : {1, 2, 3})
    CHECK(tell(static_cast<std::uint64_t>(who)).allowed.empty());
}

TEST_CASE_FIXTURE(fixture, "peers are near, and three are far") {
  for (std::uint64_t who = 2; who <= 100; ++who)
    add_seeder(who, {who <= 50 ? "a" : "b", who % 2 == 0 ? "even" : "odd", ""});
  add(1, {"a", "odd", ""});
  table = swarm_table{{.peers_max = 10}};
  for (std::uint64_t who = 2; who <= 100; ++who)
    tell(who);
  std::map<int, int> by_distance;
  auto told = tell(1);
  for (auto& [who, report] : reports)
    if (std::ranges::find(told.allowed, report.where) != told.allowed.end())
      ++by_distance[distance(report.at, reports[1].at)];
  CHECK(by_distance[3] == 3);
  CHECK(by_distance[1] == 7);
  CHECK(by_distance[2] == 0);
}

TEST_CASE("an unknown place is near nothing") {
  CHECK(distance({"", "", ""}, {"", "", ""}) == 3);
  CHECK(distance({"z", "", ""}, {"z", "", ""}) == 2);
  CHECK(distance({"z", "r", "h"}, {"z", "r", "h"}) == 0);
  CHECK(distance({"z", "r", "h"}, {"y", "r", "h"}) == 3);
}

TEST_CASE_FIXTURE(fixture, "each zone has stripes of its own, disjoint and of everything") {
  add_seeder(1, {"a", "", ""});
  for (std::uint64_t who = 2; who <= 5; ++who)
    add(who, {"a", "", ""});
  for (std::uint64_t who = 6; who <= 8; ++who)
    add(who, {"b", "", ""});
  tell_all();
  for (auto members : {std::pair{2, 5}, std::pair{6, 8}}) {
    std::vector<int> owners(64);
    for (auto who = members.first; who <= members.second; ++who) {
      auto own = stripe_of(static_cast<std::uint64_t>(who));
      REQUIRE(own);
      for (std::uint32_t piece = 0; piece < 64; ++piece)
        owners[piece] += own->has(piece);
    }
    CHECK(owners == std::vector<int>(64, 1));
  }
  CHECK_FALSE(stripe_of(1));
  // One leaves, and the others of its zone take its stripe over.
  table.leave(3);
  auto total = 0;
  for (std::uint64_t who : {2, 4, 5}) {
    auto own = stripe_of(who);
    REQUIRE(own);
    for (std::uint32_t piece = 0; piece < 64; ++piece)
      total += own->has(piece);
  }
  CHECK(total == 64);
}

TEST_CASE_FIXTURE(fixture, "who lost what it had has a stripe again, and who gives up has none") {
  add_seeder(1);
  add(2);
  add(3);
  tell_all();
  reports[2].holdings[0].have[5] = true;
  tell_all();
  reports[2].holdings[0].have[5] = false;
  CHECK(stripe_of(2));
  reports[2].holdings[0].wants = false;
  CHECK_FALSE(stripe_of(2));
  auto own = stripe_of(3);
  REQUIRE(own);
  CHECK(std::ranges::count(own->slots, true) == 64);
  reports[2].holdings[0].wants = true;
  CHECK(stripe_of(2));
  // The seeder's disk was damaged: it fetches like others.
  reports[1].holdings[0].have[0] = false;
  reports[1].holdings[0].wants = true;
  CHECK(stripe_of(1));
}

TEST_CASE_FIXTURE(fixture, "exactly one member of a zone reads the origin, and another one when it is lost") {
  for (std::uint64_t who = 1; who <= 4; ++who)
    add(who).holdings[0].has_origin = who != 1;
  auto readers = [&] {
    std::set<std::uint64_t> result;
    for (auto& [who, report] : reports)
      if (tell(who).errands.at(0).reads_origin > 0ms)
        result.insert(who);
    return result;
  };
  // Somebody may read it already, for another tracker.
  CHECK(readers().empty());
  now += 1500ms;
  auto first = readers();
  REQUIRE(first.size() == 1);
  CHECK_FALSE(first.contains(1));
  // Whoever has the most by then.
  auto next = *first.begin() == 4 ? 3 : 4;
  reports[next].holdings[0].have[7] = true;
  CHECK(readers() == first);
  table.leave(*first.begin());
  reports.erase(*first.begin());
  CHECK(readers() == std::set<std::uint64_t>{static_cast<std::uint64_t>(next)});
  reports[next].holdings[0].have.assign(64, true);
  readers();
  CHECK(readers().empty());
}

TEST_CASE_FIXTURE(fixture, "a member that falls silent has lost its lease before another one gets it") {
  for (std::uint64_t who = 1; who <= 2; ++who)
    add(who).holdings[0].has_origin = true;
  tell(1);
  tell(2);
  now += 1500ms;
  auto lease = tell(1).errands[0].reads_origin;
  REQUIRE(lease > 0ms);
  for (auto silent = 0ms; silent < lease; silent += 500ms) {
    CHECK(tell(2).errands[0].reads_origin == 0ms);
    now += 500ms;
    table.expire(now);
  }
  now += 1s;
  table.expire(now);
  CHECK(tell(2).errands[0].reads_origin > 0ms);
}

TEST_CASE_FIXTURE(fixture, "the origin is read for pieces that no member has, and for nothing else") {
  add_seeder(1, {"far", "r", ""});
  for (std::uint64_t who = 2; who <= 4; ++who)
    add(who, {who == 4 ? "y" : "z", "r", ""}).holdings[0].has_origin = true;
  auto readers = [&] {
    now += 1s;
    std::set<std::uint64_t> result;
    for (auto& [who, report] : reports)
      if (tell(who).errands.at(0).reads_origin > 0ms)
        result.insert(who);
    return result;
  };
  for (auto round = 0; round < 4; ++round)
    CHECK(readers().empty());
  // Who had all of it is gone: one in each zone.
  table.leave(1);
  reports.erase(1);
  CHECK(readers() == std::set<std::uint64_t>{2, 4});
  // Together they have all of it.
  for (std::size_t piece = 0; piece < 64; ++piece)
    reports[piece < 30 ? 2 : 3].holdings[0].have[piece] = true;
  readers();
  CHECK(readers().empty());
  reports[3].holdings[0].have[63] = false;
  readers();
  CHECK(readers() == std::set<std::uint64_t>{2, 4});
}

TEST_CASE_FIXTURE(fixture, "a limit over all is divided by what each wants, and has an end") {
  for (std::uint64_t who = 1; who <= 4; ++who)
    add(who).upload = {who == 1 ? 10U : 1000U, 5U};
  CHECK_FALSE(tell(1).upload);
  tell_all();
  table.limit_all(400);
  CHECK(tell(1).upload == std::pair<std::uint64_t, std::chrono::milliseconds>{5, 5s});
  table.divide();
  std::uint64_t total = 0;
  for (std::uint64_t who = 1; who <= 4; ++who) {
    auto share = tell(who).upload;
    REQUIRE(share);
    total += share->first;
    if (who > 1)
      CHECK(share->first >= 129);
  }
  CHECK(total == 400);
  table.limit_all(std::nullopt);
  CHECK_FALSE(tell(1).upload);
}

TEST_CASE_FIXTURE(fixture, "who is silent for 5 s is gone, and nobody is left talking to it") {
  add_seeder(1);
  add(2);
  tell_all();
  now += 4s;
  tell(2);
  now += 1s;
  table.expire(now);
  CHECK(table.size() == 1);
  CHECK(tell(2).allowed.empty());
  CHECK(table.look_at(model)->missing == 64);
  table.leave(2);
  CHECK(table.contents().empty());
  CHECK_FALSE(table.look_at(model));
}

TEST_CASE_FIXTURE(fixture, "a content's state is told: copies, progress, what nobody has, and whose copy is the last") {
  add_seeder(1);
  add(2).holdings[0].have[0] = true;
  add(3);
  tell_all();
  auto seen = table.look_at(model);
  REQUIRE(seen);
  CHECK(seen->complete == 1);
  CHECK(seen->fetching == 2);
  CHECK(seen->progress == doctest::Approx(1.0 / 128));
  CHECK(seen->missing == 0);
  CHECK(table.keeper_of(model) == 1);
  add_seeder(4);
  tell_all();
  // One of both has to keep it, and always the same.
  auto keeper = table.keeper_of(model);
  REQUIRE(keeper);
  CHECK((*keeper == 1 || *keeper == 4));
  tell_all();
  CHECK(table.keeper_of(model) == keeper);
  table.leave(*keeper);
  CHECK(table.keeper_of(model) == 5 - *keeper);
  table.leave(4);
  reports.erase(4);
  table.leave(1);
  CHECK(table.look_at(model)->missing == 63);
  // Another length is a lie, or another content.
  reports[3].holdings[0].have.resize(65);
  CHECK(table.look_at(model)->fetching == 2);
  tell(3);
  CHECK(table.look_at(model)->fetching == 1);
}

TEST_CASE_FIXTURE(fixture, "a content is as urgent as to the one of those that fetch it to whom it is most") {
  add_seeder(1).holdings[0].how = urgency::high;
  tell_all();
  CHECK(table.look_at(model)->how == urgency::low);
  add(2).holdings[0].how = urgency::low;
  add(3);
  tell_all();
  CHECK(table.look_at(model)->how == urgency::normal);
  reports[2].holdings[0].how = urgency::high;
  tell_all();
  CHECK(table.look_at(model)->how == urgency::high);
  reports[2].holdings[0].wants = false;
  tell_all();
  CHECK(table.look_at(model)->how == urgency::normal);
}

TEST_CASE_FIXTURE(fixture, "nobody is given a limit of 0, which would be none") {
  add(1).upload = {0, 0};
  add(2).upload = {1000, 0};
  tell_all();
  table.limit_all(500);
  CHECK(tell(1).upload->first == 1);
  table.divide();
  for (std::uint64_t who : {1, 2})
    CHECK(tell(who).upload->first >= 1);
  table.limit_all(0);
  table.divide();
  CHECK(tell(2).upload->first == 1);
  CHECK(leased_limit{0}.value(now) == 1);
}

TEST_CASE_FIXTURE(fixture, "one member cannot shut others out, nor make the table large") {
  auto& liar = add(1);
  liar.holdings[0].have.assign(1, true);
  add(2);
  table.announce(model, 64);
  tell_all();
  CHECK(table.look_at(model)->complete == 0);
  CHECK(table.look_at(model)->fetching == 1);
  // Known afterwards, too.
  table = swarm_table{{}};
  tell_all();
  CHECK(table.look_at(model)->fetching == 0);
  table.announce(model, 64);
  CHECK_FALSE(table.look_at(model));
  tell_all();
  CHECK(table.look_at(model)->fetching == 1);
  liar.holdings.assign(10'000, liar.holdings[0]);
  for (std::size_t i = 0; i < liar.holdings.size(); ++i)
    liar.holdings[i].address = {{static_cast<std::uint8_t>(i >> 8U), static_cast<std::uint8_t>(i), 1}};
  liar.at.zone.assign(1'000'000, 'z');
  tell(1);
  CHECK(table.contents().size() <= swarm_table::holdings_max + 1);
  liar.holdings.resize(1);
  liar.holdings[0].have.assign(static_cast<std::size_t>(pieces_max) + 1, true);
  CHECK(tell(1).errands.empty());
}

TEST_CASE_FIXTURE(fixture, "who reads the origin goes on, whatever tracker it reports to") {
  add(1).holdings[0].has_origin = true;
  auto& reading = add(2).holdings[0];
  reading.has_origin = reading.reads_origin = true;
  add(3).holdings[0].has_origin = true;
  for (auto& [who, report] : reports)
    table.on_report(who, report, now);
  // The first that came was taken before the others were known, and gives way before it begins.
  table = swarm_table{{}};
  tell(2);
  tell(1);
  tell(3);
  CHECK(tell(2).errands[0].reads_origin > 0ms);
  CHECK(tell(1).errands[0].reads_origin == 0ms);
}

TEST_CASE("in a large swarm nobody has too many peers, all can reach all, and another table learns the same") {
  fixture swarm;
  constexpr std::uint64_t members = 400;
  for (std::uint64_t who = 1; who <= members; ++who)
    swarm.add(who, {"z" + std::to_string(who % 4), "", ""});
  swarm.reports[1].holdings[0].have.assign(64, true);
  std::map<std::uint64_t, std::set<std::uint64_t>> peers;
  for (auto round = 0; round < 4; ++round)
    for (auto [who, other] : swarm.tell_all()) {
      CHECK(peers[who].insert(other).second);
      CHECK(peers[other].insert(who).second);
      swarm.reports[who].holdings[0].dialled.push_back(other);
    }
  for (auto& [who, of] : peers)
    CHECK(of.size() <= 60);
  std::set<std::uint64_t> reached{1};
  for (std::vector<std::uint64_t> next{1}; !next.empty();) {
    auto who = next.back();
    next.pop_back();
    for (auto other : peers[who])
      if (reached.insert(other).second)
        next.push_back(other);
  }
  CHECK(reached.size() == members);
  swarm_table other{{}};
  for (auto& [who, report] : swarm.reports)
    other.on_report(who, report, swarm.now);
  CHECK(other.look_at(model)->complete == swarm.table.look_at(model)->complete);
  CHECK(other.look_at(model)->fetching == swarm.table.look_at(model)->fetching);
}

TEST_CASE("whatever members say, in whatever order, whom they are told to connect to is there and is not themselves") {
  CHECK(rc::check([] {
    fixture swarm;
    swarm.table = swarm_table{{.peers_max = 4, .far_peers = 1}};
    std::set<std::uint64_t> there;
    for (auto steps = *rc::gen::inRange(0, 80); steps > 0; --steps) {
      auto who = static_cast<std::uint64_t>(*rc::gen::inRange(1, 9));
      swarm.now += 100ms;
      if (*rc::gen::inRange(0, 8) == 0) {
        swarm.table.leave(who);
        there.erase(who);
        continue;
      }
      auto& report = swarm.add(who, {*rc::gen::element(std::string{"a"}, std::string{"b"}, std::string{}), "", ""}, 16);
      auto& holding = report.holdings[0];
      for (auto piece = 0; piece < 16; ++piece)
        holding.have[static_cast<std::size_t>(piece)] = *rc::gen::arbitrary<bool>();
      if (*rc::gen::inRange(0, 3) == 0)
        holding.have.assign(16, true);
      holding.wants = *rc::gen::arbitrary<bool>();
      holding.has_origin = *rc::gen::arbitrary<bool>();
      if (*rc::gen::inRange(0, 6) == 0)
        report.holdings.clear();
      there.insert(who);
      auto answer = swarm.tell(who);
      std::set<peer_endpoint> allowed(answer.allowed.begin(), answer.allowed.end());
      RC_ASSERT(!allowed.contains(fixture::endpoint(who)));
      for (auto& errand : answer.errands)
        for (auto& [other, where] : errand.connect) {
          RC_ASSERT(allowed.contains(where));
          RC_ASSERT(there.contains(other));
          RC_ASSERT(where == fixture::endpoint(other));
        }
      RC_ASSERT(allowed.size() <= 8);
      RC_ASSERT(swarm.table.size() == there.size());
    }
  }));
}

namespace {

struct behind_nats : fixture {
  /// Behind a NAT of its own that keeps the port, and lets in whom it knows.
  swarm_table::report& restricted(swarm_table::report& what, std::uint64_t who) {
    what.punches = true;
    what.where = {"192.168.0." + std::to_string(who), 7000};
    what.mapped = {{"1.0.0." + std::to_string(who), 7000}, {"1.0.0." + std::to_string(who), 7000}};
    return what;
  }

  /// The same, and each peer sees it at another port.
  swarm_table::report& symmetric(swarm_table::report& what, std::uint64_t who) {
    restricted(what, who).mapped[1].port = 7001;
    return what;
  }

  swarm_table::report& open(swarm_table::report& what) {
    what.punches = true;
    what.where.address.replace(0, 2, "198");
    return what;
  }

  swarm_table::answer tell_later(std::uint64_t who) {
    now += 200ms;
    return tell(who);
  }
};

} // namespace

TEST_CASE_FIXTURE(behind_nats, "of two behind NATs one opens a hole and the other one punches, until it has") {
  restricted(add_seeder(1), 1);
  restricted(add(2), 2);
  // Whoever it is, it is told before the other one.
  std::map<std::uint64_t, int> opened;
  std::map<std::uint64_t, int> punched;
  for (int round = 0; round < 3; ++round)
    for (std::uint64_t who : {1, 2}) {
      auto told = tell_later(who);
      REQUIRE(told.errands.size() == 1);
      CHECK(told.errands[0].connect.empty());
      CHECK(told.allowed.size() == (round == 0 && who == 1 ? 0 : 2));
      for (auto& where : told.open) {
        CHECK(where == peer_endpoint{"1.0.0." + std::to_string(3 - who), 7000});
        ++opened[who];
      }
      for (auto& [other, where] : told.errands[0].punch) {
        CHECK(other == 3 - who);
        CHECK(where == peer_endpoint{"1.0.0." + std::to_string(other), 7000});
        CHECK(opened.count(other) == 1);
        ++punched[who];
      }
    }
  REQUIRE(opened.size() == 1);
  REQUIRE(punched.size() == 1);
  auto dialler = punched.begin()->first;
  CHECK(opened.begin()->first == 3 - dialler);
  reports[dialler].holdings[0].dialled = {3 - dialler};
  CHECK(tell_later(dialler).errands[0].punch.empty());
  CHECK(tell_later(3 - dialler).open.empty());
  // The connection is lost.
  reports[dialler].holdings[0].dialled.clear();
  tell_later(dialler);
  CHECK(tell_later(3 - dialler).open.size() == 1);
  CHECK(tell_later(dialler).errands[0].punch.size() == 1);
}

TEST_CASE_FIXTURE(behind_nats, "who is behind a NAT connects to who is not, whoever reports first") {
  auto nat_first = false;
  SUBCASE("the one behind it") {
    nat_first = true;
  }
  SUBCASE("the other one") {}
  restricted(nat_first ? add(1) : add(2), nat_first ? 1 : 2);
  open(nat_first ? add_seeder(2) : add_seeder(1));
  std::uint64_t behind = nat_first ? 1 : 2;
  for (int round = 0; round < 3; ++round)
    for (std::uint64_t who : {1, 2}) {
      auto told = tell_later(who);
      CHECK(told.open.empty());
      CHECK(told.errands[0].punch.empty());
      CHECK(told.errands[0].connect.size() == (who == behind && round > 0 ? 1 : 0));
      for (auto& [other, where] : told.errands[0].connect)
        CHECK(where == reports[other].where);
    }
}

TEST_CASE_FIXTURE(behind_nats,
                  "two that cannot meet are not told of each other; somebody whom both reach fetches it for them") {
  symmetric(add_seeder(1), 1);
  symmetric(add(2), 2);
  open(add(3)).holdings.clear();
  std::set<std::uint64_t> relays;
  for (int round = 0; round < 20; ++round)
    for (std::uint64_t who : {1, 2, 3}) {
      auto told = tell_later(who);
      CHECK(told.open.empty());
      CHECK(told.allowed.empty());
      for (auto& errand : told.errands) {
        CHECK(errand.connect.empty());
        CHECK(errand.punch.empty());
      }
      for (auto& address : told.relay) {
        CHECK(address == model);
        CHECK(round > 10); // it might still get it from somebody
        relays.insert(who);
      }
    }
  CHECK(relays == std::set<std::uint64_t>{3});
  // It does, and both connect to it.
  reports[3].holdings = {{model, std::vector<bool>(64), true, false, {}}};
  std::set<std::pair<std::uint64_t, std::uint64_t>> dialled;
  for (int round = 0; round < 3; ++round)
    for (std::uint64_t who : {1, 2, 3})
      for (auto& errand : tell_later(who).errands)
        for (auto& [other, where] : errand.connect)
          dialled.emplace(who, other);
  CHECK(dialled == std::set<std::pair<std::uint64_t, std::uint64_t>>{{1, 3}, {2, 3}});
  // It is needed as long as somebody wants it.
  CHECK(tell_later(3).relay.size() == 1);
  reports[2].holdings[0].have.assign(64, true);
  reports[2].holdings[0].wants = false;
  for (int i = 0; i < 60; ++i)
    for (std::uint64_t who : {1, 2, 3})
      tell_later(who);
  CHECK(tell_later(3).relay.empty());
}

TEST_CASE_FIXTURE(behind_nats,
                  "who is to be asked where one's datagrams come from is at two addresses, neither one's own") {
  for (std::uint64_t who = 1; who <= 500; ++who) {
    auto& report = who % 3 == 0 ? open(add(who)) : restricted(add(who), who % 250);
    report.holdings.clear();
  }
  for (int round = 0; round < 2; ++round)
    for (std::uint64_t who = 1; who <= 500; ++who) {
      auto told = tell(who);
      if (round == 0)
        continue;
      // What a public one looks like is known.
      REQUIRE(told.ask.size() == (who % 3 == 0 ? 0 : 2));
      if (told.ask.empty())
        continue;
      CHECK(told.ask[0].address != told.ask[1].address);
      for (auto& whom : told.ask) {
        CHECK(whom != reports[who].where);
        CHECK(whom.address.starts_with("198."));
      }
    }
  reports[1].punches = false;
  CHECK(tell(1).ask.empty());
}

TEST_CASE_FIXTURE(behind_nats, "a relay that does not begin is given up for another one") {
  symmetric(add_seeder(1), 1);
  symmetric(add(2), 2);
  for (std::uint64_t who : {3, 4, 5})
    open(add(who)).holdings.clear();
  std::set<std::uint64_t> relays;
  for (int round = 0; round < 120; ++round)
    for (std::uint64_t who : {1, 2, 3, 4, 5})
      if (!tell_later(who).relay.empty())
        relays.insert(who);
  CHECK(relays.size() > 1);
  CHECK(!relays.contains(1));
  CHECK(!relays.contains(2));
}

TEST_CASE_FIXTURE(behind_nats, "who listens at a public address is reached there, whatever others see of it") {
  open(add_seeder(1)).mapped = {{"5.5.5.5", 1}, {"5.5.5.5", 2}};
  open(add(2));
  CHECK(tell_all().empty());
  CHECK(table.reach_of(1) == reachability::open);
  CHECK(tell_all().size() == 1);
}

TEST_CASE_FIXTURE(behind_nats,
                  "two that were connected where they listen find each other again when that is known to be the way") {
  restricted(add_seeder(1), 1);
  restricted(add(2), 2);
  reports[2].mapped = reports[1].mapped; // behind the same NAT
  for (int round = 0; round < 3; ++round)
    tell_all();
  reports[1].mapped.clear();
  reports[2].mapped.clear();
  std::set<std::pair<std::uint64_t, std::uint64_t>> dialled;
  for (int round = 0; round < 3; ++round)
    for (auto& pair : tell_all())
      dialled.insert(pair);
  CHECK(dialled.size() == 1);
}

TEST_CASE_FIXTURE(behind_nats, "two that claim to be at the same place do no harm") {
  restricted(add_seeder(1), 1);
  restricted(add(2), 1);
  for (int round = 0; round < 3; ++round)
    for (std::uint64_t who : {1, 2})
      CHECK(tell_later(who).open.empty());
}
