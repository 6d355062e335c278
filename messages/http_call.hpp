#pragma once

#include <caf/timespan.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// Conversation with the HTTP client of a process.  Never leaves the process.

namespace astra {

/// Names as they are written, values without line ends.
using http_headers = std::vector<std::pair<std::string, std::string>>;

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
  /// Next to those that follow from the other fields.
  http_headers headers;
};

struct http_answer {
  std::uint16_t status = 0;
  std::string body;
  std::string content_type;
  /// All of the answer's headers.
  http_headers headers;
};

/// Ends a call of the sender: its connection is closed and its request fails with errc::cancelled.
struct http_abort {
  std::uint64_t id = 0;
};

} // namespace astra
