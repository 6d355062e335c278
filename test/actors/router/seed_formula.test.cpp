#include "actors/router/seed_formula.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cmath>
#include <string>
#include <vector>

using namespace astra;

namespace {

struct node_weight {
  double weight = 0.0;
  weight_terms terms;
};

std::vector<node_weight> seed_weights(const std::vector<weight_input>& nodes) {
  seed_formula formula;
  std::vector<double> weights(nodes.size());
  formula.weigh(nodes, weights);
  std::vector<node_weight> result;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    CHECK(formula.weight(nodes[i]) == weights[i]);
    result.push_back({weights[i], formula.terms(nodes[i])});
  }
  return result;
}

double term(const node_weight& weight, const std::string& name) {
  for (auto& [key, value] : weight.terms)
    if (key == name)
      return value;
  FAIL("no term " << name);
  return 0.0;
}

weight_input idle(double cores) {
  weight_input result;
  result.cores = cores;
  return result;
}

} // namespace

TEST_CASE("idle nodes weigh what they have: cores times coefficient") {
  auto fast = idle(8);
  fast.coefficient = 2.5;
  auto weights = seed_weights({idle(4), idle(8), fast});
  CHECK(weights[0].weight == doctest::Approx(4.0));
  CHECK(weights[1].weight == doctest::Approx(8.0));
  CHECK(weights[2].weight == doctest::Approx(20.0));
}

TEST_CASE("the terms are those of the formula") {
  // Two nodes: e0 = (3 + 1) / (1 + 3) = 1 core per request.
  weight_input a{.cores = 4, .coefficient = 1, .host_utilisation = 0.5, .own_busy_cores = 3, .concurrency = 1};
  weight_input b{.cores = 4, .coefficient = 1, .host_utilisation = 0.9, .own_busy_cores = 1, .concurrency = 3};
  auto weights = seed_weights({a, b});
  CHECK(term(weights[0], "e0") == doctest::Approx(1.0));
  CHECK(term(weights[0], "L") == doctest::Approx(0.852).epsilon(0.001)); // routing study: L(.5) = .85
  CHECK(term(weights[1], "L") == doctest::Approx(0.520).epsilon(0.001)); // L(.1) = .52
  CHECK(term(weights[0], "e") == doctest::Approx((3.0 + 1.0) / (1.0 + 1.0)));
  CHECK(term(weights[1], "e") == doctest::Approx((1.0 + 1.0) / (3.0 + 1.0)));
  CHECK(weights[0].weight == doctest::Approx(4.0 * term(weights[0], "L") * 2.0));
  CHECK(weights[1].weight == doctest::Approx(4.0 * term(weights[1], "L") * 0.5));
}

TEST_CASE("a saturated node keeps a thousandth of its weight") {
  weight_input full{.cores = 4, .coefficient = 1, .host_utilisation = 1.0, .own_busy_cores = 4, .concurrency = 4};
  auto weights = seed_weights({full});
  CHECK(weights[0].weight == doctest::Approx(0.001 * 4.0));
}

TEST_CASE("more load never makes a node weigh more, all else equal") {
  CHECK(rc::check([] {
    auto load = *rc::gen::inRange(0, 1000);
    auto more = *rc::gen::inRange(load, 1001);
    weight_input a = idle(8);
    a.host_utilisation = load / 1000.0;
    weight_input b = idle(8);
    b.host_utilisation = more / 1000.0;
    auto weights = seed_weights({a, b});
    RC_ASSERT(weights[0].weight >= weights[1].weight);
  }));
}
