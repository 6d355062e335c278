#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/event.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace astra::sim {

struct session_options {
  /// Whether what the actors log at level debug is recorded too.
  bool debug_log = false;
  /// Copies of the run that `branch` and `timeline` run at the same time.
  std::uint32_t jobs = 1;
  /// Suspended copies of the run to go back to, one per virtual second.
  std::size_t snapshots = 64;
  /// Events that are remembered; when there are more, all but the newest are forgotten at once.
  std::size_t events_max = 2'000'000;
};

struct session_answer {
  /// Lines with their ends; may be empty.
  std::string text;
  /// False: the command was not understood or could not be done, and `text` says why and what helps.
  bool good = true;
  /// The session is over.
  bool ended = false;
  /// Where the run is now.
  instant now{0};
};

struct session_command {
  std::string name;
  /// Its arguments: "[n]".
  std::string usage;
  /// What it does; sentences.
  std::string about;
};

/// All commands, as `help` lists them.
const std::vector<session_command>& session_commands();

/// A run under the hands of a user who steps, goes back, injects faults and asks what happened: one line in, lines out.
///
/// The run lives in processes of its own, so that it can go back: this object is the front, which talks to whichever
/// copy of the run is the present one.
class session {
public:
  /// Starts a run at its beginning.  Throws std::runtime_error when no process could be started.
  /// @pre `what` has no problems; no other thread of this process holds a lock.
  session(std::shared_ptr<const scenario> what, std::uint64_t seed, const session_options& options);
  ~session();
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  /// Does one command.  An empty line does nothing.
  session_answer execute(std::string_view line);

  /// Where the run was after the last command.
  instant now() const { return now_; }

private:
  int keeper_ = -1;
  int front_ = -1;
  /// Closing it ends all processes of the session.
  int life_ = -1;
  instant now_{0};
};

} // namespace astra::sim
