#include "runtime/cli/commands/commands.hpp"

#include "config/scenario.hpp"
#include "runtime/cli/commands/scenario_input.hpp"
#include "runtime/cli/commands/sim_script.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/sim/check.hpp"
#include "runtime/sim/explore.hpp"
#include "runtime/sim/mutants.hpp"
#include "runtime/sim/recorder.hpp"
#include "runtime/sim/world.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <memory>
#include <utility>

namespace astra {
namespace {

struct seed_range {
  std::uint64_t first = 1;
  std::uint64_t count = 1;
};

/// "7", "1..1000"; nothing for anything else.
std::optional<seed_range> parse_seeds(const std::string& text) {
  auto read = [](std::string_view part) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc{} || end != part.data() + part.size())
      return std::nullopt;
    return value;
  };
  auto dots = text.find("..");
  if (dots == std::string::npos) {
    auto one = read(text);
    return one ? std::optional{seed_range{*one, 1}} : std::nullopt;
  }
  auto first = read(std::string_view{text}.substr(0, dots));
  auto last = read(std::string_view{text}.substr(dots + 2));
  if (!first || !last || *last < *first)
    return std::nullopt;
  return seed_range{*first, *last - *first + 1};
}

/// Null when it was told what is wrong.
std::shared_ptr<const scenario> load(command_context& context, const std::string& file) {
  if (is_script(file)) {
    context.say(fmt::format("{}: is a script, not a scenario; scripts go with astra sim run and, by themselves, with "
                            "astra sim explore",
                            printable(file)));
    return nullptr;
  }
  return std::move(read_scenario(context, file).value);
}

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

std::uint32_t job_count(const sim_options& options) {
  if (options.jobs > 0)
    return options.jobs;
  auto cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  return cores > 0 ? static_cast<std::uint32_t>(cores) : 1;
}

/// @param mutant_reached how often the selected mutant, if there is one, changed a decision.
json to_json(const std::string& file, const sim::explore_report& report, std::uint64_t mutant_reached) {
  json failures = json::array();
  for (auto& one : report.failures)
    failures.push_back({{"seed", one.seed}, {"check", one.check}, {"what", one.what}, {"at_s", seconds(one.at)}});
  json reached = json::object();
  for (auto& [name, times] : report.reached.entries())
    reached[name] = times;
  json result = {{"scenario", file},
                 {"seeds_run", report.seeds_run},
                 {"failed", report.failures.size()},
                 {"cpu_s", report.cpu_s},
                 {"wall_s", report.wall_s},
                 {"virtual_s", seconds(report.virtual_time)},
                 {"events", report.events},
                 {"hash", fmt::format("{:016x}", report.hash)},
                 {"mutant_reached", mutant_reached}};
  if (!report.failures.empty()) {
    result["seed"] = report.failures.front().seed;
    result["check"] = report.failures.front().check;
  }
  result["failures"] = std::move(failures);
  result["missed"] = report.missed;
  result["reached"] = std::move(reached);
  return result;
}

/// One line that brings the failure back.
std::string repro(const std::string& file, std::uint64_t seed, const sim_options& options) {
  return fmt::format("astra sim replay {} --seed {}{}{}", file, seed,
                     options.fidelity == "wire" ? "" : " --fidelity " + options.fidelity,
                     options.mutant.empty() ? "" : " --mutant " + options.mutant);
}

std::string progress_bar(std::uint64_t done, std::uint64_t all) {
  constexpr std::size_t width = 30;
  auto filled = all == 0 ? width : static_cast<std::size_t>(done * width / all);
  return '[' + std::string(filled, '#') + std::string(width - filled, '.') + ']';
}

int no_such_mutant(command_context& context, const std::string& name) {
  auto why = sim::select_mutant(name);
  return why.empty() ? exit_ok : context.fail(exit_usage, why);
}

void tell_result(command_context& context, const std::string& file, std::uint64_t seed, const sim::run_result& result,
                 const sim_options& options) {
  if (result.passed) {
    context.out() << fmt::format("passed  seed {}  {} events in {:.3f} virtual s  trace {:016x}\n", seed, result.events,
                                 seconds(result.at), result.trace_hash);
    return;
  }
  context.out() << fmt::format("FAIL    seed {}  t={:.6f}s  {}: {}\n", seed, seconds(result.at), result.check,
                               printable(result.failure));
  context.out() << fmt::format("        event {}  trace {:016x}\n", result.failed_event, result.trace_hash);
  context.out() << fmt::format("repro:  {}\n", repro(file, seed, options));
}

