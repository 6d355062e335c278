#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace astra {

/// A part of a target with its %XX replaced.  Nothing for a broken escape.
std::optional<std::string> percent_decode(std::string_view text);

} // namespace astra
