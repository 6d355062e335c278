#pragma once

#include "messages/resource_protocol.hpp"
#include "runtime/bench/view_board.hpp"

#include <caf/actor_system.hpp>

#include <cstddef>
#include <cstdint>

namespace astra::bench {

/// Spawns an actor that gets the view from `source`, as a router of its process would, and writes into the board what
/// its subscriber sees of the swarm's members and how late.  Runs until its owner sends it an exit message.
/// @param swarms processes that the members are divided among, see members_of
/// @param number of the subscriber on the board
view_subscriber spawn_view_watcher(caf::actor_system& sys, view_source source, view_board& board, std::uint32_t swarms,
                                   std::size_t number);

/// The members of one swarm process: those from `first` on, `count` of them.
struct member_range {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};
member_range members_of(std::uint32_t swarm, std::uint32_t swarms, std::uint32_t members);

} // namespace astra::bench
