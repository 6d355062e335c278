#include "runtime/process/launcher_client.hpp"

#include "messages/errc.hpp"
#include "runtime/process/spawn_child.hpp"

#include <caf/actor_cast.hpp>
#include <caf/error.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace astra {
namespace {

/// The launcher's interface and what its own thread tells it.
using launcher_impl = launcher_actor::extend<caf::result<void>(process_started), caf::result<void>(process_exited)>;

/// Carries events from the client's thread into the mailbox.
class mailbox_listener : public launcher_listener {
public:
  explicit mailbox_listener(const launcher_impl& target) : target_(caf::actor_cast<caf::weak_actor_ptr>(target)) {}

  void on_started(const process_started& event) override { send(event); }
  void on_exited(process_exited event) override { send(std::move(event)); }

private:
  template <class Event>
  void send(Event event) {
    if (auto target = caf::actor_cast<launcher_impl>(target_))
      caf::anon_send(target, std::move(event));
  }

  caf::weak_actor_ptr target_;
};

std::string sentence(const caf::error& error) {
  auto context = error.context();
  return context.match_elements<std::string>() ? context.get_as<std::string>(0) : to_string(error);
}

class launcher_state {
public:
  static constexpr const char* name = "astra.launcher";

  launcher_state(launcher_impl::pointer self, launcher_client* client) : self_(self), client_(client) {}

  ~launcher_state() { client_->listen(nullptr); }

  launcher_impl::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_owner_down(down.source); });
    client_->listen(std::make_shared<mailbox_listener>(launcher_impl{self_}));
    return {
        [this](const launch_process& what) { return launch(what); },
        [this](const kill_process& what) { client_->kill(what); },
        [](const resolve_command& what) { return resolve(what); },
        [this](const process_started& event) { on_started(event); },
        [this](process_exited& event) { on_exited(std::move(event)); },
    };
  }

private:
  struct running_process {
    caf::actor_addr owner;
    caf::typed_response_promise<process_started> promise;
  };

  caf::result<process_started> launch(const launch_process& what) {
    auto owner = self_->current_sender();
    auto promise = self_->make_response_promise<process_started>();
    auto accepted = client_->launch(what);
    if (!accepted) {
      // A key in use belongs to a process that will send its own end.
      if (accepted.error() == errc::conflict) {
        promise.deliver(accepted.error());
        return promise;
      }
      process_exited event;
      event.key = what.key;
      event.end = process_end::refused;
      event.reason = sentence(accepted.error());
      promise.deliver(caf::make_error(errc::spawn_failed, event.reason));
      tell(owner, std::move(event));
      return promise;
    }
    auto address = caf::actor_cast<caf::actor_addr>(owner);
    if (owner && owned_[address]++ == 0)
      self_->monitor(address);
    running_.emplace(what.key, running_process{address, promise});
    return promise;
  }

  static caf::result<std::string> resolve(const resolve_command& what) {
    std::string error;
    auto path = find_command(what.name, find_in_environment(make_environment(what.environment), "PATH"), error);
    if (!error.empty())
      return caf::make_error(errc::unknown_name, error);
    return path;
  }

  void on_started(const process_started& event) {
    auto found = running_.find(event.key);
    if (found != running_.end())
      found->second.promise.deliver(event);
  }

  void on_exited(process_exited event) {
    auto found = running_.find(event.key);
    if (found == running_.end())
      return;
    auto process = std::move(found->second);
    running_.erase(found);
    // Not answered yet: it ended before it began.
    if (process.promise.pending())
      process.promise.deliver(caf::make_error(errc::spawn_failed, event.reason));
    auto owner = owned_.find(process.owner);
    if (owner != owned_.end() && --owner->second == 0) {
      self_->demonitor(process.owner);
      owned_.erase(owner);
    }
    tell(caf::actor_cast<caf::strong_actor_ptr>(process.owner), std::move(event));
  }

  void on_owner_down(const caf::actor_addr& owner) {
    owned_.erase(owner);
    for (auto& [key, process] : running_)
      if (process.owner == owner)
        client_->kill({key, caf::timespan{0}, "its owner ended"});
  }

  void tell(const caf::strong_actor_ptr& owner, process_exited event) {
    if (owner)
      self_->send(caf::actor_cast<process_owner>(owner), std::move(event));
  }

  launcher_impl::pointer self_;
  launcher_client* client_;
  std::map<process_key, running_process> running_;
  /// Running processes per owner.
  std::map<caf::actor_addr, std::size_t> owned_;
};

} // namespace

launcher_actor spawn_launcher_actor(caf::actor_system& sys, launcher_client& client) {
  return sys.spawn<launcher_impl::stateful_impl<launcher_state>>(&client);
}

} // namespace astra
