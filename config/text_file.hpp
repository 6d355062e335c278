#pragma once

#include <string>

namespace astra {

struct file_text {
  std::string text;
  /// Why it could not be read, without its name; empty: it could.
  std::string problem;
};

/// Reads a whole configuration file, of at most 4 MiB.
file_text read_text_file(const std::string& path);

} // namespace astra
