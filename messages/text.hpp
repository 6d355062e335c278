#pragma once

#include <string>

namespace astra {

/// `text` as valid UTF-8, every byte that belongs to no character replaced by U+FFFD.  For text from outside, such as
/// what an app logged: a Protobuf message whose `string` field is not UTF-8 cannot be decoded and is lost on its way.
std::string to_utf8(std::string text);

} // namespace astra
