#pragma once

#include "config/units.hpp"

#include <chrono>
#include <cstdint>
#include <string>

// Quantities as people read and write them.  Machines get exact numbers through -o json.

namespace astra {

/// "340ms", "3.2s", "3m12s", "5h02m", "3d04h".
std::string human_duration(std::chrono::milliseconds d);

/// "4", "1.5", "0.25": at most two decimals.
std::string human_number(double x);

/// "71 %" of a share in [0, 1].
std::string human_share(double x);

} // namespace astra
