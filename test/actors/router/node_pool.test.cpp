#include "actors/router/node_pool.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;

namespace {

pb::NodeRow row(const std::string& name, std::uint64_t sequence = 1) {
  pb::NodeRow result;
  result.set_node(make_node_id(name).value());
  result.set_incarnation(1);
  result.set_liveness(pb::LIVENESS_ONLINE);
  result.set_sequence(sequence);
  auto& profile = *result.mutable_profile();
  profile.set_name(name);
  profile.set_address(name + ":1");
  profile.mutable_capacity()->set_cpu_milli(4000);
  auto& replica = *profile.add_replicas();
  replica.set_app("ocr");
  replica.set_state(pb::REPLICA_READY);
  replica.set_concurrency(2);
  return result;
}

pb::NodeRow with_liveness(pb::NodeRow row, pb::Liveness liveness, const std::string& reason) {
  row.set_liveness(liveness);
  row.set_reason(reason);
  return row;
}

/// Whatever is said with a heartbeat is a word about the node.
bool observe(node_pool& pool, const pb::NodeRow& row) {
  return pool.observe(row, node_load{row.load()}, row.sequence());
}

struct pool_of_four {
  pool_of_four() {
    for (auto name : {"a", "b", "c", "d"})
      observe(pool, row(name));
    pool.settle(now);
  }

  std::set<std::string> rotation() {
    std::set<std::string> result;
    for (auto& [node, member] : pool.members())
      if (pool.in_rotation(node))
        result.insert(member.name);
    return result;
  }

  node_pool::time_point now{1h};
  node_pool pool{"ocr", 3000ms, random_source{1}};
};

const auto a = make_node_id("a");
const auto b = make_node_id("b");
const auto c = make_node_id("c");

} // namespace

TEST_CASE_FIXTURE(pool_of_four, "a node that cannot serve is out at once, with the reason, and back when it can") {
  auto lost = observe(pool, with_liveness(row("a", 2), pb::LIVENESS_DRAINING, "SIGTERM"));
  CHECK_FALSE(lost);
  CHECK(pool.settle(now) == std::vector{a});
  CHECK(pool.out_reason(a) == "draining: SIGTERM");
  lost = observe(pool, with_liveness(row("b", 2), pb::LIVENESS_OFFLINE, "silent for 3.0 s"));
  CHECK(lost);
  CHECK(pool.settle(now) == std::vector{b});
  CHECK(pool.out_reason(b) == "offline: silent for 3.0 s");
  auto starting = row("c", 2);
  starting.mutable_profile()->mutable_replicas(0)->set_state(pb::REPLICA_BACKING_OFF);
  starting.mutable_profile()->mutable_replicas(0)->set_reason("exit code 1");
  observe(pool, starting);
  CHECK(pool.settle(now) == std::vector{c});
  CHECK(pool.out_reason(c) == "its replica is backing off: exit code 1");
  CHECK(rotation() == std::set<std::string>{"d"});
  for (auto name : {"a", "b", "c"})
    observe(pool, row(name, 3));
  CHECK(pool.settle(now).empty());
  CHECK(rotation().size() == 4);
}

TEST_CASE_FIXTURE(pool_of_four, "a node without a replica of the app is not in the pool") {
  auto other = row("e");
  other.mutable_profile()->mutable_replicas(0)->set_app("llm");
  observe(pool, other);
  auto gone = row("a", 2);
  gone.mutable_profile()->clear_replicas();
  observe(pool, gone);
  CHECK(pool.settle(now) == std::vector{a});
  CHECK(pool.find(a) == nullptr);
  CHECK(pool.find(make_node_id("e")) == nullptr);
}

TEST_CASE_FIXTURE(pool_of_four, "an ejected node is back after 3 s") {
  pool.eject(a, "no answer", now);
  CHECK(pool.settle(now) == std::vector{a});
  CHECK(pool.out_reason(a) == "no answer");
  pool.settle(now + 2999ms);
  CHECK_FALSE(pool.in_rotation(a));
  pool.settle(now + 3000ms);
  CHECK(pool.in_rotation(a));
}

