#pragma once

#include "runtime/net/frame_guard.hpp"
#include "runtime/net/hello.hpp"
#include "runtime/net/network_thread.hpp"
#include "runtime/net/tls.hpp"
#include "runtime/process/unique_fd.hpp"

#include <caf/actor_system.hpp>
#include <caf/fwd.hpp>
#include <caf/io/fwd.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace astra {

/// One session with another process, as seen from any thread.
struct session {
  using clock = std::chrono::steady_clock;

  std::uint64_t id = 0;
  hello peer;
  peer_identity identity;
  bool dialled = false;
  /// Of the peer's certificate; empty: plain TCP.
  std::string fingerprint;
  /// Seconds of the system clock at which the peer's certificate ends, and ours of this session; 0: plain TCP.
  std::int64_t peer_expires_at = 0;
  std::int64_t own_expires_at = 0;
  /// A session of a node: rare keep-alives.
  bool edge = false;
  clock::time_point since{};
  /// Nanoseconds of the steady clock; written by CAF's network thread.
  std::atomic<std::int64_t> last_in = 0;
  std::atomic<std::int64_t> last_out = 0;
  std::atomic<std::uint64_t> frames_in = 0;
  std::atomic<std::uint64_t> bytes_in = 0;
  std::atomic<std::uint64_t> bytes_out = 0;
  /// Bytes that wait for the peer to take them.
  std::atomic<std::uint64_t> backlog = 0;
  /// Both handshakes of CAF's protocol are through.
  std::atomic<bool> live = false;
  std::atomic<bool> ended = false;

  /// The first reason stays.
  void end(violation why, const std::string& reason);
  std::pair<violation, std::string> end_reason() const;

private:
  mutable std::mutex mutex_;
  violation why_ = violation::none;
  std::string reason_;
};

using session_ptr = std::shared_ptr<session>;

/// A scribe of CAF's BASP broker over a socket that has been greeted: it checks each frame before the broker sees it,
/// bounds what waits for the peer, and runs TLS.
struct scribe_parts {
  session_ptr about;
  unique_fd fd;
  /// Null: plain TCP.
  std::unique_ptr<tls_session> tls;
  frame_guard guard;
  /// More than this waiting for the peer ends the session, in bytes.
  std::size_t most_backlog = 0;
  /// The scribe has left the broker, for a reason that `about` tells.  On CAF's network thread.
  std::function<void()> ended;
};

/// A handle on the scribe for threads other than CAF's network thread.
class session_handle {
public:
  virtual ~session_handle() = default;
  /// For CAF's broker; once.
  virtual caf::io::scribe_ptr take() = 0;
  /// Ends the session at once.  From any thread; nothing happens when it has ended.
  virtual void cut(violation why, const std::string& reason) = 0;
  /// Sends a frame that only says: still here.
  virtual void keep_alive() = 0;
};

std::shared_ptr<session_handle> make_session_scribe(caf::actor_system& sys, std::shared_ptr<network_thread> network,
                                                    scribe_parts parts);

/// Whether CAF still has a route to the process.  Call on CAF's network thread, see `network_thread`.
bool has_route(caf::actor_system& sys, const caf::node_id& node);

/// The handle of an actor of another process that there is a session with.
caf::strong_actor_ptr proxy_of(caf::actor_system& sys, const caf::node_id& node, caf::actor_id actor);

} // namespace astra
