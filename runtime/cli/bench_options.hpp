#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace astra {

/// What `astra bench view` is to put up and measure.
struct view_bench_options {
  std::uint32_t nodes = 10'000;
  /// Resources to start.
  std::uint32_t resources = 3;
  /// "host:port" of the Resources of a cluster that is there; empty: `resources` are started.
  std::vector<std::string> addresses;
  /// Processes that get the view.
  std::uint32_t subscribers = 2;
  /// Processes that speak for the nodes.
  std::uint32_t swarms = 1;
  /// How long it is measured, once every node is in every view.
  std::chrono::milliseconds length{30'000};
  /// Beats of each node per second.
  std::uint32_t hertz = 1;
  /// Share of the beats that tell another load than the one before.
  double changing = 0.3;
  /// Share of the nodes that falls silent at half time.
  double die = 0.0;
  /// Nodes that join per second; all of them take one heartbeat at least, in which each has its turn.
  std::uint32_t joins_per_s = 10'000;
  /// All nodes join within one heartbeat, however many they are.
  bool join_at_once = false;
  /// The result as JSON instead of tables.
  bool json = false;
  bool colour = false;
  /// Leave the temporary directory with files and logs behind.
  bool keep = false;
};

} // namespace astra
