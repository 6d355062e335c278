#pragma once

#include "actors/platform.hpp"
#include "runtime/incarnation_file.hpp"
#include "runtime/net/directory.hpp"
#include "runtime/net/reading_lag.hpp"

#include <caf/actor_system.hpp>

#include <memory>
#include <mutex>
#include <set>
#include <string>

namespace astra {

/// What a live platform is made of.
struct live_parts {
  /// "host:port" where the directory is published.
  std::string address;
  std::shared_ptr<service_table> services;
  dialer_actor dialer;
  /// Null in processes that run no replicas.
  launcher_actor launcher;
  http_client_actor http;
  std::unique_ptr<machine_probe> machine;
  std::shared_ptr<incarnation_file> incarnations;
  /// Null in processes that host no app schedulers.
  std::unique_ptr<app_store> apps;
  std::unique_ptr<reading_lag> reading;
};

/// The real world: CAF's network, processes, HTTP, /proc and files.
class live_platform : public platform {
public:
  explicit live_platform(live_parts parts);
  ~live_platform() override;

  /// Sends exit messages to the dialer, the launcher and the HTTP client.  The platform itself stays usable until the
  /// last actor that knows it has ended.
  void end_actors();

  std::string address() const override { return parts_.address; }
  void publish(std::string_view service, caf::strong_actor_ptr target) override;
  void withdraw(std::string_view service) override;
  std::uint64_t seed(std::string_view stream) override;
  std::chrono::milliseconds wall_time() override;
  incarnation next_incarnation_after(incarnation other) override { return parts_.incarnations->next_after(other); }
  dialer_actor dialer() override { return parts_.dialer; }
  launcher_actor launcher() override { return parts_.launcher; }
  http_client_actor http() override { return parts_.http; }
  /// From below the kernel's ephemeral range, so that no outgoing connection takes the port before the replica does.
  std::uint16_t reserve_port() override;
  void release_port(std::uint16_t port) override;
  std::chrono::nanoseconds unread() override { return parts_.reading->measure(); }
  std::string program() const override;
  machine_probe& machine() override { return *parts_.machine; }
  app_store& apps() override;

private:
  live_parts parts_;
  std::uint64_t process_seed_;
  std::mutex mutex_;
  std::set<std::uint16_t> ports_;
  std::uint64_t port_draws_ = 0;
};

} // namespace astra
