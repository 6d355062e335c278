#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace astra {

/// With %XX for all but letters, digits, "-._~" and what is to be kept: as one segment of a path, or with "/" as a
/// path.
std::string percent_encoded(std::string_view text, std::string_view kept = {});

/// A part of a target with its %XX replaced.  Nothing for a broken escape.
std::optional<std::string> percent_decode(std::string_view text);

} // namespace astra
