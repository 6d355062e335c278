#pragma once

#include "runtime/bench/view_board.hpp"
#include "runtime/sim/crowd.hpp"

#include <chrono>
#include <cstdint>
#include <memory>

namespace astra::bench {

struct swarm_manner {
  /// Share of the beats that tell another load than the one before.
  double changing = 0.3;
  /// The members join one after the other within this time.
  std::chrono::milliseconds join_over{0};
  /// Members of this process that say goodbye per second, and come back two seconds later.
  double goodbyes_per_s = 10.0;
};

/// What the members of a swarm process do: they join, their loads wander, some die, some leave and come back, and those
/// that are followed on the board have a new load in each beat and a new profile every two seconds.
/// @param first number on the board of the crowd's first member
std::shared_ptr<sim::crowd_script> make_swarm_script(view_board& board, std::uint32_t first, std::uint32_t count,
                                                     swarm_manner manner);

} // namespace astra::bench
