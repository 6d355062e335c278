#pragma once

#include "runtime/cli/bench_options.hpp"

namespace astra {

/// Starts Resources, a swarm that speaks for the nodes, and subscribers, as processes of this machine; measures what
/// the view costs and how old it is; prints the result to stdout, progress to stderr; leaves nothing behind. Returns an
/// exit code (runtime/cli/exit_code.hpp).
/// @pre this process has one thread.
int run_view_bench(const view_bench_options& options);

} // namespace astra
