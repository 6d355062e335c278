#pragma once

#include "config/scenario.hpp"
#include "runtime/cli/command_context.hpp"

#include <string>

namespace astra {

/// Reads a scenario as every `astra sim` command does: against the invariants that there are, with each problem told.
scenario_config read_scenario(command_context& context, const std::string& file);

} // namespace astra
