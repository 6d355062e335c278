#include "config/units.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/shell/cluster_shape.hpp"
#include "runtime/shell/script_runner.hpp"

#include <filesystem>
#include <utility>

namespace astra {
namespace {

/// What the command line states goes before what the script does: the script then says itself what it lacks.
void take_shape(dev_options& options, const shell::cluster_shape& shape) {
  if (!options.nodes_stated)
    options.nodes = shape.nodes.value_or(options.nodes);
  if (!options.resources_stated)
    options.resources = shape.resources.value_or(options.resources);
  if (options.cores.empty() && shape.cpu_milli)
    options.cores = {*shape.cpu_milli / 1000.0};
  if (options.memory_per_node_bytes == 0)
    options.memory_per_node_bytes = shape.memory_bytes.value_or(0);
}

const char* name_of(output_format format) {
  switch (format) {
  case output_format::json:
    return "json";
  case output_format::ndjson:
    return "ndjson";
  case output_format::csv:
    return "csv";
  case output_format::line:
    return "line";
  case output_format::table:
  case output_format::name:
    break;
  }
  return "table";
}

} // namespace

const command_text dev_text = {
    "Run a whole cluster on this machine, for trying things out",
    "Every node and Resource is a child process with its files in a temporary directory.  At a terminal it ends in the "
    "shell of astra shell, with changes allowed and with faults (fault kill node-2); ^D or quit ends the cluster and "
    "leaves nothing behind unless --keep is given.  With -f or -c the statements are run and the cluster ends, with "
    "exit code 3 when one of them fails.  Elsewhere, and with --no-shell, it prints where the gateway is and runs "
    "until "
    "Ctrl-C.",
    "astra dev\nastra dev --nodes 6 --resources 3 --app ocr.toml\nastra dev -f "
    "config/examples/scripts/counter.astra\nastra dev --no-shell",
};

int run_dev_cluster(command_context& context, const dev_options& options, const dev_shell_options& shell) {
  auto& environment = context.environment;
  if (!shell.file.empty() && !shell.commands.empty())
    return context.fail(exit_usage, "-c and -f do not go together; write one of the two");
  auto wanted = options;
  auto scripted = !shell.file.empty() || !shell.commands.empty();
  auto at_terminal = !scripted && !shell.no_shell && environment.in_is_terminal && environment.out_is_terminal;
  if (!scripted && !at_terminal)
    return environment.run_dev(wanted);
  wanted.session = {"-o", name_of(context.options.format)};
  if (!context.options.colour_out)
    wanted.session.emplace_back("--no-color");
  if (context.options.timeout)
    wanted.session.insert(wanted.session.end(), {"--timeout", format_duration(*context.options.timeout)});
  wanted.session.insert(wanted.session.end(), {"shell", "--rw", "astra dev"});
  wanted.session_at_terminal = at_terminal;
  std::vector<std::pair<std::string, std::string>> texts;
  if (!shell.file.empty()) {
    auto text = read_input_file(shell.file);
    if (!text)
      return context.fail(text.error());
    texts.emplace_back(shell.file, std::move(*text));
    wanted.session.insert(wanted.session.end(), {"-f", shell.file});
  }
  for (auto& text : shell.commands) {
    texts.emplace_back("-c", text);
    wanted.session.insert(wanted.session.end(), {"-c", text});
  }
  // What is wrong with them is told before a cluster is started for it.
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto read = shell::parse_shaped(texts[i].second);
    if (read.error) {
      shell::tell(context, *read.error, texts[i].first);
      return shell::exit_script_stopped;
    }
    if (i == 0)
      take_shape(wanted, read.shape);
  }
  return environment.run_dev(wanted);
}

} // namespace astra
