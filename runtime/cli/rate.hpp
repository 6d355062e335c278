#pragma once

#include "config/units.hpp"

#include <cstdint>
#include <string>
#include <string_view>

// Bytes per second as people write and read them.

namespace astra {

/// Reads a size or a number of bits, per second: "10GB/s", "1.5GiB/s", "800Mbit/s"; "none" is 0.
quantity<std::uint64_t> parse_rate(std::string_view text);

/// The shortest exact text that parse_rate reads back: "10GB/s", "none".
std::string format_rate(std::uint64_t bytes_per_s);

} // namespace astra
