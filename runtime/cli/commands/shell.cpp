#include "config/endpoint.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/dev/dev_faults.hpp"
#include "runtime/shell/history_file.hpp"
#include "runtime/shell/line_editor.hpp"
#include "runtime/shell/live_world.hpp"
#include "runtime/shell/parse.hpp"
#include "runtime/shell/render.hpp"
#include "runtime/shell/script_runner.hpp"
#include "runtime/shell/session_record.hpp"
#include "runtime/shell/stages.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <istream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra {
namespace {

/// Asks the cluster of `astra dev` in a directory from now on.
caf::error turn_to_laptop(command_context& context, const std::string& directory) {
  auto address = dev_gateway(directory);
  if (!address)
    return std::move(address.error());
  auto where = parse_endpoint(*address);
  if (!where)
    return caf::make_error(errc::io_failed, fmt::format("--dev {}: its gateway has no address", directory));
  // Of the shell that is the cluster's own.
  if (context.environment.variables("ASTRA_PARENT") == std::to_string(::getppid()))
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  auto& asked = context.options;
  asked.gateway_host = where->host;
  asked.gateway_port = where->port;
  asked.https = false;
  asked.gateway_socket = asked.certificate = asked.key = asked.ca = asked.context_problem = std::string{};
  asked.context = "dev";
  return {};
}

class shell_session {
public:
  shell_session(command_context& context, const shell_options& options, bool at_terminal)
    : context_(context),
      world_(context, options.reason, at_terminal ? std::function<bool()>{shell::interrupt_pending} : nullptr),
      runner_(context, world_, world_, at_terminal) {
    world_.mode = shell::mode_of(context.options.format);
    if (at_terminal) {
      world_.record = [this](const std::vector<shell::request::word>& words) { return record(words); };
      runner_.observe = [this](const shell::statement& what, const shell::script_failure* failure) {
        record_.note(what, failure == nullptr     ? std::string{}
                           : failure->interrupted ? std::string{"interrupted"}
                                                  : error_text(failure->why));
      };
    }
    if (options.dev_directory.empty())
      return;
    world_.setting = shell::world_setting::laptop;
    world_.faults = [directory = options.dev_directory](const std::vector<shell::request::word>& words) {
      return break_something(directory, words);
    };
  }

  bool run(std::string_view text, const std::string& name, int first_line) {
    return runner_.run(text, name, first_line);
  }

  bool ended() const { return world_.ended; }

  /// Reads statements as they come, without a terminal.
  int run_stream(std::istream& in) {
    shell::line_collector lines;
    std::string pending;
    auto number = 0;
    auto first = 1;
    for (std::string line; !ended() && std::getline(in, line);) {
      ++number;
      pending += line + "\n";
      lines.add(line);
      if (lines.wants_more())
        continue;
      if (!run(pending, "stdin", first))
        return shell::exit_script_stopped;
      lines.clear();
      pending.clear();
      first = number + 1;
    }
    // What was begun and never ended is told as what it lacks.
    if (!pending.empty() && !ended() && !run(pending, "stdin", first))
      return shell::exit_script_stopped;
    return exit_ok;
  }

  int run_terminal() {
    shell::catch_interrupts();
    const auto& variables = context_.environment.variables;
    shell::history_file history{shell::history_file::usual_path(variables)};
    world_.app_named = [this](const std::string& name) { return runner_.state().app_of(name); };
    auto known = world_.words([this] {
      std::vector<std::string> names;
      for (auto& [name, content] : runner_.state().variables())
        names.push_back(name);
      return names;
    });
    known.keys = [this, of_command = known.keys](const std::vector<std::string>& source) {
      if (source.size() == 1 && source.front().starts_with('$')) {
        auto found = runner_.state().variables().find(source.front().substr(1));
        auto rows = found == runner_.state().variables().end() ? caf::expected<json>{json::array()}
                                                               : shell::rows_of(found->second);
        return rows ? shell::keys_of(*rows) : std::vector<std::string>{};
      }
      return of_command(source);
    };
    auto editor = shell::make_line_editor(variables("TERM").value_or(""), history.load(shell::history_max),
                                          [&](std::string_view line) { return shell::complete(line, known); });
    shell::line_collector lines;
    std::string pending;
    while (!ended()) {
      shell::forget_interrupt();
      auto line = editor->read(pending.empty() ? prompt() : std::string{"   ...> "});
      if (line.end == shell::line_end::closed) {
        context_.out() << '\n';
        break;
      }
      if (line.end == shell::line_end::interrupted) {
        pending.clear();
        lines.clear();
        continue;
      }
      history.add(line.text);
      editor->remember(line.text);
      pending += line.text + "\n";
      lines.add(line.text);
      if (lines.wants_more())
        continue;
      shell::forget_interrupt();
      run(pending, {}, 1);
      lines.clear();
      pending.clear();
    }
    context_.out().flush();
    return exit_ok;
  }

private:
  static caf::expected<shell::reply> break_something(const std::string& directory,
                                                     const std::vector<shell::request::word>& words) {
    std::vector<std::string> line;
    for (auto& word : words)
      line.push_back(word.name.empty() ? word.text : word.name + "=" + word.text);
    auto fault = read_dev_fault(line);
    if (!fault)
      return std::move(fault.error());
    if (auto failed = ask_for_fault(directory, *fault))
      return failed;
    return shell::reply{
        {{"fault", to_string(fault->what)}, {"targets", fault->targets}, {"for", format_duration(fault->duration)}},
        {},
        false};
  }

