#include "config/text_file.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace astra {

namespace {

constexpr std::size_t file_bytes_max = 4 * 1024 * 1024;

} // namespace

file_text read_text_file(const std::string& path) {
  file_text result;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    result.problem = "is a directory; name a file";
    return result;
  }
  auto file = std::fopen(path.c_str(), "rb");
  if (!file) {
    result.problem = std::string{"cannot be opened: "} + std::strerror(errno);
    return result;
  }
  char buffer[65536];
  while (auto n = std::fread(buffer, 1, sizeof(buffer), file)) {
    result.text.append(buffer, n);
    if (result.text.size() > file_bytes_max) {
      result.problem = "is larger than 4 MiB; this is no configuration";
      break;
    }
  }
  if (std::ferror(file))
    result.problem = "cannot be read";
  std::fclose(file);
  return result;
}

} // namespace astra
