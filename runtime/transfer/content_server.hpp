#pragma once

#include "messages/transfer_protocol.hpp"
#include "runtime/http/server.hpp"

#include <caf/actor_system.hpp>
#include <caf/expected.hpp>

#include <functional>
#include <memory>
#include <string>

namespace astra {

/// Where apps of this machine read contents of a node, also while they are fetched.
struct content_server {
  std::unique_ptr<http_server> http;
  /// "http://127.0.0.1:PORT/TOKEN": only who was told the token is answered.
  std::string url;
};

/// Serves, on the loopback interface, at a port that the kernel chooses:
///
///   GET, HEAD /TOKEN/contents/NAME@VERSION/PATH    a file or a range of it; each part when it is there and verified
///   GET, HEAD /TOKEN/contents/NAME@VERSION/        which files there are
///
/// Fails with io_failed when it cannot listen.
/// @param keeper Finds who keeps the contents; it may be another one each time, or null.  Called on any thread.
/// @pre `sys` outlives the server.
caf::expected<content_server> start_content_server(caf::actor_system& sys,
                                                   std::function<content_keeper_actor()> keeper);

} // namespace astra
