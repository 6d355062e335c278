#pragma once

#include "messages/ids.hpp"
#include "runtime/process/proc_files.hpp"
#include "runtime/process/spawn_child.hpp"
#include "runtime/process/unique_fd.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// What this machine lets a launcher use to end and to limit whole process trees.
struct group_backend {
  /// What enforces memory limits: "cgroup2", "cgroup1" or "polling".
  std::string name = "polling";
  /// What ends trees, what limits memory, and why not more; for operators.
  std::string detail;
  /// Own group in the version 2 hierarchy, below which each process gets one; empty: not available.
  std::string unified;
  bool unified_memory = false;
  /// Own group in the version 1 memory hierarchy; empty: not available or not needed.
  std::string memory;

  /// Whether trees are followed by group membership; otherwise by walking /proc.
  bool follows_groups() const { return !unified.empty() || !memory.empty(); }
  std::vector<std::string> groups() const;
};

/// Finds out by trying.  Creates the launcher's own groups, and ends and removes those that launchers which died
/// without cleaning up left beside them.
/// @param wanted auto, cgroup2, cgroup1 or polling: the best that may be used
group_backend probe_group_backend(const std::string& wanted, const cgroup_dirs& dirs);

/// Kills everything in a group and below, and removes it.
/// @returns true when it is gone; call again after a moment otherwise.
bool end_group(const std::string& directory);

/// The control groups of one process tree.  Without any, every member function says so by its result.
class process_group {
public:
  process_group() = default;
  /// Creates the groups.
  /// @param error set to a sentence when the memory limit cannot be set
  process_group(const group_backend& backend, process_key key, std::uint64_t memory_limit, std::string& error);
  ~process_group();
  process_group(process_group&& other) noexcept = default;
  process_group& operator=(process_group&& other) noexcept = default;

  /// Makes the child start in the groups.
  void place(child_plan& plan) const;

  bool follows() const { return !directories_.empty(); }
  /// Whether the kernel enforces the memory limit.
  bool limits_memory() const { return !memory_.empty(); }
  std::vector<pid_t> members() const;
  bool empty() const;
  /// Sends SIGKILL to every member.
  void kill() const;
  /// Processes of the group that the kernel killed because of the memory limit.
  std::uint64_t out_of_memory_kills() const;
  /// 0 when not known.
  std::uint64_t memory_peak() const;

  /// Directories that the destructor could not remove yet: an ended process leaves its group a moment later.
  std::vector<std::string> release();

private:
  std::vector<std::string> directories_;
  /// The one of them that limits memory.
  std::string memory_;
  bool memory_v2_ = false;
  unique_fd unified_dir_;
  std::vector<unique_fd> procs_;
};

} // namespace astra
