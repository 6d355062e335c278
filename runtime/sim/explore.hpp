#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/coverage.hpp"
#include "runtime/sim/world.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace astra::sim {

struct explore_options {
  std::uint64_t first = 1;
  std::uint64_t count = 100;
  /// Worker processes.
  std::uint32_t jobs = 1;
  /// Every seed runs three times: twice in one process and once in another, and all that happens must be equal.
  bool twice = false;
  sim::fidelity fidelity = sim::fidelity::wire;
  /// Ends at the first failure.
  bool first_failure = false;
  /// Ends after this much wall time; 0: when all seeds are run.
  std::chrono::milliseconds time_limit{0};
  /// A run that takes longer is given up as hanging.
  std::chrono::milliseconds run_limit{120000};
};

/// A seed that failed.
struct explore_failure {
  std::uint64_t seed = 0;
  /// The invariant; "crash", "hang" and "determinism" are the simulator's own.
  std::string check;
  std::string what;
  instant at{0};
};

struct explore_report {
  std::uint64_t seeds_run = 0;
  /// Sorted by seed.
  std::vector<explore_failure> failures;
  std::uint64_t events = 0;
  std::uint64_t steps = 0;
  std::chrono::nanoseconds virtual_time{0};
  double cpu_s = 0.0;
  double wall_s = 0.0;
  /// How often each event of the log and each pair of fault and state was reached, over all runs.
  coverage reached;
  /// Over the hashes of all seeds, whatever the order in which they were run.
  std::uint64_t hash = 0;
  /// `sometimes` of the scenario that no run reached.
  std::vector<std::string> missed;
};

/// Called about twice a second.
using explore_progress = std::function<void(const explore_report& so_far)>;

/// Runs many seeds of a scenario in worker processes, one per job.  A run that crashes or hangs ends its worker only,
/// and is a failure like any other.
/// @pre the calling process has one thread, or none that holds a lock.
explore_report explore(const std::shared_ptr<const scenario>& what, const explore_options& options,
                       const explore_progress& progress);

/// Runs a seed twice in this process and says where the runs differ first: what the caller would see as
/// "event 812 at 3.2 s: node-1/astra.node#17 ...".  Nothing when they are equal.
std::optional<std::string> find_divergence(const std::shared_ptr<const scenario>& what, std::uint64_t seed);

} // namespace astra::sim
