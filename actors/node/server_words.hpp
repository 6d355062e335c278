#pragma once

#include "messages/http_call.hpp"
#include "messages/wire/route.pb.h"

#include <caf/error.hpp>

#include <cstdint>
#include <string>

namespace astra {

// What the answers of an app's HTTP server, and the last words of a process, mean.

/// Largest answer of a server.
inline constexpr std::uint64_t response_limit_bytes = 64 * 1024 * 1024;

pb::InvokeReply reply_of(http_answer& answer);

/// Of a call that failed.  INVOKE_NOT_STARTED: the server accepts no connection.
pb::InvokeReply reply_of(const caf::error& reason);

/// Whether a call that failed had been accepted by a server.
bool was_connected(const caf::error& reason);

/// The last line that a process logged, for a reason; at most 200 bytes.
std::string last_words(const std::string& log_tail);

} // namespace astra
