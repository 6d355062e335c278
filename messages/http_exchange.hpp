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

/// An answer that is not all there when it begins.  Whoever drops it before its end cuts the connection, so that no
/// client takes what has come for all there is.
class http_stream {
public:
  virtual ~http_stream() = default;

  /// Sends a piece.  `taken` is called once, on a thread of the server, when the client's connection has taken it and
  /// all before it: the time to make the next.  Never once the client has gone.
  virtual void write(std::string piece, std::function<void()> taken) = 0;

  /// That was all.
  virtual void end() = 0;
};

using http_stream_ptr = std::shared_ptr<http_stream>;

/// A request that a client waits on.  Whoever drops the last reference without having answered leaves the client with
/// a 500, never hanging.
class http_exchange {
public:
  virtual ~http_exchange() = default;

  virtual const http_request& request() const = 0;

  /// From any thread.  The first answer counts; returns false for any later one.
  virtual bool answer(http_response response) = 0;

  /// Answers with a body that follows in pieces.  Null when the exchange was answered before.
  /// @param head its body is not used; a Content-Length in it is told to the client, and the pieces have to come to it
  virtual http_stream_ptr begin(http_response head) = 0;

  /// Has `what` called, at most once and on a thread of the server, when the client goes away before the end of its
  /// answer; at once when it has gone already.  One callback per exchange.
  virtual void on_gone(std::function<void()> what) = 0;
};

using http_exchange_ptr = std::shared_ptr<http_exchange>;

} // namespace astra
