#pragma once

#include "messages/wire/inspection.pb.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace astra {

/// What a quota limits: "cpu" in thousandths of cores, "memory" in bytes, or cards of a kind.
struct quota_dimension {
  std::string name;
  std::uint64_t limit = 0;
  std::uint64_t in_use = 0;
  /// To claims that may not be in everybody's view yet.
  std::uint64_t given_out = 0;
  /// What Resources may give out in this way.
  std::uint64_t leased = 0;

  std::uint64_t left() const { return limit - std::min(limit, in_use + given_out); }
};

/// An app of which replicas wait for their business's quota.
struct quota_wait {
  std::string app;
  std::uint32_t replicas = 0;
  std::chrono::milliseconds lasts{0};
  /// In the words of its scheduler.
  std::string reason;
};

/// The quota of one business in one Resource group.
struct quota_row {
  std::string business;
  std::string group;
  /// The Resource that grants leases of it; empty: none does.
  std::string keeper;
  std::vector<quota_dimension> dimensions;
  std::vector<quota_wait> waiting;
  /// What is not fine about it; empty: nothing.
  std::string reason;

  /// Names of dimensions of which nothing is left.
  std::vector<std::string> used_up() const;
};

/// Who could have said something about quotas.
struct quota_witnesses {
  const std::vector<pb::ResourceReport>& reports;
  /// How many Resources each group has by the gateway's own configuration.
  std::map<std::string, std::size_t> configured;
  /// Names of Resources that did not report, by group.
  std::map<std::string, std::vector<std::string>> silent;
};

/// Puts together what Resources report of quotas, sorted by group and business.  In use is the largest of what they
/// see: who is behind sees less.  What was given out and leases are each Resource's own and add up.  The limit is that
/// of the keeper, which is what counts, or the smallest.
/// @param waiting by business.
std::vector<quota_row> summarise_quotas(const quota_witnesses& from,
                                        const std::map<std::string, std::vector<quota_wait>>& waiting);

} // namespace astra
