#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// Fewest single edits (insert, delete, replace, swap two neighbours) that turn one word into the other; letter case
/// and '-' against '_' count half an edit, so the result is in half edits.  Optimal string alignment distance.
std::size_t half_edits(std::string_view a, std::string_view b);

/// The word that was probably meant: the nearest candidate within one edit per three letters (at least one) or
/// with the same start of three letters, the first of equals; nothing when none is near.
std::optional<std::string> closest(std::string_view word, const std::vector<std::string>& candidates);

} // namespace astra
