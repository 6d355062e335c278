#pragma once

#include "messages/ids.hpp"

#include <cstdint>
#include <filesystem>
#include <mutex>

namespace astra {

/// Incarnations of what runs on this machine: nanoseconds of the system clock, or one more than the last one handed
/// out, which is kept in `state_dir`/incarnation, so a clock that was set back does not fence a restarted process.
class incarnation_file {
public:
  explicit incarnation_file(const std::filesystem::path& state_dir);

  /// Larger than every one returned before, also by earlier processes with this directory, and than `other`.
  incarnation next_after(incarnation other = {});

private:
  std::filesystem::path path_;
  std::mutex mutex_;
  std::uint64_t last_ = 0;
};

} // namespace astra
