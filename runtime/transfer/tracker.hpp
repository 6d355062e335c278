#pragma once

#include "actors/platform.hpp"
#include "messages/transfer_protocol.hpp"

#include <caf/actor_system.hpp>

#include <string>

namespace astra {

/// Spawns the tracker of a process: it knows from the reports of nodes who holds and wants what of the contents that it
/// answers for, and tells them whom to talk to.  It keeps nothing: another one that is asked in its place knows all of
/// it after a second.  It publishes itself as `tracker_service` and runs until its owner sends it an exit message.
tracker_actor spawn_tracker(caf::actor_system& sys, platform& world, const std::string& name);

} // namespace astra
