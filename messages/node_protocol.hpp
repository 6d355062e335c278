#pragma once

#include "messages/type_ids.hpp"

#include <caf/actor_addr.hpp>
#include <caf/result.hpp>
#include <caf/typed_actor.hpp>

namespace astra {

/// What a router may say to a node.
using request_sink = caf::typed_actor<
    // Grants or refuses a slot; with may_wait_ms the reply comes when a slot is free.
    caf::result<reserve_reply>(reserve),
    // Works on a request under a granted slot.  Exactly one reply, at the latest shortly after the deadline.
    caf::result<invoke_reply>(invoke),
    // Gives a slot back or stops the work under it.  No reply: the pending reserve or invoke is answered.
    caf::result<void>(cancel)>;

/// What the home Resource may say to a node.
using placement_sink = caf::typed_actor<
    // Decides on each claim: the node has the last word.
    caf::result<claim_reply>(claim_batch),
    // Stops replicas by token.  Unknown tokens are ignored: they are gone already.
    caf::result<void>(release_batch),
    // Fetches what an app needs that may be placed here, when there is room.
    caf::result<void>(prefetch_batch)>;

/// What runs on a node tells it how its processes end.
using process_owner = caf::typed_actor<caf::result<void>(process_exited)>;

/// The whole node interface.
using node_actor = request_sink::extend_with<placement_sink>::extend_with<process_owner>::extend<
    // Begins the drain: no more work is accepted from now on, running work is finished.
    caf::result<drain_reply>(drain),
    // Drains, says goodbye to the Resource and stops every replica.  Answered when all of it is done.
    caf::result<void>(stop_atom, caf::timespan)>;

/// Service name under which a node process publishes its node.
inline std::string node_service(std::string_view node_name) {
  return "node/" + std::string{node_name};
}

} // namespace astra
