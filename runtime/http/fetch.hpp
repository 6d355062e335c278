#pragma once

#include "messages/http_call.hpp"

#include <caf/expected.hpp>

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

namespace astra {

class tls_context;

/// How a call gets to its server, when not by plain TCP.
struct fetch_door {
  /// Path of a Unix socket; host and port of the call are then only names.
  std::string unix_path;
  /// Set: HTTPS.  The server must show a certificate with the role gateway.
  std::shared_ptr<tls_context> tls;
  /// Whoever the context trusts will do: a server on the web has no role.
  bool any_server = false;
  /// Asked every 50 ms: true ends the call as cancelled.  Null: nobody gives up.
  std::function<bool()> given_up;
};

/// Makes one HTTP call and waits for its answer.  For the command line, which has nothing else to do; actors ask the
/// platform's http client.
/// Fails as http_client_actor does (messages/platform_protocol.hpp), but never with cancelled.
caf::expected<http_answer> fetch(const http_call& call);
caf::expected<http_answer> fetch(const http_call& call, const fetch_door& door);

/// Takes the next piece of a body; false: no more of it is wanted.
using body_sink = std::function<bool(std::string_view piece)>;

/// The same for an answer that comes in pieces: the body of a 200 goes to `sink` as it comes and is left out of the
/// result.  The call's timeout is then the longest wait for the next piece, and its limit does not count.  Fails with
/// io_failed when the answer ends before it is complete, with cancelled when the sink says so.
caf::expected<http_answer> fetch(const http_call& call, const fetch_door& door, const body_sink& sink);

/// Who takes an answer whose body may be larger than memory.
struct body_reader {
  /// Told of status and headers before the first piece; false: no body is wanted.
  std::function<bool(const http_answer& head)> head;
  /// The body, whatever the status is.
  body_sink sink;
  /// Ends the call as cancelled, from any thread; a name that is being resolved is waited for.
  std::stop_token stop;
};

/// As above.
caf::expected<http_answer> fetch(const http_call& call, const fetch_door& door, const body_reader& reader);

} // namespace astra
