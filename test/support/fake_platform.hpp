#pragma once

#include "actors/platform.hpp"
#include "actors/scheduler/revision_log.hpp"

#include <caf/actor_system.hpp>
#include <caf/typed_response_promise.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace astra::test {

/// Services of all processes of one test: (address, service) -> actor.
struct fake_network {
  std::map<std::pair<std::string, std::string>, caf::strong_actor_ptr> services;
  /// Dials of these addresses fail with errc::unreachable.
  std::set<std::string> cut;
};

/// What a test lets a process launcher do: records what it is told and answers when the test says so.
struct fake_launcher_log {
  std::vector<launch_process> launched;
  std::vector<kill_process> killed;
  /// Who launched, by key: where process_exited goes.
  std::map<process_key, process_owner> owners;
  /// Commands that do not exist; everything else resolves to "/bin/NAME".
  std::set<std::string> absent_commands;
  /// Called on each launch, for processes that end by themselves.
  std::function<void(const launch_process&, const process_owner&)> on_launch;
  /// Launches are not answered at all while set.
  bool hold = false;
  std::vector<caf::typed_response_promise<process_started>> held;
  /// Commands that are found but cannot be executed.
  std::set<std::string> broken_commands;
  std::vector<resolve_command> resolved;

  /// Ends a process: sends process_exited to its owner.
  void exit(process_exited event);
};

struct fake_http_log {
  std::vector<http_call> calls;
  /// Answers every call; the default answers 200 with the request's body.
  std::function<caf::result<http_answer>(const http_call&)> answer;
  /// Calls are not answered at all while set.
  bool hold = false;
  std::vector<caf::typed_response_promise<http_answer>> held;
  /// Ids of http_abort.
  std::vector<std::uint64_t> aborted;
};

class fake_probe : public machine_probe {
public:
  machine_sample sample() override { return value; }
  machine_sample value;
};

class fake_app_store : public app_store {
public:
  caf::expected<std::vector<pb::AppSpec>> load() override;
  caf::expected<std::uint64_t> save(const pb::AppSpec& spec, const change_note& note) override;
  caf::expected<void> remove(const std::string& name) override;
  caf::expected<std::vector<pb::AppRevision>> history(const std::string& name) override;
  revision_log log;
  const std::map<std::string, pb::AppSpec>& specs = log.specs();
  /// save and remove fail with errc::io_failed while set.
  bool full = false;
  /// load fails with errc::io_failed while set.
  bool unreadable = false;
  /// Calls of save and remove.
  std::size_t writes = 0;
};

/// The outside world of one process in a test on the test coordinator.
class fake_platform : public platform {
public:
  fake_platform(caf::actor_system& sys, fake_network& network, std::string address);
  ~fake_platform() override;

  std::string address() const override { return address_; }
  void publish(std::string_view service, caf::strong_actor_ptr target) override;
  void withdraw(std::string_view service) override;
  std::uint64_t seed(std::string_view stream) override;
  /// The same in all processes of a test, but for what a test adds to one.
  std::chrono::milliseconds wall_time() override;
  incarnation next_incarnation_after(incarnation other) override {
    last_incarnation = std::max(last_incarnation, other.value()) + 1;
    return incarnation{last_incarnation};
  }
  dialer_actor dialer() override { return dialer_; }
  launcher_actor launcher() override { return launcher_; }
  http_client_actor http() override { return http_; }
  std::uint16_t reserve_port() override;
  void release_port(std::uint16_t port) override { ports.erase(port); }
  std::chrono::nanoseconds unread() override { return unread_for; }
  std::string program() const override { return "/opt/astra"; }
  machine_probe& machine() override { return probe; }
  app_store& apps() override { return store; }

  std::uint64_t last_incarnation = 0;
  std::chrono::nanoseconds unread_for{0};
  std::chrono::milliseconds wall_start{1'700'000'000'000};
  std::set<std::uint16_t> ports;
  fake_probe probe;
  fake_app_store store;
  fake_launcher_log processes;
  fake_http_log http_log;

private:
  caf::actor_system& sys_;
  fake_network& network_;
  std::string address_;
  dialer_actor dialer_;
  launcher_actor launcher_;
  http_client_actor http_;
};

} // namespace astra::test
