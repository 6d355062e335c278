#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/router_protocol.hpp"

#include <caf/actor_system.hpp>

#include <string>

namespace astra {

/// Spawns one app's router: it subscribes to `view`, keeps weights and order of the nodes that have replicas of the
/// app, and answers every route_request exactly once.  Any number of routers of one app work side by side.  Runs
/// until its owner sends it an exit message; pending requests are then answered as unavailable.
/// @pre `validate(options)` returned no error.
router_actor spawn_router(caf::actor_system& sys, platform& world, const router_options& options, std::string app,
                          view_source view);

} // namespace astra
