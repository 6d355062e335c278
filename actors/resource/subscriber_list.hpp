#pragma once

#include "actors/resource/view_keeper.hpp"
#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <caf/actor_addr.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/local_actor.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace astra {

/// The id of no node (messages/ids.hpp).
inline constexpr std::uint64_t no_node = 0;

/// Which actors of its own process a view client hands the view on to, in the order of their subscription.  Everybody
/// in the list is in step, so a delta goes to all alike; whoever subscribes or falls behind is first brought up by
/// `catch_up`.  (view_feed: to other processes.)
class subscriber_list {
public:
  explicit subscriber_list(caf::local_actor* self) : self_(self) {}

  /// @returns true when the sender is to be brought up to date: it is new here, or asks for it.
  bool renew(const caf::strong_actor_ptr& who, const pb::Subscribe& request);

  void remove(const caf::actor_addr& who);

  void send(pb::ViewDelta delta) const;

private:
  caf::local_actor* self_;
  std::vector<caf::strong_actor_ptr> subscribers_;
};

/// Sends what a subscriber that has `request.have` misses of the shards in `keeper`.
void catch_up(caf::local_actor* self, const caf::strong_actor_ptr& to, const pb::Subscribe& request,
              const view_keeper& keeper, view_keeper::time_point now);

/// What the subscriber holds of a shard; version 0 when nothing of this epoch.
std::uint64_t version_held(const pb::Subscribe& request, resource_id origin, std::uint64_t epoch);

} // namespace astra
