#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace astra {

struct endpoint {
  std::string host;
  std::uint16_t port = 0;
};

/// Parses "host:port"; nothing when it is malformed.
std::optional<endpoint> parse_endpoint(std::string_view text);

/// "host:port".
std::string to_string(const endpoint& where);

} // namespace astra
