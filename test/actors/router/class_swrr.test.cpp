#include "actors/router/class_swrr.hpp"
#include "actors/router/weight_class.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

using namespace astra;

namespace {

/// Smooth weighted round robin as one would write it down, with nodes that come, go and change their weight: nginx's
/// loop, and a joiner at the mean credit plus his phase, rounded as the mean is.
class plain_model {
public:
  struct peer {
    seat at;
    std::int64_t weight;
    std::int64_t credit;
  };

  void insert(seat at, std::int64_t weight, random_source* phase) {
    insert(at, weight, total() + weight, mean(), phase);
  }

  void insert(seat at, std::int64_t weight, std::int64_t round, std::int64_t mean, random_source* phase) {
    auto credit = mean;
    if (phase != nullptr)
      credit += static_cast<std::int64_t>(phase->below(static_cast<std::uint64_t>(round))) - round / 2;
    peers.push_back({at, weight, credit});
  }

  peer& find(seat at) { return *std::ranges::find(peers, at, &peer::at); }
  bool holds(seat at) const { return std::ranges::find(peers, at, &peer::at) != peers.end(); }
  void remove(seat at) {
    std::erase_if(peers, [at](const peer& x) { return x.at == at; });
  }

  std::int64_t total() const {
    return std::accumulate(peers.begin(), peers.end(), std::int64_t{0},
                           [](auto sum, auto& x) { return sum + x.weight; });
  }

  std::int64_t mean() const {
    if (peers.empty())
      return 0;
    auto sum =
        std::accumulate(peers.begin(), peers.end(), std::int64_t{0}, [](auto a, auto& x) { return a + x.credit; });
    auto count = static_cast<std::int64_t>(peers.size());
    return sum / count - (sum % count < 0 ? 1 : 0);
  }

  std::optional<seat> pick(const std::vector<seat>& passed_over) {
    peer* best = nullptr;
    std::int64_t sum = 0;
    for (auto& x : peers) {
      if (std::ranges::find(passed_over, x.at) != passed_over.end())
        continue;
      x.credit += x.weight;
      sum += x.weight;
      if (best == nullptr || x.credit > best->credit)
        best = &x;
    }
    if (best == nullptr)
      return std::nullopt;
    best->credit -= sum;
    return best->at;
  }

  /// Takes over weights and credits when the order has changed its unit.
  /// @returns whether it had.
  bool follow(const order& order) {
    auto turns = order.turns();
    if (std::ranges::equal(turns, peers, {}, &order::turn::weight, &peer::weight))
      return false;
    for (std::size_t i = 0; i < peers.size(); ++i)
      peers[i] = {turns[i].at, turns[i].weight, turns[i].credit};
    return true;
  }

  std::vector<peer> peers;
};

std::int64_t weight_in(const order& order, seat at) {
  auto turns = order.turns();
  return std::ranges::find(turns, at, &order::turn::at)->weight;
}

bool same_turns(const order& order, const plain_model& model) {
  auto turns = order.turns();
  auto mean = model.mean();
  return std::ranges::equal(turns, model.peers, [mean](auto& turn, auto& peer) {
    return turn.at == peer.at && turn.weight == peer.weight && turn.credit == peer.credit - mean;
  });
}

std::string sequence(const std::vector<double>& weights, int picks) {
  class_swrr order;
  std::vector<order::entry> pool;
  for (std::size_t i = 0; i < weights.size(); ++i)
    pool.push_back({static_cast<seat>(i), weights[i]});
  order.assign(pool, nullptr);
  std::string result;
  for (int i = 0; i < picks; ++i)
    result += static_cast<char>('a' + *order.pick());
  return result;
}

/// One random history of a pool, in step with the model.
void compare(std::uint64_t seed, int steps, std::size_t seats, double range) {
  random_source random{seed};
  // The same phases for both.
  random_source phase{seed + 1};
  auto model_phase = phase;
  class_swrr order;
  plain_model model;
  auto draw = [&] { return std::exp2(range * random.unit()); };

  std::vector<order::entry> pool;
  for (std::size_t i = 0; i < seats; ++i)
    if (random.below(4) != 0 || i == 0)
      pool.push_back({static_cast<seat>(i), draw()});
  auto phased = random.below(2) == 0;
  order.assign(pool, phased ? &phase : nullptr);
  auto turns = order.turns();
  auto round =
      std::accumulate(turns.begin(), turns.end(), std::int64_t{0}, [](auto a, auto& x) { return a + x.weight; });
  for (auto& turn : turns)
    model.insert(turn.at, turn.weight, round, 0, phased ? &model_phase : nullptr);

  auto changes_of_unit = 0;
  for (int step = 0; step < steps; ++step) {
    auto at = static_cast<seat>(random.below(seats));
    auto what = random.below(40);
    auto changed = what < 4;
    switch (what) {
    case 0:
      if (model.holds(at) && model.peers.size() > seats / 2) {
        order.remove(at);
        model.remove(at);
      }
      break;
    case 1:
      if (!model.holds(at)) {
        order.insert({at, draw()}, &phase);
        model.insert(at, weight_in(order, at), &model_phase);
      }
      break;
    case 2:
    case 3:
      if (model.holds(at)) {
        order.update({at, draw()});
        model.find(at).weight = weight_in(order, at);
      }
      break;
    default:
      break;
    }
    if (changed)
      changes_of_unit += model.follow(order) ? 1 : 0;
    REQUIRE(changes_of_unit <= steps / 50);
    std::vector<seat> passed_over;
    auto refusals = random.below(5) == 0 ? random.below(5) : 0;
    for (std::uint64_t i = 0; i <= refusals; ++i) {
      auto expected = model.pick(passed_over);
      auto picked = order.pick(passed_over);
      REQUIRE(picked == expected);
      if (picked)
        passed_over.push_back(*picked);
    }
    if (step % 64 == 0)
      REQUIRE(same_turns(order, model));
  }
  REQUIRE(same_turns(order, model));
}

} // namespace

