#pragma once

#include "runtime/shell/syntax.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace astra::shell {

/// How results are shown.
enum class output_mode {
  /// For people.
  table,
  json,
  /// One object per line.
  ndjson,
  /// RFC 4180, with the keys in the first line.
  csv,
  /// One key per line.
  line,
};

std::optional<output_mode> parse_output_mode(std::string_view name);

/// Objects as RFC 4180, with a line of keys first: those, then others that the rows have.
std::string csv_of(const json& rows, std::vector<std::string> keys);

/// A result in one of the modes, ended by a line feed; nothing for null.
std::string render(const json& what, output_mode mode, bool colour);

} // namespace astra::shell
