#pragma once

#include "config/load.hpp"
#include "config/options.hpp"
#include "messages/http_call.hpp"
#include "runtime/cli/bench_options.hpp"
#include "runtime/cli/command_tree.hpp"
#include "runtime/cli/dev_options.hpp"

#include <caf/expected.hpp>
#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

struct fetch_door;

/// What the command line has of the world around it.  Made by main; tests make their own.
struct command_environment {
  /// Of this process: its network, its streams, its terminal, its variables, its clock.
  command_environment();

  /// Run until the process is told to stop; the result is its exit code.
  std::function<int(process_options)> run_process;
  std::function<int(dev_options)> run_dev;
  std::function<int(view_bench_options)> run_view_bench;
  /// One blocking HTTP call.
  std::function<caf::expected<http_answer>(const http_call&)> fetch;
  /// The same, when the gateway is not reached by plain TCP.
  std::function<caf::expected<http_answer>(const http_call&, const fetch_door&)> fetch_through;
  /// The same for an answer that comes in pieces (runtime/http/fetch.hpp).
  std::function<caf::expected<http_answer>(const http_call&, const fetch_door&,
                                           const std::function<bool(std::string_view)>&)>
      fetch_pieces;
  /// Looks at each call to the gateway before it is made: may add headers to it, or refuse it.  Null: nobody does.
  std::function<caf::error(http_call&)> before_call;

  /// Gets what a list shows: the answer with the rows that were wanted, or these.  Null: nobody wants it.
  std::function<void(const nlohmann::ordered_json&)> on_shown;

  environment_lookup variables;
  std::function<std::chrono::steady_clock::time_point()> now;
  std::function<void(std::chrono::milliseconds)> sleep;
  /// Whether ^C was pressed.  From the first call on the first one does not end this process any more; a second one
  /// does.
  std::function<bool()> interrupted;
  /// What the nodes on this machine know it by; empty: nobody knows.
  std::function<std::string()> machine;

  /// Request bodies come from `in`, data goes to `out`, narration and errors to `err`.
  std::istream* in;
  std::ostream* out;
  std::ostream* err;
  bool in_is_terminal;
  bool out_is_terminal;
  bool err_is_terminal;
  /// Columns of the terminal of `err`.
  std::function<std::size_t()> err_columns;
};

/// Does what the arguments say and returns the exit code (exit_code.hpp).  No actor system is created for anything
/// but run_process, run_dev and run_view_bench.
/// @pre CAF's global meta objects and Astra's are initialised, for errors that carry text.
int run_command_line(int argc, const char* const* argv, command_environment& environment);

/// As run_command_line, up to the point where the command would do something.
int check_command_line(int argc, const char* const* argv, command_environment& environment);

/// All commands.
command_node command_tree();

} // namespace astra
