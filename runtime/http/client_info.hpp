#pragma once

#include "messages/http_exchange.hpp"
#include "runtime/net/identity.hpp"

#include <optional>
#include <string>

namespace astra {

/// How a request came to the server.
enum class http_door {
  /// Not known; whoever asks may do nothing.
  none,
  /// TCP without TLS.
  plain,
  tls,
  unix_socket,
};

/// Who has sent a request.
struct http_client_info {
  http_door door = http_door::none;
  /// "192.0.2.7:51234", or "uid=1000 pid=4711" on a Unix socket.
  std::string from;
  /// Of the certificate that was shown and verified.
  std::optional<peer_identity> identity;
  /// Of that certificate.
  std::string fingerprint;
};

/// Puts it into the headers of a request, under names that no client can send: ":" cannot stand in a header's name.
void put_client_info(http_headers& headers, const http_client_info& info);

http_client_info client_info_of(const http_request& request);

} // namespace astra
