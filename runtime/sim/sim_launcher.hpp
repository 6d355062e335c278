#pragma once

#include "messages/platform_protocol.hpp"
#include "runtime/sim/process_model.hpp"

#include <caf/actor_system.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace astra::sim {

/// The processes of one boot, and the two actors that stand in front of them.  The launcher keeps the timer for both:
/// without it there are no processes and nothing is ever due.
struct machine_processes {
  explicit machine_processes(process_model what) : model(std::move(what)) {}

  /// Tells the actors what a change from outside of them brought: call it after every one.
  void settle();

  process_model model;
  /// Send a message to the actor; null while there is none.
  std::function<void()> wake_launcher;
  std::function<void()> wake_http;
  /// When the launcher's timer goes off; nothing: it has none.
  std::optional<process_model::time_point> armed;
  /// A message to the actor is on its way.
  bool launcher_woken = false;
  bool http_woken = false;
};

/// Spawns the launcher of a simulated machine: to its clients it is the live one (runtime/process/launcher_client.hpp).
/// The processes of an actor that ends are killed; when the launcher ends, because its process does, all processes
/// are gone.  It runs until its owner sends it an exit message.
/// @pre there is no other launcher for `processes`.
launcher_actor spawn_sim_launcher(caf::actor_system& sys, std::shared_ptr<machine_processes> processes);

} // namespace astra::sim
