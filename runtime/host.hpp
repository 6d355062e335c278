#pragma once

#include "config/options.hpp"

namespace astra {

/// Runs one process with the roles of its options until it is told to stop.
/// SIGTERM or SIGINT: nodes and gateways finish what they work on, within `node.drain_wait` + `shutdown_timeout`; a
/// second one leaves at once. While it runs, `state_dir`/run.json says its pid and addresses.
/// @returns the process's exit code: 0 after an orderly stop, 1 when a role failed for good or the app store of a
/// scheduler cannot be opened, 78 when an app file of the configuration is bad.
/// @pre no thread was started yet: signals are blocked for all threads that follow.  CAF's and Astra's global meta
/// objects are initialised.
int run_process(process_options options);

} // namespace astra
