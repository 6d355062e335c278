#pragma once

#include "actors/platform.hpp"

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace astra {

/// Metrics of the control group that limits this process, or of the machine where nothing does.
/// @param launcher_pid asked at each sample: a launcher that died is replaced; 0: there is none
/// @param root put in front of every path; empty outside tests
std::unique_ptr<machine_probe> make_machine_probe(std::function<pid_t()> launcher_pid, const std::string& root = {});

/// Clock ticks in which a core was not idle, from the first line of /proc/stat.  Time stolen by other machines
/// counts: it is not ours to use.
std::optional<std::uint64_t> parse_busy_ticks(std::string_view proc_stat);

/// Clock ticks used by a process, its running descendants, and all their ended children.
std::uint64_t tree_ticks(const std::string& proc, pid_t first);

} // namespace astra
