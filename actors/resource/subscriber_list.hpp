#pragma once

#include "actors/resource/view_excerpt.hpp"
#include "actors/resource/view_keeper.hpp"
#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <caf/actor_addr.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/local_actor.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace astra {

/// The id of no node (messages/ids.hpp).
inline constexpr std::uint64_t no_node = 0;

/// Which actors of its own process a view client hands the view on to, in the order of their subscription.  Everybody
/// in the list is in step, so a delta goes to all alike, but for those who have a filter; whoever subscribes or falls
/// behind is first brought up to date.  (view_feed: to other processes.)
class subscriber_list {
public:
  subscriber_list(caf::local_actor* self, const view_keeper& keeper) : self_(self), keeper_(keeper) {}

  /// Brings the sender up to date when it is new here, asks for it, or wants other rows now.
  void renew(const caf::strong_actor_ptr& who, const pb::Subscribe& request, view_keeper::time_point now);

  void remove(const caf::actor_addr& who);

  /// Tells of a delta that the keeper has just accepted.
  void send(pb::ViewDelta delta, view_keeper::time_point now);

private:
  struct subscriber {
    caf::strong_actor_ptr handle;
    /// None: it gets every row.
    std::optional<view_excerpt> excerpt;
  };

  void catch_up(subscriber& who, const pb::Subscribe& request, view_keeper::time_point now);

  caf::local_actor* self_;
  const view_keeper& keeper_;
  std::vector<subscriber> subscribers_;
};

/// What the subscriber holds of a shard; version 0 when nothing of this epoch.
std::uint64_t version_held(const pb::Subscribe& request, resource_id origin, std::uint64_t epoch);

} // namespace astra
