#pragma once

#include "runtime/cli/commands/commands.hpp"

#include <string>

namespace astra {

extern const command_text debug_text, debug_bundle_text;
/// Writes what there is to know of a cluster into one tar file that can be handed on.
/// @param file empty: astra-bundle-TIME.tar in the current directory
int write_debug_bundle(command_context& context, const std::string& file);

} // namespace astra
