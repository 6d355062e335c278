#include "runtime/net/endpoint.hpp"

#include <charconv>

namespace astra {

std::optional<endpoint> parse_endpoint(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0)
    return std::nullopt;
  endpoint result;
  result.host = std::string{text.substr(0, colon)};
  auto digits = text.substr(colon + 1);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), result.port);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty())
    return std::nullopt;
  return result;
}

std::string to_string(const endpoint& where) {
  return where.host + ':' + std::to_string(where.port);
}

} // namespace astra
