#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// Which Resource is a node's home: its first choice in rendezvous order, the next one when the home fails.
class home_selector {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// @pre `resources` is not empty.
  home_selector(std::string_view self, std::vector<std::string> resources, std::chrono::milliseconds silence_max,
                time_point now);

  /// Address of the home, "host:port".
  const std::string& home() const { return order_[current_]; }

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

private:
  void move(time_point now);

  std::vector<std::string> order_;
  std::chrono::milliseconds silence_max_;
  std::size_t current_ = 0;
  std::uint64_t epoch_ = 1;
  /// When the home last proved alive, or became the home.
  time_point alive_;
  std::size_t failures_ = 0;
};

} // namespace astra
