#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace astra {

/// An archive of text files in memory, in the ustar format of POSIX.1-1988, which every tar reads.
class tar_archive {
public:
  /// Adds a file that only its owner may read.
  /// @param path relative, at most 255 bytes, of which the part behind some slash is at most 100; false: it does not
  /// fit
  /// @param seconds of its last change since 1970
  bool add(std::string_view path, std::string_view content, std::int64_t seconds);

  /// All of it with its end.
  std::string finish() &&;

private:
  std::string bytes_;
};

} // namespace astra