/// Runs one seed, recording what the options ask for.
int run_one(command_context& context, const std::string& file, const std::shared_ptr<const scenario>& what,
            std::uint64_t seed, const sim_options& options) {
  std::unique_ptr<sim::recorder> record;
  sim::world* present = nullptr;
  sim::world_options settings;
  settings.debug_log = options.debug_log;
  settings.how = fidelity_of(options);
  if (!options.trace.empty() || !options.html.empty())
    settings.watch = [&](const sim::event& seen) {
      if (present)
        record->add(seen);
    };
  sim::world run{what, seed, std::move(settings)};
  record = std::make_unique<sim::recorder>(run, seed);
  present = &run;
  auto result = run.run();
  present = nullptr;
  if (auto problem = write_record(context, options, *record, result); !problem.empty())
    return context.fail(exit_failed, problem);
  if (context.options.format == output_format::json) {
    context.out() << pretty(json{{"scenario", file},
                                 {"seed", seed},
                                 {"passed", result.passed},
                                 {"check", result.check},
                                 {"failure", result.failure},
                                 {"at_s", seconds(result.at)},
                                 {"event", result.failed_event},
                                 {"events", result.events},
                                 {"steps", result.steps},
                                 {"trace", fmt::format("{:016x}", result.trace_hash)}});
  } else if (options.trace != "-") {
    tell_result(context, file, seed, result, options);
    if (!result.passed && (!options.trace.empty() || !options.html.empty()))
      context.out() << record->explain(result.failed_event);
  }
  return result.passed ? exit_ok : exit_failed;
}

} // namespace

const command_text sim_text = {"Run, explore and replay simulations of whole clusters", "", ""};

const command_text sim_run_text = {
    "Run one seed of a scenario, or a script of the shell",
    "The production actors, on virtual machines, in virtual time, with the faults that the scenario and the seed "
    "bring.  The same seed is the same run, to the last byte of its trace.  A FILE.astra is run as astra shell -f "
    "does, "
    "in a cluster that is simulated for it.  Exit code 1 when an invariant fails, 3 when a script stops at a "
    "statement, "
    "78 when the scenario has problems.",
    "astra sim run config/scenarios/smoke.toml --seed 7\n"
    "astra sim run config/examples/scripts/counter.astra --seed 7\n"
    "astra sim run config/scenarios/evict.toml --trace - | less\n"
    "astra sim run config/scenarios/partition.toml --seed 3 --html run.html",
};

const command_text sim_explore_text = {
    "Run many seeds and report those that fail",
    "One process per core.  Every failure is one line with the command that brings it back.  --twice also proves that "
    "nothing but the seed decides: each seed runs again in the same process and in another one.  Scripts of the shell "
    "are taken too, one seed after the other.",
    "astra sim explore config/scenarios/smoke.toml --seeds 1..10000\n"
    "astra sim explore config/examples/scripts/survives_a_kill.astra --seeds 1..100\n"
    "astra sim explore config/scenarios/smoke.toml --seeds 1..1000 --twice",
};

const command_text sim_replay_text = {
    "Run one seed again and explain its failure",
    "As run, but what happened is kept, and a failure is followed by the chain of causes that led to it.",
    "astra sim replay config/scenarios/smoke.toml --seed 40717 --html failure.html",
};

const command_text sim_lint_text = {
    "Check scenario files without running anything",
    "Prints every problem with its place and its cure.  Exit code 78 when there is one.",
    "astra sim lint config/scenarios/*.toml",
};

const command_text sim_bench_text = {
    "Measure how fast a scenario runs here",
    "Runs its seeds in this process and prints events, node-seconds and seeds per CPU second, and memory per node.",
    "astra sim bench config/scenarios/hundred_thousand.toml",
};

const command_text sim_checks_text = {"List the invariants that every run is held to", "", "astra sim checks"};

int run_sim(command_context& context, const sim_options& options) {
  if (auto bad = no_such_mutant(context, options.mutant); bad != exit_ok)
    return bad;
  auto one_seed = [&](std::uint64_t usual) {
    return options.seeds.empty() ? seed_range{usual, 1} : parse_seeds(options.seeds).value_or(seed_range{0, 0});
  };
  auto many = fmt::format("--seed {}: run takes one seed; for many there is explore", options.seeds);
  if (auto& file = options.files.front(); is_script(file)) {
    auto seeds = one_seed(1);
    return seeds.count == 1 ? run_sim_script(context, file, seeds.first, options) : context.fail(exit_usage, many);
  }
  if (context.options.format != output_format::table && context.options.format != output_format::json)
    return context.fail(exit_usage, "-o: a scenario's result is shown as table or json; the others are for scripts");
  auto what = load(context, options.files.front());
  if (!what)
    return context.fail(exit_bad_config, options.files.front() + " has problems; nothing was run");
  auto seeds = one_seed(what->first_seed);
  if (seeds.count != 1)
    return context.fail(exit_usage, many);
  return run_one(context, options.files.front(), what, seeds.first, options);
}

