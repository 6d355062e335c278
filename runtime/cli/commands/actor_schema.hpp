#pragma once

#include "runtime/cli/command_context.hpp"

#include <string>

namespace astra {

/// What an actor takes, as {"describe":{}} answers it, for people: its messages, fields and arguments as lines.
std::string render_actor_schema(const json& schema);

/// "add amount=1", "roll sides=INT64": a message as one types it after `ask APP`; what must be given stands in
/// capitals.
std::string message_usage(const json& message);

/// One line about the last messages and the rest of what {"info":{}} answers, then the messages as a table.
std::string render_actor_info(const json& info, bool colour);

} // namespace astra
