#include "runtime/http/client.hpp"

#include "messages/errc.hpp"
#include "runtime/http/caller.hpp"

#include <caf/actor.hpp>
#include <caf/actor_addr.hpp>
#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <map>
#include <utility>

namespace astra {
namespace {

/// How the caller's thread hands results to the actor.
using client_impl = http_client_actor::extend<caf::result<void>(std::uint64_t, http_answer),
                                              caf::result<void>(std::uint64_t, caf::error)>;

class client_state {
public:
  static constexpr const char* name = "astra.http_client";

  explicit client_state(client_impl::pointer self) : self_(self) {}

  ~client_state() {
    for (auto& [ticket, call] : pending_)
      call.promise.deliver(caf::make_error(errc::cancelled, "the http client ends"));
  }

  client_impl::behavior_type make_behavior() {
    return {
        [this](http_call& what) { return start(std::move(what)); },
        [this](const http_abort& what) { abort(what); },
        [this](std::uint64_t ticket, http_answer& answer) { finish(ticket, std::move(answer)); },
        [this](std::uint64_t ticket, caf::error& reason) { finish(ticket, std::move(reason)); },
    };
  }

private:
  struct pending_call {
    caf::typed_response_promise<http_answer> promise;
    std::pair<caf::actor_addr, std::uint64_t> owner;
  };

  caf::result<http_answer> start(http_call what) {
    auto ticket = ++last_ticket_;
    // Before the promise, which takes the sender away.
    std::pair owner{caf::actor_cast<caf::actor_addr>(self_->current_sender()), what.id};
    auto promise = self_->make_response_promise<http_answer>();
    pending_call call{promise, std::move(owner)};
    if (what.id != 0)
      tickets_[call.owner] = ticket;
    pending_.emplace(ticket, std::move(call));
    // Only a weak reference: the caller belongs to the actor, not the other way round.
    caller_.call(ticket, std::move(what), [addr = self_->address(), ticket](caf::expected<http_answer> result) {
      auto target = caf::actor_cast<caf::actor>(addr);
      if (!target)
        return;
      if (result)
        caf::anon_send(target, ticket, std::move(*result));
      else
        caf::anon_send(target, ticket, std::move(result.error()));
    });
    return promise;
  }

  void abort(const http_abort& what) {
    auto ticket = tickets_.find({caf::actor_cast<caf::actor_addr>(self_->current_sender()), what.id});
    if (ticket != tickets_.end())
      caller_.abort(ticket->second);
  }

  template <class Result>
  void finish(std::uint64_t ticket, Result result) {
    auto entry = pending_.extract(ticket);
    if (entry.empty())
      return;
    tickets_.erase(entry.mapped().owner);
    entry.mapped().promise.deliver(std::move(result));
  }

  client_impl::pointer self_;
  std::uint64_t last_ticket_ = 0;
  std::map<std::uint64_t, pending_call> pending_;
  std::map<std::pair<caf::actor_addr, std::uint64_t>, std::uint64_t> tickets_;
  /// Last member: its thread ends before the maps do.
  http_caller caller_;
};

} // namespace

http_client_actor spawn_http_client(caf::actor_system& sys) {
  return sys.spawn<client_impl::stateful_impl<client_state>>();
}

} // namespace astra
