#pragma once

#include "messages/http_call.hpp"

#include <caf/expected.hpp>

#include <cstdint>
#include <functional>
#include <memory>

namespace astra {

/// HTTP/1.1 client with one thread of its own.  Connections are kept for a second and used again for the same host
/// and port.  A call whose kept connection turns out to be closed is sent again on a new one only when its method
/// may be repeated (GET, HEAD, PUT, DELETE); a POST then fails with io_failed, because the server may have seen it.
class http_caller {
public:
  /// Called on the caller's thread; must not block or throw.  Fails as documented at http_client_actor.
  using callback = std::function<void(caf::expected<http_answer>)>;

  http_caller();

  /// Pending calls end as cancelled.  Waits for a name resolution under way, which the system's resolver bounds.
  ~http_caller();

  http_caller(const http_caller&) = delete;
  http_caller& operator=(const http_caller&) = delete;

  /// Starts a call; `done` is called exactly once.  From any thread.
  /// @pre `ticket` is not 0 and was never used with this caller.
  void call(std::uint64_t ticket, http_call what, callback done);

  /// Ends a call as cancelled; nothing happens when it is over.  From any thread.
  void abort(std::uint64_t ticket);

private:
  class core;
  std::shared_ptr<core> core_;
};

} // namespace astra
