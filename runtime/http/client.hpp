#pragma once

#include "messages/platform_protocol.hpp"

#include <caf/actor_system.hpp>

namespace astra {

/// Spawns the HTTP client of a process, the live implementation of platform::http().  Runs until its owner sends it
/// an exit message; pending calls then fail as cancelled.
http_client_actor spawn_http_client(caf::actor_system& sys);

} // namespace astra
