#include "runtime/cli/human.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstddef>

namespace astra {

std::string human_duration(std::chrono::milliseconds d) {
  auto ms = d.count();
  if (ms < 0)
    return "-" + human_duration(-d);
  if (ms < 1000)
    return fmt::format("{}ms", ms);
  // Truncated, not rounded: 59.97 s is not yet a minute.
  if (ms < 60'000)
    return ms % 1000 < 100 ? fmt::format("{}s", ms / 1000) : fmt::format("{}.{}s", ms / 1000, ms % 1000 / 100);
  auto s = ms / 1000;
  if (s < 3600)
    return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86'400)
    return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
  return fmt::format("{}d{:02}h", s / 86'400, s % 86'400 / 3600);
}

std::string human_number(double x) {
  auto text = fmt::format("{:.2f}", x);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.')
    text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string human_share(double x) {
  return fmt::format("{:.0f} %", x * 100.0);
}

} // namespace astra
