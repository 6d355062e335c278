#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/shell/interpreter.hpp"
#include "runtime/shell/live_world.hpp"
#include "runtime/shell/parse.hpp"
#include "runtime/shell/shell_world.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace astra::shell {

/// A script stopped at a statement that is wrong or could not be done.
constexpr int exit_script_stopped = 3;

/// Runs texts on a world: results go to the context's output in the cluster's mode, what is wrong is told with its
/// place.
class script_runner {
public:
  /// Told of each statement that was run; no failure: it succeeded.
  using observer = std::function<void(const statement& what, const script_failure* failure)>;

  /// @param acts on which statements act
  /// @param cluster whose mode results are shown in, and who knows whether `quit` was said
  script_runner(command_context& context, shell_world& acts, live_world& cluster, bool at_terminal)
    : context_(context), cluster_(cluster), interpreter_(acts, [this](const reply& result) { show(result); }),
      at_terminal_(at_terminal) {}

  /// Runs a text up to its first failure.
  /// @param name of the file; empty: typed
  /// @returns whether all of it was good
  bool run(std::string_view text, const std::string& name, int first_line = 1);

  /// The same for what was parsed already.
  bool run(const script& statements, const std::string& name, int first_line = 1);

  bool ended() const { return cluster_.ended; }

  const interpreter& state() const { return interpreter_; }

  /// May be unset.
  observer observe;

private:
  void show(const reply& result);

  command_context& context_;
  live_world& cluster_;
  interpreter interpreter_;
  bool at_terminal_;
};

/// Tells what is wrong with a text.
/// @param name of the file; empty: typed
void tell(command_context& context, const syntax_error& error, const std::string& name, int first_line = 1);

/// "table", "json", ... as -o says it.
output_mode mode_of(output_format format);

} // namespace astra::shell
