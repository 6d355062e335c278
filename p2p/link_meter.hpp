#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace astra::p2p {

/// How fast a link is in one direction, and the share of it that transfers may take.
///
/// The transfers are the speed test, so it costs no byte: the first one runs without a cap until its rate no longer
/// grows, or for `test_looks_max` seconds.  When later ones fill the cap, they are let go once more, at longer and
/// longer intervals as long as that finds nothing new; when for `doubt_looks` seconds they come nowhere near it, the
/// link is thought to be slower than it was.  A rate that another limit holds down says nothing.
///
/// A plain class, to be asked about once per second; the time is an argument.  Rates are in bytes per second.
class link_meter {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Slower than this nothing is being moved.
  static constexpr std::uint64_t least_bytes_per_s = 64 * 1024;
  static constexpr int test_looks_max = 10;
  static constexpr int doubt_looks = 30;
  static constexpr std::chrono::seconds pause_min{10};
  static constexpr std::chrono::seconds pause_max{600};

  /// @param share Of the link, in (0, 1]; 0: there is no cap, and nothing is measured.
  explicit link_meter(double share) : share_(share) {}

  /// @param moved In the last second.
  /// @param other The limit that was in force for another reason; 0: none.
  void look(std::uint64_t moved_per_s, std::uint64_t other, time_point now);

  /// What the link carried at its best; empty: unknown yet.
  std::optional<std::uint64_t> measured() const { return measured_; }
  /// Empty: none, for now.
  std::optional<std::uint64_t> cap() const;

private:
  void test(std::uint64_t rate, time_point now);
  void begin_test();

  double share_;
  std::optional<std::uint64_t> measured_;
  bool testing_ = true;
  /// Of a test: what it saw at most, how often it looked, and how often in a row that was hardly more than before.
  std::uint64_t best_ = 0;
  int looks_ = 0;
  int flat_ = 0;
  /// Looks in a row at which the cap was full.
  int full_ = 0;
  /// What was seen at most in the looks since the cap was last nearly full.
  std::uint64_t seen_ = 0;
  int seen_looks_ = 0;
  std::chrono::seconds pause_ = pause_min;
  time_point next_test_{};
};

} // namespace astra::p2p
