#include "actors/resource/view_feed.hpp"

#include "actors/mutant.hpp"
#include "actors/resource/subscriber_list.hpp"
#include "messages/type_ids.hpp"

#include <caf/behavior.hpp>
#include <caf/disposable.hpp>
#include <caf/error.hpp>
#include <caf/scheduled_actor.hpp>

#include <algorithm>
#include <limits>
#include <utility>

namespace astra {
namespace {

bool takes_away(const pb::ViewDelta& delta) {
  return delta.base() == 0 || delta.origin_removed()
         || delta.removed_nodes_size() + delta.removed_apps_size() + delta.removed_schedulers_size() > 0;
}

/// What somebody was told of such a shard counts for nothing once its origin speaks again.
bool not_its_word(const cluster_view::shard_info& shard) {
  return shard.edited || shard.lost;
}

} // namespace

view_feed::view_feed(caf::scheduled_actor* self, const view_keeper& keeper, resource_id own, limits limits)
  : self_(self), keeper_(keeper), own_(own), limits_(limits) {}

bool view_feed::renew(const caf::strong_actor_ptr& who, const pb::Subscribe& request, time_point now) {
  auto known = std::find_if(subscribers_.begin(), subscribers_.end(), [&](auto& entry) { return entry.handle == who; });
  auto all_shards = request.scope() == pb::Subscribe::ALL_SHARDS;
  view_filter filter{request.filter()};
  if (known != subscribers_.end()) {
    known->seen.renew(now);
    known->takes_parts = request.takes_parts();
    known->takes_shapes = request.takes_shapes();
    auto widened = all_shards && !known->all_shards;
    known->all_shards = all_shards;
    auto other_rows = filter != (known->excerpt ? known->excerpt->filter() : view_filter{});
    if (other_rows)
      set_filter(*known, filter);
    if (!widened && !other_rows && (!request.resync() || MUTANT(resync_ignored)))
      return false;
    bring_up(*known, request, now);
    return true;
  }
  self_->monitor(who);
  subscribers_.push_back({++last_subscriber_,
                          who,
                          request.subscriber(),
                          all_shards,
                          request.takes_parts(),
                          request.takes_shapes(),
                          {now, now},
                          credit_window{limits_.chunk_bytes},
                          {},
                          std::nullopt,
                          std::nullopt,
                          {}});
  set_filter(subscribers_.back(), filter);
  bring_up(subscribers_.back(), request, now);
  return true;
}

void view_feed::set_filter(subscriber& who, const view_filter& filter) {
  who.excerpt.reset();
  if (filter.narrows())
    who.excerpt.emplace(filter);
}

std::string view_feed::remove(const caf::actor_addr& who) {
  auto found = std::find_if(subscribers_.begin(), subscribers_.end(), [&](auto& entry) { return entry.handle == who; });
  if (found == subscribers_.end())
    return {};
  auto name = std::move(found->name);
  subscribers_.erase(found);
  return name;
}

std::vector<std::string> view_feed::drop_silent(std::chrono::milliseconds silence, time_point now) {
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

void view_feed::extend_leases(std::chrono::nanoseconds gap, time_point now) {
  for (auto& entry : subscribers_)
    entry.seen.extend(gap, now);
}

std::size_t view_feed::behind() const {
  return static_cast<std::size_t>(
      std::count_if(subscribers_.begin(), subscribers_.end(), [](auto& entry) { return !entry.behind.empty(); }));
}

void view_feed::send(pb::ViewDelta delta, time_point now) {
  resource_id origin{delta.origin()};
  position before{delta.epoch(), delta.base(), std::exchange(turns_sent_[origin], keeper_.view().last_turn())};
  auto shard = keeper_.view().shards().find(origin);
  if (shard == keeper_.view().shards().end() || not_its_word(shard->second))
    before.version = 0;
  else if (delta.ahead()) // from an origin of which this Resource is behind itself
    before.version = shard->second.version;
  // It came in parts from a peer.  One that is a version behind must understand it, too, and rows leave excerpts alone.
  if (delta.shapes_size() > 0 && std::any_of(subscribers_.begin(), subscribers_.end(), [](auto& who) {
        return !who.takes_shapes || who.excerpt;
      }))
    expand_shapes(delta);
  auto bytes = delta.ByteSizeLong();
  std::vector<subscriber*> in_step;
  std::vector<subscriber*> others;
  for (auto& who : subscribers_) {
    if (!who.all_shards && origin != own_)
      continue;
    if (auto wait = who.ahead_of_us.find(origin); wait != who.ahead_of_us.end()) {
      if (behind_of(wait->second, origin))
        continue;
      auto turn = wait->second.turn;
      who.ahead_of_us.erase(wait);
      who.behind[origin] = {delta.epoch(), 0, turn};
      others.push_back(&who);
      continue;
    }
    auto behind = who.behind.count(origin) != 0
                  || (who.takes_parts && !who.behind.empty() && takes_away(delta) && !MUTANT(removals_overtake_rows));
    // To it they would be a gap; it gets them with the version that they belong to.
    if (delta.ahead() && !who.takes_parts && !behind)
      continue;
    if (who.excerpt && !behind && send_excerpt(who, delta, now))
      continue;
    auto whole = !who.excerpt && (!who.takes_parts || bytes + credit_window::overhead_bytes <= limits_.chunk_bytes);
    if (!behind && whole && who.credit.fits(bytes, credit_window::kind::bulk)) {
      in_step.push_back(&who);
      continue;
    }
    who.behind.emplace(origin, before);
    others.push_back(&who);
  }
  if (!in_step.empty()) {
    view_delta body{std::move(delta)};
    if (in_step.size() > 1)
      body.seal();
    // One message, shared by all mailboxes: CAF copies it only where a receiver changes it, and none does.
    auto message = caf::make_message(std::move(body));
    for (auto who : in_step)
      enqueue(*who, message, who->credit.sent(bytes, credit_window::kind::bulk));
  }
  for (auto who : others)
    catch_up(*who, now);
}

/// @returns false when it does not fit: nothing was told.
bool view_feed::send_excerpt(subscriber& who, const pb::ViewDelta& delta, time_point now) {
  auto piece = who.excerpt->of(delta, keeper_.view(), now);
  if (piece.nothing)
    return true;
  auto bytes = piece.delta.ByteSizeLong();
  auto whole = !who.takes_parts || bytes + credit_window::overhead_bytes <= limits_.chunk_bytes;
  if (!whole || !who.credit.fits(bytes, credit_window::kind::bulk))
    return false;
  who.excerpt->told(piece);
  if (piece.before)
    post(who, std::move(*piece.before), credit_window::kind::bulk);
  post(who, std::move(piece.delta), credit_window::kind::bulk);
  return true;
}

/// Whether this Resource has less of a shard than somebody with `other`, from whom it can still come.
bool view_feed::behind_of(const position& other, resource_id origin) const {
  auto shard = keeper_.view().shards().find(origin);
  if (shard == keeper_.view().shards().end() || not_its_word(shard->second))
    return false;
  return std::pair{shard->second.epoch, shard->second.version} < std::pair{other.epoch, other.version};
}

/// What it misses follows from what it says it has.
void view_feed::bring_up(subscriber& who, const pb::Subscribe& request, time_point now) {
  auto before = std::exchange(who.behind, {});
  who.ahead_of_us.clear();
  who.present.reset();
  for (auto& [origin, shard] : keeper_.view().shards()) {
    if (!who.all_shards && origin != own_)
      continue;
    if (who.excerpt) {
      auto turn = before.count(origin) != 0 ? before[origin].turn : keeper_.view().last_turn();
      position has{0, 0, turn};
      for (auto& have : request.have())
        if (have.origin() == origin.value())
          has = {have.epoch(), have.version(), turn};
      if (behind_of(has, origin))
        who.ahead_of_us[origin] = has;
      else
        who.behind[origin] = {shard.epoch, 0, turn};
      continue;
    }
    // Somebody who was subscribed elsewhere may even be ahead; what follows will find its place.
    auto held = version_held(request, origin, shard.epoch);
    if (origin == own_ || held < shard.version || not_its_word(shard))
      // What could not wait before cannot wait now.
      who.behind[origin] = {shard.epoch, held,
                            before.count(origin) != 0 ? before[origin].turn : keeper_.view().last_turn()};
  }
  catch_up(who, now);
}

/// Sends what there is credit for.
void view_feed::catch_up(subscriber& who, time_point now) {
  send_turns(who, now);
  while (!who.behind.empty() && who.credit.fits_part()) {
    if (who.present && !keeper_.view().valid(who.present->cursors[who.present->at]))
      give_up_transfer(who);
    if (!who.present && !begin_transfer(who))
      continue;
    auto& [cursors, at, number, parts] = *who.present;
    auto& cursor = cursors[at];
    auto limit = who.takes_parts ? rows_bytes(who.credit.part_bytes()) : std::numeric_limits<std::size_t>::max();
    pb::ViewDelta part;
    auto nothing = false;
    if (who.excerpt) {
      auto piece = who.excerpt->next_part(cursor, keeper_, limit, now);
      part = std::move(piece.delta);
      nothing = piece.nothing;
    } else {
      part = keeper_.next_part(cursor, limit, now, who.takes_shapes);
    }
    auto told = cursor.at == shard_cursor::section::done;
    if (told)
      ++at;
    auto last = at == cursors.size();
    // Of a shard something must be told at its end.
    if (nothing && !told)
      continue;
    if (who.takes_parts && (parts > 0 || !last)) {
      if (parts == 0)
        number = ++last_transfer_;
      part.set_transfer(number);
      part.set_part(parts++);
      part.set_more(!last);
    }
    post(who, std::move(part), credit_window::kind::bulk);
    if (last)
      end_transfer(who);
  }
}

/// What was begun counts for nothing.  Which of it somebody with a filter took in nobody knows.
void view_feed::give_up_transfer(subscriber& who) {
  if (who.excerpt)
    for (auto& cursor : who.present->cursors)
      if (auto held = who.behind.find(cursor.origin); held != who.behind.end())
        held->second.version = 0;
  who.present.reset();
}

/// Begins with all that it misses now.
/// @returns false when that are only shards that are gone, and all of it was told.
bool view_feed::begin_transfer(subscriber& who) {
  transfer next;
  for (auto& [origin, held] : who.behind)
    if (keeper_.view().shards().count(origin) != 0)
      next.cursors.push_back(keeper_.view().cursor(origin, held.epoch, held.version));
  if (!next.cursors.empty()) {
    who.present = std::move(next);
    return true;
  }
  auto all_gone = std::exchange(who.behind, {});
  for (auto& [origin, held] : all_gone) {
    auto gone = who.excerpt ? who.excerpt->snapshot(origin, keeper_, {}) : keeper_.snapshot(origin, {});
    gone.set_epoch(held.epoch);
    post(who, std::move(gone), credit_window::kind::bulk);
  }
  return false;
}

void view_feed::end_transfer(subscriber& who) {
  auto told = std::move(who.present->cursors);
  who.present.reset();
  for (auto& cursor : told) {
    auto& held = who.behind.at(cursor.origin);
    auto known = keeper_.view().shards().find(cursor.origin);
    if (known == keeper_.view().shards().end())
      continue;
    auto& shard = known->second;
    auto current = keeper_.view().valid(cursor);
    held = {cursor.epoch, current && !not_its_word(shard) ? cursor.version : 0, held.turn};
    // A snapshot counts as the word of its origin: an edit that changes nothing tells that this one is not.
    if (current && shard.edited && !MUTANT(edited_snapshot_trusted)) {
      auto edit = keeper_.edit_of(cursor.origin);
      edit.add_removed_nodes(no_node);
      post(who, std::move(edit), credit_window::kind::bulk);
    }
    if (current && cursor.version == shard.version)
      who.behind.erase(cursor.origin);
  }
}

/// Changes of liveness, to somebody who will get them with all the rest only later.
void view_feed::send_turns(subscriber& who, time_point now) {
  if (!who.takes_parts || MUTANT(turns_wait_for_bulk))
    return;
  for (auto& [origin, held] : who.behind) {
    auto last = held.turn;
    auto turns = keeper_.view().turns_since(origin, last, limits_.chunk_bytes / 2, now);
    if (turns && who.excerpt) {
      who.excerpt->narrow_turns(*turns, keeper_.view());
      if (turns->nodes_size() == 0)
        turns.reset();
    }
    if (turns && !who.credit.fits(turns->ByteSizeLong(), credit_window::kind::urgent))
      return;
    held.turn = last;
    if (turns)
      post(who, std::move(*turns), credit_window::kind::urgent);
  }
}

/// Its window is full and no acknowledgement will come: either it got nothing, or its answers were lost.  This one asks
/// it again; what it missed it will notice itself.
void view_feed::probe(subscriber& who) {
  auto question = keeper_.edit_of(own_);
  question.set_ahead(who.takes_parts);
  view_delta body{std::move(question)};
  auto number = who.credit.sent_and_asked(body->ByteSizeLong(), credit_window::kind::bulk);
  enqueue(who, caf::make_message(std::move(body)), number);
}

void view_feed::post(subscriber& who, pb::ViewDelta delta, credit_window::kind what) {
  auto ask = who.credit.sent(delta.ByteSizeLong(), what);
  enqueue(who, caf::make_message(view_delta{std::move(delta)}), ask);
}

void view_feed::enqueue(const subscriber& who, const caf::message& message, std::optional<std::uint64_t> ask) {
  if (!ask) {
    who.handle->enqueue(self_->ctrl(), caf::make_message_id(), message, self_->context());
    return;
  }
  // As request() does, which would make a message of its own for each.
  auto id = self_->new_request_id(caf::message_priority::normal);
  who.handle->enqueue(self_->ctrl(), id, message, self_->context());
  auto timeout = self_->request_response_timeout(limits_.patience, id);
  auto answered = [this, timeout, subscriber = who.number, number = *ask](bool acknowledged) mutable {
    timeout.dispose();
    on_answer(subscriber, number, acknowledged);
  };
  self_->add_multiplexed_response_handler(id.response_id(),
                                          caf::behavior{[answered]() mutable { answered(true); },
                                                        [answered](const caf::error&) mutable { answered(false); }});
}

void view_feed::on_answer(std::uint64_t subscriber, std::uint64_t number, bool acknowledged) {
  auto who = find(subscriber);
  if (!who)
    return;
  if (!acknowledged) {
    who->credit.failed(number);
    if (who->credit.stuck() && !MUTANT(stuck_never_probed))
      probe(*who);
    return;
  }
  who->credit.acknowledged(number);
  if (!MUTANT(returned_credit_unused))
    catch_up(*who, self_->clock().now());
}

view_feed::subscriber* view_feed::find(std::uint64_t number) {
  auto found =
      std::find_if(subscribers_.begin(), subscribers_.end(), [&](auto& entry) { return entry.number == number; });
  return found == subscribers_.end() ? nullptr : &*found;
}

} // namespace astra
