#include "runtime/cli/commands/commands.hpp"

#include "runtime/version.hpp"

namespace astra {

const command_text version_text = {"Print the versions of Astra and of the libraries it stands on", "",
                                   "astra version"};

int show_version(command_context& context) {
  context.out() << version_line() << '\n';
  return exit_ok;
}

} // namespace astra