TEST_CASE_FIXTURE(pool_of_four, "an ejected node is back when it is seen in a newer heartbeat, not by an old one") {
  pool.eject(a, "no answer", now);
  pool.settle(now);
  observe(pool, row("a", 1));
  pool.settle(now);
  CHECK_FALSE(pool.in_rotation(a));
  observe(pool, row("a", 2));
  pool.settle(now);
  CHECK(pool.in_rotation(a));
  pool.eject(a, "no answer", now);
  auto restarted = row("a", 1);
  restarted.set_incarnation(2);
  observe(pool, restarted);
  pool.settle(now);
  CHECK(pool.in_rotation(a));
}

TEST_CASE_FIXTURE(pool_of_four, "doubts about half of the nodes are heeded, about more than half they are ignored") {
  pool.eject(a, "no answer", now);
  observe(pool, with_liveness(row("b", 2), pb::LIVENESS_SUSPECT, "1.6 s without a heartbeat"));
  pool.settle(now);
  CHECK(rotation() == std::set<std::string>{"c", "d"});
  pool.eject(c, "no answer", now);
  pool.settle(now);
  CHECK(rotation().size() == 4);
}

TEST_CASE_FIXTURE(pool_of_four, "what a node says of itself is heeded, however many say it") {
  for (auto name : {"a", "b", "c", "d"})
    pool.refuse(make_node_id(name), "refuses work: it drains", now);
  CHECK(pool.settle(now).size() == 4);
  CHECK(pool.empty(now));
  CHECK_FALSE(pool.empty(now + 3000ms));
}

TEST_CASE_FIXTURE(pool_of_four, "weights follow the load at a refresh, and not before") {
  auto busy = row("a", 2);
  busy.mutable_load()->set_host_utilisation(1.0);
  busy.mutable_load()->set_own_busy_cores(4.0);
  busy.mutable_load()->set_concurrency(4.0);
  auto before = pool.find(a)->weight;
  observe(pool, busy);
  pool.settle(now);
  CHECK(pool.find(a)->weight == before);
  pool.refresh(now);
  CHECK(pool.find(a)->weight < before / 100);
}

TEST_CASE_FIXTURE(pool_of_four, "slots are those of the ready replicas, the coefficient that of the fastest device") {
  auto two = row("a", 2);
  *two.mutable_profile()->add_replicas() = two.profile().replicas(0);
  auto& starting = *two.mutable_profile()->add_replicas();
  starting = two.profile().replicas(0);
  starting.set_state(pb::REPLICA_STARTING);
  for (auto coefficient : {1.5, 3.0, 2.0})
    two.mutable_profile()->add_accelerators()->set_coefficient(coefficient);
  observe(pool, two);
  CHECK(pool.find(a)->slots == 4);
  CHECK(pool.find(a)->load.coefficient == 3.0);
}

TEST_CASE_FIXTURE(pool_of_four, "the formula is that of the app, from the next settlement on") {
  CHECK(pool.formula() == "seed");
  auto terms = [&] {
    std::set<std::string> names;
    for (auto& [name, value] : pool.terms(*pool.find(a)))
      names.insert(name);
    return names;
  };
  CHECK(terms().contains("e0"));
  pool.use(pb::WEIGHT_FAST);
  pool.settle(now);
  CHECK(pool.formula() == "fast");
  CHECK(terms().contains("mu"));
  CHECK(pool.find(a)->weight > 0.0);
  CHECK(pool.find(a)->weight == pool.find(b)->weight);
  pool.eject(a, "no answer", now);
  pool.settle(now);
  CHECK(pool.terms(*pool.find(a)).empty());
}

TEST_CASE_FIXTURE(pool_of_four,
                  "water filling learns speeds from counters: a node that completes twice as much gets more") {
  pool.use(pb::WEIGHT_FLAT);
  for (std::uint64_t second = 0; second <= 60; second += 3) {
    for (auto name : {"a", "b", "c", "d"}) {
      pb::NodeLoad load;
      load.set_concurrency(2.0);
      load.set_running(2);
      load.set_requests_done((std::string{name} == "a" ? 4 : 2) * second);
      pool.observe_load(make_node_id(name), node_load{load}, second + 2);
    }
    pool.refresh(now + std::chrono::seconds{second});
  }
  CHECK(pool.find(a)->weighed.service_rate > 1.6 * pool.find(b)->weighed.service_rate);
  CHECK(pool.find(a)->weight > 1.4 * pool.find(b)->weight);
}

