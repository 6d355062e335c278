#pragma once

#include "runtime/metrics/metrics_text.hpp"

#include <string>

namespace astra {

/// What every Prometheus client tells of its process, by the usual names: process_cpu_seconds_total,
/// process_resident_memory_bytes, process_virtual_memory_bytes, process_open_fds, process_max_fds,
/// process_start_time_seconds, process_threads.  What cannot be read is left out.
/// @param root put in front of "/proc"; empty outside tests
void add_process_metrics(metrics_text& out, const std::string& root = {});

} // namespace astra
