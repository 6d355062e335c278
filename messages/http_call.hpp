#pragma once

#include <caf/timespan.hpp>

#include <cstdint>
#include <memory>
#include <string>

// Conversation with the HTTP client of a process.  Never leaves the process.

namespace astra {

struct http_call {
  /// IP address or name.
  std::string host;
  std::uint16_t port = 0;
  std::string method = "GET";
  /// Path and query.
  std::string target = "/";
  std::shared_ptr<const std::string> body;
  std::string content_type;
  /// For the whole call, connecting included.  A call without time fails at once.
  caf::timespan timeout{0};
  /// 0: 64 MiB.
  std::uint64_t response_limit_bytes = 0;
  /// Number that the caller chose, for http_abort; unique among its own calls.  0: not abortable.
  std::uint64_t id = 0;
};

struct http_answer {
  std::uint16_t status = 0;
  std::string body;
  std::string content_type;
};

/// Ends a call of the sender: its connection is closed and its request fails with errc::cancelled.
struct http_abort {
  std::uint64_t id = 0;
};

} // namespace astra
