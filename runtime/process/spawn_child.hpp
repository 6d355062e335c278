#pragma once

#include "runtime/process/unique_fd.hpp"

#include <sys/resource.h>
#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace astra {

/// Everything a child needs between clone and exec.
struct child_plan {
  /// Absolute, or relative to the working directory.
  std::string program;
  std::vector<std::string> arguments;
  /// NAME=value.
  std::vector<std::string> environment;
  int input = -1;
  int output = -1;
  int log = -1;
  /// Receives errno when exec fails and end of file when it succeeds; close-on-exec.
  int failure = -1;
  /// Directory of a version 2 control group to be born in; -1: none.
  int group = -1;
  /// cgroup.procs files of further groups to join.
  std::vector<int> joins;
  /// Limit of open files; zero: inherited.
  rlimit open_files{};
};

struct child_handle {
  pid_t pid = -1;
  unique_fd pidfd;
  /// errno when pid is -1.
  int error = 0;
};

/// Starts a child in its own session, with default signal handling, no file but 0, 1 and 2, and SIGKILL for the moment
/// its parent dies.
/// @pre the calling process has one thread: the child's SIGKILL is bound to the thread that calls.
child_handle spawn_child(const child_plan& plan);

/// Path of a command: itself when it holds a slash, else the first executable file in `search_path` (as in PATH).
/// `error` is set instead when there is none, such as "tesseract: command not found in PATH (/usr/bin:/bin)".
std::string find_command(const std::string& name, const std::string& search_path, std::string& error);

/// Small default environment (PATH, HOME, LANG, TMPDIR of this process, with fallbacks) and `extra` over it.
std::vector<std::string> make_environment(const std::vector<std::string>& extra);

/// Value of NAME among NAME=value strings; empty when it is not there.
std::string find_in_environment(const std::vector<std::string>& environment, const std::string& name);

} // namespace astra
