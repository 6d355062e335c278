#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/aggregator_protocol.hpp"

#include <caf/actor_system.hpp>

namespace astra {

/// Spawns an aggregator, one per host or rack: the home of the nodes that are told of it.  It passes their beats on to
/// one Resource, all in one message per tick, and what that Resource asks of them back to them; their profiles go
/// through it one by one.  It persists nothing and answers no beat while it has no Resource, so its nodes turn to
/// another aggregator, or to a Resource, when it cannot help them.  It publishes itself as `aggregator_service` and
/// runs until its owner sends it an exit message.
/// @pre `validate(options)` returned no error.
aggregator_actor spawn_aggregator(caf::actor_system& sys, platform& world, const aggregator_options& options);

} // namespace astra
