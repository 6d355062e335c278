#pragma once

#include "messages/ids.hpp"
#include "messages/wire/inspection.pb.h"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

namespace astra {

/// How far behind the subscribers of one shard are, by their own word: what each said that it has when it renewed its
/// subscription, against what there was to have.
/// A plain class: the time is an argument.
class subscriber_watch {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// @param forget_after a subscriber that does not renew for so long is none.
  subscriber_watch(resource_id own, std::uint64_t epoch, std::chrono::milliseconds forget_after)
    : own_(own), epoch_(epoch), forget_after_(forget_after) {}

  /// The own shard has this version now.
  void published(std::uint64_t version, time_point now);

  void renewed(const pb::Subscribe& request, time_point now);

  /// Those that are behind the most, at most `most`, the furthest first; of equals by name.
  std::vector<pb::ResourceReport::Subscriber> slowest(std::size_t most, time_point now);

private:
  struct step {
    std::uint64_t version = 0;
    time_point when;
  };

  struct subscriber {
    std::uint64_t behind = 0;
    std::chrono::milliseconds behind_for{0};
    time_point renewed;
  };

  resource_id own_;
  std::uint64_t epoch_;
  std::chrono::milliseconds forget_after_;
  /// When versions began, oldest first, bounded.
  std::deque<step> steps_;
  /// By name.
  std::map<std::string, subscriber> subscribers_;
};

} // namespace astra
