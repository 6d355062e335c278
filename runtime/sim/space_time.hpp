#pragma once

#include "runtime/sim/trace.hpp"

#include <cstddef>
#include <string>

namespace astra::sim {

struct space_time_options {
  /// Events in the page at most: the newest ones of the window.  What is left out is said on the page.
  std::size_t events_max = 200'000;
  /// The window of time that is drawn.
  instant from{0};
  /// Exclusive.
  instant until = instant::max();
};

/// One HTML file that needs nothing else: a lane per machine, time to the right, an arrow per message, the faults and
/// what they did, log lines and failures.  About 15 bytes per event.
std::string space_time_page(const trace& what, const space_time_options& options = {});

} // namespace astra::sim
