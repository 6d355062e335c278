#pragma once

#include "runtime/shell/completion.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace astra::shell {

/// Lines that are remembered.
constexpr std::size_t history_max = 2000;

enum class line_end : std::uint8_t {
  complete,
  /// ^C: what was typed is of no account.
  interrupted,
  /// ^D on an empty line, or the end of the input.
  closed,
};

struct typed_line {
  line_end end = line_end::closed;
  /// Without its line end.
  std::string text;
};

/// Reads lines from the terminal of this process.
class line_editor {
public:
  virtual ~line_editor() = default;
  virtual typed_line read(const std::string& prompt) = 0;
  /// For "up" and ^R.
  virtual void remember(const std::string& entry) = 0;
};

using completer = std::function<completion(std::string_view line)>;

/// With editing, history and completion where the terminal can do that; on one that cannot (TERM=dumb) lines are read
/// as the kernel hands them out.
/// @param history entries of earlier sessions, the oldest first
std::unique_ptr<line_editor> make_line_editor(std::string_view terminal, const std::vector<std::string>& history,
                                              completer complete);

/// From now on ^C ends no process: it is seen here, and interrupts waiting system calls.
void catch_interrupts();
/// Whether ^C was pressed since `forget_interrupt`.
bool interrupt_pending();
void forget_interrupt();

} // namespace astra::shell
