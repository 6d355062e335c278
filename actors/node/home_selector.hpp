#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// Who is a node's home: its first choice in rendezvous order, the next one when the home fails.  Aggregators come
/// before Resources; a node that had to turn to a Resource looks for an aggregator again after a while.
class home_selector {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// A node that has its home at a Resource for want of an aggregator tries one again after this time, or up to twice
  /// as long: not all of them at once.
  static constexpr std::chrono::seconds return_after{30};

  /// @pre `resources` is not empty.
  home_selector(std::string_view self, std::vector<std::string> resources, std::chrono::milliseconds silence_max,
                time_point now, std::vector<std::string> aggregators = {});

  /// Address of the home, "host:port".
  const std::string& home() const { return order_[current_]; }

  /// The home is an aggregator.
  bool aggregated() const { return current_ < aggregators_; }

  /// Starts at 1 and grows with every move.
  std::uint64_t epoch() const { return epoch_; }

  void on_ack(time_point now);

  /// The home refused or its connection broke: moves to the next choice.
  /// @returns whether to turn to it at once; false when every choice failed since the last ack, so that a node that
  /// reaches nobody asks each of them once per heartbeat only.
  bool on_error(time_point now);

  /// Moves to the next choice when the home has been silent for too long.
  /// @returns whether it moved.
  bool check_silence(time_point now);

  /// The home stays the same and speaks for another Resource.
  void fed_elsewhere();

  /// The aggregator to try from a home that is none; null when there is none, or it is too early.  The next try comes
  /// after the same time again.
  const std::string* check_return(time_point now);

  /// That aggregator is there: moves to it.
  void return_to(const std::string& aggregator, time_point now);

private:
  void move(std::size_t to, time_point now);
  void move_on(time_point now);

  /// Aggregators first.
  std::vector<std::string> order_;
  std::size_t aggregators_;
  std::chrono::milliseconds silence_max_;
  std::chrono::nanoseconds return_wait_;
  std::size_t current_ = 0;
  std::uint64_t epoch_ = 1;
  /// When the home last proved alive, or became the home.
  time_point alive_;
  time_point return_at_;
  /// The aggregator that is tried next.
  std::size_t return_to_ = 0;
  std::size_t failures_ = 0;
};

} // namespace astra