TEST_CASE("classes are steps of a sixteenth of an octave, and a weight is at most 2.2 % off its class") {
  CHECK(weight_class::nearest(0.0) == 0);
  CHECK(weight_class::nearest(std::nan("")) == 0);
  CHECK(weight_class::nearest(1e300) == weight_class::count - 1);
  for (int which = 8 * weight_class::steps_per_octave; which < weight_class::count; ++which) {
    CHECK(weight_class::nearest(static_cast<double>(weight_class::ticks(which))) == which);
    if (which % weight_class::steps_per_octave == 0)
      CHECK(weight_class::ticks(which) == std::int64_t{1} << (which / weight_class::steps_per_octave));
  }
  CHECK(rc::check([] {
    auto weight = std::exp2(20.0 + *rc::gen::inRange(0, 100000) / 10000.0);
    auto rounded = static_cast<double>(weight_class::ticks(weight_class::nearest(weight)));
    RC_ASSERT(std::abs(rounded / weight - 1.0) < 0.0221);
    RC_ASSERT(!weight_class::apart(weight, weight * 1.0215));
    RC_ASSERT(weight_class::apart(weight, weight * 1.0223));
    RC_ASSERT(weight_class::apart(weight * 1.0223, weight));
  }));
}

TEST_CASE("class swrr: the golden sequences of nginx") {
  CHECK(sequence({5, 1, 1}, 14) == "aabacaaaabacaa");
  CHECK(sequence({1}, 3) == "aaa");
  CHECK(sequence({1, 1, 1}, 6) == "abcabc");
  // Weights that are classes.
  CHECK(sequence({2, 1}, 6) == "abaaba");
  CHECK(sequence({4, 2, 1}, 7) == "abacaba");
}

TEST_CASE("class swrr: nobody to pick") {
  class_swrr order;
  CHECK_FALSE(order.pick());
  order.insert({3, 1.0}, nullptr);
  std::vector<seat> all{3, 3, 9};
  CHECK_FALSE(order.pick(all));
  CHECK(order.turns()[0].credit == 0);
  CHECK(order.pick() == seat{3});
  order.remove(3);
  CHECK_FALSE(order.pick());
  CHECK(order.turns().empty());
}

TEST_CASE("class swrr picks as the plain scan does on the same weights, whoever joins, leaves, changes or refuses") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    random_source random{seed};
    auto seats = 1 + random.below(60);
    compare(seed, 3000, seats, 6.0 * random.unit());
  }
}

TEST_CASE("class swrr: equal weights go round in the order of the pool") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed)
    compare(seed, 3000, 12, 0.0);
}

TEST_CASE("class swrr: a weight that moves by no more than 2.2 % changes nothing") {
  class_swrr order;
  order.assign(std::vector<order::entry>{{0, 100.0}, {1, 100.0}}, nullptr);
  auto before = weight_in(order, 0);
  order.update({0, 102.1});
  CHECK(weight_in(order, 0) == before);
  order.update({0, 97.9});
  CHECK(weight_in(order, 0) == before);
  order.update({0, 105.0});
  CHECK(weight_in(order, 0) > before);
  // Measured from the weight that decided, so a node on a boundary does not go back and forth.
  before = weight_in(order, 0);
  order.update({0, 103.0});
  CHECK(weight_in(order, 0) == before);
}

TEST_CASE("class swrr: credits survive when the sum of weights grows a hundredfold") {
  CHECK(rc::check([] {
    random_source random{*rc::gen::arbitrary<std::uint64_t>()};
    class_swrr order;
    std::vector<order::entry> pool;
    for (seat at = 0; at < 20; ++at)
      pool.push_back({at, 1.0 + 9.0 * random.unit()});
    order.assign(pool, &random);
    for (int i = 0; i < 100; ++i)
      order.pick();
    auto in_rounds = [&] {
      auto turns = order.turns();
      auto round = std::accumulate(turns.begin(), turns.end(), 0.0, [](auto a, auto& x) { return a + x.weight; });
      std::vector<double> result;
      for (auto& turn : turns)
        result.push_back(static_cast<double>(turn.credit) / round);
      return result;
    };
    auto before = in_rounds();
    for (auto& who : pool)
      who.weight *= 100.0;
    order.assign(pool, &random);
    auto after = in_rounds();
    for (std::size_t i = 0; i < before.size(); ++i)
      RC_ASSERT(std::abs(before[i] - after[i]) < 0.05);
  }));
}

TEST_CASE("class swrr: tickets that count no more do not pile up") {
  // Weights that go back and forth between two classes leave a ticket behind each time.
  class_swrr order;
  plain_model model;
  std::vector<order::entry> pool;
  for (seat at = 0; at < 4; ++at)
    pool.push_back({at, 10.0});
  order.assign(pool, nullptr);
  for (auto& turn : order.turns())
    model.insert(turn.at, turn.weight, 0, 0, nullptr);
  for (int i = 0; i < 20000; ++i) {
    order.update({1, i % 2 == 0 ? 11.0 : 10.0});
    model.find(1).weight = weight_in(order, 1);
    if (i % 10 == 0)
      REQUIRE(order.pick() == model.pick({}));
  }
  CHECK(same_turns(order, model));
}
