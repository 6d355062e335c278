#include "runtime/sim/sim_http.hpp"

#include "messages/errc.hpp"

#include <caf/actor_addr.hpp>
#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <map>
#include <utility>

namespace astra::sim {
namespace {

/// The client's interface, and that a call is over.
using client_impl = http_client_actor::extend<caf::result<void>(deadline_atom)>;

class client_state {
public:
  static constexpr const char* name = "astra.http_client";

  client_state(client_impl::pointer self, std::shared_ptr<machine_processes> processes)
    : self_(self), processes_(std::move(processes)) {}

  ~client_state() {
    processes_->wake_http = nullptr;
    processes_->http_woken = false;
    processes_->model.forget_calls();
    for (auto& [ticket, call] : pending_)
      call.promise.deliver(caf::make_error(errc::cancelled, "the http client ends"));
  }

  client_impl::behavior_type make_behavior() {
    processes_->wake_http = [addr = self_->address()] {
      if (auto target = caf::actor_cast<caf::strong_actor_ptr>(addr))
        caf::anon_send(caf::actor_cast<client_impl>(target), deadline_atom_v);
    };
    return {
        [this](const http_call& what) { return start(what); },
        [this](const http_abort& what) { abort(what); },
        [this](deadline_atom) {
          processes_->http_woken = false;
          settle();
        },
    };
  }

private:
  /// A sender and the number that it chose.
  using call_owner = std::pair<caf::actor_addr, std::uint64_t>;

  struct pending_call {
    caf::typed_response_promise<http_answer> promise;
    call_owner owner;
  };

  caf::result<http_answer> start(const http_call& what) {
    auto ticket = ++last_ticket_;
    // Before the promise, which takes the sender away.
    call_owner owner{caf::actor_cast<caf::actor_addr>(self_->current_sender()), what.id};
    auto promise = self_->make_response_promise<http_answer>();
    if (what.id != 0)
      tickets_[owner] = ticket;
    pending_.emplace(ticket, pending_call{promise, std::move(owner)});
    processes_->model.call(ticket, what, self_->clock().now());
    settle();
    return promise;
  }

  void abort(const http_abort& what) {
    auto ticket = tickets_.find({caf::actor_cast<caf::actor_addr>(self_->current_sender()), what.id});
    if (ticket == tickets_.end())
      return;
    processes_->model.abort(ticket->second, self_->clock().now());
    settle();
  }

  void settle() {
    for (auto& result : processes_->model.take_call_results()) {
      auto entry = pending_.extract(result.ticket);
      if (entry.empty())
        continue;
      tickets_.erase(entry.mapped().owner);
      entry.mapped().promise.deliver(std::move(result.answer));
    }
    processes_->settle();
  }

  client_impl::pointer self_;
  std::shared_ptr<machine_processes> processes_;
  std::uint64_t last_ticket_ = 0;
  std::map<std::uint64_t, pending_call> pending_;
  std::map<call_owner, std::uint64_t> tickets_;
};

} // namespace

http_client_actor spawn_sim_http(caf::actor_system& sys, std::shared_ptr<machine_processes> processes) {
  return sys.spawn<client_impl::stateful_impl<client_state>>(std::move(processes));
}

} // namespace astra::sim
