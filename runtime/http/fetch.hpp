#pragma once

#include "messages/http_call.hpp"

#include <caf/expected.hpp>

#include <memory>
#include <string>

namespace astra {

class tls_context;

/// How a call gets to its server, when not by plain TCP.
struct fetch_door {
  /// Path of a Unix socket; host and port of the call are then only names.
  std::string unix_path;
  /// Set: HTTPS.  The server must show a certificate with the role gateway.
  std::shared_ptr<tls_context> tls;
};

/// Makes one HTTP call and waits for its answer.  For the command line, which has nothing else to do; actors ask the
/// platform's http client.
/// Fails as http_client_actor does (messages/platform_protocol.hpp), but never with cancelled.
caf::expected<http_answer> fetch(const http_call& call);
caf::expected<http_answer> fetch(const http_call& call, const fetch_door& door);

} // namespace astra
