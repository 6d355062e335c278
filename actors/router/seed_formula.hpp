#pragma once

#include "actors/router/weight_formula.hpp"

#include <span>
#include <string_view>

namespace astra {

/// The `seed` formula, cores x log(remaining) x utilisation / concurrency, in a form that is defined for idle, cold and
/// saturated nodes.  Per node, with averages and not instants:
///
///     r  = clamp(1 - host utilisation, 0, 1)              remaining share of the machine
///     L  = ln(1 + 100 r) / ln 101                         0 when nothing remains, 1 when all does
///     e0 = sum of U / sum of C over all nodes             busy cores per request in the cluster
///     e  = (U + k e0) / (C + k), k = 1                    the same of this node, pulled towards e0 while it has little
///                                                         to tell (C = 0, U = 0, just joined)
///     w  = max(0.001 coef e0, coef L e), coef = cores x performance coefficient
///
/// U are own busy cores, C is concurrency.  The weight of a saturated node stays above zero, so that it is still asked
/// now and then and its recovery is noticed.
class seed_formula final : public weight_formula {
public:
  std::string_view name() const override { return "seed"; }
  void weigh(std::span<const weight_input> nodes, std::span<double> weights) override;
  double weight(const weight_input& node) const override;
  weight_terms terms(const weight_input& node) const override;

private:
  /// e0 of the last time.
  double mean_ = 1.0;
};

} // namespace astra
