#include "messages/errc.hpp"

#include <array>
#include <cstddef>
#include <iterator>
#include <string_view>

namespace astra {
namespace {

constexpr std::string_view names[] = {
  "none",  "unknown_node", "unknown_app", "unknown_name", "unreachable",      "timed_out",    "fenced",     "conflict",
  "draining", "saturated", "invalid_argument", "spawn_failed", "app_failed", "io_failed", "cancelled",
};
static_assert(std::size(names) == static_cast<std::size_t>(errc::count_));

} // namespace

std::string to_string(errc code) {
  auto index = static_cast<std::size_t>(code);
  return index < std::size(names) ? std::string{names[index]} : "errc(" + std::to_string(index) + ")";
}

bool from_string(caf::string_view name, errc& code) {
  for (std::size_t i = 0; i < std::size(names); ++i) {
    if (names[i] == std::string_view{name.data(), name.size()}) {
      code = static_cast<errc>(i);
      return true;
    }
  }
  return false;
}

bool from_integer(std::underlying_type_t<errc> value, errc& code) {
  if (value >= static_cast<std::underlying_type_t<errc>>(errc::count_))
    return false;
  code = static_cast<errc>(value);
  return true;
}

} // namespace astra
