#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace astra {

/// How a content that is fetched is doing, as far as people want to know.
struct fetch_progress {
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_per_s = 0;
  std::uint32_t peers = 0;
  /// Members that have all of it, and pieces that no member has.
  std::uint32_t complete = 0;
  std::uint32_t missing = 0;
  /// 0: there is none.
  std::uint64_t download_limit = 0;
  /// The share of the node's downlink that it may take; 0: not known.
  std::uint64_t link_cap = 0;
  /// Whether a limit over all nodes is in force.
  bool swarm_limited = false;
  /// Whether it gives way to requests that the node works on.
  bool gives_way = false;
  /// What it may take of the link beside more urgent contents; 0: as much as it gets.
  std::uint64_t share = 0;
  /// Whether there is an origin, whether this node reads it, and why it cannot.
  bool has_origin = false;
  bool reads_origin = false;
  std::string origin_problem;
};

/// Nothing: nobody can tell.
std::optional<std::chrono::milliseconds> time_left(const fetch_progress& how);

/// What holds it up: "no node that has it answers", "its peers' uplinks", ...
std::string limited_by(const fetch_progress& how);

/// "62 %, 41 s left at 3.1 MB/s from 4 peers, limited by its peers' uplinks".
std::string fetch_text(const fetch_progress& how);

/// A rate that jumps from second to second, smoothed over about three of them; the first one counts in full.
class smooth_rate {
public:
  void add(std::uint64_t bytes_per_s) {
    auto added = static_cast<double>(bytes_per_s);
    value_ = value_ < 1.0 ? added : value_ + (added - value_) * 0.3;
  }
  void reset() { value_ = 0.0; }
  std::uint64_t value() const { return static_cast<std::uint64_t>(value_); }

private:
  double value_ = 0.0;
};

} // namespace astra
