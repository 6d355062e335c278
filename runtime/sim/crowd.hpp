#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"

#include <caf/actor_system.hpp>

#include <cstdint>

namespace astra::sim {

/// Spawns one actor that beats for `count` nodes, each to its own home Resource by rendezvous hashing, with phases
/// spread over the heartbeat interval: for clusters too large for an actor per node.  The nodes have the options' name
/// with "/1" to "/count" behind it; they claim nothing, run nothing and serve nothing, and move to the next Resource
/// when theirs is silent.
void spawn_crowd(caf::actor_system& sys, platform& world, const node_options& options, std::uint32_t count);

} // namespace astra::sim
