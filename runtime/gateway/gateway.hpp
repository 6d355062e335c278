#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"
#include "runtime/gateway/gateway_actor.hpp"

#include <caf/actor_system.hpp>
#include <caf/expected.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace astra {

class http_server;
class tls_context;

/// How clients get in, next to plain TCP.
struct gateway_doors {
  /// Set: HTTPS instead of plain HTTP.
  std::shared_ptr<tls_context> tls;
  /// Path of a Unix socket for whoever may open it; empty: none.
  std::string unix_path;
};

/// A running gateway: the HTTP server and the actor behind it.
class gateway {
public:
  /// Listens for HTTP and hands every request to `actor`, which the gateway owns from now on.  Fails with io_failed
  /// when it cannot listen; the actor is ended then.
  static caf::expected<gateway> start(caf::actor_system& sys, const gateway_options& options, gateway_actor actor,
                                      gateway_doors doors = {});

  gateway(gateway&&) noexcept;
  gateway& operator=(gateway&&) noexcept;
  /// Stops at once.
  ~gateway();

  std::uint16_t port() const;
  /// "host:port" with the bound port.
  std::string address() const;
  const gateway_actor& actor() const;

  /// Not ready from now on: /readyz and new invokes get 503, those under way go on.
  void drain();

  /// Drains, accepts no more connections, waits at most `limit` for the answers under way and ends everything.  What
  /// has no answer by then gets 503.  Returns within `limit` and a second.
  void stop(std::chrono::milliseconds limit);

private:
  gateway(caf::actor_system& sys, std::unique_ptr<http_server> server, gateway_actor actor);

  caf::actor_system* sys_;
  std::unique_ptr<http_server> server_;
  gateway_actor actor_;
};

/// Where a gateway keeps its tasks.
struct gateway_tasks {
  /// Null: nowhere.
  std::shared_ptr<task_keeper> keeper;
  /// Why nowhere; empty: nobody wanted it.
  std::string problem;
};

/// Spawns a gateway's actor with the routers of actors/router.
/// @param narrow_view `view` has only the nodes that hold replicas of `options.apps`.
/// @pre `validate(routers)` returned no error; `world` outlives the actor.
gateway_actor spawn_gateway(caf::actor_system& sys, platform& world, const router_options& routers, view_source view,
                            std::string process_name, const gateway_options& options = {}, bool narrow_view = false,
                            gateway_tasks tasks = {});

} // namespace astra
