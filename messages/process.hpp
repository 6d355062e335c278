#pragma once

#include "messages/ids.hpp"

#include <caf/timespan.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// Conversation between a node and its process launcher.  Never leaves the process.

namespace astra {

/// Starts a command in its own session, without a shell.  Its whole tree is killed at the deadline, on
/// kill_process, over a limit, and when the agent dies.
struct launch_process {
  process_key key;
  /// Command and arguments; the first is looked up in PATH.
  std::vector<std::string> command;
  /// NAME=value, added to the launcher's small default environment (PATH, HOME, LANG, TMPDIR).
  std::vector<std::string> environment;
  /// Written to stdin, which is closed after it; null: /dev/null.
  std::shared_ptr<const std::string> input;
  /// Wall time; zero: none.
  caf::timespan time_limit{0};
  /// Resident memory of the whole tree in bytes; 0: none.
  std::uint64_t memory_limit_bytes = 0;
  /// Bytes of stdout that are kept; more ends the process with output_exceeded.
  std::uint64_t output_limit_bytes = 0;
  /// For long-running commands: stdout counts as log like stderr, only its tail is kept and nothing is exceeded.
  bool output_is_log = false;
  /// The process counts as started once it has written this, in one line of its log; empty: once it runs.  For commands
  /// whose output is log.
  std::string ready_line;
  /// Made before the command is executed, for its user alone, and removed with all that is in it when the tree is gone;
  /// empty: none.  Its parent is there.
  std::string scratch;
};

struct process_started {
  process_key key;
  std::int32_t pid = 0;
};

enum class process_end : std::uint8_t {
  /// By itself, with an exit code.
  exited,
  /// By a signal nobody of ours sent.
  signalled,
  time_limit,
  memory_limit,
  output_limit,
  /// By kill_process.
  killed,
  /// Never ran: command not found, no permission, no memory.
  spawn_failed,
  /// The launcher died, and with it its children.
  launcher_lost,
  /// Never ran: the launcher takes nothing at the moment (it is being restarted, or too far behind).  Says nothing
  /// about the command.
  refused,
};

std::string to_string(process_end end);

/// Sent once per launch_process to whom sent it, also when it failed to start.  When it arrives the whole tree is
/// gone.
struct process_exited {
  process_key key;
  process_end end = process_end::exited;
  /// Exit code, or the negative number of the signal.
  std::int32_t code = 0;
  /// One sentence, such as "killed after 2 s (time limit)".
  std::string reason;
  std::string output;
  /// The last bytes of stderr (and stdout when it is log), at most 4 KiB, cut at a line where possible.  Any
  /// bytes, as output is.
  std::string log_tail;
  /// Bytes written to stderr in all.
  std::uint64_t log_bytes = 0;
  caf::timespan cpu_time{0};
  caf::timespan wall_time{0};
  std::uint64_t memory_peak_bytes = 0;
};

struct kill_process {
  process_key key;
  /// SIGTERM first, SIGKILL to the whole tree after this; zero: SIGKILL at once.
  caf::timespan grace{0};
  std::string reason;
};

/// Asks whether a command can be started; the reply is its absolute path.
struct resolve_command {
  std::string name;
  /// As in launch_process: a PATH in it is the one that counts.
  std::vector<std::string> environment;
};

} // namespace astra
