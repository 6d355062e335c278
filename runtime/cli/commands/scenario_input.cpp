#include "runtime/cli/commands/scenario_input.hpp"

#include "messages/errc.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/cli/table.hpp"
#include "runtime/sim/check.hpp"
#include "runtime/worker/actor_library.hpp"

#include <vector>

namespace astra {

namespace {

/// Its library is loaded into this process when the app runs.
std::string problem_with_actor(const pb::AppSpec& spec) {
  if (spec.actor().library().empty())
    return {};
  auto library = actor_library::load(spec.actor().library());
  if (!library)
    return error_text(library.error());
  auto type = library->find(spec.actor().type());
  return type ? std::string{} : error_text(type.error());
}

} // namespace

scenario_config read_scenario(command_context& context, const std::string& file) {
  std::vector<std::string> invariants;
  for (auto& one : sim::all_checks())
    invariants.push_back(one.name);
  auto config = load_scenario(file, context.environment.variables, &invariants);
  if (config.value)
    for (auto& app : config.value->apps)
      if (auto problem = problem_with_actor(*app.spec); !problem.empty())
        config.problems.push_back({file, 0, 0, "app " + app.spec->name() + ": actor", problem});
  if (!config.problems.empty())
    config.value.reset();
  for (auto& problem : config.problems)
    context.say(printable(to_string(problem)));
  return config;
}

} // namespace astra
