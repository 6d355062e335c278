#include "config/load.hpp"
#include "config/scenario.hpp"
#include "config/units.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/commands/scenario_input.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/sim/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <istream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace astra {
namespace {

/// A script stopped at a command that could not be done.
constexpr int exit_script_stopped = 3;

} // namespace

const command_text sim_shell_text = {
    "Step through a simulated run, go back, inject faults, ask why",
    "Opens the run of one seed and takes commands: from -c, or from stdin.  'help' lists them.  A script, which is "
    "what "
    "does not come from a terminal, ends at the first command that cannot be done, with exit code 3.  What was "
    "injected is saved with 'save'.",
    "astra sim shell config/scenarios/smoke.toml --seed 7\n"
    "astra sim shell smoke.toml --seed 7 --at 9s -c 'crash node-1 2s' -c 'until fail' -c why",
};

int run_sim_shell(command_context& context, const sim_shell_options& options) {
  auto config = read_scenario(context, options.file);
  if (!config.value)
    return context.fail(exit_bad_config, fmt::format("{} in {}; nothing was run",
                                                     counted(config.problems.size(), "problem"), options.file));
  auto seed = options.seed.value_or(config.value->first_seed);
  std::shared_ptr<const scenario> what{std::move(config.value)};
  sim::session_options settings;
  settings.jobs = std::max(1U, std::thread::hardware_concurrency());
  std::optional<sim::session> session;
  try {
    session.emplace(what, seed, settings);
  } catch (const std::runtime_error& reason) {
    return context.fail(exit_failed, reason.what());
  }
  auto terminal = options.commands.empty() && context.environment.in_is_terminal;
  auto ended = false;
  auto crashed = false;
  // @returns whether the command was done
  auto act = [&](const std::string& line) {
    auto answer = session->execute(line);
    if (answer.good)
      context.out() << answer.text << std::flush;
    else if (!answer.text.empty())
      context.say(printable(answer.text.substr(0, answer.text.find_last_not_of('\n') + 1)));
    ended = answer.ended;
    crashed = answer.ended && !answer.good;
    return answer.good;
  };
  if (terminal)
    context.out() << fmt::format("{}, seed {}.  'help' lists the commands, 'quit' or the end of input leaves.\n",
                                 printable(what->name), seed);
  if (options.at && options.at->count() > 0 && !act("run " + format_fine_duration(*options.at)))
    return crashed ? static_cast<int>(exit_failed) : exit_script_stopped;
  std::size_t next = 0;
  while (!ended) {
    std::string line;
    if (!options.commands.empty()) {
      if (next == options.commands.size())
        break;
      line = options.commands[next++];
    } else {
      if (terminal)
        context.out() << fmt::format("sim@{:.3f}s> ", std::chrono::duration<double>(session->now()).count())
                      << std::flush;
      if (!std::getline(*context.environment.in, line)) {
        if (terminal)
          context.out() << '\n';
        break;
      }
    }
    if (!act(line) && !terminal)
      return crashed ? static_cast<int>(exit_failed) : exit_script_stopped;
  }
  return crashed ? exit_failed : exit_ok;
}

} // namespace astra
