#include "runtime/cli/commands/commands.hpp"

#include "config/load.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>

namespace astra {

const command_text run_text = {
    "Run one process with the roles of its file",
    "Nothing starts when the file has a problem: all of them are printed and the exit code is 78.  SIGTERM drains: no "
    "new work, finish what is in progress, exit 0.  A second SIGTERM leaves at once.",
    "astra run -c /etc/astra/node.toml",
};

int run_process_file(command_context& context, const std::string& file) {
  auto config = load_process_config(file, context.environment.variables);
  if (config.problems.empty())
    return context.environment.run_process(std::move(config.options));
  for (const auto& problem : config.problems)
    context.say(printable(to_string(problem)));
  return context.fail(exit_bad_config,
                      fmt::format("{} in {}; nothing was started", counted(config.problems.size(), "problem"), file));
}

} // namespace astra
