#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/cli/commands/commands.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace astra {

extern const command_text wait_text;

struct wait_options {
  /// app/NAME, node/NAME, model/NAME@VERSION or task/ID.
  std::string what;
  /// What it is to be; empty: the usual one of its kind.
  std::string state;
  /// Of a model: on how many nodes; unset: on all that are at it, and at least one.
  std::optional<std::uint32_t> count;
};

/// Returns once it is so.  The time for it is the global option --timeout.
int wait_for(command_context& context, const wait_options& options);

/// Every word that may stand behind --for.
std::vector<std::string> wait_states();

} // namespace astra
