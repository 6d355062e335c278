#pragma once

#include "messages/errc.hpp"
#include "messages/platform_protocol.hpp"
#include "messages/resource_protocol.hpp"

#include <caf/actor_cast.hpp>
#include <caf/error.hpp>
#include <caf/event_based_actor.hpp>

#include <chrono>
#include <string>
#include <utility>

namespace astra {

/// How a gateway's helpers reach other processes.
struct resource_links {
  dialer_actor dialer;
  std::chrono::milliseconds dial_timeout{2000};
  /// Of one answer.
  std::chrono::milliseconds answer_timeout{5000};
};

/// Dials a service and asks it; exactly one of the two functions is called, unless `self` ends first.
/// @param wait for the answer, after the dial.
template <class Handle, class Reply, class Self, class Query, class OnReply, class OnError>
void ask_service(Self* self, const resource_links& links, const std::string& address, std::string service, Query query,
                 std::chrono::milliseconds wait, OnReply on_reply, OnError on_error) {
  self->request(links.dialer, links.dial_timeout, dial_atom_v, address, std::move(service))
      .then(
          [self, wait, query = std::move(query), on_reply, on_error](const caf::strong_actor_ptr& peer) mutable {
            auto desk = caf::actor_cast<Handle>(peer);
            if (!desk)
              return on_error(caf::make_error(errc::unreachable, "nobody answers there"));
            self->request(desk, wait, std::move(query))
                .then([on_reply](const Reply& reply) mutable { on_reply(*reply); },
                      [on_error](const caf::error& reason) mutable { on_error(reason); });
          },
          [on_error](const caf::error& reason) mutable { on_error(reason); });
}

/// Dials the Resource at `address` and asks it; exactly one of the two functions is called, unless `self` ends first.
template <class Reply, class Self, class Query, class OnReply, class OnError>
void ask_resource(Self* self, const resource_links& links, const std::string& address, Query query,
                  std::chrono::milliseconds extra_wait, OnReply on_reply, OnError on_error) {
  ask_service<inspection_desk, Reply>(self, links, address, resource_service, std::move(query),
                                      links.answer_timeout + extra_wait, std::move(on_reply), std::move(on_error));
}

} // namespace astra
