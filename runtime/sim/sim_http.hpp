#pragma once

#include "messages/platform_protocol.hpp"
#include "runtime/sim/sim_launcher.hpp"

#include <caf/actor_system.hpp>

#include <memory>

namespace astra::sim {

/// Spawns the HTTP client of a simulated machine: it reaches the servers among `processes` on the loopback interface,
/// and nobody else.  Runs until its owner sends it an exit message; pending calls then fail as cancelled.
/// @pre there is no other client for `processes`.
http_client_actor spawn_sim_http(caf::actor_system& sys, std::shared_ptr<machine_processes> processes);

} // namespace astra::sim
