#pragma once

#include "messages/wire/inspection.pb.h"

#include <cstdint>
#include <string>
#include <vector>

namespace astra {

/// Where the view of one Resource is not that of the shard's own Resource.
struct view_difference {
  enum class kind {
    /// It has an older version: some are always on their way.
    behind,
    /// It does not know the shard, or holds it from another life of its Resource, or has lost that one.
    other_life,
    /// The same version and other rows: this must not be.
    contradiction,
  };

  kind what = kind::behind;
  /// Whose rows.
  std::string shard;
  /// Who sees them otherwise.
  std::string resource;
  /// Versions.
  std::uint64_t behind = 0;
  /// What differs, in words.
  std::string detail;
};

/// Compares the reports of Resources that were asked at about the same time.  Sorted by shard and Resource,
/// contradictions first.  Shards whose own Resource did not report are compared with the newest version that anybody
/// has.
std::vector<view_difference> compare_views(const std::vector<pb::ResourceReport>& reports);

} // namespace astra
