#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// A name in braces, such as {node_ip} or {port.http}: a letter or `_`, then letters, digits, `_`, `-` and `.`.
/// {{name}} stands for {name} itself.  Braces around anything else, such as those of JSON, are text.

/// Names of placeholders in the order of their first mention.
std::vector<std::string> placeholders_in(std::string_view text);

/// The text with each placeholder replaced by its value; what has no value stays as it is.
std::string expand_placeholders(std::string_view text, const std::map<std::string, std::string>& values);

} // namespace astra
