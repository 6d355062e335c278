#include "test/support/fake_platform.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace astra::test {

void fake_launcher_log::exit(process_exited event) {
  auto owner = owners.find(event.key);
  if (owner == owners.end())
    return;
  caf::anon_send(owner->second, std::move(event));
  owners.erase(owner);
}

caf::expected<std::vector<pb::AppSpec>> fake_app_store::load() {
  if (unreadable)
    return caf::make_error(errc::io_failed, "apps.db is damaged");
  std::vector<pb::AppSpec> result;
  for (auto& [name, spec] : specs)
    result.push_back(spec);
  return result;
}

caf::expected<std::uint64_t> fake_app_store::save(const pb::AppSpec& spec, const change_note& note) {
  ++writes;
  if (full)
    return caf::make_error(errc::io_failed, "no space left on device");
  return log.save(spec, note);
}

caf::expected<void> fake_app_store::remove(const std::string& name) {
  ++writes;
  if (full)
    return caf::make_error(errc::io_failed, "no space left on device");
  log.remove(name);
  return {};
}

caf::expected<std::vector<pb::AppRevision>> fake_app_store::history(const std::string& name) {
  return log.history(name);
}

fake_platform::fake_platform(caf::actor_system& sys, fake_network& network, std::string address)
  : sys_(sys), network_(network), address_(std::move(address)) {
  dialer_ = sys.spawn([&network](dialer_actor::pointer) -> dialer_actor::behavior_type {
    return {
        [&network](dial_atom, const std::string& peer,
                   const std::string& service) -> caf::result<caf::strong_actor_ptr> {
          if (network.cut.count(peer) != 0)
            return caf::make_error(errc::unreachable, peer);
          auto found = network.services.find({peer, service});
          if (found == network.services.end())
            return caf::make_error(errc::unreachable, peer);
          return found->second;
        },
    };
  });
  launcher_ = sys.spawn([log = &processes](launcher_actor::pointer self) -> launcher_actor::behavior_type {
    return {
        [self, log](const launch_process& what) -> caf::result<process_started> {
          auto owner = caf::actor_cast<process_owner>(self->current_sender());
          log->launched.push_back(what);
          auto& name = what.command.front();
          auto absent = log->absent_commands.count(name) != 0;
          if (absent || log->broken_commands.count(name) != 0) {
            process_exited event;
            event.key = what.key;
            event.end = process_end::spawn_failed;
            event.reason = name + (absent ? ": command not found" : ": Exec format error");
            auto failure = caf::make_error(errc::spawn_failed, event.reason);
            self->send(owner, std::move(event));
            return failure;
          }
          if (log->hold) {
            log->owners[what.key] = owner;
            log->held.push_back(self->make_response_promise<process_started>());
            return log->held.back();
          }
          log->owners[what.key] = owner;
          if (log->on_launch)
            log->on_launch(what, owner);
          return process_started{what.key, 1000 + static_cast<std::int32_t>(log->launched.size())};
        },
        [log](const kill_process& what) {
          log->killed.push_back(what);
          process_exited event;
          event.key = what.key;
          event.end = process_end::killed;
          event.code = -9;
          event.reason = what.reason;
          log->exit(std::move(event));
        },
        [log](const resolve_command& what) -> caf::result<std::string> {
          log->resolved.push_back(what);
          if (log->absent_commands.count(what.name) != 0)
            return caf::make_error(errc::unknown_name, what.name + ": command not found");
          return what.name.starts_with("/") ? what.name : "/bin/" + what.name;
        },
    };
  });
  http_ = sys.spawn([log = &http_log](http_client_actor::pointer self) -> http_client_actor::behavior_type {
    return {
        [self, log](const http_call& call) -> caf::result<http_answer> {
          log->calls.push_back(call);
          if (log->hold) {
            log->held.push_back(self->make_response_promise<http_answer>());
            return log->held.back();
          }
          if (log->answer)
            return log->answer(call);
          return http_answer{200, call.body ? *call.body : std::string{}, call.content_type};
        },
        [log](const http_abort& call) { log->aborted.push_back(call.id); },
    };
  });
}

fake_platform::~fake_platform() {
  caf::anon_send_exit(dialer_, caf::exit_reason::kill);
  caf::anon_send_exit(launcher_, caf::exit_reason::kill);
  caf::anon_send_exit(http_, caf::exit_reason::kill);
  std::erase_if(network_.services, [this](auto& entry) { return entry.first.first == address_; });
}

void fake_platform::publish(std::string_view service, caf::strong_actor_ptr target) {
  network_.services[{address_, std::string{service}}] = std::move(target);
}

void fake_platform::withdraw(std::string_view service) {
  network_.services.erase({address_, std::string{service}});
}

std::uint64_t fake_platform::seed(std::string_view stream) {
  return name_hash(address_ + "/" + std::string{stream});
}

std::chrono::milliseconds fake_platform::wall_time() {
  return wall_start + std::chrono::duration_cast<std::chrono::milliseconds>(sys_.clock().now().time_since_epoch());
}

std::uint16_t fake_platform::reserve_port() {
  for (std::uint16_t port = 20000; port != 0; ++port)
    if (ports.insert(port).second)
      return port;
  return 0;
}

} // namespace astra::test
