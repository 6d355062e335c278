#pragma once

#include "messages/http_exchange.hpp"
#include "runtime/http/client_info.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace astra {

/// Hands certificates out over HTTP, from the authority in a directory.  Reads and writes files: it blocks.  Safe for
/// use from several threads.
class join_desk {
public:
  explicit join_desk(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// POST /v1/join {"token": ..., "csr": ...}: one certificate for a token.  The answer has "certificate", "ca" (PEM)
  /// and "expires" (seconds of the system clock).
  http_response join(const http_request& request, std::int64_t now) const;

  /// POST /v1/renew {"csr": ...}: a new certificate of the same kind for the one that the client shows.
  http_response renew(const http_request& request, const http_client_info& client, std::int64_t now) const;

private:
  const std::filesystem::path directory_;
};

} // namespace astra
