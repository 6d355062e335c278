#pragma once

#include "config/options.hpp"
#include "messages/ids.hpp"
#include "runtime/net/directory.hpp"
#include "runtime/net/hello.hpp"
#include "runtime/net/tls.hpp"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/expected.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace astra {

/// One session, for operators and tests.
struct session_info {
  std::uint64_t id = 0;
  std::string peer;
  std::string roles;
  std::string address;
  bool dialled = false;
  bool live = false;
  bool tls = false;
  std::chrono::milliseconds age{};
  std::uint64_t frames_in = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t backlog = 0;
};

/// All sessions of a process with others: through here goes every byte that processes of a cluster exchange.  It dials
/// and listens, knows who is at the other end, keeps one session per process, keeps it alive and ends it.  CAF gets
/// sockets that are greeted and frames that are checked, and opens none itself.
class session_layer {
public:
  struct options {
    net_options net;
    peer_identity self;
    incarnation life;
    /// Null: plain TCP.
    std::shared_ptr<tls_context> tls;
    /// A Resource knows a newer life of this process, which must stop.  Called on any thread.
    std::function<void(const std::string& reason)> fenced = [](const std::string&) {};
  };

  /// Call before the actor system starts: it gets the CAF id that follows from who the process is, and CAF's own
  /// keep-alives are off.
  static void prepare(caf::actor_system_config& config, const peer_identity& self, incarnation life);

  /// @pre `sys` was configured with `prepare`.
  session_layer(caf::actor_system& sys, options how, std::shared_ptr<service_table> services);
  ~session_layer();
  session_layer(const session_layer&) = delete;
  session_layer& operator=(const session_layer&) = delete;

  /// Listens and begins to answer.  Fails with io_failed, naming the key of the file.
  caf::expected<void> start(const directory_actor& directory);

  /// "host:port" that others dial.
  const std::string& address() const;

  /// For the dialer: (connect_atom, host, port, service) -> node_id, the peer's directory, nothing.
  caf::actor connector() const;

  std::vector<session_info> sessions() const;

  /// Sockets that are not sessions yet.
  std::size_t strangers() const;

  /// Certificates were read anew: sessions with revoked ones end.
  void certificates_changed();

  /// Ends the sessions there are now.  Whoever needs one dials again.
  void cut_all(const std::string& reason);

  /// Ends all sessions, at the latest after `limit`, whatever the network does.
  void stop(std::chrono::milliseconds limit);

private:
  class impl;
  std::shared_ptr<impl> impl_;
};

/// Services that a peer may be asked for, by what its identity says: a node only for itself.
bool may_offer(const peer_identity& peer, const std::string& service);

} // namespace astra
