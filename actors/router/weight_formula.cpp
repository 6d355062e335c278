#include "actors/router/weight_formula.hpp"

#include "actors/router/seed_formula.hpp"
#include "actors/router/water_formula.hpp"

#include <algorithm>

namespace astra {
namespace {

/// Round robin.
class even_formula final : public weight_formula {
public:
  std::string_view name() const override { return "even"; }
  void weigh(std::span<const weight_input>, std::span<double> weights) override { std::ranges::fill(weights, 1.0); }
  double weight(const weight_input&) const override { return 1.0; }
  weight_terms terms(const weight_input&) const override { return {}; }
};

} // namespace

std::unique_ptr<weight_formula> make_weight_formula(pb::WeightFormula which, const weight_horizon& horizon) {
  switch (which) {
  case pb::WEIGHT_FLAT:
    return std::make_unique<water_formula>(false, horizon);
  case pb::WEIGHT_FAST:
    return std::make_unique<water_formula>(true, horizon);
  case pb::WEIGHT_EVEN:
    return std::make_unique<even_formula>();
  default:
    return std::make_unique<seed_formula>();
  }
}

} // namespace astra
