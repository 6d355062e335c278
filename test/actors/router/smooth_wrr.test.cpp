#include "actors/router/smooth_wrr.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>

using namespace astra;

namespace {

using order_turn = order::turn;

std::vector<order_turn> pool(const std::vector<std::int64_t>& weights) {
  std::vector<order_turn> result;
  for (std::size_t i = 0; i < weights.size(); ++i)
    result.push_back({static_cast<seat>(i), weights[i]});
  return result;
}

std::string sequence(const std::vector<std::int64_t>& weights, int picks) {
  smooth_wrr order;
  order.assign_ticks(pool(weights));
  std::string result;
  for (int i = 0; i < picks; ++i)
    result += static_cast<char>('a' + *order.pick());
  return result;
}

std::int64_t credit_sum(const smooth_wrr& order) {
  std::int64_t sum = 0;
  for (auto& member : order.members())
    sum += member.credit;
  return sum;
}

/// nginx's loop of commit 52327e0, written down on its own: peers in an array, a bitmap of those tried.
class nginx_model {
public:
  explicit nginx_model(std::vector<long> weights) : weight(std::move(weights)), current(weight.size(), 0) {}

  int get(const std::vector<bool>& tried) {
    int best = -1;
    long total = 0;
    for (std::size_t i = 0; i < weight.size(); i++) {
      if (tried[i])
        continue;
      current[i] += weight[i];
      total += weight[i];
      if (best == -1 || current[i] > current[static_cast<std::size_t>(best)])
        best = static_cast<int>(i);
    }
    if (best != -1)
      current[static_cast<std::size_t>(best)] -= total;
    return best;
  }

  std::vector<long> weight;
  std::vector<long> current;
};

std::vector<std::int64_t> some_weights() {
  auto count = *rc::gen::inRange<std::size_t>(1, 12);
  return *rc::gen::container<std::vector<std::int64_t>>(count, rc::gen::inRange<std::int64_t>(1, 100));
}

} // namespace

TEST_CASE("the golden sequences of nginx") {
  CHECK(sequence({5, 1, 1}, 14) == "aabacaaaabacaa");
  CHECK(sequence({1}, 3) == "aaa");
  CHECK(sequence({1, 1, 1}, 6) == "abcabc");
  // By hand: credits after each pick of {2, 1}: (-1, 1), (1, -1), (0, 0).
  CHECK(sequence({2, 1}, 6) == "abaaba");
  // {3, 2, 1}: (-3, 2, 1), (0, -2, 2), (-3, 0, 3) because a goes first of equals, (0, 2, -2), (3, -2, -1), (0, 0, 0).
  CHECK(sequence({3, 2, 1}, 6) == "abacba");
  CHECK(sequence({4, 3, 2, 1}, 10) == "abcabdacba");
}

TEST_CASE("an empty pool has nobody to pick") {
  smooth_wrr order;
  CHECK_FALSE(order.pick());
  order.assign_ticks(pool({3}));
  std::vector<seat> all{0};
  CHECK_FALSE(order.pick(all));
  CHECK(order.pick() == seat{0});
}

TEST_CASE("every pick equals nginx's, also for requests that were refused before") {
  CHECK(rc::check([] {
    auto weights = some_weights();
    smooth_wrr order;
    order.assign_ticks(pool(weights));
    nginx_model model{{weights.begin(), weights.end()}};
    for (int i = 0; i < 200; ++i) {
      std::vector<seat> passed_over;
      std::vector<bool> tried(weights.size(), false);
      auto refusals = *rc::gen::weightedElement<int>({{6, 0}, {2, 1}, {1, 2}, {1, 4}});
      for (int refused = 0; refused <= refusals; ++refused) {
        auto expected = model.get(tried);
        auto picked = order.pick(passed_over);
        RC_ASSERT(picked.has_value() == (expected != -1));
        if (!picked)
          break;
        RC_ASSERT(*picked == static_cast<seat>(expected));
        passed_over.push_back(*picked);
        tried[static_cast<std::size_t>(expected)] = true;
      }
    }
    for (std::size_t i = 0; i < weights.size(); ++i)
      RC_ASSERT(order.members()[i].credit == model.current[i]);
  }));
}

TEST_CASE("a round of as many picks as the sum of weights gives every node exactly its weight") {
  CHECK(rc::check([] {
    auto weights = some_weights();
    auto total = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
    smooth_wrr order;
    order.assign_ticks(pool(weights));
    std::vector<std::int64_t> count(weights.size(), 0);
    for (std::int64_t i = 0; i < total; ++i)
      ++count[*order.pick()];
    RC_ASSERT(count == weights);
  }));
}

