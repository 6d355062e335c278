#pragma once

#include "actors/resource/lease.hpp"
#include "actors/resource/view_keeper.hpp"
#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <caf/actor_addr.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/local_actor.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace astra {

/// Who gets view deltas from one actor, in the order of their subscription.  Everybody in the list is in step, so a
/// delta goes to all alike, encoded once; whoever subscribes or falls behind is first brought up by `catch_up`.
class subscriber_list {
public:
  using time_point = lease::time_point;

  explicit subscriber_list(caf::local_actor* self) : self_(self) {}

  /// @returns true when the sender is to be brought up to date: it is new here, or asks for it.
  bool renew(const caf::strong_actor_ptr& who, const pb::Subscribe& request, time_point now);

  /// @returns its name; empty when it was not subscribed.
  std::string remove(const caf::actor_addr& who);

  /// Drops who did not renew for `silence`.
  /// @returns their names.
  std::vector<std::string> drop_silent(std::chrono::milliseconds silence, time_point now);

  void extend_leases(std::chrono::nanoseconds gap, time_point now);

  /// Sends a delta of the actor's own shard (to all) or of another one (to those who want all shards).
  void send(pb::ViewDelta delta, bool own_shard) const;

  std::size_t size() const { return subscribers_.size(); }

private:
  struct subscriber {
    caf::strong_actor_ptr handle;
    std::string name;
    bool all_shards = true;
    lease seen;
  };

  caf::local_actor* self_;
  std::vector<subscriber> subscribers_;
};

/// Sends one delta to one subscriber.
void send_delta(caf::local_actor* self, const caf::strong_actor_ptr& to, pb::ViewDelta delta);

/// Sends what a subscriber that has `request.have` misses of the shards in `keeper`, except `own`'s.
void catch_up(caf::local_actor* self, const caf::strong_actor_ptr& to, const pb::Subscribe& request,
              const view_keeper& keeper, resource_id own, lease::time_point now);

/// What the subscriber holds of a shard; version 0 when nothing of this epoch.
std::uint64_t version_held(const pb::Subscribe& request, resource_id origin, std::uint64_t epoch);

} // namespace astra
