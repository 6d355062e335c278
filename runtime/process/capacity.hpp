#pragma once

#include "config/options.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace astra {

struct cgroup_dirs;

/// What this process may use of its machine.
struct machine_capacity {
  std::uint32_t cpu_milli = 0;
  std::uint64_t memory_bytes = 0;
  /// Where each comes from, such as "cpu.max of /sys/fs/cgroup/pod7" or "hardware".
  std::string cpu_origin;
  std::string memory_origin;

  /// Both in one line for operators: "cpu: hardware; memory: memory.max of /sys/fs/cgroup/pod7".
  std::string origin() const;
};

/// The smallest of: control group limits (version 2, then 1) of the own group and all above it, the set of cores this
/// process may run on, and the hardware.
/// @param root put in front of every path; empty outside tests
machine_capacity detect_capacity(const std::string& root = {});

/// Accelerators whose device files this process can see, one entry per model, sorted by kind: kind is the model's name
/// in lower case with dashes, such as "nvidia-a10".  Memory is 0: the driver tells it only through its own library.
std::vector<accelerator_options> detect_accelerators(const std::string& root = {});

/// A control group limit and the group that sets it.
struct cgroup_limit {
  double value = 0.0;
  std::string directory;
  /// File that sets it.
  std::string file;
};

/// Cores; nothing when unlimited.
std::optional<cgroup_limit> find_cpu_limit(const cgroup_dirs& dirs);
/// Bytes; nothing when unlimited.
std::optional<cgroup_limit> find_memory_limit(const cgroup_dirs& dirs);

/// Cores in a list such as "0-3,8,10-11"; 0 when it is malformed.
std::uint32_t count_cores(const std::string& list);

} // namespace astra
