#include "runtime/gateway/view_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace astra {
namespace {

using shard_report = pb::ResourceReport::Shard;

const shard_report* find_shard(const pb::ResourceReport& report, std::uint64_t origin) {
  for (auto& shard : report.shards())
    if (shard.origin() == origin)
      return &shard;
  return nullptr;
}

/// What the others are measured by.
struct measure {
  const shard_report* shard = nullptr;
  std::string owner;
  std::string group;
  bool own_word = false;
};

std::map<std::uint64_t, measure> measures(const std::vector<pb::ResourceReport>& reports) {
  std::map<std::uint64_t, measure> result;
  for (auto& report : reports)
    for (auto& shard : report.shards()) {
      auto& best = result[shard.origin()];
      auto own = shard.origin() == report.resource();
      auto newer = best.shard == nullptr
                   || std::tuple{own, shard.epoch(), shard.version()}
                          > std::tuple{best.own_word, best.shard->epoch(), best.shard->version()};
      if (newer)
        best = {&shard, report.name(), report.group(), own};
    }
  return result;
}

} // namespace

std::vector<view_difference> compare_views(const std::vector<pb::ResourceReport>& reports) {
  std::vector<view_difference> result;
  for (auto& [origin, best] : measures(reports)) {
    auto& right = *best.shard;
    for (auto& report : reports) {
      auto seen = find_shard(report, origin);
      // Groups know nothing of each other.
      if (seen == &right || report.group() != best.group)
        continue;
      view_difference one;
      one.shard = right.name();
      one.resource = report.name();
      if (!seen) {
        // A shard that only a relay still holds will go there, too.
        if (!best.own_word)
          continue;
        one.what = view_difference::kind::other_life;
        one.detail = "does not know the shard";
      } else if (seen->epoch() != right.epoch()) {
        one.what = view_difference::kind::other_life;
        one.detail = "holds the rows of its former life";
      } else if (seen->lost() && best.own_word) {
        one.what = view_difference::kind::other_life;
        one.detail = "has lost its Resource";
      } else if (seen->version() < right.version()) {
        one.behind = right.version() - seen->version();
        one.detail = fmt::format("{} version{} behind", one.behind, one.behind == 1 ? "" : "s");
      } else if (seen->version() == right.version()
                 && (seen->nodes() != right.nodes()
                     || (seen->liveness_hash() != 0 && right.liveness_hash() != 0
                         && seen->liveness_hash() != right.liveness_hash()))) {
        one.what = view_difference::kind::contradiction;
        one.detail = seen->nodes() != right.nodes()
                         ? fmt::format("has {} nodes at version {}, {} has {}", seen->nodes(), seen->version(),
                                       best.owner, right.nodes())
                         : fmt::format("has other states of nodes at version {} than {}", seen->version(), best.owner);
      } else {
        continue; // Equal, or asked a moment later.
      }
      result.push_back(std::move(one));
    }
  }
  std::sort(result.begin(), result.end(), [](auto& a, auto& b) {
    return std::tie(b.what, a.shard, a.resource) < std::tie(a.what, b.shard, b.resource);
  });
  return result;
}

} // namespace astra
