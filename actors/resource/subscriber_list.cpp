#include "actors/resource/subscriber_list.hpp"

#include "actors/mutant.hpp"
#include "messages/type_ids.hpp"

#include <caf/message.hpp>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace astra {
namespace {

/// The id of no node (messages/ids.hpp).
constexpr std::uint64_t no_node = 0;

} // namespace

bool subscriber_list::renew(const caf::strong_actor_ptr& who, const pb::Subscribe& request, time_point now) {
  auto known = std::find_if(subscribers_.begin(), subscribers_.end(), [&](auto& entry) { return entry.handle == who; });
  auto all_shards = request.scope() == pb::Subscribe::ALL_SHARDS;
  if (known != subscribers_.end()) {
    known->seen.renew(now);
    auto widened = all_shards && !known->all_shards;
    known->all_shards = all_shards;
    return widened || (request.resync() && !MUTANT(resync_ignored));
  }
  self_->monitor(who);
  subscribers_.push_back({who, request.subscriber(), all_shards, {now, now}});
  return true;
}

std::string subscriber_list::remove(const caf::actor_addr& who) {
  auto found = std::find_if(subscribers_.begin(), subscribers_.end(), [&](auto& entry) { return entry.handle == who; });
  if (found == subscribers_.end())
    return {};
  auto name = std::move(found->name);
  subscribers_.erase(found);
  return name;
}

std::vector<std::string> subscriber_list::drop_silent(std::chrono::milliseconds silence, time_point now) {
  std::vector<std::string> dropped;
  std::erase_if(subscribers_, [&](auto& entry) {
    if (entry.seen.silence(now) < silence)
      return false;
    self_->demonitor(caf::actor_cast<caf::actor_addr>(entry.handle));
    dropped.push_back(entry.name);
    return true;
  });
  return dropped;
}

void subscriber_list::extend_leases(std::chrono::nanoseconds gap, time_point now) {
  for (auto& entry : subscribers_)
    entry.seen.extend(gap, now);
}

void subscriber_list::send(pb::ViewDelta delta, bool own_shard) const {
  auto wants = [&](auto& entry) { return own_shard || entry.all_shards; };
  auto receivers = std::count_if(subscribers_.begin(), subscribers_.end(), wants);
  if (receivers == 0)
    return;
  view_delta body{std::move(delta)};
  if (receivers > 1)
    body.seal();
  // One message, shared by all mailboxes: CAF copies it only where a receiver changes it, and none does.
  auto message = caf::make_message(std::move(body));
  for (auto& entry : subscribers_)
    if (wants(entry))
      entry.handle->enqueue(self_->ctrl(), caf::make_message_id(), message, self_->context());
}

void send_delta(caf::local_actor* self, const caf::strong_actor_ptr& to, pb::ViewDelta delta) {
  to->enqueue(self->ctrl(), caf::make_message_id(), caf::make_message(view_delta{std::move(delta)}), self->context());
}

void catch_up(caf::local_actor* self, const caf::strong_actor_ptr& to, const pb::Subscribe& request,
              const view_keeper& keeper, resource_id own, lease::time_point now) {
  for (auto& [origin, shard] : keeper.view().shards()) {
    if (origin == own)
      continue;
    // Somebody who was subscribed elsewhere may even be ahead; what follows will find its place.
    auto held = version_held(request, origin, shard.epoch);
    if (held == 0 || held < shard.version || shard.lost || shard.edited)
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
