#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <string>
#include <string_view>

// Takes what nobody else may see out of what is to be handed on.  It goes by names and by forms, so it takes rather too
// much than too little; a secret under a name like "colour" it cannot know.

namespace astra {

/// Whether what has this name is a secret: "API_TOKEN", "db-password", "ssh_key".
bool names_a_secret(std::string_view name);

/// Without the user and password of URLs, what follows the name of a secret (NAME=..., NAME: ..., --NAME ...), what
/// follows Bearer and Basic, and private keys in PEM.
/// @param count grows by what was taken out
std::string redacted(std::string_view text, std::size_t& count);

/// The same of every text, and of every value under the name of a secret, behind an option of such a name in a list,
/// and in an environment (NAME=value below "env").  Names stay.
nlohmann::ordered_json redacted(const nlohmann::ordered_json& value, std::size_t& count);

} // namespace astra
