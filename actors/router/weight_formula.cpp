#include "actors/router/weight_formula.hpp"

#include "actors/router/seed_formula.hpp"
#include "actors/router/water_formula.hpp"

namespace astra {

std::unique_ptr<weight_formula> make_weight_formula(pb::WeightFormula which, const weight_horizon& horizon) {
  switch (which) {
  case pb::WEIGHT_FLAT:
    return std::make_unique<water_formula>(false, horizon);
  case pb::WEIGHT_FAST:
    return std::make_unique<water_formula>(true, horizon);
  default:
    return std::make_unique<seed_formula>();
  }
}

} // namespace astra
