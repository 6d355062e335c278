#pragma once

#include "config/load.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace astra::shell {

/// What was typed, across sessions: one line per entry, of mode 0600.  Each entry is appended when it is made, so that
/// two shells do not overwrite each other's and nothing is lost with a terminal.
class history_file {
public:
  /// "$XDG_STATE_HOME/astra/history", else below ~/.local/state; empty when nothing says where.
  static std::string usual_path(const environment_lookup& environment);

  /// @param path empty: nothing is kept.
  explicit history_file(std::string path) : path_(std::move(path)) {}

  /// The last `most` entries, the oldest first.  A file that has grown to twice as many is cut to them.
  std::vector<std::string> load(std::size_t most) const;

  /// Errors are of no account: a shell without a history is still a shell.
  void add(std::string_view entry) const;

private:
  std::string path_;
};

} // namespace astra::shell
