#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// The word of `known` that `word` is a likely misspelling of; empty when none is close enough.  Of equally close
/// ones the first.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

} // namespace astra
