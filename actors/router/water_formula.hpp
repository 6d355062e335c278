#pragma once

#include "actors/router/water_filling.hpp"
#include "actors/router/weight_formula.hpp"

#include <span>
#include <string_view>
#include <vector>

namespace astra {

/// The formulas `flat` and `fast`: water filling (see there) with the arrivals that the nodes report.  `flat` levels
/// utilisation, `fast` prefers fast nodes while there is room.
class water_formula final : public weight_formula {
public:
  water_formula(bool prefer_fast, const weight_horizon& horizon);

  std::string_view name() const override { return setting_.prefer_fast ? "fast" : "flat"; }
  void weigh(std::span<const weight_input> nodes, std::span<double> weights) override;
  double weight(const weight_input& node) const override;
  weight_terms terms(const weight_input& node) const override;

private:
  water_filling::setting setting_;
  water_filling filling_;
  std::vector<water_filling::node> nodes_;
};

} // namespace astra
