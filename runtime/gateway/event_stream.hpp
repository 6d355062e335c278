#pragma once

#include "messages/http_exchange.hpp"
#include "runtime/gateway/resource_link.hpp"

#include <caf/actor.hpp>
#include <caf/fwd.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace astra {

/// GET /v1/events as its query says it.
struct event_request {
  /// Name of a node; empty: everything.
  std::string node;
  /// Not older than this; 0: whatever is kept.
  std::chrono::milliseconds since{0};
  /// At most so many of those that happened already.
  std::uint32_t last = 100;
  /// Then what happens, as it happens.
  bool follow = false;
};

/// Reads the query of a target.  @returns what is wrong, with the cure, when something is.
std::variant<event_request, std::string> read_event_request(const std::string& target);

/// Answers with events of all Resources, as lines of JSON: merged by time what has happened, then as it comes.  What
/// cannot be told is told: a Resource that does not answer, began anew, or has forgotten some.  A blank line each few
/// seconds says that the stream lives.  Ends with the last event, or, following, when the client leaves or it is told
/// to stop: then with a note.
/// @param now_ms wall clock, for `since`
caf::actor spawn_event_stream(caf::local_actor* parent, resource_links links, std::vector<std::string> resources,
                              event_request request, std::chrono::milliseconds now_ms, http_exchange_ptr exchange);

} // namespace astra
