#include "actors/router/weight_formula.hpp"

#include "actors/random.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using namespace astra;

namespace {

constexpr std::array formulas{pb::WEIGHT_SEED, pb::WEIGHT_FLAT, pb::WEIGHT_FAST, pb::WEIGHT_EVEN};

double strange(random_source& random) {
  constexpr std::array values{0.0,
                              -0.0,
                              1.0,
                              -1.0,
                              1e308,
                              -1e308,
                              1e6,
                              1e-6,
                              std::numeric_limits<double>::denorm_min(),
                              std::numeric_limits<double>::infinity(),
                              -std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::quiet_NaN()};
  auto which = random.below(2 * values.size());
  return which < values.size() ? values[which] : 1000.0 * random.unit() - 10.0;
}

} // namespace

TEST_CASE("every weight and every term of it is finite, and the weight positive, however wrong the report") {
  for (auto kind : formulas) {
    // One that lives on: what it remembers of one disaster must not spoil the next.
    auto formula = make_weight_formula(kind, {});
    random_source random{1};
    for (int round = 0; round < 20'000; ++round) {
      std::vector<weight_input> nodes(random.below(9));
      for (auto& node : nodes)
        node = {strange(random), strange(random), strange(random), strange(random), strange(random),
                strange(random), strange(random), strange(random), strange(random)};
      std::vector<double> weights(nodes.size(), -1.0);
      formula->weigh(nodes, weights);
      for (std::size_t i = 0; i < nodes.size(); ++i) {
        CAPTURE(formula->name());
        CAPTURE(round);
        REQUIRE(std::isfinite(weights[i]));
        REQUIRE(weights[i] > 0.0);
        auto alone = formula->weight(nodes[i]);
        REQUIRE(std::isfinite(alone));
        REQUIRE(alone > 0.0);
        for (auto& [name, value] : formula->terms(nodes[i])) {
          CAPTURE(name);
          REQUIRE(std::isfinite(value));
        }
      }
    }
  }
}

TEST_CASE("idle nodes share in proportion to what they can do, by every formula but round robin") {
  for (auto kind : formulas) {
    if (kind == pb::WEIGHT_EVEN)
      continue;
    auto formula = make_weight_formula(kind, {});
    std::vector<weight_input> nodes(2);
    nodes[0].cores = 4;
    nodes[0].slots = 1;
    nodes[1].cores = 12;
    nodes[1].slots = 3;
    std::vector<double> weights(2);
    formula->weigh(nodes, weights);
    CAPTURE(formula->name());
    CHECK(weights[1] / weights[0] == doctest::Approx(3.0).epsilon(1e-3));
  }
}

TEST_CASE("a formula is named as in an app's file") {
  CHECK(make_weight_formula(pb::WEIGHT_SEED, {})->name() == "seed");
  CHECK(make_weight_formula(pb::WEIGHT_FLAT, {})->name() == "flat");
  CHECK(make_weight_formula(pb::WEIGHT_FAST, {})->name() == "fast");
  CHECK(make_weight_formula(pb::WEIGHT_EVEN, {})->name() == "even");
}
