#include "runtime/cli/commands/sim_script.hpp"

#include "messages/errc.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/shell/cluster_shape.hpp"
#include "runtime/shell/script_runner.hpp"
#include "runtime/shell/sim_world.hpp"
#include "runtime/sim/recorder.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

namespace astra {

bool is_script(const std::string& file) {
  return file.ends_with(".astra");
}

sim::fidelity fidelity_of(const sim_options& options) {
  return options.fidelity == "basp" ? sim::fidelity::basp : sim::fidelity::wire;
}

std::string write_record(command_context& context, const sim_options& options, sim::recorder& record,
                         const sim::run_result& result) {
  std::string problem;
  if (options.trace == "-")
    record.write_text(context.out());
  else if (!options.trace.empty())
    problem = record.write_file(options.trace);
  if (problem.empty() && !options.html.empty())
    problem = record.write_html(options.html, result);
  return problem;
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
  settings.how = fidelity_of(options);
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
  if (auto problem = write_record(context, options, *record, result); !problem.empty())
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
                            options.fidelity == "wire" ? "" : " --fidelity " + options.fidelity)
                + (options.mutant.empty() ? "" : " --mutant " + options.mutant));
  return code;
}

int explore_sim_scripts(command_context& context, std::uint64_t first, std::uint64_t count,
                        const sim_options& options) {
  auto as_json = context.options.format == output_format::json;
  auto narrates = context.environment.err_is_terminal && !as_json;
  json answers = json::array();
  std::uint64_t all_failed = 0;
  for (auto& file : options.files) {
    auto begun = std::chrono::steady_clock::now();
    auto over = [&] { return options.limit && std::chrono::steady_clock::now() - begun >= *options.limit; };
    json failures = json::array();
    std::uint64_t done = 0;
    for (; done < count && !over() && !(options.first_failure && !failures.empty()); ++done) {
      auto seed = first + done;
      std::string told[2];
      auto code = 0;
      for (auto again : {0, 1}) {
        if (again == 1 && !options.twice)
          break;
        std::ostringstream out, err;
        auto inside = context.environment;
        inside.out = &out;
        inside.err = &err;
        command_context quiet{inside, context.options};
        quiet.options.colour_out = quiet.options.colour_err = false;
        code = run_sim_script(quiet, file, seed, options);
        told[again] = out.str() + err.str();
        if (again == 0)
          told[1] = told[0];
        if (code != exit_ok) {
          failures.push_back({{"seed", seed}, {"code", code}, {"told", err.str()}});
          break;
        }
      }
      // One failure per seed.
      if (code == exit_ok && told[0] != told[1])
        failures.push_back({{"seed", seed},
                            {"code", static_cast<int>(exit_failed)},
                            {"told", fmt::format("{}: seed {} is not the same run twice\n", file, seed)}});
      if (narrates)
        *context.environment.err << fmt::format("\r{}/{} seeds  {} failed  ", done + 1, count, failures.size())
                                 << std::flush;
    }
    if (narrates)
      *context.environment.err << "\r\033[K" << std::flush;
    all_failed += failures.size();
    if (as_json) {
      answers.push_back({{"script", file}, {"seeds_run", done}, {"failed", failures.size()}, {"failures", failures}});
      continue;
    }
    context.out() << fmt::format("{}: {} passed, {} failed\n", file, done - failures.size(), failures.size());
    for (auto& one : failures)
      context.out() << one["told"].get<std::string>();
  }
  if (as_json)
    context.out() << pretty(answers);
  return all_failed == 0 ? exit_ok : exit_failed;
}

} // namespace astra
