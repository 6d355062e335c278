#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace astra::p2p {

/// How fast a link is in one direction, and the share of it that transfers may take.
///
/// The transfers are the speed test, so it costs no byte: the first one runs without a cap until its rate no longer
/// grows, or for `test_looks_max` seconds.  Later ones that fill the cap are let go for `window` in every `period` of
/// the time of day: at the same time on all nodes, or each would measure the caps of the others.  When for
/// `doubt_looks` seconds they come nowhere near the cap, the link is thought to be slower than it was.  A rate that
/// another limit holds down says nothing.
///
/// A plain class, to be asked about once per second; the time is an argument.  Rates are in bytes per second.
class link_meter {
public:
  /// Slower than this nothing is being moved.
  static constexpr std::uint64_t least_bytes_per_s = 64 * 1024;
  /// A cap is not lower: on a link that slow there is nothing to share, and slow peers look the same.
  static constexpr std::uint64_t least_cap_bytes_per_s = 1024 * 1024;
  static constexpr int test_looks_max = 10;
  static constexpr int doubt_looks = 30;
  static constexpr std::chrono::seconds period{20};
  static constexpr std::chrono::seconds window{4};

  /// @param share Of the link, in (0, 1]; 0: there is no cap, and nothing is measured.
  explicit link_meter(double share) : share_(share) {}

  /// @param moved In the last second.
  /// @param other The limit that was in force in it for another reason; 0: none.
  /// @param time_of_day Since 1970.
  void look(std::uint64_t moved, std::uint64_t other, std::chrono::milliseconds time_of_day);

  /// What the link carried at its best; empty: unknown yet.
  std::optional<std::uint64_t> measured() const { return measured_; }
  /// Empty: none, for now.
  std::optional<std::uint64_t> cap() const;

private:
  void first(std::uint64_t rate);

  double share_;
  std::optional<std::uint64_t> measured_;
  /// Of the first test: what it saw at most, how often it looked, and how often in a row that was hardly more than
  /// before.
  std::uint64_t best_ = 0;
  int looks_ = 0;
  int flat_ = 0;
  /// The cap is not in force for now.
  bool let_go_ = false;
  /// What was moved at the last look.
  std::uint64_t last_ = 0;
  /// What was seen at most in the looks since the cap was last nearly full.
  std::uint64_t seen_ = 0;
  int seen_looks_ = 0;
};

} // namespace astra::p2p
