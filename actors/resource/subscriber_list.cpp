#include "actors/resource/subscriber_list.hpp"

#include "actors/mutant.hpp"
#include "messages/type_ids.hpp"

#include <caf/message.hpp>

#include <algorithm>
#include <iterator>
#include <utility>

namespace astra {
namespace {

void send_delta(caf::local_actor* self, const caf::strong_actor_ptr& to, pb::ViewDelta delta) {
  to->enqueue(self->ctrl(), caf::make_message_id(), caf::make_message(view_delta{std::move(delta)}), self->context());
}

} // namespace

void subscriber_list::renew(const caf::strong_actor_ptr& who, const pb::Subscribe& request,
                            view_keeper::time_point now) {
  auto known = std::find_if(subscribers_.begin(), subscribers_.end(), [&](auto& entry) { return entry.handle == who; });
  auto news = request.resync() && !MUTANT(resync_ignored);
  if (known == subscribers_.end()) {
    self_->monitor(who);
    subscribers_.push_back({who, std::nullopt});
    known = std::prev(subscribers_.end());
    news = true;
  }
  view_filter filter{request.filter()};
  if (filter != (known->excerpt ? known->excerpt->filter() : view_filter{})) {
    known->excerpt.reset();
    if (filter.narrows())
      known->excerpt.emplace(filter);
    news = true;
  }
  if (news)
    catch_up(*known, request, now);
}

void subscriber_list::remove(const caf::actor_addr& who) {
  std::erase_if(subscribers_, [&](auto& entry) { return entry.handle == who; });
}

void subscriber_list::send(pb::ViewDelta delta, view_keeper::time_point now) {
  // Rows leave excerpts alone.
  if (delta.shapes_size() > 0
      && std::any_of(subscribers_.begin(), subscribers_.end(), [](auto& who) { return who.excerpt.has_value(); }))
    expand_shapes(delta);
  std::vector<subscriber*> alike;
  for (auto& who : subscribers_) {
    if (!who.excerpt) {
      alike.push_back(&who);
      continue;
    }
    auto piece = who.excerpt->of(delta, keeper_.view(), now);
    if (piece.nothing)
      continue;
    who.excerpt->told(piece);
    if (piece.before)
      send_delta(self_, who.handle, std::move(*piece.before));
    send_delta(self_, who.handle, std::move(piece.delta));
  }
  if (alike.empty())
    return;
  // One message, shared by all mailboxes: CAF copies it only where a receiver changes it, and none does.
  auto message = caf::make_message(view_delta{std::move(delta)});
  for (auto who : alike)
    who->handle->enqueue(self_->ctrl(), caf::make_message_id(), message, self_->context());
}

/// Sends what it misses of the shards, going by what it says it has.
void subscriber_list::catch_up(subscriber& who, const pb::Subscribe& request, view_keeper::time_point now) {
  for (auto& [origin, shard] : keeper_.view().shards()) {
    if (who.excerpt) {
      send_delta(self_, who.handle, who.excerpt->snapshot(origin, keeper_, now));
    } else {
      // Somebody who was subscribed elsewhere may even be ahead; what follows will find its place.
      auto held = version_held(request, origin, shard.epoch);
      if (held < shard.version || shard.lost || shard.edited)
        send_delta(self_, who.handle, keeper_.snapshot(origin, now));
    }
    // A snapshot counts as the word of its origin: an edit that changes nothing tells that this one is not.
    if (shard.edited && !MUTANT(edited_snapshot_trusted)) {
      auto edit = keeper_.edit_of(origin);
      edit.add_removed_nodes(no_node);
      send_delta(self_, who.handle, std::move(edit));
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