int replay_sim(command_context& context, const sim_options& options) {
  auto recorded = options;
  if (auto bad = no_such_mutant(context, options.mutant); bad != exit_ok)
    return bad;
  auto& file = options.files.front();
  auto what = load(context, file);
  if (!what)
    return context.fail(exit_bad_config, file + " has problems; nothing was run");
  auto seeds =
      options.seeds.empty() ? seed_range{what->first_seed, 1} : parse_seeds(options.seeds).value_or(seed_range{0, 0});
  if (seeds.count != 1)
    return context.fail(exit_usage, fmt::format("--seed {}: replay takes one seed", options.seeds));
  // Something to explain the failure with, also when no file is asked for.
  if (recorded.trace.empty() && recorded.html.empty())
    recorded.trace = "/dev/null";
  return run_one(context, file, what, seeds.first, recorded);
}

int explore_sim(command_context& context, const sim_options& options) {
  if (auto bad = no_such_mutant(context, options.mutant); bad != exit_ok)
    return bad;
  std::optional<seed_range> stated;
  if (!options.seeds.empty()) {
    stated = parse_seeds(options.seeds);
    if (!stated)
      return context.fail(exit_usage,
                          fmt::format("--seeds {}: give one seed or a range such as 1..1000", options.seeds));
  }
  if (std::all_of(options.files.begin(), options.files.end(), is_script)) {
    auto range = stated.value_or(seed_range{1, 100});
    return explore_sim_scripts(context, range.first, range.count, options);
  }
  std::vector<std::shared_ptr<const scenario>> all;
  for (auto& file : options.files)
    all.push_back(load(context, file));
  for (std::size_t i = 0; i < all.size(); ++i)
    if (!all[i])
      return context.fail(exit_bad_config, options.files[i] + " has problems; nothing was run");
  auto as_json = context.options.format == output_format::json;
  auto narrates = context.environment.err_is_terminal && !as_json;
  json answers = json::array();
  std::uint64_t failed = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& what = *all[i];
    auto& file = options.files[i];
    auto range = stated.value_or(seed_range{what.first_seed, what.seeds});
    sim::explore_options settings;
    settings.first = range.first;
    settings.count = range.count;
    settings.jobs = job_count(options);
    settings.twice = options.twice;
    settings.fidelity = fidelity_of(options);
    settings.first_failure = options.first_failure;
    settings.time_limit = options.limit.value_or(std::chrono::milliseconds{0});
    auto progress = [&](const sim::explore_report& report) {
      if (narrates)
        *context.environment.err << fmt::format("\r{} {}/{} seeds  {} failed  {:.0f} seeds/s  ",
                                                progress_bar(report.seeds_run, range.count), report.seeds_run,
                                                range.count, report.failures.size(),
                                                static_cast<double>(report.seeds_run) / std::max(report.wall_s, 0.001))
                                 << std::flush;
    };
    auto reached_before = sim::mutant_reached();
    auto report = sim::explore(all[i], settings, progress);
    if (narrates)
      *context.environment.err << '\r' << std::string(78, ' ') << '\r' << std::flush;
    failed += report.failures.size();
    if (as_json) {
      answers.push_back(to_json(file, report, sim::mutant_reached() - reached_before));
      if (options.first_failure && failed > 0)
        break;
      continue;
    }
    context.out() << fmt::format("{}: {} passed, {} failed   {:.0f} virtual s in {:.1f} s ({:.0f}x)   {:.1f} seeds per "
                                 "CPU s   hash {:016x}\n",
                                 file, report.seeds_run - report.failures.size(), report.failures.size(),
                                 seconds(report.virtual_time), report.wall_s,
                                 seconds(report.virtual_time) / std::max(report.wall_s, 0.001),
                                 static_cast<double>(report.seeds_run) / std::max(report.cpu_s, 0.001), report.hash);
    constexpr std::size_t shown = 20;
    for (std::size_t k = 0; k < report.failures.size(); ++k) {
      auto& one = report.failures[k];
      if (k == shown) {
        context.out() << fmt::format("... and {} more; -o json lists them all\n", report.failures.size() - shown);
        break;
      }
      context.out() << fmt::format("FAIL seed {}  t={:.3f}s  {}: {}\nrepro: {}\n", one.seed, seconds(one.at), one.check,
                                   printable(one.what), repro(file, one.seed, options));
    }
    for (auto& name : report.missed)
      context.out() << fmt::format("never reached: {} (the scenario says that some run must)\n", name);
    if (!report.missed.empty() && report.seeds_run >= what.seeds)
      failed += report.missed.size();
    if (options.coverage)
      context.out() << report.reached.table();
    if (options.first_failure && failed > 0)
      break;
  }
  if (as_json)
    context.out() << pretty(answers);
  return failed == 0 ? exit_ok : exit_failed;
}

