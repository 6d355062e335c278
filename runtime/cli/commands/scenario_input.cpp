#include "runtime/cli/commands/scenario_input.hpp"

#include "runtime/cli/table.hpp"
#include "runtime/sim/check.hpp"

#include <vector>

namespace astra {

scenario_config read_scenario(command_context& context, const std::string& file) {
  std::vector<std::string> invariants;
  for (auto& one : sim::all_checks())
    invariants.push_back(one.name);
  auto config = load_scenario(file, context.environment.variables, &invariants);
  for (auto& problem : config.problems)
    context.say(printable(to_string(problem)));
  return config;
}

} // namespace astra
