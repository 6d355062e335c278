#include "runtime/cli/command_line.hpp"
#include "runtime/dev/dev.hpp"
#include "runtime/host.hpp"
#include "runtime/process/launcher.hpp"

#include <cstdlib>
#include <string_view>

int main(int argc, char** argv) {
  // The agent starts itself a second time as its process launcher; nobody types this.
  if (argc == 3 && std::string_view{argv[1]} == "__launcher")
    return astra::launcher_main(std::atoi(argv[2]));
  astra::command_environment environment;
  environment.run_process = astra::run_process;
  environment.run_dev = astra::run_dev;
  return astra::run_command_line(argc, argv, environment);
}
