#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace astra {

/// "host:port", "127.0.0.1:9700" or "[::1]:9700".
struct endpoint {
  /// Without brackets.
  std::string host;
  std::uint16_t port = 0;
};

/// Nothing when the text is not of that form.
std::optional<endpoint> parse_endpoint(std::string_view text);

/// The text that parse_endpoint takes.
std::string to_string(const endpoint& address);

/// Whether only this machine can reach the host: 127.0.0.0/8, ::1 or localhost.
bool is_loopback(const endpoint& address);

/// Whether the host stands for every address of the machine: 0.0.0.0, :: or *.
bool is_wildcard(const endpoint& address);

} // namespace astra
