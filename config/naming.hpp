#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What processes, apps, devices and labels may be called.  Each function returns what is wrong with the name and the
// cure, or an empty text.

namespace astra {

/// Names of processes and devices, keys of labels: letters, digits, '-', '_', '.'; at most 63; the first a letter or
/// digit.
std::string name_problem(std::string_view name);

/// Names of apps: lower-case letters, digits, '-'; at most 63; the first and last no '-'.
std::string app_name_problem(std::string_view name);

/// Keys as name_problem says, values without control characters and at most 255 bytes.
std::string label_problem(std::string_view key, std::string_view value);

/// "key" or "key=value" of a taint, with the rules of labels.
std::string taint_problem(std::string_view taint);

/// Key and value of a taint; the value may be empty.
std::pair<std::string, std::string> split_taint(std::string_view taint);

/// Whether a name is among patterns: names, or beginnings of names that end in '*'; "*" stands for all.
bool matches_any(const std::vector<std::string>& patterns, std::string_view name);

/// A version of a content's name.
struct content_reference {
  std::string name;
  /// From 1; 0: the newest.
  std::uint32_t version = 0;
};

/// Reads "name@version", or "name" for the newest.  What is wrong with it and the cure, or an empty text.
std::string parse_content_reference(std::string_view text, content_reference& out);

/// "name@version".
std::string to_string(const content_reference& reference);

/// Whether the library of an actor is a path, as "./tally" and "tally.so": not "name@version" of a content, nor a text
/// that begins with a placeholder.
bool names_library_file(std::string_view library);

/// Names of environment variables: letters, digits, '_'; the first no digit.
std::string variable_problem(std::string_view name);

} // namespace astra
