#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/transfer_protocol.hpp"
#include "runtime/transfer/content_port.hpp"

#include <caf/actor_system.hpp>

#include <memory>

namespace astra {

/// Spawns the keeper of a node's contents: it fetches what replicas and operators want, shows it to replicas when it is
/// whole, serves it to other nodes, and reports to the trackers beside the Resources.  It publishes itself as
/// `content_service(node.name)` and runs until its owner sends it an exit message.
/// @pre `validate(options)` returned no error.
content_keeper_actor spawn_content_keeper(caf::actor_system& sys, platform& world, const node_options& node,
                                          const store_options& options, std::shared_ptr<content_port> port);

} // namespace astra
