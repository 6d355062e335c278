#include "config/load.hpp"
#include "config/scenario.hpp"
#include "config/units.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/commands/scenario_input.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/sim/mutants.hpp"
#include "runtime/sim/shrink.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

namespace astra {
namespace {

json to_json(const sim::scenario_size& size) {
  return {{"faults", size.faults},
          {"machines", size.machines},
          {"apps", size.apps},
          {"loads", size.loads},
          {"fault_time_s", std::chrono::duration<double>(size.fault_time).count()},
          {"length_s", std::chrono::duration<double>(size.length).count()}};
}

std::string to_text(const sim::scenario_size& size) {
  return fmt::format("{} for {:.3f} s, {}, {}, {}, {:.3f} s long", counted(size.faults, "fault"),
                     std::chrono::duration<double>(size.fault_time).count(), counted(size.machines, "machine"),
                     counted(size.apps, "app"), counted(size.loads, "load"),
                     std::chrono::duration<double>(size.length).count());
}

} // namespace

const command_text sim_shrink_text = {
    "Find the smallest scenario that still fails",
    "Takes a scenario and a seed with which it fails.  Leaves out faults, load, apps, machines and time as long as the "
    "same invariant fails, and writes what remains as a scenario whose faults are all explicit.  Exit code 1 when the "
    "seed does not fail.",
    "astra sim shrink config/scenarios/smoke.toml --seed 4711 --output small.toml",
};

int run_sim_shrink(command_context& context, const sim_shrink_options& options) {
  if (auto why = sim::select_mutant(options.mutant); !why.empty())
    return context.fail(exit_usage, why);
  auto config = read_scenario(context, options.file);
  if (!config.value)
    return context.fail(exit_bad_config, fmt::format("{} in {}; nothing was run",
                                                     counted(config.problems.size(), "problem"), options.file));
  auto seed = options.seed.value_or(config.value->first_seed);
  sim::shrink_options settings;
  settings.trials = options.trials;
  settings.time_limit = options.time_limit;
  settings.progress = [&](const sim::shrink_progress& so_far) {
    if (context.options.verbose || context.environment.err_is_terminal)
      context.say(fmt::format("run {}, {}: {}", so_far.trials, so_far.phase, to_text(so_far.size)));
  };
  auto result = sim::shrink(*config.value, seed, settings);
  if (result.failure.passed)
    return context.fail(exit_failed,
                        fmt::format("{} passes with seed {}: there is nothing to shrink", options.file, seed));
  auto text = write_scenario(result.smallest);
  if (!options.output.empty()) {
    std::ofstream file{options.output, std::ios::binary | std::ios::trunc};
    file << text;
    file.close();
    if (!file)
      return context.fail(exit_failed, fmt::format("{} cannot be written", options.output));
  }
  auto wall = std::chrono::duration<double>(result.wall).count();
  if (context.options.format == output_format::json) {
    json answer{{"seed", seed},
                {"invariant", result.failure.check},
                {"failure", result.failure.failure},
                {"at_s", std::chrono::duration<double>(result.failure.at).count()},
                {"trials", result.trials},
                {"wall_s", wall},
                {"minimal", result.minimal},
                {"before", to_json(result.before)},
                {"after", to_json(result.after)}};
    if (options.output.empty())
      answer["scenario"] = text;
    context.out() << pretty(answer);
    return exit_ok;
  }
  context.say(fmt::format("{} at {:.3f} s: {}", result.failure.check,
                          std::chrono::duration<double>(result.failure.at).count(), printable(result.failure.failure)));
  context.say("before: " + to_text(result.before));
  context.say("after:  " + to_text(result.after));
  context.say(fmt::format("{} in {:.1f} s{}", counted(result.trials, "run"), wall,
                          result.minimal ? "" : "; more runs may find a smaller one"));
  if (options.output.empty())
    context.out() << text;
  else
    context.out() << fmt::format("{}: astra sim run {} --seed {}\n", options.output, options.output, seed);
  return exit_ok;
}

} // namespace astra
