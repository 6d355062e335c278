#pragma once

#include "messages/ids.hpp"
#include "messages/wire/inspection.pb.h"

#include <cstddef>
#include <cstdint>
#include <deque>

namespace astra {

/// What happened, as one Resource saw it: the last so many events, numbered without a gap.  Whoever reads on later than
/// the memory reaches is told how many it missed.
/// A plain class: the wall time of an event is in it.
class event_log {
public:
  /// @param epoch of this life of the Resource: numbers of another one mean nothing here.
  /// @param most events kept; at least 1.
  event_log(std::uint64_t epoch, std::size_t most);

  /// @returns the number that the event got.
  std::uint64_t add(pb::Event event);

  /// What the query asks for, oldest first, about `limit_bytes` long at most but one event at least if there is one.
  /// The Resource's id and name are left to the caller.
  pb::EventPage read(const pb::EventQuery& query, std::size_t limit_bytes) const;

  std::uint64_t epoch() const { return epoch_; }
  /// 0: none yet.
  std::uint64_t last() const { return last_; }

private:
  std::uint64_t epoch_;
  std::size_t most_;
  std::uint64_t last_ = 0;
  /// The last one has the number `last_`.
  std::deque<pb::Event> events_;
};

} // namespace astra
