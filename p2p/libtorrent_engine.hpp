#pragma once

#include "p2p/engine.hpp"
#include "p2p/peer_tls.hpp"

#include <functional>
#include <memory>
#include <string>

namespace astra::p2p {

struct libtorrent_options {
  /// An address of this machine, IPv4 or IPv6; it is also the one connections go out from.
  std::string listen_address = "0.0.0.0";
  /// 0: the kernel chooses; `listening` tells.
  std::uint16_t listen_port = 0;
  /// uTP besides TCP: slower by far on a clean path, and the only way through most NATs.  Only who is punched is
  /// dialled by it.  Anybody may then ask where he is seen, by a ping of the DHT; contents are not in a DHT.
  bool utp = false;
  /// Called, from any thread, when there is something to drain.  It must not call the engine.
  std::function<void()> notify;
  /// With it there are no connections but over TLS, in either direction, and `listening` tells of the port for those;
  /// null: in the clear.  The addresses of contents are the same.
  std::shared_ptr<peer_tls> tls = {};
};

/// An engine on one session of libtorrent, for all contents of a node.
///
/// libtorrent 2.0.8 opens sockets and files without O_CLOEXEC: whoever starts other programs beside it closes their
/// descriptors in between.
std::unique_ptr<engine> make_libtorrent_engine(libtorrent_options options);

} // namespace astra::p2p
