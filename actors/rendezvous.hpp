#pragma once

#include "messages/ids.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra {

/// Orders `candidates` by preference for `self`: highest random weight first (Thaler and Ravishankar, 1996), without
/// repetition.  Everybody computes the same order for the same pair, and a candidate that leaves moves only those
/// who had it first.
inline std::vector<std::string> rendezvous_order(std::string_view self, std::vector<std::string> candidates) {
  std::vector<std::pair<std::uint64_t, std::string>> ranked;
  for (auto& candidate : candidates) {
    auto weight = name_hash(std::string{self} + '\n' + candidate);
    ranked.emplace_back(weight, std::move(candidate));
  }
  std::sort(ranked.begin(), ranked.end(), std::greater<>{});
  ranked.erase(std::unique(ranked.begin(), ranked.end()), ranked.end());
  std::vector<std::string> result;
  for (auto& entry : ranked)
    result.push_back(std::move(entry.second));
  return result;
}

} // namespace astra
