#pragma once

#include "p2p/content.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace astra {

/// An HTTP server that has the files of a content, too, and where on it they are.
struct origin_url {
  bool tls = false;
  /// Name or address, an IPv6 one without brackets.
  std::string host;
  std::uint16_t port = 80;
  /// Begins with '/'.
  std::string path;
  /// With its '?'; empty: there is none.
  std::string query;
  bool operator==(const origin_url&) const = default;
};

/// What is wrong with an URL of an origin and the cure; empty: nothing.
std::string origin_problem(std::string_view url);
/// Nothing when it has a problem.
std::optional<origin_url> parse_origin(std::string_view url);

/// For people, without the query, which may be a secret of the server's.
std::string to_string(const origin_url& url);

/// Of one file: URL/path; of a content's only file the URL itself, unless that ends with '/'.
origin_url file_url(const origin_url& origin, const p2p::content& what, const p2p::content_file& file);

/// Where a server sends on to; nothing when that is no HTTP.
std::optional<origin_url> redirected(const origin_url& from, std::string_view location);

} // namespace astra
