#include "runtime/cli/commands/commands.hpp"

namespace astra {

const command_text bench_text = {"Measure what this machine can do", "", ""};

const command_text bench_view_text = {
    "Measure what the cluster view of so many nodes costs here, and how old it is",
    "Starts Resources, a swarm that speaks for the nodes and subscribers as processes of this machine, or turns to the "
    "Resources of a cluster that is there (it must take plain TCP, and gets the swarm's nodes).  Prints CPU and memory "
    "of each process, beats per second, and per stream of the view how late subscribers know what happened.  Nothing "
    "is "
    "left behind.",
    "astra bench view --nodes 50000 --resources 8 --seconds 60\n"
    "astra bench view --nodes 20000 --die 10% --changing 100%\n"
    "astra bench view --nodes 100000 --join-rate 100000",
};

int bench_view(command_context& context, view_bench_options options) {
  options.json = context.options.format == output_format::json;
  options.colour = context.options.colour_out;
  return context.environment.run_view_bench(options);
}

} // namespace astra
