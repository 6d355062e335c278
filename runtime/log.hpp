#pragma once

#include "config/options.hpp"

#include <string>

namespace astra {

/// Sets up the process's default logger: text or JSON lines with UTC time, to stderr or a file.
/// @returns false when the file cannot be opened.
bool start_log(const log_options& options, const std::string& process_name);

/// One string as a JSON string literal, quotes included.  Bytes that are not UTF-8 become U+FFFD.
std::string json_quote(std::string_view text);

} // namespace astra
