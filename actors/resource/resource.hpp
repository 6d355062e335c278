#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/resource_protocol.hpp"

#include <caf/actor_system.hpp>

namespace astra {

/// Spawns a Resource: it takes heartbeats, drops nodes that fall silent, arbitrates claims for its nodes and hands
/// out the cluster view.  It persists nothing: what it knows comes back from heartbeats and peers.  It publishes
/// itself as `resource_service` and runs until its owner sends it an exit message.
/// @pre `validate(options)` returned no error.
resource_actor spawn_resource(caf::actor_system& sys, platform& world, const resource_options& options);

} // namespace astra
