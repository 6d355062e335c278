#pragma once

#include "messages/http_exchange.hpp"

#include <caf/expected.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace astra {

struct http_client_info;
class tls_context;

/// How much a client may send with one request.
struct http_body_rule {
  std::uint64_t limit_bytes = 0;
  /// The answer to more; none: 413.
  std::optional<http_response> refusal;
};

struct http_server_options {
  /// "host:port"; port 0: chosen by the kernel.
  std::string listen = "127.0.0.1:0";
  /// A larger body is answered 413.
  std::uint64_t body_limit_bytes = 64 * 1024 * 1024;
  /// Asked when the headers of a request are complete, on the server's thread: what of `body_limit_bytes` this client
  /// may use for it.  Unset: all of it.
  std::function<http_body_rule(std::string_view method, std::string_view target, const http_client_info&)> body_rule;
  /// Bodies that are on their way at the same time, all together; more are answered 503.  0: four of the largest, and
  /// 64 MiB at least.
  std::uint64_t bodies_bytes_max = 0;
  /// A longer request line plus headers is answered 431.
  std::uint64_t header_limit_bytes = 16 * 1024;
  /// A connection over this takes the place of one that waits for a request and comes from an address that has more of
  /// those than the newcomer's has connections; if there is none, it is answered 503 and closed.
  std::uint32_t connections_max = 1024;
  /// A connection that sends or takes nothing for this long is closed, and a request whose headers are not complete
  /// by then is answered 408.  So is a body that comes, and an answer that is taken, at less than 1 KiB/s over this
  /// time.  Waiting for the handler's answer does not count.
  std::chrono::milliseconds idle_timeout{60000};
  /// Set: HTTPS at `listen`.  Clients may do without a certificate; who they are is in client_info.hpp.
  std::shared_ptr<tls_context> tls;
  /// A TLS handshake that takes longer is cut.
  std::chrono::milliseconds handshake_timeout{5000};
  /// Path of a Unix socket to listen on as well, mode 0600; empty: none.  What is there is replaced.
  std::string unix_path;
};

/// The body of every error answer: {"error":{"code":...,"message":...}}.
/// @pre neither text needs escaping in JSON.
std::string plain_error_body(std::string_view code, std::string_view message);

/// HTTP/1.1 server with one thread of its own: keep-alive, pipelining (requests of one connection are handled one by
/// one, so answers keep their order), HEAD, chunked bodies and Expect: 100-continue.  What is not HTTP is answered
/// with a 4xx in JSON and never reaches the handler.
class http_server {
public:
  /// Called on the server's thread for every request; must not block or throw.
  using handler = std::function<void(http_exchange_ptr)>;

  /// Listens and serves.  Every request tells who has sent it (client_info.hpp).  Fails with io_failed (address in use,
  /// not an address).
  static caf::expected<std::unique_ptr<http_server>> start(const http_server_options& options, handler handle);

  /// Stops at once.
  ~http_server();

  std::uint16_t port() const;
  /// "host:port" with the bound port.
  std::string address() const;

  /// Accepts no more connections.  Idle ones are closed, the others after their next answer.
  void close();

  /// After close(): waits until the last connection is gone, at most for `limit`; tells whether it is.
  bool wait(std::chrono::milliseconds limit);

  /// Closes whatever is open and ends the thread.  Pending exchanges count as gone.
  void stop();

private:
  class core;
  explicit http_server(std::shared_ptr<core> impl);

  std::shared_ptr<core> core_;
};

} // namespace astra