TEST_CASE("at no time is a node more than two turns off its share") {
  CHECK(rc::check([] {
    auto weights = some_weights();
    auto total = static_cast<double>(std::accumulate(weights.begin(), weights.end(), std::int64_t{0}));
    smooth_wrr order;
    order.assign_ticks(pool(weights));
    std::vector<double> count(weights.size(), 0);
    for (int picks = 1; picks <= 500; ++picks) {
      ++count[*order.pick()];
      for (std::size_t i = 0; i < weights.size(); ++i)
        RC_ASSERT(std::abs(count[i] - picks * static_cast<double>(weights[i]) / total) < 2.0);
    }
  }));
}

TEST_CASE("credits sum up to zero through picks, refusals, new weights, joins and leaves") {
  CHECK(rc::check([] {
    smooth_wrr order;
    random_source phase{*rc::gen::arbitrary<std::uint64_t>()};
    for (int round = 0; round < 20; ++round) {
      std::vector<order_turn> next;
      for (seat node = 0; node < 12; ++node)
        if (*rc::gen::inRange(0, 3) != 0)
          next.push_back({node, *rc::gen::inRange<std::int64_t>(1, 1000)});
      std::map<seat, std::int64_t> before;
      for (auto& member : order.members())
        before[member.at] = member.credit;
      order.assign_ticks(next, &phase);
      RC_ASSERT(credit_sum(order) == 0);
      // Those that stay keep their distance from each other, but for the one tick of a division.
      std::optional<std::int64_t> shift;
      for (auto& member : order.members()) {
        if (before.count(member.at) == 0)
          continue;
        auto moved = before[member.at] - member.credit;
        if (!shift)
          shift = moved;
        RC_ASSERT(std::abs(moved - *shift) <= 1);
      }
      for (int i = 0; i < 20; ++i) {
        std::vector<seat> passed_over;
        if (auto first = order.pick())
          passed_over.push_back(*first);
        order.pick(passed_over);
        RC_ASSERT(credit_sum(order) == 0);
      }
    }
  }));
}

TEST_CASE("weights that are computed anew without change do not change the order") {
  smooth_wrr order;
  order.assign_ticks(pool({5, 1, 1}));
  std::string result;
  for (int i = 0; i < 14; ++i) {
    result += static_cast<char>('a' + *order.pick());
    order.assign_ticks(pool({5, 1, 1}));
  }
  CHECK(result == "aabacaaaabacaa");
}

TEST_CASE("a node that refused for a long time gets no burst when it is free again, and is not starved either") {
  CHECK(rc::check([] {
    auto weights = *rc::gen::container<std::vector<std::int64_t>>(5, rc::gen::inRange<std::int64_t>(1, 20));
    auto total = static_cast<double>(std::accumulate(weights.begin(), weights.end(), std::int64_t{0}));
    smooth_wrr order;
    order.assign_ticks(pool(weights));
    auto busy = seat{0};
    for (int request = 0; request < 1000; ++request) {
      std::vector<seat> passed_over;
      while (auto node = order.pick(passed_over)) {
        if (*node != busy)
          break;
        passed_over.push_back(*node);
      }
    }
    auto turns = 0.0;
    for (int request = 0; request < 100; ++request)
      turns += *order.pick() == busy ? 1.0 : 0.0;
    auto share = 100.0 * static_cast<double>(weights[0]) / total;
    RC_ASSERT(std::abs(turns - share) <= 3.0);
  }));
}

TEST_CASE("a node that joins starts within half a round of the mean") {
  CHECK(rc::check([] {
    smooth_wrr order;
    order.assign_ticks(pool({1000, 1000, 1000, 1000}));
    random_source phase{*rc::gen::arbitrary<std::uint64_t>()};
    order.assign_ticks(pool({1000, 1000, 1000, 1000, 1000}), &phase);
    auto joined = order.members().back().credit;
    RC_ASSERT(std::abs(joined) <= 2500);
    auto turns = 0;
    for (int i = 0; i < 50; ++i)
      turns += order.pick() == seat{4} ? 1 : 0;
    RC_ASSERT(turns >= 9);
    RC_ASSERT(turns <= 11);
  }));
}

