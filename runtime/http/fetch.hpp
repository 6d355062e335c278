#pragma once

#include "messages/http_call.hpp"

#include <caf/expected.hpp>

namespace astra {

/// Makes one HTTP call and waits for its answer.  For the command line, which has nothing else to do; actors ask the
/// platform's http client.
/// Fails as http_client_actor does (messages/platform_protocol.hpp), but never with cancelled.
caf::expected<http_answer> fetch(const http_call& call);

} // namespace astra
