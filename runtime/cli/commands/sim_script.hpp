#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/sim/recorder.hpp"

#include <cstdint>
#include <string>

namespace astra {

sim::fidelity fidelity_of(const sim_options& options);

/// Writes what was recorded of a run where the options say.  @returns what went wrong; empty: nothing
std::string write_record(command_context& context, const sim_options& options, sim::recorder& record,
                         const sim::run_result& result);

/// Runs so many seeds of each of the options' files, which are scripts, one after the other, and reports those that
/// fail.
int explore_sim_scripts(command_context& context, std::uint64_t first, std::uint64_t count, const sim_options& options);

} // namespace astra
