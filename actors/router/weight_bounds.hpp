#pragma once

#include <algorithm>
#include <cmath>

namespace astra {

/// Bounds for what is reported, far outside of what machines are, so that no product or sum of weights can overflow or
/// vanish.
constexpr double least_reported = 1e-3;
constexpr double most_reported = 1e6;

/// What is no number says nothing: it counts as `low`.
inline double bounded(double value, double low, double high) {
  return std::isnan(value) ? low : std::clamp(value, low, high);
}

} // namespace astra
