#pragma once

#include "actors/apps/app_registry.hpp"
#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/node_protocol.hpp"

#include <caf/actor_system.hpp>

namespace astra {

/// Spawns a node: it beats to its home Resource, decides on claims, runs replicas and admits requests to them.  It
/// publishes itself as `node_service(options.name)` and runs until its owner sends it an exit message; (stop_atom,
/// limit) drains it first.
/// @pre `validate(options)` returned no error; `apps` outlives the actor.
node_actor spawn_node(caf::actor_system& sys, platform& world, const node_options& options, const app_registry& apps);

} // namespace astra
