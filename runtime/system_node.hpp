#pragma once

#include <caf/actor_system.hpp>
#include <caf/node_id.hpp>

namespace astra {

/// The id that CAF's actor system has, and for which CAF has no setter.
caf::node_id& system_node(caf::actor_system& sys);

} // namespace astra
