#pragma once

#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <map>
#include <optional>
#include <string>

namespace astra {

/// What is to be passed on of nodes that cannot be reached: each node once, the first at once and those that follow
/// together, so that the loss of many floods nobody.
/// A plain class: the time is an argument.
class accusation_list {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Between two messages.
  static constexpr std::chrono::milliseconds interval{100};
  /// In one message; the rest goes with the next.
  static constexpr std::size_t most = 256;
  /// Of a reason, which others show as it is.
  static constexpr std::size_t text_max = 200;

  void add(pb::Accusation what);

  /// Nothing in it that would spoil a log, and no more than fits into a line.
  static std::string clean(std::string reason);

  /// How long to wait before some are told; none: there is nothing to tell.
  std::optional<std::chrono::milliseconds> wait(time_point now) const;
  /// The same, and none as long as somebody waits already: who got a time calls `waited` when it is over.
  std::optional<std::chrono::milliseconds> begin_to_wait(time_point now);
  void waited() { waiting_for_turn_ = false; }

  /// Moves those whose turn it is into the message.
  void tell(pb::Subscribe& in, time_point now);

  void clear() { waiting_.clear(); }

private:
  std::map<node_id, pb::Accusation> waiting_;
  time_point next_;
  bool waiting_for_turn_ = false;
};

} // namespace astra
