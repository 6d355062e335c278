#include "runtime/shell/history_file.hpp"

#include "config/contexts.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace astra::shell {
namespace {

void append(const std::string& path, const std::string& text, int flags) {
  auto fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
  if (fd < 0)
    return;
  // Also when the file was there with another mode.
  if (::fchmod(fd, 0600) == 0) [[maybe_unused]]
    auto written = ::write(fd, text.data(), text.size());
  ::close(fd);
}

} // namespace

std::string history_file::usual_path(const environment_lookup& environment) {
  return xdg_path(environment, "XDG_STATE_HOME", ".local/state", "history");
}

std::vector<std::string> history_file::load(std::size_t most) const {
  std::vector<std::string> result;
  std::ifstream in{path_, std::ios::binary};
  for (std::string line; std::getline(in, line);)
    if (!line.empty())
      result.push_back(line);
  if (result.size() <= most)
    return result;
  auto grown = result.size() >= 2 * most;
  result.erase(result.begin(), result.end() - static_cast<std::ptrdiff_t>(most));
  if (grown) {
    std::string text;
    for (auto& entry : result)
      text += entry + "\n";
    auto beside = path_ + ".new";
    append(beside, text, O_TRUNC);
    std::error_code ignored;
    std::filesystem::rename(beside, path_, ignored);
  }
  return result;
}

void history_file::add(std::string_view entry) const {
  if (path_.empty() || entry.find_first_not_of(" \t") == std::string_view::npos)
    return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path{path_}.parent_path(), ignored);
  append(path_, std::string{entry} + "\n", O_APPEND);
}

} // namespace astra::shell
