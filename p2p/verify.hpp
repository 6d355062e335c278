#pragma once

#include "p2p/content.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace astra::p2p {

enum class damage {
  missing,
  /// Something else has its name: a link, a directory.
  no_file,
  truncated,
  too_long,
  /// It has the right length and other bytes.
  flipped,
};

std::string_view to_string(damage what);

struct damaged_file {
  std::string path;
  damage what = damage::missing;
};

struct verification {
  /// In the order of the content.
  std::vector<damaged_file> damaged;
  /// Per piece.
  std::vector<bool> good;

  bool whole() const { return damaged.empty(); }
  /// "a/weights.bin is truncated; config.json is missing", the first few of them.
  std::string text() const;
};

/// Hashes the files beneath `place`/name again.
/// @returns what was found, however bad; fault::cancelled, fault::io.
outcome<verification> verify_content(const content& what, const std::filesystem::path& place,
                                     const work_control& control = {});

} // namespace astra::p2p
