#pragma once

#include "messages/resource_protocol.hpp"
#include "messages/type_ids.hpp"

#include <caf/result.hpp>
#include <caf/typed_actor.hpp>

namespace astra {

/// One app's router, as its gateway sees it.  Never leaves the process.
using router_actor = view_subscriber::extend<
    // Exactly one reply, at the latest shortly after the deadline.
    caf::result<route_result>(route_request),
    // The client is gone.  The pending route_request is answered as cancelled.
    caf::result<void>(route_cancel), caf::result<router_table>(report_atom),
    // Dry run: whose turn the next ones are, at most 10,000.
    caf::result<router_picks>(report_atom, std::uint32_t)>;

} // namespace astra