TEST_CASE_FIXTURE(pool_of_four,
                  "a node that is forgotten and told again before anything was settled keeps its credit") {
  for (int i = 0; i < 6; ++i)
    pool.pick({}, now);
  auto before = pool.credits();
  pool.forget(b);
  observe(pool, row("b", 2));
  CHECK(pool.settle(now).empty());
  CHECK(pool.credits() == before);
  pool.forget(b);
  CHECK(pool.settle(now) == std::vector{b});
}

TEST_CASE("the only node, forgotten and told again at once, is picked on") {
  node_pool::time_point now{1h};
  node_pool pool{"ocr", 3000ms, random_source{1}};
  observe(pool, row("a"));
  pool.settle(now);
  pool.forget(a);
  observe(pool, row("a", 2));
  CHECK(pool.settle(now).empty());
  CHECK(pool.pick({}, now) == a);
}

TEST_CASE("a pool that is large from the beginning has weights at once, by every formula") {
  for (auto formula : {pb::WEIGHT_SEED, pb::WEIGHT_FLAT, pb::WEIGHT_FAST, pb::WEIGHT_EVEN}) {
    node_pool::time_point now{1h};
    node_pool pool{"ocr", 3000ms, random_source{1}};
    pool.use(formula);
    CHECK(pool.empty(now));
    for (auto i = 0; i < 100; ++i)
      observe(pool, row("n" + std::to_string(i)));
    pool.settle(now);
    CAPTURE(pool.formula());
    for (auto& [node, member] : pool.members())
      CHECK(member.weight > 0.0);
  }
}

TEST_CASE("a pool that grows and shrinks through all kinds of order picks only who is in rotation, each by its share") {
  node_pool::time_point now{1h};
  node_pool pool{"ocr", 3000ms, random_source{1}};
  std::set<std::string> there;
  auto name_of = [](int i) { return "node-" + std::to_string(i); };
  auto grow_to = [&](int count) {
    for (int i = 0; i < count; ++i)
      if (there.insert(name_of(i)).second)
        observe(pool, row(name_of(i)));
    pool.settle(now);
  };
  auto check_shares = [&] {
    std::map<node_id, int> count;
    auto rounds = 5;
    for (std::size_t i = 0; i < rounds * there.size(); ++i) {
      auto node = pool.pick({}, now);
      REQUIRE(node);
      REQUIRE(pool.in_rotation(*node));
      ++count[*node];
    }
    CHECK(count.size() == there.size());
    for (auto& [node, times] : count)
      REQUIRE(std::abs(times - rounds) <= 2);
  };
  for (auto count : {40, 64, 65, 300}) {
    grow_to(count);
    CHECK(pool.members().size() == static_cast<std::size_t>(count));
    check_shares();
  }
  // One by one, as offline nodes go: what is left is picked on, and who leaves is named.
  for (int i = 0; i < 250; ++i) {
    auto gone = make_node_id(name_of(i));
    observe(pool, with_liveness(row(name_of(i), 2), pb::LIVENESS_OFFLINE, "silent"));
    CHECK(pool.settle(now) == std::vector{gone});
    there.erase(name_of(i));
    REQUIRE_FALSE(pool.in_rotation(gone));
    for (int n = 0; n < 3; ++n)
      REQUIRE(pool.in_rotation(*pool.pick({}, now)));
  }
  check_shares();
  pool.refresh(now + 3s);
  check_shares();
  auto sum = 0.0;
  for (auto& [node, credit] : pool.credits())
    sum += credit;
  CHECK(std::abs(sum) < 1e-3);
}

