#pragma once

#include "runtime/sim/sim_store.hpp"
#include "runtime/sim/sim_swarm_network.hpp"
#include "runtime/transfer/content_port.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace astra::sim {

/// What the doors of a simulated machine's contents are made of.
struct sim_content_parts {
  /// Outlives the port.
  sim_swarm_network* network = nullptr;
  /// As the network takes it; `notify` is filled in.
  sim_swarm_network::place where;
  sim_store::options store;
  /// The same for all processes of one machine.
  std::string machine;
  std::function<instant()> now;
  /// Runs something in the context of the machine's process, never after that has ended.
  std::function<void(instant, std::function<void()>)> at;
  std::function<p2p::content_store::time_point()> wall_time;
};

/// A store on the machine's disk and an engine in the simulated network.  A job is done at once, and its aftermath
/// comes when the disk and the hashing would have been done; one job after the other.
std::shared_ptr<content_port> make_sim_content_port(sim_content_parts parts);

} // namespace astra::sim
