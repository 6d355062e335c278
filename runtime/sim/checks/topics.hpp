#pragma once

#include "runtime/sim/event.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace astra::sim {

/// Messages that somebody who watches a run tells apart.
enum class message_kind : std::uint8_t {
  /// The event is about no message.
  none,
  heartbeat,
  heartbeat_ack,
  profile_update,
  scheduler_beat,
  view_delta,
  subscribe,
  subscribe_ack,
  claim_batch,
  claim_reply,
  release_batch,
  reserve,
  reserve_reply,
  cancel,
  invoke,
  invoke_reply,
  apply_app,
  delete_app,
  control_reply,
  app_detail,
  drain,
  route_request,
  route_result,
  router_table,
  /// A caf::error: the answer to a request that failed, or its timeout.
  error,
  other,
  count_,
};

/// @param content may be null.
message_kind kind_of(const caf::message* content);

/// A set of pairs (kind of event, kind of message).
class topics {
public:
  static topics all() {
    topics result;
    result.masks_.fill(~std::uint64_t{0});
    return result;
  }

  /// Events of this kind, whatever they are about.
  topics& add(event_kind what) {
    masks_[static_cast<std::size_t>(what)] = ~std::uint64_t{0};
    return *this;
  }

  topics& add(event_kind what, std::initializer_list<message_kind> about) {
    for (auto kind : about)
      masks_[static_cast<std::size_t>(what)] |= std::uint64_t{1} << static_cast<unsigned>(kind);
    return *this;
  }

  /// Messages when somebody says them: as they leave a machine, and within a machine when they are handled.
  topics& said(std::initializer_list<message_kind> about) {
    return add(event_kind::send, about).add(event_kind::step, about);
  }

  topics& operator|=(const topics& other) {
    for (std::size_t i = 0; i < masks_.size(); ++i)
      masks_[i] |= other.masks_[i];
    return *this;
  }

  bool has(event_kind what, message_kind about) const {
    return (masks_[static_cast<std::size_t>(what)] >> static_cast<unsigned>(about) & 1) != 0;
  }

private:
  static_assert(static_cast<unsigned>(message_kind::count_) <= 64);

  std::array<std::uint64_t, static_cast<std::size_t>(event_kind::count_)> masks_{};
};

} // namespace astra::sim
