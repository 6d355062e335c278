#pragma once

#include "messages/wire/control.pb.h"

#include <cstdint>
#include <string>
#include <vector>

namespace astra {

/// Where a failed update goes back to by itself.
struct retreat {
  /// Null: nowhere.
  const pb::AppRevision* revision = nullptr;
  std::string why_not;
};

/// The newest revision before the current one that runs something else and of which it is not on record that it failed.
/// None when the current one was itself gone back to in this way: going back must not become a circle.
/// @param history The oldest first; its last one has failed.
retreat way_back(const std::vector<pb::AppRevision>& history);

/// The note of the revision that undoes `failed`.
std::string own_rollback_note(std::uint64_t failed, const std::string& reason);

/// The note of the revision that tells of a halted update: the same spec once more.
std::string halt_note(const std::string& reason);

/// Why the update to the current spec was halted; empty when it was not, as far as the revisions tell.
std::string noted_halt(const std::vector<pb::AppRevision>& history);

} // namespace astra
