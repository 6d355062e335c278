#pragma once

#include "messages/node_protocol.hpp"
#include "messages/resource_protocol.hpp"

namespace astra {

/// Stands between nodes and their home Resource: to the nodes it is their home, to the Resource it is the nodes.
using aggregator_actor = heartbeat_sink::extend_with<placement_sink>;

/// Service name of a process's aggregator.
inline constexpr const char* aggregator_service = "aggregator";

} // namespace astra
