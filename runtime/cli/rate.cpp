#include "runtime/cli/rate.hpp"

#include <fmt/format.h>

namespace astra {

quantity<std::uint64_t> parse_rate(std::string_view text) {
  constexpr std::string_view per_second = "/s";
  constexpr std::string_view bits = "bit";
  if (text == "none")
    return {0, {}};
  auto wrong = [&](std::string_view why) -> quantity<std::uint64_t> {
    return {std::nullopt, fmt::format("'{}' {}; write such as 10GB/s, 800Mbit/s, 1.5GiB/s or none", text, why)};
  };
  auto amount = text;
  if (!amount.ends_with(per_second))
    return wrong("is not a rate");
  amount.remove_suffix(per_second.size());
  std::string size{amount};
  auto in_bits = amount.ends_with(bits);
  if (in_bits)
    size.replace(size.size() - bits.size(), bits.size(), "B");
  auto read = parse_size(size);
  if (!read.value)
    return wrong("is not a rate");
  auto value = in_bits ? *read.value / 8 : *read.value;
  if (value == 0)
    return wrong("would let nothing through");
  return {value, {}};
}

std::string format_rate(std::uint64_t bytes_per_s) {
  return bytes_per_s == 0 ? "none" : format_size(bytes_per_s) + "/s";
}

} // namespace astra
