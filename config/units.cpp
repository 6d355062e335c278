#include "config/units.hpp"

#include "config/spelling.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace astra {

namespace {

struct unit {
  std::string_view name;
  /// In the smallest unit of its table.
  std::uint64_t scale;
};

// In microseconds, so that "us" can be read and refused for the right reason.
constexpr std::array duration_units{
    unit{"d", 86'400'000'000}, unit{"h", 3'600'000'000}, unit{"m", 60'000'000}, unit{"min", 60'000'000},
    unit{"s", 1'000'000},      unit{"ms", 1'000},        unit{"us", 1},
};

constexpr std::array fine_duration_units{
    unit{"d", 86'400'000'000'000}, unit{"h", 3'600'000'000'000}, unit{"m", 60'000'000'000}, unit{"min", 60'000'000'000},
    unit{"s", 1'000'000'000},      unit{"ms", 1'000'000},        unit{"us", 1'000},         unit{"ns", 1},
};

constexpr std::array size_units{
    unit{"TiB", 1ull << 40},
    unit{"GiB", 1ull << 30},
    unit{"MiB", 1ull << 20},
    unit{"KiB", 1ull << 10},
    unit{"TB", 1'000'000'000'000},
    unit{"GB", 1'000'000'000},
    unit{"MB", 1'000'000},
    unit{"kB", 1'000},
    unit{"B", 1},
};

struct format_help {
  std::span<const unit> units;
  /// "a duration", and a text that shows the notation.
  std::string_view what;
  std::string_view example;
  /// The unit to propose when there is none.
  std::string_view common;
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string names_of(std::span<const unit> units) {
  std::string result;
  for (auto& one : units)
    result += (result.empty() ? "" : ", ") + std::string{one.name};
  return result;
}

/// "did you mean '8GiB'?" for "8gib", "8Gi" and the like, or the list of units.
std::string unit_cure(std::string_view number, std::string_view name, const format_help& help) {
  std::vector<std::string> names;
  for (auto& one : help.units)
    names.emplace_back(one.name);
  auto near = closest(name, names);
  if (near)
    return "did you mean '" + std::string{number} + *near + "'?";
  return "use one of " + names_of(help.units);
}

/// Reads number and unit exactly, as a count of the table's smallest unit; fractions of it are refused.
quantity<std::uint64_t> parse_count(std::string_view text, const format_help& help) {
  auto fail = [](std::string problem) { return quantity<std::uint64_t>{std::nullopt, std::move(problem)}; };
  auto written = "'" + std::string{text} + "'";
  auto such_as = " such as \"" + std::string{help.example} + "\"";
  if (!text.empty() && text.front() == '-')
    return fail(written + " is negative; write " + std::string{help.what} + such_as);
  std::size_t whole_end = 0;
  while (whole_end < text.size() && is_digit(text[whole_end]))
    ++whole_end;
  auto number_end = whole_end;
  if (number_end + 1 < text.size() && text[number_end] == '.' && is_digit(text[number_end + 1])) {
    ++number_end;
    while (number_end < text.size() && is_digit(text[number_end]))
      ++number_end;
  }
  if (whole_end == 0)
    return fail(written + " is not " + std::string{help.what} + "; write a number and a unit," + such_as);
  auto number = text.substr(0, number_end);
  auto name = text.substr(number_end);
  if (name.empty())
    return fail(written + " has no unit; write \"" + std::string{number} + std::string{help.common}
                + "\" or another of " + names_of(help.units));
  const unit* found = nullptr;
  for (auto& one : help.units)
    if (one.name == name)
      found = &one;
  if (!found)
    return fail("unknown unit '" + std::string{name} + "' in " + written + "; " + unit_cure(number, name, help));

  auto too_large = [&] { return fail(written + " is too large"); };
  constexpr auto max = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t count = 0;
  for (auto c : text.substr(0, whole_end)) {
    auto digit = static_cast<std::uint64_t>(c - '0') * found->scale;
    if (count > max / 10 || count * 10 > max - digit)
      return too_large();
    count = count * 10 + digit;
  }
  // Nine digits: a second has that many nanoseconds.
  auto digits = whole_end < number_end ? text.substr(whole_end + 1, number_end - whole_end - 1) : std::string_view{};
  while (!digits.empty() && digits.back() == '0')
    digits.remove_suffix(1);
  std::uint64_t numerator = 0;
  std::uint64_t denominator = 1;
  bool exact = digits.size() <= 9;
  for (auto c : exact ? digits : std::string_view{}) {
    numerator = numerator * 10 + static_cast<std::uint64_t>(c - '0');
    denominator *= 10;
  }
  // What a decimal scale and the denominator have in common is taken out, so that the product fits 64 bits.
  auto scale = found->scale;
  for (; denominator > 1 && scale % 10 == 0; denominator /= 10)
    scale /= 10;
  exact = exact && numerator <= max / scale && numerator * scale % denominator == 0;
  auto fraction = exact ? numerator * scale / denominator : 0;
  if (!exact)
    return fail(written + " is finer than " + std::string{help.units.back().name} + "; round it");
  if (count > max - fraction)
    return too_large();
  return {count + fraction, {}};
}

/// The shortest text; the first unit wins among equals.
std::string format_count(std::uint64_t count, std::span<const unit> units) {
  std::string best;
  for (auto& one : units) {
    if (count % one.scale != 0)
      continue;
    auto text = std::to_string(count / one.scale) + std::string{one.name};
    if (best.empty() || text.size() < best.size())
      best = text;
  }
  return best;
}

} // namespace

quantity<std::chrono::milliseconds> parse_duration(std::string_view text) {
  constexpr format_help help{duration_units, "a duration", "200ms", "s"};
  auto count = parse_count(text, help);
  if (!count.value)
    return {std::nullopt, count.problem};
  if (*count.value % 1000 != 0)
    return {std::nullopt, "'" + std::string{text} + "' is finer than a millisecond; write at least \"1ms\""};
  if (*count.value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / 1000)
    return {std::nullopt, "'" + std::string{text} + "' is too large; a duration ends at 292 years"};
  return {std::chrono::milliseconds{*count.value / 1000}, {}};
}

std::string format_duration(std::chrono::milliseconds value) {
  if (value.count() == 0)
    return "0s";
  return format_count(static_cast<std::uint64_t>(value.count()) * 1000, duration_units);
}

quantity<std::chrono::nanoseconds> parse_fine_duration(std::string_view text) {
  auto count = parse_count(text, {fine_duration_units, "a duration", "200us", "s"});
  if (!count.value)
    return {std::nullopt, count.problem};
  if (*count.value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return {std::nullopt, "'" + std::string{text} + "' is too large; a duration ends at 292 years"};
  return {std::chrono::nanoseconds{*count.value}, {}};
}

std::string format_fine_duration(std::chrono::nanoseconds value) {
  return value.count() == 0 ? "0s" : format_count(static_cast<std::uint64_t>(value.count()), fine_duration_units);
}

quantity<std::uint64_t> parse_size(std::string_view text) {
  return parse_count(text, {size_units, "a size", "8GiB", "B"});
}

std::string format_size(std::uint64_t bytes) {
  return bytes == 0 ? "0B" : format_count(bytes, size_units);
}

quantity<std::uint32_t> parse_cores(double cores) {
  if (!std::isfinite(cores) || cores < 0.001 || cores > 100'000)
    return {std::nullopt, "must be between 0.001 and 100000 cores"};
  return {static_cast<std::uint32_t>(std::llround(cores * 1000)), {}};
}

std::string format_cores(std::uint32_t milli) {
  auto text = std::to_string(milli / 1000);
  if (milli % 1000 == 0)
    return text;
  auto fraction = std::to_string(1000 + milli % 1000).substr(1);
  while (fraction.back() == '0')
    fraction.pop_back();
  return text + "." + fraction;
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.95 would be printed as 1024.0 of the smaller unit.
  while (value >= 1023.95 && unit + 1 < units.size()) {
    value /= 1024.0;
    ++unit;
  }
  auto tenths = std::lround(value * 10.0);
  if (unit == 0 || tenths % 10 == 0)
    return fmt::format("{} {}", tenths / 10, units[unit]);
  return fmt::format("{}.{} {}", tenths / 10, tenths % 10, units[unit]);
}

std::string human_rate(std::uint64_t bytes_per_s) {
  auto value = static_cast<double>(bytes_per_s);
  auto text = [&](std::string_view unit) { return fmt::format("{:.{}f} {}", value, value < 9.95 ? 1 : 0, unit); };
  if (bytes_per_s < 1000)
    return fmt::format("{} B/s", bytes_per_s);
  for (auto unit : {"B/s", "kB/s", "MB/s", "GB/s"}) {
    // 999.6 would be printed as 1000 of the smaller unit.
    if (value < 999.5)
      return text(unit);
    value /= 1000.0;
  }
  return text("TB/s");
}

} // namespace astra
