#include "actors/router/water_filling.hpp"

#include "actors/random.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

using namespace astra;

namespace {

using node = water_filling::node;

std::vector<double> solve(water_filling& filling, const std::vector<node>& nodes, double arrivals,
                          water_filling::setting how = {}) {
  std::vector<double> weights(nodes.size());
  filling.solve(nodes, arrivals, how, weights);
  return weights;
}

std::vector<node> some_nodes(random_source& random, std::size_t count) {
  std::vector<node> nodes;
  for (std::size_t i = 0; i < count; ++i) {
    auto slots = 1.0 + static_cast<double>(random.below(16));
    nodes.push_back({slots, std::exp2(4.0 * random.unit() - 2.0),
                     static_cast<double>(random.below(static_cast<std::uint64_t>(2.0 * slots)))});
  }
  return nodes;
}

double capacity(const std::vector<node>& nodes) {
  return std::accumulate(nodes.begin(), nodes.end(), 0.0, [](auto sum, auto& x) { return sum + x.slots * x.rate; });
}

/// The formula as it is written down, with no shortcut.
double arrivals_by_the_book(const node& who, double level, double mean_rate, double beta, double H) {
  auto k = who.slots;
  auto c = who.in_flight;
  auto mu = who.rate;
  auto rel = mu / mean_rate;
  auto s = std::pow(rel, beta);
  auto N = k * std::min(1.0, level * s) + std::max(0.0, level * s - 1.0) * k * rel;
  auto A = mu / (1.0 - std::exp(-mu * H));
  auto occ = std::clamp((A * (N - c * std::exp(-mu * H)) - (N - c) / H) / mu, 0.0, k);
  return std::max(0.0, (N - c) / H + mu * occ);
}

} // namespace

TEST_CASE("the level is such that arrivals add up, and each node's are those of the formula") {
  random_source random{1};
  for (int round = 0; round < 300; ++round) {
    auto nodes = some_nodes(random, 1 + random.below(3000));
    auto load = 0.05 + 1.5 * random.unit();
    auto arrivals = load * capacity(nodes);
    water_filling filling;
    water_filling::setting how{.horizon_s = 0.5 + 5.0 * random.unit(), .prefer_fast = random.below(2) == 0};
    auto weights = solve(filling, nodes, arrivals, how);
    CAPTURE(round);
    REQUIRE(filling.passes() < 40);
    REQUIRE(filling.beta() == doctest::Approx(how.prefer_fast ? std::clamp(6.0 * (1.0 - load), 0.0, 2.0) : 0.0));
    auto sum = 0.0;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      auto wanted = arrivals_by_the_book(nodes[i], filling.level(), filling.mean_rate(), filling.beta(), how.horizon_s);
      sum += wanted;
      auto share = filling.of(nodes[i]);
      auto tolerance = 1e-4 * (nodes[i].slots * nodes[i].rate + nodes[i].in_flight + wanted);
      REQUIRE(std::abs(share.arrivals - wanted) < tolerance);
      REQUIRE(std::abs(share.weight - weights[i]) < tolerance);
      auto floor = 0.01 * arrivals * nodes[i].slots * nodes[i].rate / capacity(nodes);
      REQUIRE(weights[i] >= 0.999 * floor);
      REQUIRE(weights[i] <= std::max(wanted, floor) + tolerance);
    }
    REQUIRE(std::abs(sum - arrivals) < 2e-3 * arrivals);
  }
}

TEST_CASE("flat: all nodes come to stand at the same share of their slots, one that is too full gets next to nothing") {
  std::vector<node> nodes{{4, 1.0, 0}, {8, 1.0, 0}, {8, 1.0, 8}};
  water_filling filling;
  auto weights = solve(filling, nodes, 8.0);
  // The empty ones need more than what their slots say, the full one less.
  CHECK(weights[1] == doctest::Approx(2.0 * weights[0]).epsilon(1e-3));
  CHECK(weights[2] < weights[1]);
  nodes[2].in_flight = 100;
  weights = solve(filling, nodes, 8.0);
  CHECK(weights[2] == doctest::Approx(0.01 * 8.0 * 8.0 / 20.0));
}

TEST_CASE("fast: an idle cluster prefers fast nodes, a full one treats them by what they complete") {
  std::vector<node> nodes{{4, 2.0, 0}, {4, 0.5, 0}};
  water_filling filling;
  auto idle = solve(filling, nodes, 0.1, {.prefer_fast = true});
  auto level = solve(filling, nodes, 0.1, {.prefer_fast = false});
  CHECK(idle[0] / idle[1] > 4.0 * level[0] / level[1]);
  auto full = solve(filling, nodes, 10.0, {.prefer_fast = true});
  CHECK(filling.beta() == 0.0);
  CHECK(full[0] / full[1] == doctest::Approx(solve(filling, nodes, 10.0)[0] / solve(filling, nodes, 10.0)[1]));
}

TEST_CASE("routers that see the same add up: from any state one horizon leads to the level") {
  // The state after the horizon, by the fluid model that the formula is made from.
  std::vector<node> nodes{{4, 1.0, 0}, {16, 0.5, 14}, {8, 2.0, 2}};
  water_filling filling;
  water_filling::setting how{.horizon_s = 2.0};
  auto arrivals = 0.6 * capacity(nodes);
  solve(filling, nodes, arrivals, how);
  for (auto& who : nodes) {
    auto share = filling.of(who);
    auto in_flight = who.in_flight;
    constexpr auto steps = 20000;
    for (int i = 0; i < steps; ++i)
      in_flight += (share.arrivals - who.rate * std::min(in_flight, who.slots)) * how.horizon_s / steps;
    CHECK(in_flight == doctest::Approx(share.target).epsilon(0.01));
  }
}

TEST_CASE("a level that was found before is found again in a few passes") {
  random_source random{2};
  auto nodes = some_nodes(random, 5000);
  auto arrivals = 0.7 * capacity(nodes);
  water_filling filling;
  solve(filling, nodes, arrivals, {.prefer_fast = true});
  for (int refresh = 0; refresh < 20; ++refresh) {
    for (auto& who : nodes)
      if (random.below(4) == 0)
        who.in_flight = std::max(0.0, who.in_flight + static_cast<double>(random.below(3)) - 1.0);
    solve(filling, nodes, arrivals * (0.97 + 0.06 * random.unit()), {.prefer_fast = true});
    CHECK(filling.passes() <= 5);
  }
}

TEST_CASE("no node, no arrivals, far too many arrivals") {
  water_filling filling;
  CHECK(solve(filling, {}, 5.0).empty());
  for (auto arrivals : {0.0, -1.0, 1e300, std::nan("")}) {
    auto weights = solve(filling, {{4, 1.0, 0}, {4, 1.0, 3}}, arrivals);
    CHECK(weights[0] >= weights[1]);
    CHECK(weights[1] > 0.0);
    CHECK(std::isfinite(weights[0]));
  }
}
