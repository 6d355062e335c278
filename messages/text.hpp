#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace astra {

/// `text` as valid UTF-8, every byte that belongs to no character replaced by U+FFFD.  For text from outside, such as
/// what an app logged: a Protobuf message whose `string` field is not UTF-8 cannot be decoded and is lost on its way.
std::string to_utf8(std::string text);

/// `text`, or its beginning and its end with " ... " between them: at most `bytes_max` bytes, and no character is cut.
/// @pre `text` is valid UTF-8, bytes_max >= 16
std::string shorten(std::string text, std::size_t bytes_max);

/// Foreign text as part of a log line: at most `bytes_max` bytes of it, then "...", and everything but printable ASCII,
/// quotation marks and backslashes as \xNN.
std::string printable(std::string_view text, std::size_t bytes_max);

} // namespace astra
