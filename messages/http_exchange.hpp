#pragma once

#include "messages/http_call.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

// Conversation between the HTTP server of a process and the actor that answers for it.  Never leaves the process.

namespace astra {

struct http_request {
  /// As sent: "GET".
  std::string method;
  /// Path and query, as sent.
  std::string target;
  /// In the order they came; names in lower case.
  http_headers headers;
  std::shared_ptr<const std::string> body;

  /// Value of the first header of this (lower case) name; empty when there is none.
  std::string_view header(std::string_view name) const {
    for (auto& [key, value] : headers)
      if (key == name)
        return value;
    return {};
  }
};

struct http_response {
  std::uint16_t status = 200;
  std::string content_type = "application/json";
  /// Besides Content-Type, Content-Length and Connection, which the server writes.
  http_headers headers;
  std::string body;
};

/// A request that a client waits on.  Whoever drops the last reference without having answered leaves the client with
/// a 500, never hanging.
class http_exchange {
public:
  virtual ~http_exchange() = default;

  virtual const http_request& request() const = 0;

  /// From any thread.  The first answer counts; returns false for any later one.
  virtual bool answer(http_response response) = 0;

  /// Has `what` called, at most once and on a thread of the server, when the client goes away before its answer; at
  /// once when it has gone already.  One callback per exchange.
  virtual void on_gone(std::function<void()> what) = 0;
};

using http_exchange_ptr = std::shared_ptr<http_exchange>;

} // namespace astra
