#include "runtime/sim/sim_launcher.hpp"

#include "messages/errc.hpp"

#include <caf/actor_addr.hpp>
#include <caf/actor_cast.hpp>
#include <caf/disposable.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <variant>

namespace astra::sim {

void machine_processes::settle() {
  auto due = model.next_due();
  auto early = due && (!armed || *due < *armed);
  if (wake_launcher && !launcher_woken && (early || model.has_process_events())) {
    launcher_woken = true;
    wake_launcher();
  }
  if (wake_http && !http_woken && model.has_call_results()) {
    http_woken = true;
    wake_http();
  }
}

namespace {

/// The launcher's interface, and that something has become due.
using launcher_impl = launcher_actor::extend<caf::result<void>(deadline_atom)>;

class launcher_state {
public:
  static constexpr const char* name = "astra.launcher";

  launcher_state(launcher_impl::pointer self, std::shared_ptr<machine_processes> processes)
    : self_(self), processes_(std::move(processes)) {}

  ~launcher_state() {
    timer_.dispose();
    processes_->armed.reset();
    processes_->wake_launcher = nullptr;
    processes_->launcher_woken = false;
    processes_->model.end_all();
    processes_->settle();
  }

  launcher_impl::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_owner_down(down.source); });
    processes_->wake_launcher = [addr = self_->address()] {
      if (auto target = caf::actor_cast<caf::strong_actor_ptr>(addr))
        caf::anon_send(caf::actor_cast<launcher_impl>(target), deadline_atom_v);
    };
    return {
        [this](const launch_process& what) { return launch(what); },
        [this](const kill_process& what) {
          processes_->model.kill(what, now());
          settle();
        },
        [this](const resolve_command& what) -> caf::result<std::string> {
          return processes_->model.resolve(what.name, what.environment);
        },
        [this](deadline_atom) {
          processes_->launcher_woken = false;
          processes_->model.advance(now());
          settle();
        },
    };
  }

private:
  struct running_process {
    caf::actor_addr owner;
    caf::typed_response_promise<process_started> promise;
  };

  process_model::time_point now() const { return self_->clock().now(); }

  caf::result<process_started> launch(const launch_process& what) {
    // Ends that are due free their keys first.
    processes_->model.advance(now());
    settle();
    auto owner = self_->current_sender();
    auto promise = self_->make_response_promise<process_started>();
    auto accepted = processes_->model.launch(what, now());
    if (!accepted) {
      promise.deliver(accepted.error());
      if (accepted.error() != errc::conflict) {
        process_exited event;
        event.key = what.key;
        event.end = process_end::refused;
        event.reason = error_text(accepted.error());
        tell(owner, std::move(event));
      }
      return promise;
    }
    auto address = caf::actor_cast<caf::actor_addr>(owner);
    if (owner && owned_[address]++ == 0)
      self_->monitor(address);
    running_.emplace(what.key, running_process{address, promise});
    settle();
    return promise;
  }

  void on_event(const process_started& event) {
    auto found = running_.find(event.key);
    if (found != running_.end())
      found->second.promise.deliver(event);
  }

  void on_event(process_exited& event) {
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
        processes_->model.kill({key, caf::timespan{0}, "its owner ended"}, now());
    settle();
  }

  void tell(const caf::strong_actor_ptr& owner, process_exited event) {
    if (owner)
      self_->send(caf::actor_cast<process_owner>(owner), std::move(event));
  }

  /// Passes on what happened and sets the timer for what comes next.
  void settle() {
    for (auto& event : processes_->model.take_process_events())
      std::visit([this](auto& what) { on_event(what); }, event);
    auto due = processes_->model.next_due();
    if (due && (!processes_->armed || *due < *processes_->armed)) {
      timer_.dispose();
      processes_->armed = *due;
      timer_ = self_->run_delayed(std::max(caf::timespan{0}, caf::timespan{*due - now()}), [this] {
        processes_->armed.reset();
        processes_->model.advance(now());
        settle();
      });
    }
    processes_->settle();
  }

  launcher_impl::pointer self_;
  std::shared_ptr<machine_processes> processes_;
  caf::disposable timer_;
  std::map<process_key, running_process> running_;
  /// Running processes per owner.
  std::map<caf::actor_addr, std::size_t> owned_;
};

} // namespace

launcher_actor spawn_sim_launcher(caf::actor_system& sys, std::shared_ptr<machine_processes> processes) {
  return sys.spawn<launcher_impl::stateful_impl<launcher_state>>(std::move(processes));
}

} // namespace astra::sim