TEST_CASE("ticks keep the proportions of the weights, and nobody gets none") {
  CHECK(to_ticks({}).empty());
  auto ticks = to_ticks({5.0, 1.0, 1.0});
  CHECK(std::abs(ticks[0] - 5 * ticks[1]) <= 5);
  CHECK(ticks[1] == ticks[2]);
  CHECK(to_ticks({1e300, 1.0})[1] == 1);
  CHECK(to_ticks({0.0, 0.0})[0] == to_ticks({0.0, 0.0})[1]);
  CHECK(rc::check([] {
    auto weights = *rc::gen::nonEmpty(rc::gen::container<std::vector<double>>(
        rc::gen::map(rc::gen::inRange(1, 1000000), [](int x) { return x / 1000.0; })));
    auto converted = to_ticks(weights);
    auto total = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (std::size_t i = 0; i < weights.size(); ++i)
      RC_ASSERT(std::abs(static_cast<double>(converted[i]) / 4294967296.0 - weights[i] / total) < 1e-9);
  }));
}

TEST_CASE("nodes that come, go and change one by one have the shares of their weights, and credits sum up to nothing") {
  CHECK(rc::check([] {
    random_source random{*rc::gen::arbitrary<std::uint64_t>()};
    smooth_wrr order;
    std::vector<double> weight(12, 0.0);
    for (int step = 0; step < 300; ++step) {
      auto at = static_cast<seat>(random.below(weight.size()));
      auto drawn = 1.0 + 9.0 * random.unit();
      if (weight[at] == 0.0) {
        order.insert({at, drawn}, &random);
      } else if (random.below(3) == 0 && order.size() > 1) {
        order.remove(at);
        drawn = 0.0;
      } else {
        order.update({at, drawn});
      }
      weight[at] = drawn;
      RC_ASSERT(std::abs(credit_sum(order)) <= static_cast<std::int64_t>(order.size()));
      auto sum = std::accumulate(weight.begin(), weight.end(), 0.0);
      auto round = 0.0;
      for (auto& turn : order.turns())
        round += static_cast<double>(turn.weight);
      for (auto& turn : order.turns())
        RC_ASSERT(std::abs(static_cast<double>(turn.weight) / round - weight[turn.at] / sum) < 1e-6);
      for (int i = 0; i < 5; ++i)
        RC_ASSERT(weight[*order.pick()] > 0.0);
    }
  }));
}

TEST_CASE("an order that takes over from another one keeps every credit, whatever their kinds") {
  CHECK(rc::check([] {
    random_source random{*rc::gen::arbitrary<std::uint64_t>()};
    std::vector<order::entry> pool;
    for (seat at = 0; at < 30; ++at)
      pool.push_back({at, 1.0 + 9.0 * random.unit()});
    auto rounds = [](const astra::order& of) {
      auto round = 0.0;
      for (auto& turn : of.turns())
        round += static_cast<double>(turn.weight);
      std::vector<double> result;
      for (auto& turn : of.turns())
        result.push_back(static_cast<double>(turn.credit) / round);
      return result;
    };
    for (auto from : {order_kind::scan, order_kind::classes, order_kind::calendar})
      for (auto to : {order_kind::scan, order_kind::classes, order_kind::calendar}) {
        auto former = make_order(from);
        former->assign(pool, &random);
        for (int i = 0; i < 100; ++i)
          former->pick();
        auto successor = make_order(to);
        successor->adopt(pool, former->turns(), &random);
        auto before = rounds(*former);
        auto after = rounds(*successor);
        RC_ASSERT(before.size() == after.size());
        // A calendar holds no credit beyond half a round, which shifts the mean.
        auto bound = to == order_kind::calendar ? 0.35 : 1e-2;
        for (std::size_t i = 0; i < before.size(); ++i)
          RC_ASSERT(std::abs(before[i] - after[i]) < bound);
      }
  }));
}

TEST_CASE("a pool changes its kind of order at 64 and 100 000 nodes, and back a little below") {
  CHECK(kind_for(0, order_kind::scan) == order_kind::scan);
  CHECK(kind_for(64, order_kind::classes) == order_kind::scan);
  CHECK(kind_for(65, order_kind::scan) == order_kind::classes);
  CHECK(kind_for(100'000, order_kind::classes) == order_kind::classes);
  CHECK(kind_for(100'001, order_kind::classes) == order_kind::calendar);
  CHECK(kind_for(99'999, order_kind::calendar) == order_kind::calendar);
  CHECK(kind_for(80'000, order_kind::calendar) == order_kind::classes);
}
