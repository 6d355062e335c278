#include "runtime/transfer/origin_url.hpp"

#include "runtime/http/percent.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>
#include <variant>

namespace astra {
namespace {

/// Every node that knows the name reports it.
constexpr std::size_t url_bytes_max = 1024;
constexpr std::size_t host_bytes_max = 253;

bool is_host(std::string_view host, bool v6) {
  return !host.empty() && host.size() <= host_bytes_max && std::ranges::all_of(host, [v6](unsigned char c) {
    return v6 ? std::isxdigit(c) != 0 || c == ':' || c == '.'
              : std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
  });
}

std::variant<origin_url, std::string> read(std::string_view url) {
  if (url.size() > url_bytes_max)
    return fmt::format("has {} bytes; at most {} are taken", url.size(), url_bytes_max);
  if (!std::ranges::all_of(url, [](unsigned char c) { return c > 0x20 && c < 0x7f; }))
    return "has a space or another character that no URL has; write it as %20 and the like";
  origin_url result;
  auto scheme_end = url.find("://");
  auto scheme = std::string{url.substr(0, scheme_end == std::string_view::npos ? 0 : scheme_end)};
  std::ranges::transform(scheme, scheme.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (scheme != "http" && scheme != "https")
    return "must begin with http:// or https://";
  result.tls = scheme == "https";
  result.port = result.tls ? 443 : 80;
  auto rest = url.substr(scheme_end + 3);
  if (rest.find('#') != std::string_view::npos)
    return "has a fragment, which no server sees; leave out # and what follows";
  auto authority = rest.substr(0, rest.find_first_of("/?"));
  rest.remove_prefix(authority.size());
  if (authority.find('@') != std::string_view::npos)
    return "has a user or password, which every node and reader would see; have the server let the nodes in by their "
           "addresses";
  auto v6 = authority.starts_with('[');
  auto host_end = v6 ? authority.find(']') : authority.find(':');
  if (v6 && host_end == std::string_view::npos)
    return "has no ] after the address";
  result.host = authority.substr(v6 ? 1 : 0, host_end == std::string_view::npos ? host_end : host_end - (v6 ? 1 : 0));
  if (!is_host(result.host, v6))
    return "has no good host; write http://HOST/PATH";
  auto port = host_end == std::string_view::npos ? std::string_view{} : authority.substr(host_end + (v6 ? 1 : 0));
  if (port.starts_with(':')) {
    auto [end, error] = std::from_chars(port.data() + 1, port.data() + port.size(), result.port);
    if (error != std::errc{} || end != port.data() + port.size() || result.port == 0)
      return "has no good port; it is a number from 1 to 65535";
  } else if (!port.empty()) {
    return "has no good port; it is a number from 1 to 65535";
  }
  if (!percent_decode(rest))
    return "has a % without two hexadecimal digits; write % itself as %25";
  auto path = rest.substr(0, rest.find('?'));
  result.path = path.empty() ? "/" : path;
  result.query = rest.substr(path.size());
  return result;
}

} // namespace

std::string origin_problem(std::string_view url) {
  auto result = read(url);
  auto* problem = std::get_if<std::string>(&result);
  return problem ? fmt::format("origin '{}' {}", url.substr(0, 100), *problem) : std::string{};
}

std::optional<origin_url> parse_origin(std::string_view url) {
  auto result = read(url);
  if (auto* good = std::get_if<origin_url>(&result))
    return std::move(*good);
  return std::nullopt;
}

std::string to_string(const origin_url& url) {
  auto v6 = url.host.find(':') != std::string::npos;
  auto port = url.port == (url.tls ? 443 : 80) ? std::string{} : fmt::format(":{}", url.port);
  return fmt::format("{}://{}{}{}{}{}", url.tls ? "https" : "http", v6 ? "[" : "", url.host, v6 ? "]" : "", port,
                     url.path);
}

origin_url file_url(const origin_url& origin, const p2p::content& what, const p2p::content_file& file) {
  auto result = origin;
  auto directory = result.path.ends_with('/');
  if (what.files.size() == 1 && !directory)
    return result;
  if (!directory)
    result.path += '/';
  result.path += percent_encoded(file.path, "/");
  return result;
}

std::optional<origin_url> redirected(const origin_url& from, std::string_view location) {
  location = location.substr(0, location.find('#'));
  if (location.find("://") < location.find_first_of("/?"))
    return parse_origin(location);
  auto base = from;
  base.query.clear();
  if (location.starts_with("//"))
    return parse_origin(fmt::format("{}:{}", from.tls ? "https" : "http", location));
  base.path = location.starts_with('/') ? "" : base.path.substr(0, base.path.rfind('/') + 1);
  return parse_origin(to_string(base) + std::string{location});
}

} // namespace astra
