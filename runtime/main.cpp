#include "messages/type_ids.hpp"
#include "runtime/bench/view_bench.hpp"
#include "runtime/cli/command_line.hpp"
#include "runtime/dev/dev.hpp"
#include "runtime/host.hpp"
#include "runtime/process/launcher.hpp"

#include <caf/init_global_meta_objects.hpp>
#include <caf/io/middleman.hpp>
#include <google/protobuf/stubs/logging.h>

#include <string_view>

int main(int argc, char** argv) {
  // The agent starts itself a second time as its process launcher; nobody types this.
  if (argc == 2 && std::string_view{argv[1]} == "__launcher")
    return astra::launcher_main(astra::launcher_socket);
  caf::init_global_meta_objects<caf::id_block::astra_wire>();
  caf::init_global_meta_objects<caf::id_block::astra_local>();
  caf::io::middleman::init_global_meta_objects();
  caf::core::init_global_meta_objects();
  // It tells of malformed messages on standard error, as often as a peer sends one; ours tell of them in their own way.
  google::protobuf::SetLogHandler(nullptr);
  astra::command_environment environment;
  environment.run_process = astra::run_process;
  environment.run_dev = astra::run_dev;
  environment.run_view_bench = astra::run_view_bench;
  return astra::run_command_line(argc, argv, environment);
}