  caf::expected<shell::reply> record(const std::vector<shell::request::word>& words) {
    if (words.empty()) {
      auto text = record_.recording()
                      ? fmt::format("{}: {} so far", record_.path(), counted(record_.statements(), "statement"))
                      : std::string{"nothing is recorded; begin with :record FILE"};
      return shell::reply{text, {}, false};
    }
    if (words.front().text != "stop") {
      if (auto failed = record_.start(words.front().text))
        return failed;
      if (!is_script(record_.path()))
        context_.say(fmt::format("astra sim run takes it once its name ends in .astra: {}", printable(record_.path())));
      return shell::reply{};
    }
    auto count = record_.statements();
    if (auto failed = record_.stop())
      return failed;
    return shell::reply{fmt::format("{}: {}", record_.path(), counted(count, "statement")), {}, false};
  }

  std::string prompt() const {
    const auto& options = context_.options;
    auto name = !options.context.empty() ? options.context
                : options.gateway_socket.empty() && !options.https && options.gateway_host == "127.0.0.1"
                    ? std::string{"local"}
                    : gateway_address(options);
    return fmt::format("astra:{}[{}]> ", printable(name), world_.may_change() ? "rw" : "ro");
  }

  command_context& context_;
  shell::session_record record_;
  shell::live_world world_;
  shell::script_runner runner_;
};

} // namespace

const command_text shell_text = {
    "Ask, change and watch a cluster, one statement after the other",
    "Every command is a verb, and there are some more: ps, spawn, ask, send, scale, kill, watch; 'help' lists them.  "
    "Statements come from -c, -f or stdin; on a terminal with completion (Tab), history (^R) and ^C, which stops what "
    "runs.  A script ends at the first statement that fails, with its place on stderr and exit code 3.  Nothing can be "
    "changed without --rw.",
    "astra shell\nastra shell --rw 'ticket 4711'\nastra shell -c 'ps | where state != ready | count'\nastra shell -f "
    "check.astra -o ndjson",
};

int run_shell(command_context& context, const shell_options& options) {
  if (options.reason.find_first_of("\r\n") != std::string::npos)
    return context.fail(exit_usage, "--rw: the reason must fit on one line");
  if (!options.file.empty() && !options.commands.empty())
    return context.fail(exit_usage, "-c and -f do not go together; write one of the two");
  auto& environment = context.environment;
  if (!options.dev_directory.empty()) {
    if (auto failed = turn_to_laptop(context, options.dev_directory))
      return context.fail(failed);
  }
  auto at_terminal =
      options.commands.empty() && options.file.empty() && environment.in_is_terminal && environment.out_is_terminal;
  shell_session session{context, options, at_terminal};
  for (auto& text : options.commands)
    if (!session.run(text, "-c", 1))
      return shell::exit_script_stopped;
    else if (session.ended())
      return exit_ok;
  if (!options.commands.empty())
    return exit_ok;
  if (!options.file.empty()) {
    auto text = read_input_file(options.file);
    if (!text)
      return context.fail(text.error());
    return session.run(*text, options.file, 1) ? exit_ok : shell::exit_script_stopped;
  }
  return at_terminal ? session.run_terminal() : session.run_stream(*environment.in);
}

} // namespace astra
