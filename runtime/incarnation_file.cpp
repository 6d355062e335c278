#include "runtime/incarnation_file.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <fstream>

namespace astra {

incarnation_file::incarnation_file(const std::filesystem::path& state_dir) : path_(state_dir / "incarnation") {
  std::ifstream in{path_};
  in >> last_;
}

incarnation incarnation_file::next_after(incarnation other) {
  std::lock_guard guard{mutex_};
  auto now = std::chrono::system_clock::now().time_since_epoch();
  auto ns = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
  last_ = std::max({last_ + 1, other.value() + 1, ns});
  std::ofstream out{path_, std::ios::trunc};
  if (!(out << last_ << '\n'))
    spdlog::warn("platform.incarnation_not_kept file={} reason=\"cannot write\"", path_.string());
  return incarnation{last_};
}

} // namespace astra
