#pragma once

#include "actors/resource/cluster_view.hpp"
#include "actors/scheduler/planner.hpp"
#include "messages/ids.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace astra {

/// How often nodes of each pool were lost in the last hour.  A pool is a value of one label; nodes without it are a
/// pool of their own. A plain class: the time is an argument.
class hazard_meter {
public:
  using time_point = std::chrono::steady_clock::time_point;

  explicit hazard_meter(std::string label = "pool") : label_(std::move(label)) {}

  /// A node's row is new or changed.
  void observe(const node_entry& entry, time_point now);
  /// A node's row left the view.
  void forget(node_id node) { offline_.erase(node); }

  /// @param index of the view whose nodes were observed, `nodes` of them.
  pool_hazard rates(const view_index& index, std::size_t nodes, time_point now) const;

private:
  static constexpr std::size_t minutes = 60;

  struct counter {
    /// Losses by minute, in turn, and which minute each of them is.
    std::array<std::uint32_t, minutes> lost{};
    std::array<std::int64_t, minutes> minute{};
  };

  static std::int64_t minute_of(time_point now);

  std::string label_;
  std::map<std::string, counter> pools_;
  /// Counted already.
  std::set<node_id> offline_;
};

} // namespace astra
