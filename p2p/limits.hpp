#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

// Limits of rates: how a limit over all nodes is divided, and how a node follows its share.

namespace astra::p2p {

/// Which content goes first where several want the same link.
enum class urgency : std::uint8_t {
  /// It may be needed later, or by others.
  low,
  normal,
  /// Somebody waits for it.
  high,
};

/// What a node asks of a limit it shares.
struct rate_demand {
  /// What it would send if it were alone, in bytes per second.
  std::uint64_t wanted_bytes_per_s = 0;
  /// What it goes on with when it hears nothing; it is never given less, as it would not know.
  std::uint64_t floor_bytes_per_s = 0;
  /// Of the most urgent content that it would send.
  urgency how = urgency::normal;
};

/// Divides a limit max-min fairly: nobody gets more while somebody as urgent with less still wants some.  The less
/// urgent get what the more urgent leave, and a 32nd of the limit at the least.  What nobody wants is spread evenly, so
/// that demand can grow.  The shares add up to the total exactly; where the floors alone are more than that, they are
/// cut in proportion.
std::vector<std::uint64_t> share_limit(std::uint64_t total_bytes_per_s, const std::vector<rate_demand>& demands);

/// What a node asks of a limit it shares: all that its link takes while it uses what it was given, else a little more
/// than it sends, so that others get what it cannot use.
///
/// A plain class, to be asked about once per second.  Rates are in bytes per second.
class upload_demand {
public:
  /// Of what it was given: from here on it uses it.
  static constexpr double used_up = 0.9;
  /// Over which it is averaged.
  static constexpr std::size_t seconds_max = 4;

  /// @param sent In the last second.
  /// @param share What it was given; empty: nobody limits it.
  void look(std::uint64_t sent, std::optional<std::uint64_t> share);
  /// @param most What its link takes.
  std::uint64_t wanted(std::uint64_t most) const;

private:
  struct second {
    std::uint64_t sent = 0;
    std::uint64_t share = 0;
  };

  std::deque<second> seconds_;
  /// The last one.
  std::optional<std::uint64_t> share_;
};

/// What a content moves over a link.
struct link_use {
  urgency how = urgency::normal;
  std::uint64_t bytes_per_s = 0;
};

/// Divides a link by urgency: the less urgent get what the more urgent leave, who may grow by a quarter until this is
/// asked again.  Nobody gets less than a 32nd of the link divided by all, so that nothing stands still for good.
/// @param capacity Of the link, in bytes per second; 0: not known, and nobody is held back.
/// @returns Limits in bytes per second; 0: none.
std::vector<std::uint64_t> share_by_urgency(std::uint64_t capacity, const std::vector<link_use>& uses);

/// Lowers a limit in two steps.  libtorrent's bucket keeps what the old limit earned, and spends it: up to 3 s of the
/// new limit.  A moment at next to nothing drains it first.
///
/// A plain class: the time is an argument.  Rates are in bytes per second, 0: no limit.
class stepped_limit {
public:
  using time_point = std::chrono::steady_clock::time_point;

  static constexpr std::uint64_t brake_bytes_per_s = 1024;
  static constexpr std::chrono::milliseconds brake_time{250};

  /// @returns what is to be in force from now on.
  std::uint64_t set(std::uint64_t bytes_per_s, time_point now);
  /// When `in_force` is to be asked again; empty: when the limit is set again.
  std::optional<time_point> due() const { return brake_ends_; }
  std::uint64_t in_force(time_point now);

private:
  std::uint64_t target_ = 0;
  std::optional<time_point> brake_ends_;
};

/// A share that ends: a node that hears nothing goes on with its floor.
class leased_limit {
public:
  using time_point = std::chrono::steady_clock::time_point;

  explicit leased_limit(std::uint64_t floor_bytes_per_s) : floor_(floor_bytes_per_s) {}

  void grant(std::uint64_t bytes_per_s, time_point until) {
    granted_ = bytes_per_s;
    until_ = until;
  }
  /// Never 0, which would be no limit.
  std::uint64_t value(time_point now) const { return std::max<std::uint64_t>(1, granted(now).value_or(floor_)); }
  /// Empty: nothing, or not any more.
  std::optional<std::uint64_t> granted(time_point now) const {
    return until_ && now < *until_ ? std::optional{granted_} : std::nullopt;
  }

private:
  std::uint64_t floor_;
  std::uint64_t granted_ = 0;
  std::optional<time_point> until_;
};

/// How far transfers give way to the work of the machine they run on: additive increase, multiplicative decrease
/// (Chiu and Jain, 1989) by how long that work waits for the machine.
///
/// A plain class, to be asked about once per second.  Rates are in bytes per second.
class give_way {
public:
  /// Shares of the time in which somebody waited for a core or the disk: above the one transfers give way, below the
  /// other they come back.
  static constexpr double pressure_high = 0.20;
  static constexpr double pressure_low = 0.10;
  static constexpr std::uint64_t least_bytes_per_s = 1024 * 1024;
  /// What begins while there is work begins with this, and doubles each second in which that harms nobody.
  static constexpr std::uint64_t gentle_bytes_per_s = 16 * 1024 * 1024;

  /// @param moved What was received and sent in the last second.
  /// @param pressure In [0, 1].
  /// @param working The machine has work that transfers must not harm.
  /// @returns what may be received, and sent, from now on; empty: as much as there is.
  std::optional<std::uint64_t> look(std::uint64_t moved, double pressure, bool working);
  std::optional<std::uint64_t> limit() const { return limit_; }
  /// It was lowered, and is not back yet.
  bool giving() const { return full_ > 0; }

private:
  std::optional<std::uint64_t> limit_;
  /// What was moved before it gave way: back there it is over.  0: it does not give way.
  std::uint64_t full_ = 0;
};

} // namespace astra::p2p
