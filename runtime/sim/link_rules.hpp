#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/draw.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace astra::sim {

/// What is done to the links between machines, each way on its own, and how long a message takes on them.
class link_rules {
public:
  struct rule {
    std::vector<std::uint32_t> from;
    std::vector<std::uint32_t> to;
    bool cuts = false;
    /// Messages take this many times as long.
    double factor = 1.0;
  };

  std::uint64_t add(rule added);

  /// @returns what it was; nothing when there is no such rule.
  std::optional<rule> lift(std::uint64_t id);

  bool passes(std::uint32_t from, std::uint32_t to) const;

  /// @param subject of the draws: the link; `number` is that of the message on it.
  std::int64_t latency(const scenario_network& net, const draws& random, std::uint32_t from, std::uint32_t to,
                       std::uint64_t subject, std::uint64_t number) const;

private:
  struct entry {
    rule what;
    std::vector<bool> from;
    std::vector<bool> to;

    bool covers(std::uint32_t a, std::uint32_t b) const { return a < from.size() && b < to.size() && from[a] && to[b]; }
  };

  std::map<std::uint64_t, entry> rules_;
  std::uint64_t last_ = 0;
};

} // namespace astra::sim
