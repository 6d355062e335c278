#include "config/endpoint.hpp"

#include <charconv>
#include <system_error>

namespace astra {

namespace {

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/// Four numbers up to 255: what starts with "127." may still be a host's name.
bool is_ipv4(std::string_view host) {
  int parts = 0;
  while (!host.empty()) {
    auto dot = host.find('.');
    auto part = host.substr(0, dot);
    std::uint8_t value = 0;
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc{} || end != part.data() + part.size())
      return false;
    ++parts;
    if (dot == std::string_view::npos)
      break;
    host.remove_prefix(dot + 1);
  }
  return parts == 4;
}

} // namespace

std::optional<endpoint> parse_endpoint(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos)
    return std::nullopt;
  auto host = text.substr(0, colon);
  auto port = text.substr(colon + 1);
  endpoint result;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (host.find(':') == std::string_view::npos || host.find_first_not_of("0123456789abcdefABCDEF:.") != host.npos)
      return std::nullopt;
  } else {
    for (auto c : host)
      if (!is_host_character(c))
        return std::nullopt;
  }
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), result.port);
  if (host.empty() || host.size() > 253 || error != std::errc{} || end != port.data() + port.size())
    return std::nullopt;
  result.host = host;
  return result;
}

std::string to_string(const endpoint& address) {
  auto host = address.host.find(':') == std::string::npos ? address.host : '[' + address.host + ']';
  return host + ':' + std::to_string(address.port);
}

bool is_loopback(const endpoint& address) {
  return address.host == "localhost" || address.host == "::1"
         || (address.host.starts_with("127.") && is_ipv4(address.host));
}

bool is_wildcard(const endpoint& address) {
  return address.host == "0.0.0.0" || address.host == "::" || address.host == "*";
}

} // namespace astra
