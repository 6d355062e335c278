#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/world.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace astra::sim {

/// What makes a scenario large.
struct scenario_size {
  std::uint64_t faults = 0;
  std::uint64_t machines = 0;
  std::uint64_t apps = 0;
  std::uint64_t loads = 0;
  /// Lengths of all faults together.
  nanoseconds fault_time{0};
  /// Horizon and quiet phase.
  nanoseconds length{0};
};

/// @pre all faults of `what` are explicit
scenario_size size_of(const scenario& what);

struct shrink_progress {
  std::uint64_t trials = 0;
  /// What is being tried: "faults".
  std::string phase;
  scenario_size size;
};

struct shrink_options {
  /// Runs at most.
  std::uint64_t trials = 200;
  /// Wall time for all runs together, and for one of them.
  std::chrono::milliseconds time_limit{120'000};
  std::chrono::milliseconds run_limit{30'000};
  /// How a scenario is run; unset: as a world in a process of its own, so that crashes and hangs shrink too.
  std::function<run_result(const scenario&, std::uint64_t seed)> run;
  /// Called after each run that made the scenario smaller.
  std::function<void(const shrink_progress&)> progress;
};

struct shrink_result {
  /// The smallest scenario found that fails in the same way.  Every fault is explicit; write_scenario makes its file.
  scenario smallest;
  std::uint64_t seed = 0;
  /// How it fails.  `passed` when the scenario itself does not fail with this seed: then nothing was shrunk.
  run_result failure;
  scenario_size before;
  scenario_size after;
  std::uint64_t trials = 0;
  std::chrono::nanoseconds wall{0};
  /// Nothing smaller is left to try; otherwise the trials or the time were used up.
  bool minimal = false;
};

/// The scenario in which everything that the seed draws about faults is written down.  It runs exactly as the original
/// does with this seed.
scenario make_explicit(const scenario& what, std::uint64_t seed);

/// Looks for the smallest scenario that still fails with the same invariant, under the same seed: draws know nothing of
/// what was left out, so what remains happens much as before.
///
/// Faults go by delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE TSE
/// 2002); then loads, apps, machines, lengths of faults, sources of chance, and the time after the failure, again and
/// again until nothing more can go.
/// @pre `what` has no problems
shrink_result shrink(const scenario& what, std::uint64_t seed, const shrink_options& options);

} // namespace astra::sim
