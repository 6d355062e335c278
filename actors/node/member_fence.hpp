#pragma once

#include "messages/wire/app.pb.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

namespace astra {

/// The newest incarnation of each slot of a cluster that a node was asked to run: a claim of an older one has been
/// overtaken.  Incarnations count within an epoch of their scheduler.
class member_fence {
public:
  /// More than can be under way between a scheduler and a node.
  static constexpr std::size_t members_max = 4096;

  void remember(std::uint64_t epoch, const pb::ClusterMember& member);

  /// Why a claim counts no more; empty: it counts.
  std::string misfit(std::uint64_t epoch, const pb::ClusterMember& member) const;

private:
  using slot_key = std::pair<std::uint64_t, std::uint32_t>;

  std::map<slot_key, std::pair<std::uint64_t, std::uint32_t>> newest_;
  /// The one that is forgotten first in front.
  std::deque<slot_key> order_;
};

} // namespace astra
