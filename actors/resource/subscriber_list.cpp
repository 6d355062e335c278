#include "actors/resource/subscriber_list.hpp"

#include "actors/mutant.hpp"
#include "messages/type_ids.hpp"

#include <caf/message.hpp>

#include <algorithm>
#include <utility>

namespace astra {
namespace {

void send_delta(caf::local_actor* self, const caf::strong_actor_ptr& to, pb::ViewDelta delta) {
  to->enqueue(self->ctrl(), caf::make_message_id(), caf::make_message(view_delta{std::move(delta)}), self->context());
}

} // namespace

bool subscriber_list::renew(const caf::strong_actor_ptr& who, const pb::Subscribe& request) {
  if (std::find(subscribers_.begin(), subscribers_.end(), who) != subscribers_.end())
    return request.resync() && !MUTANT(resync_ignored);
  self_->monitor(who);
  subscribers_.push_back(who);
  return true;
}

void subscriber_list::remove(const caf::actor_addr& who) {
  std::erase_if(subscribers_, [&](auto& entry) { return entry == who; });
}

void subscriber_list::send(pb::ViewDelta delta) const {
  if (subscribers_.empty())
    return;
  // One message, shared by all mailboxes: CAF copies it only where a receiver changes it, and none does.
  auto message = caf::make_message(view_delta{std::move(delta)});
  for (auto& who : subscribers_)
    who->enqueue(self_->ctrl(), caf::make_message_id(), message, self_->context());
}

void catch_up(caf::local_actor* self, const caf::strong_actor_ptr& to, const pb::Subscribe& request,
              const view_keeper& keeper, view_keeper::time_point now) {
  for (auto& [origin, shard] : keeper.view().shards()) {
    // Somebody who was subscribed elsewhere may even be ahead; what follows will find its place.
    auto held = version_held(request, origin, shard.epoch);
    if (held < shard.version || shard.lost || shard.edited)
      send_delta(self, to, keeper.snapshot(origin, now));
    // A snapshot counts as the word of its origin: an edit that changes nothing tells that this one is not.
    if (shard.edited && !MUTANT(edited_snapshot_trusted)) {
      auto edit = keeper.edit_of(origin);
      edit.add_removed_nodes(no_node);
      send_delta(self, to, std::move(edit));
    }
  }
}

std::uint64_t version_held(const pb::Subscribe& request, resource_id origin, std::uint64_t epoch) {
  for (auto& have : request.have())
    if (have.origin() == origin.value() && have.epoch() == epoch)
      return have.version();
  return 0;
}

} // namespace astra
