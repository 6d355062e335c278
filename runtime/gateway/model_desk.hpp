#pragma once

#include "messages/http_exchange.hpp"
#include "runtime/gateway/model_wish.hpp"
#include "runtime/gateway/resource_link.hpp"

#include <caf/actor.hpp>
#include <caf/fwd.hpp>

#include <chrono>
#include <string>
#include <vector>

namespace astra {

struct model_desk_setup {
  resource_links links;
  /// Addresses of the Resources: a tracker is beside each.
  std::vector<std::string> trackers;
  /// Wait for what the trackers know; who has not answered then is told as silent.
  std::chrono::milliseconds tracker_timeout{1500};
  /// Who asks, for the audit lines of nodes and trackers.
  std::string origin;
  /// Time of day, since 1970 in UTC.
  std::chrono::milliseconds wall_time{0};
};

/// Answers one request about models: asks every tracker, puts together what they say, tells the nodes that it is about
/// what they are to do, and ends with its answer.  An order that was sent is not taken back when the client leaves.
caf::actor spawn_model_desk(caf::local_actor* parent, model_desk_setup setup, model_wish wish,
                            http_exchange_ptr exchange);

} // namespace astra