TEST_CASE("in a large pool a refused request passes over those that it asked, and doubts of most are ignored") {
  node_pool::time_point now{1h};
  node_pool pool{"ocr", 3000ms, random_source{1}};
  for (int i = 0; i < 200; ++i)
    observe(pool, row("node-" + std::to_string(i)));
  std::vector<node_id> asked;
  for (int i = 0; i < 200; ++i) {
    auto node = pool.pick(asked, now);
    REQUIRE(node);
    REQUIRE(std::ranges::find(asked, *node) == asked.end());
    asked.push_back(*node);
  }
  CHECK_FALSE(pool.pick(asked, now));
  for (int i = 0; i < 100; ++i)
    pool.eject(asked[static_cast<std::size_t>(i)], "no answer", now);
  CHECK(pool.settle(now).size() == 100);
  pool.eject(asked[100], "no answer", now);
  CHECK(pool.settle(now).empty());
  CHECK(pool.in_rotation(asked[0]));
  // All doubts end.
  pool.settle(now + 3s);
  for (auto node : asked)
    REQUIRE(pool.in_rotation(node));
}

TEST_CASE("a node whose replica becomes ready while others work gets its share slowly, one that was there at once") {
  node_pool pool{"ocr", 3000ms, random_source{1}, {}, 10s};
  node_pool::time_point now{1h};
  for (auto name : {"a", "b"})
    observe(pool, row(name));
  pool.settle(now);
  auto share = [&](node_id node) { return pool.find(node)->weight / pool.find(a)->weight; };
  CHECK(share(b) == doctest::Approx(1.0));
  // Ready when it is first seen, as all are for a router that has just started: who knows since when.
  observe(pool, row("d"));
  auto coming = row("c");
  coming.mutable_profile()->mutable_replicas(0)->set_state(pb::REPLICA_STARTING);
  observe(pool, coming);
  pool.settle(now);
  CHECK(share(make_node_id("d")) == doctest::Approx(1.0));
  observe(pool, row("c", 2));
  pool.settle(now);
  CHECK(share(c) == doctest::Approx(0.1));
  auto terms = pool.terms(*pool.find(c));
  CHECK(terms.back() == std::pair<std::string, double>{"slow_start", 0.1});
  for (auto [after, expected] : {std::pair{5s, 0.5}, {9s, 0.9}, {10s, 1.0}}) {
    pool.refresh(now + after);
    CHECK(share(c) == doctest::Approx(expected));
  }
  // Doubts, and their end, do not make it cold.
  now += 1min;
  pool.eject(c, "no answer", now);
  pool.settle(now);
  pool.settle(now + 3s);
  CHECK(share(c) == doctest::Approx(1.0));
  // A replica that starts again does.
  auto starting = row("c", 3);
  starting.mutable_profile()->mutable_replicas(0)->set_state(pb::REPLICA_STARTING);
  observe(pool, starting);
  pool.settle(now + 4s);
  observe(pool, row("c", 4));
  pool.settle(now + 5s);
  CHECK(share(c) == doctest::Approx(0.1));
}

TEST_CASE_FIXTURE(pool_of_four,
                  "an expelled node stays out although it is seen alive, until its time is over or it is another") {
  pool.expel(a, "5 errors", 20s, now);
  pool.settle(now);
  observe(pool, row("a", 9));
  pool.settle(now + 19s);
  CHECK(pool.out_reason(a) == "5 errors");
  SUBCASE("its time is over") {
    pool.settle(now + 20s);
    CHECK(pool.in_rotation(a));
  }
  SUBCASE("it starts again") {
    auto restarted = row("a", 1);
    restarted.set_incarnation(2);
    observe(pool, restarted);
    pool.settle(now + 19s);
    CHECK(pool.in_rotation(a));
  }
}

