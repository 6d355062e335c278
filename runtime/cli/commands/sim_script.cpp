#include "messages/errc.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/shell/cluster_shape.hpp"
#include "runtime/shell/script_runner.hpp"
#include "runtime/shell/sim_world.hpp"
#include "runtime/sim/recorder.hpp"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <utility>

namespace astra {

bool is_script(const std::string& file) {
  return file.ends_with(".astra");
}

int run_sim_script(command_context& context, const std::string& file, std::uint64_t seed, const sim_options& options) {
  auto text = read_input_file(file);
  if (!text)
    return context.fail(text.error());
  auto read = shell::parse_shaped(*text);
  if (read.error) {
    shell::tell(context, *read.error, file);
    return shell::exit_script_stopped;
  }
  std::unique_ptr<sim::recorder> record;
  auto recording = false;
  sim::world_options settings;
  settings.debug_log = options.debug_log;
  settings.how = options.fidelity == "basp" ? sim::fidelity::basp : sim::fidelity::wire;
  if (!options.trace.empty() || !options.html.empty())
    settings.watch = [&](const sim::event& seen) {
      if (recording)
        record->add(seen);
    };
  shell::sim_world world{context, read.shape, seed, std::move(settings)};
  auto& run = world.run();
  record = std::make_unique<sim::recorder>(run, seed);
  recording = true;
  shell::script_runner runner{context, world, world.cluster(), false};
  auto code = static_cast<int>(exit_ok);
  if (auto failed = world.start()) {
    context.say(fmt::format("{}: {}", file, printable(error_text(failed))));
    code = exit_failed;
  } else if (!runner.run(read.statements, file)) {
    code = shell::exit_script_stopped;
  }
  if (code == exit_ok) {
    // What the script left behind must be as promised too, once all is put right.
    run.settle();
    run.run();
  }
  auto result = run.result();
  recording = false;
  if (options.trace == "-")
    record->write_text(context.out());
  else if (!options.trace.empty())
    if (auto problem = record->write_file(options.trace); !problem.empty())
      return context.fail(exit_failed, problem);
  if (!options.html.empty())
    if (auto problem = record->write_html(options.html, result); !problem.empty())
      return context.fail(exit_failed, problem);
  auto at = std::chrono::duration<double>(result.at).count();
  if (code == exit_ok && !result.passed) {
    context.say(fmt::format("{}: {}: {}", file, result.check, printable(result.failure)));
    code = exit_failed;
  }
  // stdout is for the results of statements.
  context.say(fmt::format("{}  seed {}  {} events in {:.3f} virtual s  trace {:016x}",
                          code == exit_ok ? "passed" : "FAIL  ", seed, result.events, at, result.trace_hash));
  if (code != exit_ok)
    context.say(fmt::format("repro:  astra sim run {} --seed {}{}", file, seed,
                            options.fidelity == "wire" ? "" : " --fidelity " + options.fidelity));
  return code;
}

} // namespace astra
