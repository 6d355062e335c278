#pragma once

#include "messages/platform_protocol.hpp"
#include "messages/process.hpp"

#include <caf/actor_system.hpp>
#include <caf/expected.hpp>

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

namespace astra {

struct launcher_options {
  /// Program that runs launcher_main(launcher_socket) when it gets these arguments.
  std::string program = "/proc/self/exe";
  std::vector<std::string> arguments = {"astra", "__launcher"};
  /// Best way to end and limit trees that may be used: auto, cgroup2, cgroup1, polling.
  std::string backend = "auto";
};

/// What a launcher tells, from a thread of its client.
class launcher_listener {
public:
  virtual ~launcher_listener() = default;
  virtual void on_started(const process_started& event) = 0;
  /// Once per accepted launch.
  virtual void on_exited(process_exited event) = 0;
};

/// The agent's end of a launcher process.  A launcher that dies is replaced, at most once per second; everything it
/// ran is killed and reported as launcher_lost.  Thread-safe.
class launcher_client {
public:
  virtual ~launcher_client() = default;

  /// Pid of the launcher; of the last one while there is none.
  virtual pid_t pid() const = 0;
  /// What enforces memory limits: "cgroup2", "cgroup1" or "polling".
  virtual std::string backend() const = 0;
  /// What ends trees, what limits memory, and why not more; for operators.
  virtual std::string backend_detail() const = 0;

  /// Hands a launch over; the listener hears the rest.  Does not block.
  /// Fails with conflict (the key is in use), invalid_argument or spawn_failed (no launcher, or it is too far behind).
  virtual caf::expected<void> launch(const launch_process& what) = 0;
  /// Does nothing when the key is not running.
  virtual void kill(const kill_process& what) = 0;

  /// Replaces the listener; null: nobody.  When it returns, the former one hears nothing any more, unless this is a
  /// call from within the listener itself.
  virtual void listen(std::shared_ptr<launcher_listener> listener) = 0;

  /// Ends the launcher and every process within a second; what still ran is reported as killed.
  virtual void close() = 0;
};

/// Starts a launcher process and waits until it is ready.  Call it before the actor system exists: the launcher then
/// starts from a small process.
/// Fails with spawn_failed.
caf::expected<std::unique_ptr<launcher_client>> start_launcher(const launcher_options& options = {});

/// Spawns the actor in front of a launcher.  It is the only listener of `client` while it lives.  The processes of an
/// actor that ends are killed.  It runs until its owner sends it an exit message.
/// @pre `client` outlives the actor.
launcher_actor spawn_launcher_actor(caf::actor_system& sys, launcher_client& client);

} // namespace astra
