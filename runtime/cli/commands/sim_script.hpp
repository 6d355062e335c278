#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/cli/commands/commands.hpp"

#include <cstdint>

namespace astra {

/// Runs so many seeds of each of the options' files, which are scripts, one after the other, and reports those that
/// fail.
int explore_sim_scripts(command_context& context, std::uint64_t first, std::uint64_t count, const sim_options& options);

} // namespace astra