TEST_CASE("keys have homes, by the slots of nodes, that stay when others come and go") {
  node_pool pool{"ocr", 3000ms, random_source{1}};
  node_pool::time_point now{1h};
  constexpr auto nodes = 20;
  constexpr auto keys = 4000;
  auto of = [](int i) { return make_node_id("n" + std::to_string(i)); };
  for (auto i = 0; i < nodes; ++i) {
    auto made = row("n" + std::to_string(i));
    made.mutable_profile()->mutable_replicas(0)->set_concurrency(i == 0 ? 21 : 1);
    observe(pool, made);
  }
  pool.settle(now);
  std::map<std::string, node_id> homes;
  std::map<node_id, int> counts;
  for (auto i = 0; i < keys; ++i) {
    auto key = "key-" + std::to_string(i);
    auto home = pool.pick_by_key(key, {}, now);
    REQUIRE(home);
    homes[key] = *home;
    ++counts[*home];
    std::vector<node_id> asked{*home};
    CHECK(pool.pick_by_key(key, asked, now) != home);
  }
  // 21 of 40 slots.
  CHECK(std::abs(counts[of(0)] - keys * 21 / 40) < keys / 25);
  observe(pool, with_liveness(row("n7", 2), pb::LIVENESS_OFFLINE, "gone"));
  pool.settle(now);
  for (auto& [key, home] : homes)
    CHECK((pool.pick_by_key(key, {}, now) == home) == (home != of(7)));
}

TEST_CASE("a preview is what is picked then, in pools of every kind") {
  for (auto size : {5, 500}) {
    node_pool pool{"ocr", 3000ms, random_source{1}};
    node_pool::time_point now{1h};
    for (auto i = 0; i < size; ++i) {
      auto made = row("n" + std::to_string(i));
      made.mutable_profile()->mutable_capacity()->set_cpu_milli(1000 * (1 + i % 7));
      observe(pool, made);
    }
    pool.settle(now);
    for (auto i = 0; i < 100; ++i)
      pool.pick({}, now);
    auto told = pool.preview(300, now);
    REQUIRE(told.size() == 300);
    for (auto& name : told)
      CHECK(pool.find(*pool.pick({}, now))->name == name);
  }
  node_pool nobody{"ocr", 3000ms, random_source{1}};
  CHECK(nobody.preview(10, node_pool::time_point{1h}).empty());
}

TEST_CASE_FIXTURE(pool_of_four,
                  "of the next in turn a large request is offered to the fastest first, a small one to the slowest") {
  // Both have two busy slots; a and b end ten times as much.
  for (auto second = 0; second < 60; ++second) {
    now += 1s;
    for (auto name : {"a", "b", "c", "d"}) {
      auto said = row(name, 2 + second);
      auto fast = name[0] < 'c';
      said.mutable_load()->set_concurrency(2.0);
      said.mutable_load()->set_requests_done((fast ? 100 : 10) * (second + 1));
      observe(pool, said);
    }
    pool.refresh(now);
  }
  auto names = [this](const std::vector<node_id>& nodes) {
    std::string result;
    for (auto node : nodes)
      result += pool.find(node)->name;
    return result;
  };
  auto walk_of = [&](double size, std::size_t count) {
    node_pool::sized_walk walk{size, count, {}};
    std::vector<node_id> asked;
    while (auto next = pool.pick(walk, asked, now))
      asked.push_back(*next);
    return names(asked);
  };
  CHECK(walk_of(3.0, 4).find_first_of("cd") == 2);
  CHECK(walk_of(0.3, 4).find_first_of("ab") == 2);
  CHECK(walk_of(1.0, 2).size() == 2);
  CHECK(walk_of(1.0, 9).size() == 4);
}

namespace {

pb::NodeRow in_zone(const std::string& name, const std::string& zone, std::uint64_t sequence = 1) {
  auto result = row(name, sequence);
  auto& label = *result.mutable_profile()->add_labels();
  label.set_key("zone");
  label.set_value(zone);
  return result;
}

struct pool_of_two_zones {
  pool_of_two_zones() {
    for (auto name : {"a", "b"})
      observe(pool, in_zone(name, "near"));
    for (auto name : {"c", "d", "e"})
      observe(pool, in_zone(name, "far"));
    pool.settle(now);
  }

  std::string next(const std::vector<node_id>& asked = {}) {
    auto node = pool.pick(asked, now);
    return node ? pool.find(*node)->name : "";
  }

  /// How often each of them comes first in so many walks.
  std::map<std::string, int> first_of(int walks) {
    std::map<std::string, int> result;
    for (auto i = 0; i < walks; ++i)
      ++result[next()];
    return result;
  }

