#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// What a request for a file of a content says.

namespace astra {

struct content_target {
  /// "name@version", or an address.
  std::string content;
  /// Of the file in the content; empty: which files there are.
  std::string file;
};

/// Reads "/TOKEN/contents/NAME@V/PATH".  Nothing when it is no such path, or has another token.
std::optional<content_target> read_content_target(std::string_view target, std::string_view token);

struct byte_range {
  enum class kind {
    whole,
    part,
    /// There is no such part.
    none,
  };
  kind what = kind::whole;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// What a Range header asks for of so many bytes (RFC 9110, 14.2).  What it does not say well, and several ranges at
/// once, may be answered with all bytes, and are.
/// @param header empty: there is none.
byte_range read_range(std::string_view header, std::uint64_t size);

} // namespace astra
