#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/cli/command_tree.hpp"
#include "runtime/cli/commands/commands.hpp"

#include <string>
#include <vector>

namespace astra {

extern const command_text man_text;

struct man_options {
  /// Words of the command; none: astra itself.
  std::vector<std::string> words;
  /// Every page goes into this directory; empty: one page to stdout.
  std::string directory;
};
int write_manual(command_context& context, const command_node& root, const man_options& options);

/// Its page as man(7) source.
std::string manual_page(const command_node& root, const command_node& command);

/// "astra-app-apply" for the command "app apply", "astra" for the root.
std::string manual_name(const command_node& command);

} // namespace astra
