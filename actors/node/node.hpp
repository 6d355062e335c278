#pragma once

#include "actors/apps/app_registry.hpp"
#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/node_protocol.hpp"
#include "messages/transfer_protocol.hpp"

#include <caf/actor_system.hpp>

#include <functional>

namespace astra {

/// Spawns a node: it beats to its home Resource, decides on claims, runs replicas and admits requests to them.  It
/// publishes itself as `node_service(options.name)` and runs until its owner sends it an exit message; (stop_atom,
/// limit) drains it first.
/// @param contents Finds whom to ask for what replicas need of contents; it may be another one each time.  Null, or
///   finding none: this node has no contents.
/// @pre `validate(options)` returned no error; `apps` outlives the actor.
node_actor spawn_node(caf::actor_system& sys, platform& world, const node_options& options, const app_registry& apps,
                      std::function<content_source()> contents = {});

} // namespace astra
