#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/table.hpp"
#include "runtime/shell/history_file.hpp"
#include "runtime/shell/interpreter.hpp"
#include "runtime/shell/line_editor.hpp"
#include "runtime/shell/live_world.hpp"
#include "runtime/shell/parse.hpp"
#include "runtime/shell/render.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <istream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra {
namespace {

/// A script stopped at a statement that is wrong or could not be done.
constexpr int exit_script_stopped = 3;

class shell_session {
public:
  shell_session(command_context& context, const shell_options& options, bool at_terminal)
    : context_(context),
      world_(context, options.reason, at_terminal ? std::function<bool()>{shell::interrupt_pending} : nullptr),
      interpreter_(world_, [this](const shell::reply& result) { show(result); }), at_terminal_(at_terminal) {
    switch (context.options.format) {
    case output_format::json:
      world_.mode = shell::output_mode::json;
      break;
    case output_format::ndjson:
      world_.mode = shell::output_mode::ndjson;
      break;
    case output_format::csv:
      world_.mode = shell::output_mode::csv;
      break;
    case output_format::table:
      break;
    }
  }

  /// Runs a text; what is wrong is told with its place.
  /// @param name of the file; empty: typed
  bool run(std::string_view text, const std::string& name, int first_line) {
    auto parsed = shell::parse(text, first_line);
    auto tell = [&](shell::place at, const std::string& message, bool with_column) {
      // What was typed stands right above.
      auto where = name.empty()  ? with_column ? fmt::format("{}:{}: ", at.line - first_line + 1, at.column) : ""
                   : with_column ? fmt::format("{}:{}:{}: ", name, at.line, at.column)
                                 : fmt::format("{}:{}: ", name, at.line);
      std::string clean;
      for (std::size_t begin = 0; begin <= message.size();) {
        auto end = std::min(message.find('\n', begin), message.size());
        clean += (begin == 0 ? "" : "\n") + printable(std::string_view{message}.substr(begin, end - begin));
        begin = end + 1;
      }
      context_.say(where + paint(clean, tone::bad, context_.options.colour_err));
    };
    if (parsed.error) {
      tell(parsed.error->at, parsed.error->message, true);
      return false;
    }
    for (auto& statement : parsed.statements) {
      auto failed = interpreter_.run({statement});
      context_.out().flush();
      if (failed) {
        tell(failed->at, error_text(failed->why), false);
        return false;
      }
      if (world_.ended)
        break;
    }
    return true;
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
        return exit_script_stopped;
      lines.clear();
      pending.clear();
      first = number + 1;
    }
    // What was begun and never ended is told as what it lacks.
    if (!pending.empty() && !ended() && !run(pending, "stdin", first))
      return exit_script_stopped;
    return exit_ok;
  }

  int run_terminal() {
    shell::catch_interrupts();
    const auto& variables = context_.environment.variables;
    shell::history_file history{shell::history_file::usual_path(variables)};
    world_.app_named = [this](const std::string& name) { return interpreter_.app_of(name); };
    auto known = world_.words([this] {
      std::vector<std::string> names;
      for (auto& [name, content] : interpreter_.variables())
        names.push_back(name);
      return names;
    });
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
  std::string prompt() const {
    const auto& options = context_.options;
    auto name = !options.context.empty() ? options.context
                : options.gateway_socket.empty() && !options.https && options.gateway_host == "127.0.0.1"
                    ? std::string{"local"}
                    : gateway_address(options);
    return fmt::format("astra:{}[{}]> ", printable(name), world_.may_change() ? "rw" : "ro");
  }

  void show(const shell::reply& result) {
    auto colour = context_.options.colour_out;
    auto text = shell::render(result.what, world_.mode, colour);
    auto in_table = world_.mode == shell::output_mode::table;
    if (in_table && at_terminal_ && !result.note.empty() && text.ends_with('\n')) {
      text.pop_back();
      text += paint(fmt::format("   ({})", result.note), tone::faint, colour) + "\n";
    }
    context_.out() << text << std::flush;
    if (in_table && !at_terminal_ && !result.note.empty())
      context_.say(fmt::format("({})", result.note));
  }

  command_context& context_;
  shell::live_world world_;
  shell::interpreter interpreter_;
  bool at_terminal_;
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
  auto at_terminal =
      options.commands.empty() && options.file.empty() && environment.in_is_terminal && environment.out_is_terminal;
  shell_session session{context, options, at_terminal};
  for (auto& text : options.commands)
    if (!session.run(text, "-c", 1))
      return exit_script_stopped;
    else if (session.ended())
      return exit_ok;
  if (!options.commands.empty())
    return exit_ok;
  if (!options.file.empty()) {
    auto text = read_input_file(options.file);
    if (!text)
      return context.fail(text.error());
    return session.run(*text, options.file, 1) ? exit_ok : exit_script_stopped;
  }
  return at_terminal ? session.run_terminal() : session.run_stream(*environment.in);
}

} // namespace astra
