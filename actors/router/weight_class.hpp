#pragma once

#include <cstdint>

namespace astra {

/// Weights rounded to 16 steps per octave: one is off by 2.2 % at most.  Nodes whose weights round to the same step are
/// of one class.
namespace weight_class {

constexpr int steps_per_octave = 16;
/// Weights of up to 2^44 ticks.
constexpr int count = 44 * steps_per_octave;

/// The class whose weight is nearest in proportion.
/// @param ticks finite; what is below 1 counts as 1, what is beyond the last class as that.
int nearest(double ticks);

/// @pre 0 <= which < count.
std::int64_t ticks(int which);

/// Whether two weights are further apart than the rounding, 2.2 %.
bool apart(double a, double b);

} // namespace weight_class

} // namespace astra
