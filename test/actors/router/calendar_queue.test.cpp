#include "actors/router/calendar_queue.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

using namespace astra;

namespace {

std::vector<order::entry> some_pool(random_source& random, std::size_t nodes, double octaves) {
  std::vector<order::entry> pool;
  for (std::size_t i = 0; i < nodes; ++i)
    pool.push_back({static_cast<seat>(i), std::exp2(octaves * random.unit())});
  return pool;
}

double weight_sum(const std::vector<order::entry>& pool) {
  return std::accumulate(pool.begin(), pool.end(), 0.0, [](auto sum, auto& who) { return sum + who.weight; });
}

std::int64_t credit_sum(const order& order) {
  std::int64_t sum = 0;
  for (auto& turn : order.turns())
    sum += turn.credit;
  return sum;
}

} // namespace

TEST_CASE("calendar: nobody to pick") {
  calendar_queue order;
  CHECK_FALSE(order.pick());
  order.insert({3, 1.0}, nullptr);
  std::vector<seat> all{3, 3, 9};
  CHECK_FALSE(order.pick(all));
  CHECK(order.pick() == seat{3});
  CHECK(order.pick() == seat{3});
  order.remove(3);
  CHECK_FALSE(order.pick());
  CHECK(order.turns().empty());
  order.assign({}, nullptr);
  CHECK_FALSE(order.pick());
}

TEST_CASE("calendar: at no time is a node more than three turns off its share") {
  CHECK(rc::check([] {
    random_source random{*rc::gen::arbitrary<std::uint64_t>()};
    auto pool = some_pool(random, 1 + random.below(100), 5.0);
    auto sum = weight_sum(pool);
    calendar_queue order;
    order.assign(pool, &random);
    std::vector<double> count(pool.size(), 0.0);
    for (int picks = 1; picks <= 3000; ++picks) {
      ++count[*order.pick()];
      for (auto& who : pool)
        RC_ASSERT(std::abs(count[who.at] - picks * who.weight / sum) < 3.0 + 2e-5 * picks);
    }
  }));
}

TEST_CASE("calendar: turns of one node are as far apart as its share wants, within a seventh, in a large pool") {
  random_source random{3};
  auto pool = some_pool(random, 2000, 5.0);
  auto sum = weight_sum(pool);
  calendar_queue order;
  order.assign(pool, &random);
  std::vector<std::int64_t> last(pool.size(), -1);
  for (std::int64_t picks = 0; picks < 200'000; ++picks) {
    auto who = *order.pick();
    if (last[who] >= 0) {
      auto gap = static_cast<double>(picks - last[who]) * pool[who].weight / sum;
      REQUIRE(gap > 0.86);
      REQUIRE(gap < 1.14);
    }
    last[who] = picks;
  }
}

TEST_CASE("calendar: who refused and is passed over gets the next turn at its time, no burst and no famine") {
  CHECK(rc::check([] {
    random_source random{*rc::gen::arbitrary<std::uint64_t>()};
    auto pool = some_pool(random, 20, 4.0);
    auto sum = weight_sum(pool);
    calendar_queue order;
    order.assign(pool, &random);
    auto busy = seat{0};
    for (int request = 0; request < 1000; ++request) {
      std::vector<seat> passed_over;
      while (auto who = order.pick(passed_over)) {
        RC_ASSERT(std::ranges::find(passed_over, *who) == passed_over.end());
        if (*who != busy)
          break;
        passed_over.push_back(*who);
      }
    }
    auto turns = 0.0;
    for (int request = 0; request < 200; ++request)
      turns += *order.pick() == busy ? 1.0 : 0.0;
    RC_ASSERT(std::abs(turns - 200.0 * pool[0].weight / sum) <= 3.0);
  }));
}

TEST_CASE("calendar: a request that all but one refuse finds that one") {
  CHECK(rc::check([] {
    random_source random{*rc::gen::arbitrary<std::uint64_t>()};
    auto pool = some_pool(random, 2 + random.below(10), 10.0);
    calendar_queue order;
    order.assign(pool, &random);
    for (int request = 0; request < 50; ++request) {
      std::vector<seat> passed_over;
      while (auto who = order.pick(passed_over)) {
        RC_ASSERT(std::ranges::find(passed_over, *who) == passed_over.end());
        passed_over.push_back(*who);
      }
      RC_ASSERT(passed_over.size() == pool.size());
    }
  }));
}

TEST_CASE("calendar: shares hold while nodes join, leave and change") {
  CHECK(rc::check([] {
    random_source random{*rc::gen::arbitrary<std::uint64_t>()};
    constexpr std::size_t seats = 40;
    calendar_queue order;
    std::vector<double> weight(seats, 0.0);
    std::vector<double> owed(seats, 0.0);
    std::vector<double> changes(seats, 0.0);
    for (int step = 0; step < 5000; ++step) {
      auto at = static_cast<seat>(random.below(seats));
      auto drawn = std::exp2(5.0 * random.unit());
      auto present = static_cast<std::size_t>(std::ranges::count_if(weight, [](double x) { return x > 0.0; }));
      if (step < 20 || random.below(20) == 0) {
        if (weight[at] == 0.0) {
          order.insert({at, drawn}, &random);
          weight[at] = drawn;
          owed[at] = 0.0;
          changes[at] = 0.0;
        } else if (random.below(2) == 0 && present > 5) {
          order.remove(at);
          weight[at] = 0.0;
        } else {
          order.update({at, drawn});
          weight[at] = drawn;
        }
        RC_ASSERT(std::abs(credit_sum(order)) <= static_cast<std::int64_t>(seats));
      }
      auto who = *order.pick();
      RC_ASSERT(weight[who] > 0.0);
      auto sum = std::accumulate(weight.begin(), weight.end(), 0.0);
      for (std::size_t i = 0; i < seats; ++i)
        owed[i] += weight[i] / sum;
      owed[who] -= 1.0;
      // Half a turn for the phase, and some of one with each that joins, leaves or changes.
      if (weight[who] > 0.0)
        RC_ASSERT(owed[who] > -8.0);
    }
    RC_ASSERT(order.size()
              == static_cast<std::size_t>(std::ranges::count_if(weight, [](double x) { return x > 0.0; })));
  }));
}

TEST_CASE("calendar: a sum of weights that grows or shrinks a thousandfold changes nothing but the scale") {
  random_source random{5};
  auto pool = some_pool(random, 50, 3.0);
  calendar_queue order;
  order.assign(pool, &random);
  auto copy = pool;
  for (auto factor : {1000.0, 0.001}) {
    auto before = order.turns();
    for (auto& who : copy)
      who.weight *= factor;
    order.assign(copy, &random);
    auto after = order.turns();
    for (std::size_t i = 0; i < before.size(); ++i) {
      CHECK(after[i].weight == before[i].weight);
      CHECK(after[i].credit == before[i].credit);
    }
  }
  // One by one, too.
  for (auto& who : copy)
    order.update({who.at, who.weight * 1000.0});
  std::vector<double> count(pool.size(), 0.0);
  auto sum = weight_sum(copy);
  for (int picks = 0; picks < 5000; ++picks)
    ++count[*order.pick()];
  for (auto& who : copy)
    CHECK(std::abs(count[who.at] - 5000 * who.weight / sum) < 3.0);
}
