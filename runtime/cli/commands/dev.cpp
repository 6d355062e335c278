#include "runtime/cli/commands/commands.hpp"

namespace astra {

const command_text dev_text = {
    "Run a whole cluster on this machine, for trying things out",
    "Every node and Resource is a child process with its files in a temporary directory.  Prints where the gateway is; "
    "Ctrl-C ends the cluster and leaves nothing behind unless --keep is given.",
    "astra dev\nastra dev --nodes 6 --resources 3 --app ocr.toml",
};

int run_dev_cluster(command_context& context, const dev_options& options) {
  return context.environment.run_dev(options);
}

} // namespace astra
