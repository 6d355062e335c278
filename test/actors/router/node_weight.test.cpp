#include "actors/router/node_weight.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cmath>
#include <limits>

using namespace astra;

namespace {

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

TEST_CASE("every weight is finite and positive, however wrong the report") {
  auto strange =
      rc::gen::oneOf(rc::gen::element(0.0, -0.0, 1.0, -1.0, 1e308, -1e308, std::numeric_limits<double>::denorm_min(),
                                      std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                                      std::numeric_limits<double>::quiet_NaN()),
                     rc::gen::map(rc::gen::inRange(-1000, 100000), [](int x) { return x / 100.0; }));
  CHECK(rc::check([strange] {
    std::vector<weight_input> nodes(static_cast<std::size_t>(*rc::gen::inRange(0, 9)));
    for (auto& node : nodes)
      node = {*strange, *strange, *strange, *strange, *strange};
    auto weights = seed_weights(nodes);
    RC_ASSERT(weights.size() == nodes.size());
    for (auto& weight : weights) {
      RC_ASSERT(std::isfinite(weight.weight));
      RC_ASSERT(weight.weight > 0.0);
      for (auto& [name, value] : weight.terms)
        RC_ASSERT(std::isfinite(value));
    }
  }));
}