  node_pool::time_point now{1h};
  node_pool pool{"ocr", 3000ms, random_source{1}, {}, 0ms, {{{"zone", "near"}}, 2, {}}};
};

using turns = std::map<std::string, int>;

} // namespace

TEST_CASE_FIXTURE(pool_of_two_zones,
                  "near nodes share all requests, and those that they refuse go to the others in turn") {
  CHECK(first_of(100) == turns{{"a", 50}, {"b", 50}});
  turns spilt;
  for (auto i = 0; i < 30; ++i)
    ++spilt[next({a, b})];
  CHECK(spilt == turns{{"c", 10}, {"d", 10}, {"e", 10}});
  std::vector<node_id> asked;
  std::string order;
  for (auto name = next(); !name.empty(); name = next(asked)) {
    order += name;
    asked.push_back(make_node_id(name));
  }
  std::sort(order.begin(), order.begin() + 2);
  std::sort(order.begin() + 2, order.end());
  CHECK(order == "abcde");
}

TEST_CASE_FIXTURE(pool_of_two_zones,
                  "with no near node in rotation the others serve, and a near one that comes is first") {
  observe(pool, with_liveness(in_zone("a", "near", 2), pb::LIVENESS_OFFLINE, "silent"));
  observe(pool, with_liveness(in_zone("b", "near", 2), pb::LIVENESS_DRAINING, "by hand"));
  pool.settle(now);
  CHECK(first_of(30) == turns{{"c", 10}, {"d", 10}, {"e", 10}});
  observe(pool, in_zone("f", "near"));
  pool.settle(now);
  CHECK(first_of(30) == turns{{"f", 30}});
  CHECK(pool.preview(2, now) == std::vector<std::string>{"f", "f"});
}

TEST_CASE_FIXTURE(pool_of_two_zones, "a node whose label changes takes turns with its new neighbours") {
  observe(pool, in_zone("a", "far", 2));
  CHECK(pool.settle(now).empty());
  CHECK(first_of(10) == turns{{"b", 10}});
  observe(pool, in_zone("c", "near", 2));
  CHECK(pool.settle(now).empty());
  CHECK(first_of(10) == turns{{"b", 5}, {"c", 5}});
  auto sum = 0.0;
  for (auto& [node, credit] : pool.credits())
    sum += credit;
  CHECK(pool.credits().size() == 5);
  CHECK(std::abs(sum) < 1e-6);
}

TEST_CASE("near nodes and others take turns in orders of the kinds that their numbers ask for") {
  node_pool::time_point now{1h};
  node_pool pool{"ocr", 3000ms, random_source{1}, {}, 0ms, {{{"zone", "near"}}, 2, {}}};
  for (auto i = 0; i < 200; ++i)
    observe(pool, in_zone("n" + std::to_string(i), i < 20 ? "near" : "far"));
  pool.settle(now);
  CHECK(pool.turns_by() == order_kind::classes);
  auto count = [&](std::size_t walks) {
    std::map<node_id, int> first;
    for (std::size_t i = 0; i < walks; ++i)
      ++first[*pool.pick({}, now)];
    return first;
  };
  CHECK(count(200).size() == 20);
  // Single nodes come and go, and nobody is forgotten or served twice.
  for (auto i = 0; i < 20; i += 2)
    observe(pool, with_liveness(in_zone("n" + std::to_string(i), "near", 2), pb::LIVENESS_OFFLINE, "silent"));
  CHECK(pool.settle(now).size() == 10);
  for (auto& [node, times] : count(100))
    CHECK(times == 10);
  for (auto i = 0; i < 20; i += 2)
    observe(pool, in_zone("n" + std::to_string(i), "near", 3));
  for (auto i = 20; i < 120; ++i)
    observe(pool, in_zone("n" + std::to_string(i), "near", 2));
  pool.settle(now);
  CHECK(count(2400).size() == 120);
  pool.refresh(now);
  CHECK(count(2400).size() == 120);
}

