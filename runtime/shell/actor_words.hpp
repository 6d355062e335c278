#pragma once

#include "runtime/shell/shell_world.hpp"

#include <caf/expected.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

// Messages of actors as one types them: their name, then FIELD=VALUE, or values in the order of the fields.  `schema`
// is what an actor answers to {"describe":{}}.

namespace astra::shell {

/// The body of the message that the words name, from `words[from]` on; nothing when they are a text.  Fails with what
/// was probably meant when they can be neither.
caf::expected<std::optional<std::string>> message_of(const std::vector<request::word>& words, std::size_t from,
                                                     const json& schema);

/// The actor's own, then those that Astra answers.
std::vector<std::string> message_names(const json& schema);

/// "amount=" for each field of a message; none when there is no such message.
std::vector<std::string> field_words(const json& schema, const std::string& message);

} // namespace astra::shell
