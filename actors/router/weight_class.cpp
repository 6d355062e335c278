#include "actors/router/weight_class.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

namespace astra::weight_class {
namespace {

/// 2^(1/32): half a step.
constexpr double half_step = 1.0218971486541166;

/// Weights within one octave, and the bounds above which the next one is nearer.  Made by multiplication alone, so that
/// they are the same in every build.
struct octave {
  std::array<double, steps_per_octave> weight{};
  std::array<double, steps_per_octave> up_to{};
};

constexpr auto steps = [] {
  octave result;
  auto value = 1.0;
  for (std::size_t i = 0; i < steps_per_octave; ++i) {
    result.weight[i] = value;
    result.up_to[i] = value * half_step;
    value *= half_step * half_step;
  }
  return result;
}();

} // namespace

int nearest(double ticks) {
  if (!(ticks > 1.0))
    return 0;
  int exponent = 0;
  auto mantissa = 2.0 * std::frexp(ticks, &exponent);
  auto step = std::upper_bound(steps.up_to.begin(), steps.up_to.end(), mantissa) - steps.up_to.begin();
  // Beyond the last bound the first step of the next octave is nearest.
  auto which = (exponent - 1) * steps_per_octave + static_cast<int>(step);
  return std::min(which, count - 1);
}

std::int64_t ticks(int which) {
  assert(which >= 0 && which < count);
  auto step = static_cast<std::size_t>(which % steps_per_octave);
  return std::llround(std::ldexp(steps.weight[step], which / steps_per_octave));
}

bool apart(double a, double b) {
  return a > b * half_step || b > a * half_step;
}

} // namespace astra::weight_class
