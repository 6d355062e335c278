#pragma once

#include "actors/platform.hpp"
#include "runtime/net/directory.hpp"
#include "runtime/sim/draw.hpp"
#include "runtime/sim/process_model.hpp"
#include "runtime/sim/sim_disk.hpp"
#include "runtime/sim/sim_launcher.hpp"

#include <caf/actor_system.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

namespace astra::sim {

/// What a simulated platform is made of.
struct sim_machine_parts {
  draws chance{0};
  std::uint32_t machine = 0;
  /// Grows with every start of the machine's process: draws of one boot say nothing about the next.
  std::uint32_t boot = 0;
  /// The machine's own clock, which its actors have as their actor clock.
  std::function<std::chrono::steady_clock::time_point()> clock;
  /// Outlives the platform.
  sim_disk* disk = nullptr;
  process_model_options processes;
  /// "host:port" where the directory is published.
  std::string address;
  std::shared_ptr<service_table> services;
  dialer_actor dialer;
  /// Called when storing takes time: whoever stores stands still for so long.  Null: it takes none.
  std::function<void(std::chrono::nanoseconds)> spend;
};

/// The outside of one boot of one simulated machine.  What only machines with replicas need (launcher, HTTP client) is
/// spawned when it is asked for the first time, on whose machine the asking actor runs.
class sim_platform : public platform {
public:
  /// Ports of replicas, as on a live machine: below the range for outgoing connections.
  static constexpr std::uint16_t port_first = 10240;
  static constexpr std::uint16_t port_count = 22528;

  /// @pre services, dialer, clock and disk are set.
  sim_platform(caf::actor_system& sys, sim_machine_parts parts);
  ~sim_platform() override;

  /// Sends exit messages to the dialer, and to the launcher and the HTTP client if there are any.  All processes are
  /// gone when the launcher has ended.
  void end_actors();

  std::string address() const override { return parts_.address; }
  void publish(std::string_view service, caf::strong_actor_ptr target) override;
  void withdraw(std::string_view service) override;
  std::uint64_t seed(std::string_view stream) override;
  /// A wall clock that began at a fixed date.
  std::chrono::milliseconds wall_time() override;
  /// Nanoseconds of a wall clock that began at a fixed date, or one more than the last one handed out, which is kept
  /// on the disk.
  incarnation next_incarnation_after(incarnation other) override;
  dialer_actor dialer() override { return parts_.dialer; }
  launcher_actor launcher() override;
  http_client_actor http() override;
  std::uint16_t reserve_port() override;
  void release_port(std::uint16_t port) override { ports_.erase(port); }
  std::string program() const override { return "astra"; }
  machine_probe& machine() override { return *probe_; }
  app_store& apps() override { return *apps_; }

  /// The processes that run now, in the order of their launches.
  std::vector<process_model::running_process> running() const { return processes_->model.running(); }

  /// What is drawn from now on comes from these draws.
  void reseed(const draws& chance);

  // Faults, as the process model has them.  They begin at once.
  void crash_processes();
  void hang_processes(std::chrono::nanoseconds length);
  /// For this long no command can be executed.
  void refuse_processes(std::chrono::nanoseconds length);
  void slow_processes(double factor);
  void take_cores(double cores);
  void lose_launcher();

private:
  caf::actor_system& sys_;
  sim_machine_parts parts_;
  std::shared_ptr<machine_processes> processes_;
  std::unique_ptr<machine_probe> probe_;
  std::unique_ptr<app_store> apps_;
  launcher_actor launcher_;
  http_client_actor http_;
  std::set<std::uint16_t> ports_;
  std::uint64_t port_draws_ = 0;
};

} // namespace astra::sim
