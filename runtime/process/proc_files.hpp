#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Readers of /proc and of control groups.  Every function takes the text or the directory it reads, so tests give
// them made-up ones.

namespace astra {

/// Contents of a small file; nothing when it cannot be read.
std::optional<std::string> read_file(const std::string& path);

/// Writes to an existing file, such as one of a control group.
/// @returns 0 or errno.
int write_file(const std::string& path, std::string_view text);

/// First unsigned number of a file; nothing for "max" or when it cannot be read.
std::optional<std::uint64_t> read_number(const std::string& path);

/// Value of the line "KEY VALUE" or "KEY: VALUE".
std::optional<std::uint64_t> find_number(std::string_view text, std::string_view key);

/// One line of /proc/PID/stat.
struct process_stat {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t session = 0;
  char state = '?';
  /// Own CPU time and that of ended children, in clock ticks.
  std::uint64_t own_ticks = 0;
  std::uint64_t children_ticks = 0;
  /// Clock ticks since boot; with the pid it names a process once and for all.
  std::uint64_t start_ticks = 0;
  std::uint64_t resident_pages = 0;
  std::uint32_t threads = 1;

  bool ended() const { return state == 'Z' || state == 'X'; }
};

std::optional<process_stat> parse_process_stat(std::string_view line);

std::optional<process_stat> read_process_stat(const std::string& proc, pid_t pid);

/// All processes below `proc` (usually "/proc"), in ascending order of pid.
std::vector<process_stat> scan_processes(const std::string& proc);

/// Pids of the children of all threads of a process, ended but not yet reaped ones included; nothing when the kernel
/// does not tell.  Exact for a process that asks about itself; of others, one may be missed that moves in between.
std::optional<std::vector<pid_t>> read_children(const std::string& proc, const process_stat& parent);

/// All descendants of a process, parents before children.  Costs a few system calls per descendant, whatever else
/// runs on the machine, where the kernel lists children.
std::vector<process_stat> scan_descendants(const std::string& proc, const process_stat& first);

/// Value of NAME in an environment block (NAME=value, each ended by a zero byte).
std::optional<std::string> find_variable(std::string_view block, std::string_view name);

/// Pids in a cgroup.procs file.
std::vector<pid_t> parse_pids(std::string_view text);

/// Directories of the control groups that this process is in, below the root of the file system seen; empty where the
/// hierarchy is not mounted.
struct cgroup_dirs {
  std::string unified;
  std::string memory;
  std::string cpu;
  std::string cpuacct;
  /// Mount points of the same hierarchies: where a walk up ends.
  std::string unified_top;
  std::string memory_top;
  std::string cpu_top;
};

/// @param groups contents of /proc/self/cgroup
/// @param mounts contents of /proc/self/mountinfo
/// @param root put in front of every path; empty outside tests
cgroup_dirs parse_cgroup_dirs(std::string_view groups, std::string_view mounts, const std::string& root);

cgroup_dirs own_cgroup_dirs(const std::string& root = {});

} // namespace astra
