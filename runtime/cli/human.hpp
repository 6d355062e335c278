#pragma once

#include <chrono>
#include <cstdint>
#include <string>

// Quantities as people read and write them.  Machines get exact numbers through -o json.

namespace astra {

/// "340ms", "3.2s", "3m12s", "5h02m", "3d04h".
std::string human_duration(std::chrono::milliseconds d);

/// "512 B", "2.1 GiB", "64 GiB".
std::string human_bytes(std::uint64_t bytes);

/// "4", "1.5", "0.25": at most two decimals.
std::string human_number(double x);

/// "71 %" of a share in [0, 1].
std::string human_share(double x);

} // namespace astra