TEST_CASE("of an app on very many nodes each router takes its slice, and each node is in the slices of two") {
  constexpr auto routers = 8U;
  constexpr std::size_t nodes = 10'400;
  node_pool::time_point now{1h};
  std::map<node_id, int> taken;
  for (auto number = 1U; number <= routers; ++number) {
    node_pool pool{"ocr", 3000ms, random_source{number}, {}, 0ms, {{}, 2, {number, routers}}};
    for (std::size_t i = 0; i < nodes; ++i)
      observe(pool, row("n" + std::to_string(i)));
    pool.settle(now);
    // Ids are hashes: 2,600 and not more than four standard deviations off.
    CHECK(std::abs(static_cast<double>(pool.nodes_in_rotation()) - nodes * 2.0 / routers) < 180);
    std::string reason;
    for (auto& [node, member] : pool.members())
      if (pool.in_rotation(node))
        ++taken[node];
      else
        reason = pool.out_reason(node);
    CHECK(reason == "not in this router's share, " + std::to_string(number) + "/8");
    // Nearly as many as before, and a router that has had its slice keeps it.
    for (std::size_t i = 0; i < 1000; ++i)
      pool.forget(make_node_id("n" + std::to_string(i)));
    pool.refresh(now);
    CHECK(pool.nodes_in_rotation() < nodes / 2);
    for (std::size_t i = 1000; i < 2000; ++i)
      pool.forget(make_node_id("n" + std::to_string(i)));
    pool.refresh(now);
    CHECK(pool.nodes_in_rotation() == nodes - 2000);
  }
  CHECK(taken.size() == nodes);
  CHECK(std::ranges::all_of(taken, [](auto& entry) { return entry.second == 2; }));
}

TEST_CASE("a key is at home at the same node for every router, whatever its share") {
  constexpr auto routers = 16U;
  node_pool::time_point now{1h};
  std::vector<node_pool> pools;
  for (auto number = 1U; number <= routers; number += 5) {
    auto& pool = pools.emplace_back("ocr", 3000ms, random_source{number}, weight_horizon{}, 0ms,
                                    pool_reach{{}, 2, {number, routers}});
    for (auto i = 0; i < 10'200; ++i)
      observe(pool, row("n" + std::to_string(i)));
    pool.settle(now);
    CHECK(pool.nodes_in_rotation() < 2000);
  }
  for (auto i = 0; i < 50; ++i) {
    auto key = "session-" + std::to_string(i);
    auto home = pools[0].pick_by_key(key, {}, now);
    REQUIRE(home);
    for (auto& pool : pools)
      CHECK(pool.pick_by_key(key, {}, now) == home);
    // It is out, and still all of them agree.
    pools[0].eject(*home, "no answer", now);
    CHECK(pools[0].pick_by_key(key, {}, now) != home);
    CHECK(pools[0].pick_by_key(key, {}, now) == pools[1].pick_by_key(key, std::vector{*home}, now));
  }
}

TEST_CASE("near nodes are weighed among themselves: what others have free is not theirs") {
  // How much more of the requests the faster of two near nodes gets, beside far ones with so many slots.
  auto preference = [](bool two_ranks, std::uint32_t far_slots) {
    node_pool::time_point now{1h};
    pool_reach reach;
    if (two_ranks)
      reach.near = {{"zone", "near"}};
    node_pool pool{"ocr", 3000ms, random_source{1}, {}, 0ms, reach};
    pool.use(pb::WEIGHT_FAST);
    for (std::string name : {"fast", "slow", "c", "d"}) {
      auto far = name.size() == 1;
      auto told = in_zone(name, far ? "far" : "near");
      told.mutable_profile()->mutable_capacity()->set_cpu_milli(name == "fast" ? 16'000 : 4000);
      told.mutable_profile()->mutable_replicas(0)->set_concurrency(far ? far_slots : 4);
      // The near ones are busy.
      told.mutable_load()->set_running(far ? 0 : 3);
      observe(pool, told);
    }
    pool.settle(now);
    pool.refresh(now);
    return pool.find(make_node_id("fast"))->weight / pool.find(make_node_id("slow"))->weight;
  };
  CHECK(preference(true, 1) == doctest::Approx(preference(true, 1000)));
  CHECK(preference(false, 1) != doctest::Approx(preference(false, 1000)));
}
