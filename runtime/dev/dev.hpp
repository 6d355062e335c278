#pragma once

#include "runtime/cli/dev_options.hpp"

namespace astra {

/// Runs a whole cluster of real child processes on this machine until SIGINT or SIGTERM, then ends them all and
/// removes its directory.  Its children die with it, also when it is killed.
/// The directory holds each process's configuration, log and state, and cluster.json, which lists them.
/// @returns 0 after an orderly end, 1 when the cluster did not come up, with the reason on stderr.
int run_dev(const dev_options& options);

} // namespace astra