int lint_sim(command_context& context, const sim_options& options) {
  auto bad = 0;
  for (auto& file : options.files) {
    auto what = load(context, file);
    if (!what) {
      ++bad;
      continue;
    }
    std::uint64_t machines = 0;
    for (auto& group : what->machines)
      machines += group.count;
    context.out() << fmt::format("{}: good, scenario {}: {}\n", file, what->name, counted(machines, "machine"));
  }
  return bad == 0 ? exit_ok
                  : context.fail(exit_bad_config,
                                 fmt::format("{} of {} have problems", bad, counted(options.files.size(), "file")));
}

int bench_sim(command_context& context, const sim_options& options) {
  auto range = options.seeds.empty() ? std::optional{seed_range{1, 1}} : parse_seeds(options.seeds);
  if (!range)
    return context.fail(exit_usage, fmt::format("--seeds {}: give one seed or a range such as 1..10", options.seeds));
  auto usage = [] {
    rusage now{};
    ::getrusage(RUSAGE_SELF, &now);
    return now;
  };
  auto cpu = [](const rusage& u) {
    return static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec)
           + static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
  };
  json answers = json::array();
  for (auto& file : options.files) {
    auto what = load(context, file);
    if (!what)
      return context.fail(exit_bad_config, file + " has problems; nothing was run");
    std::uint64_t nodes = 0;
    for (auto& group : what->machines)
      if (std::find(group.roles.begin(), group.roles.end(), process_role::node) != group.roles.end())
        nodes += std::uint64_t{group.count} * std::max(1U, group.crowd);
    auto before = usage();
    std::uint64_t events = 0;
    std::uint64_t failed = 0;
    double virtual_s = 0.0;
    for (std::uint64_t i = 0; i < range->count; ++i) {
      sim::world_options settings;
      settings.checks = !options.unchecked;
      settings.how = fidelity_of(options);
      sim::world run{what, range->first + i, std::move(settings)};
      auto result = run.run();
      events += result.events;
      failed += result.passed ? 0 : 1;
      virtual_s += seconds(run.now());
      if (!result.passed)
        context.say(fmt::format("seed {} failed: {}: {}", range->first + i, result.check, result.failure));
    }
    auto after = usage();
    auto cpu_s = std::max(cpu(after) - cpu(before), 1e-9);
    auto node_s = static_cast<double>(nodes) * virtual_s;
    auto memory = static_cast<double>(after.ru_maxrss) * 1024.0;
    if (context.options.format == output_format::json) {
      answers.push_back({{"scenario", file},
                         {"nodes", nodes},
                         {"runs", range->count},
                         {"failed", failed},
                         {"cpu_s", cpu_s},
                         {"virtual_s", virtual_s},
                         {"events", events},
                         {"events_per_cpu_s", static_cast<double>(events) / cpu_s},
                         {"node_s_per_cpu_s", node_s / cpu_s},
                         {"runs_per_cpu_s", static_cast<double>(range->count) / cpu_s},
                         {"memory_max_bytes", after.ru_maxrss * 1024}});
      continue;
    }
    context.out() << fmt::format("{}: {} nodes, {} x {:.0f} virtual s in {:.2f} CPU s: {:.0f} events/s, {:.0f} "
                                 "node-seconds per CPU s, {:.2f} runs "
                                 "per CPU s, {:.1f} MiB at most, {:.1f} KiB per node\n",
                                 file, nodes, range->count, virtual_s / static_cast<double>(range->count), cpu_s,
                                 static_cast<double>(events) / cpu_s, node_s / cpu_s,
                                 static_cast<double>(range->count) / cpu_s, memory / 1048576.0,
                                 nodes == 0 ? 0.0 : memory / 1024.0 / static_cast<double>(nodes));
  }
  if (context.options.format == output_format::json)
    context.out() << pretty(answers);
  return exit_ok;
}

int list_sim_checks(command_context& context) {
  text_table table{{{"INVARIANT"}, {"BOUND", align::right}, {"WHAT IT SAYS"}}};
  auto list = json::array();
  for (auto& one : sim::all_checks()) {
    table.add({one.name, one.bound.count() > 0 ? fmt::format("{:.3g} s", seconds(one.bound)) : "", one.about});
    list.push_back({{"name", one.name}, {"bound_s", seconds(one.bound)}, {"about", one.about}});
  }
  context.out() << (context.options.format == output_format::json ? pretty(json{{"invariants", std::move(list)}})
                                                                  : table.render(context.options.colour_out));
  return exit_ok;
}

} // namespace astra
