#pragma once

#include "runtime/sim/process_model.hpp"
#include "runtime/sim/sim_http.hpp"
#include "runtime/sim/sim_launcher.hpp"
#include "test/support/actor_fixture.hpp"

#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace astra::test {

/// What an owner of processes was told, in order: "started 1", "refused 1 spawn_failed", "exited 1 killed".
struct owner_log {
  std::vector<std::string> lines;
  std::map<std::uint64_t, process_exited> ends;
  std::map<std::uint64_t, caf::error> refusals;
  std::map<std::uint64_t, std::int32_t> pids;
};

/// An owner that passes launches on to a launcher.
using owner_actor = process_owner::extend<caf::result<void>(launch_process)>;

inline owner_actor spawn_owner(caf::actor_system& sys, launcher_actor launcher, std::shared_ptr<owner_log> log) {
  return sys.spawn([launcher, log](owner_actor::pointer self) -> owner_actor::behavior_type {
    return {
        [log](const process_exited& event) {
          log->lines.push_back("exited " + std::to_string(event.key.value()) + " " + to_string(event.end));
          log->ends[event.key.value()] = event;
        },
        [self, launcher, log](const launch_process& what) {
          auto key = what.key.value();
          self->request(launcher, std::chrono::minutes{1}, what)
              .then(
                  [log, key](const process_started& event) {
                    log->lines.push_back("started " + std::to_string(key));
                    log->pids[key] = event.pid;
                  },
                  [log, key](const caf::error& reason) {
                    log->lines.push_back("refused " + std::to_string(key) + " "
                                         + to_string(static_cast<errc>(reason.code())));
                    log->refusals[key] = reason;
                  });
        },
    };
  });
}

/// Simulated processes on the test coordinator: "sleep" works for 1000 s, "cat" for 90 ms, "web" serves with 90 ms per
/// request; all start within 9 ms.
class process_fixture : public actor_fixture {
public:
  process_fixture() : process_fixture(0.0, 0.0) {}

  process_fixture(double crash, double hang) {
    auto program = [&](std::string command, nanoseconds service, bool serves) {
      sim::sim_app app;
      app.command = std::move(command);
      app.serves = serves;
      app.behaviour.start_min = app.behaviour.start_max = 9ms;
      app.behaviour.service_min = app.behaviour.service_max = service;
      app.behaviour.crash = crash;
      app.behaviour.hang = hang;
      app.work_milli = 1;
      return app;
    };
    sim::process_model_options options;
    options.apps = std::make_shared<const sim::sim_app_table>(
        sim::sim_app_table{program("sleep", 1000s, false), program("cat", 90ms, false), program("web", 90ms, true)});
    processes = std::make_shared<sim::machine_processes>(sim::process_model{sim::draws{1}, 1, 1, options, now()});
    launcher = own(sim::spawn_sim_launcher(sys, processes));
    http = own(sim::spawn_sim_http(sys, processes));
    owner = own(spawn_owner(sys, launcher, log));
    run();
  }

  launch_process command(std::vector<std::string> words, std::uint64_t key = 1) {
    launch_process what;
    what.key = process_key{key};
    what.command = std::move(words);
    what.output_limit_bytes = 1 << 20;
    return what;
  }

  launch_process server(std::uint16_t port, std::uint64_t key = 1) {
    auto what = command({"web"}, key);
    what.environment = {"PORT=" + std::to_string(port)};
    what.output_is_log = true;
    return what;
  }

  void launch(launch_process what) {
    caf::anon_send(owner, std::move(what));
    run();
  }

  void kill_process_of(std::uint64_t key, caf::timespan grace = 0s) {
    caf::anon_send(launcher, kill_process{process_key{key}, grace, "test"});
    run();
  }

  std::shared_ptr<sim::machine_processes> processes;
  launcher_actor launcher;
  http_client_actor http;
  std::shared_ptr<owner_log> log = std::make_shared<owner_log>();
  owner_actor owner;
};

} // namespace astra::test
