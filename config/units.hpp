#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// Quantities as people write them: "200ms", "8GiB", 0.5 cores.

namespace astra {

/// What came of reading a quantity: a value, or what is wrong with the text and the cure.
template <class T>
struct quantity {
  std::optional<T> value;
  std::string problem;
};

/// Reads a number and one unit of us, ms, s, m (or min), h, d: "200ms", "1.5s".  Not negative; finer than a
/// millisecond or beyond 292 years (what CAF's clock can count) is refused.
quantity<std::chrono::milliseconds> parse_duration(std::string_view text);

/// The shortest exact text that parse_duration reads back: "1500ms", "2m", "0s".
/// @pre `value` is not negative.
std::string format_duration(std::chrono::milliseconds value);

/// The same down to a nanosecond, with the unit ns as well: "200us".  For virtual time.
quantity<std::chrono::nanoseconds> parse_fine_duration(std::string_view text);

/// The shortest exact text that parse_fine_duration reads back: "200us", "1500ms", "0s".
/// @pre `value` is not negative.
std::string format_fine_duration(std::chrono::nanoseconds value);

/// Reads a number and one unit, decimal (B, kB, MB, GB, TB) or binary (KiB, MiB, GiB, TiB): "8GiB", "1.5MB".  A
/// fraction of a byte is refused.
quantity<std::uint64_t> parse_size(std::string_view text);

/// The shortest exact text that parse_size reads back: "8GiB", "500MB", "0B".
std::string format_size(std::uint64_t bytes);

/// Turns a number of cores into thousandths, rounded to the nearest; refuses less than 0.001 and more than 100000.
quantity<std::uint32_t> parse_cores(double cores);

/// "4", "0.5".
std::string format_cores(std::uint32_t milli);

// Rounded, for people to read.

/// "512 B", "2.1 GiB", "64 GiB".
std::string human_bytes(std::uint64_t bytes);

/// "3.1 MB/s", "112 MB/s": decimal, as links and limits are.
std::string human_rate(std::uint64_t bytes_per_s);

} // namespace astra
