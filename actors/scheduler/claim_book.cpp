#include "actors/scheduler/claim_book.hpp"

#include "actors/mutant.hpp"
#include "actors/scheduler/explain.hpp"
#include "actors/scheduler/planner.hpp"
#include "messages/wire.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;

/// How long a released token is remembered after its replica was last seen: longer than any message is under way.
constexpr std::chrono::minutes release_memory{1};

claim_token token_of(const std::string& app, std::uint64_t epoch, std::uint64_t sequence) {
  return claim_token{name_hash(fmt::format("{}\n{}\n{}", app, epoch, sequence))};
}

std::uint64_t milliseconds_between(claim_book::time_point from, claim_book::time_point to) {
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(std::chrono::duration_cast<milliseconds>(to - from).count(), 0));
}

std::string refusal_text(const pb::ClaimResult& result) {
  auto detail = result.reason().empty() ? std::string{} : ": " + result.reason();
  switch (result.outcome()) {
  case pb::CLAIM_NO_ROOM:
    return "refused a moment ago (no room" + detail + ")";
  case pb::CLAIM_NODE_GONE:
    return "refused a moment ago (gone" + detail + ")";
  case pb::CLAIM_NODE_DRAINING:
    return "refused a moment ago (draining" + detail + ")";
  case pb::CLAIM_NOT_HOME:
    return "refused a moment ago (moved to another Resource" + detail + ")";
  case pb::CLAIM_LABEL_MISMATCH:
    return "refused a moment ago (labels" + detail + ")";
  default:
    return "refused a moment ago (no reason given" + detail + ")";
  }
}

constexpr std::uint32_t bit(pb::ReplicaState state) {
  return std::uint32_t{1} << static_cast<std::uint32_t>(state);
}

/// Of a replica that may come to take requests by itself.
constexpr auto states_on_the_way = bit(pb::REPLICA_CLAIMED) | bit(pb::REPLICA_FETCHING) | bit(pb::REPLICA_STARTING)
                                   | bit(pb::REPLICA_WARMING) | bit(pb::REPLICA_BACKING_OFF);

/// The node when these replicas are gone.
node_row row_without(node_row row, const std::set<std::uint64_t>& tokens) {
  auto shape = std::make_shared<pb::NodeProfile>(row.shape());
  auto& replicas = *shape->mutable_replicas();
  replicas.erase(std::remove_if(replicas.begin(), replicas.end(),
                                [&](auto& replica) { return tokens.count(replica.token()) != 0; }),
                 replicas.end());
  row.set_profile(row.name(), row.address(), row.profile_version(), std::move(shape));
  return row;
}

/// "replica 3 on n2: exit code 1"
std::string with_place(std::uint32_t index, const std::string& node, const std::string& reason) {
  return fmt::format("replica {} on {}: {}", index, node, reason.empty() ? "no reason given" : reason);
}

} // namespace

std::uint64_t hash_of(pb::AppSpec spec) {
  spec.clear_replicas();
  spec.clear_deleting();
  spec.clear_gang();
  spec.clear_update();
  spec.clear_scale();
  spec.clear_weight();
  spec.clear_hedge_after_ms();
  spec.clear_prefetch();
  if (spec.has_federation()) {
    spec.mutable_federation()->clear_clusters();
    spec.mutable_federation()->clear_workers();
    spec.mutable_federation()->clear_min_workers();
  }
  return name_hash(encode(spec));
}

void claim_book::want(pb::AppSpec spec) {
  auto hash = hash_of(spec);
  if (!spec.has_scale())
    scaled_.reset();
  auto other_policy = spec.has_update() != spec_.has_update() || encode(spec.update()) != encode(spec_.update());
  if (hash != spec_hash_ || other_policy)
    // Clusters follow each other by rules of their own.
    rollout_.restart(spec.has_update() && !spec.has_federation() ? std::optional{spec.update()} : std::nullopt,
                     scaled_ ? *scaled_ : spec.replicas(), hash != spec_hash_ && !seen_.empty());
  if (hash != spec_hash_) {
    // What failed or did not fit before may do so now.
    excluded_.clear();
    for (auto& [index, slot] : slots_) {
      slot.failure.clear();
      slot.updating = false;
    }
  }
  spec_ = std::move(spec);
  spec_hash_ = hash;
  slots_.erase(slots_.lower_bound(spec_.has_federation() ? 0 : wanted()), slots_.end());
  if (!spec_.has_federation())
    federation_.reset();
  else if (!federation_)
    federation_.emplace(spec_.name(), epoch_, federated_++);
  look_everywhere();
}

void claim_book::scale_to(std::uint32_t replicas, std::string reason) {
  auto before = wanted();
  scaled_ = replicas;
  scale_reason_ = std::move(reason);
  slots_.erase(slots_.lower_bound(wanted()), slots_.end());
  for (auto index = std::min(before, wanted()); index < std::max(before, wanted()); ++index)
    reopen(index);
}

void claim_book::remove() {
  deleting_ = true;
  look_everywhere();
}

std::uint32_t claim_book::observed() const {
  std::uint32_t result = 0;
  for (auto& [id, node] : seen_)
    for (auto& [token, replica] : node.replicas)
      if (released_.count(token) == 0 && replica.state() != pb::REPLICA_DRAINING
          && replica.state() != pb::REPLICA_FAILED)
        result = std::max(result, replica.index() + 1);
  return result;
}

std::vector<autoscaler::node_sample> claim_book::loads(const cluster_view& view) const {
  std::vector<autoscaler::node_sample> result;
  for (auto& [id, node] : seen_) {
    auto entry = view.find(id);
    if (!entry || lost(node))
      continue;
    autoscaler::node_sample sample;
    for (auto& replica : entry->row.shape().replicas()) {
      if (replica.state() != pb::REPLICA_READY && replica.state() != pb::REPLICA_DRAINING)
        continue;
      sample.all_slots += replica.concurrency();
      claim_token token{replica.token()};
      if (replica.state() != pb::REPLICA_READY || node.replicas.count(token) == 0 || released_.count(token) != 0)
        continue;
      ++sample.ready;
      sample.slots += replica.concurrency();
    }
    if (sample.ready == 0)
      continue;
    auto& load = view.load(*entry);
    sample.node = id;
    sample.incarnation = node.incarnation;
    sample.running = load.concurrency();
    sample.queued = load.queued();
    sample.done = load.requests_done() + load.requests_failed();
    result.push_back(sample);
  }
  return result;
}

claim_book::decision claim_book::tick(const cluster_view& view, const std::set<resource_id>& reachable, time_point now,
                                      random_source& random, std::uint64_t wall_ms) {
  decision result;
  expire(view, now);
  if (federation_) {
    federate(view, reachable, now, random, result);
    send_releases(view, reachable, now, result);
    return result;
  }
  release_failed(now);
  auto looked = open_scope();
  if (spec_.has_update())
    roll_out(looked, now);
  auto wanted = review(looked, now);
  if (gang_waits(looked, now)) {
    gang_.begin(wall_ms);
    if (!quota_reason_.empty() && now < quota_wait_)
      wait_for_quota(wanted, looked.holders, now);
    else
      place_gang(wanted, view, reachable, now, random, result);
  } else {
    drop_places([](auto&) { return true; }, "no gang waits for it any more", now);
    if (!spec_.has_update())
      start_update(looked, wanted);
    place(wanted, looked.holders, view, reachable, now, random, result);
  }
  send_releases(view, reachable, now, result);
  close_settled(now);
  return result;
}

void claim_book::expire(const cluster_view& view, time_point now) {
  for (auto next = vanished_.begin(); next != vanished_.end();) {
    auto found = seen_.find(*next++);
    auto& node = found->second;
    // An offline node that the view has forgotten is given up, others may be on the move.
    if (lost(node) || now - *node.vanished >= options_.vanish_grace || MUTANT(moving_node_given_up))
      unsee(found);
  }
  std::erase_if(excluded_, [now](auto& entry) { return entry.second.until <= now; });
  while (!replacements_.empty() && now - replacements_.front() >= std::chrono::seconds{1})
    replacements_.pop_front();
  std::vector<claim_token> given_up;
  for (auto& [token, claim] : claims_) {
    auto row = view.find(claim.node);
    auto offline = row && row->row.liveness() == pb::LIVENESS_OFFLINE;
    if ((claim.confirmed && offline) || now - claim.since >= options_.claim_timeout)
      given_up.push_back(token);
  }
  on_no_answer(given_up, "claimed and not seen at its node in time", now);
  for (auto next = released_.begin(); next != released_.end();) {
    if (now - next->second.since < release_memory) {
      ++next;
      continue;
    }
    auto [token, what] = *next;
    next = released_.erase(next);
    on_ended(token, what.node);
  }
}

void claim_book::release_failed(time_point now) {
  for (auto& [id, token] : failed_) {
    auto& node = seen_.at(id);
    if (lost(node) || released_.count(token) != 0 || MUTANT(failed_replica_kept))
      continue;
    auto& replica = node.replicas.at(token);
    if (replica.spec_hash() == spec_hash_ && replica.index() < wanted()) {
      excluded_[id] = {now + options_.failure_exclusion,
                       fmt::format("failed there a moment ago ({})", replica.reason())};
      slots_[replica.index()].failure = with_place(replica.index(), node.name, replica.reason());
      rollout_.on_failure(slots_[replica.index()].failure);
    }
    if (replica.index() < wanted())
      slots_[replica.index()].held = false;
    end(token, {id, replica.index(), "failed for good: " + replica.reason(), now, std::nullopt, false});
  }
}

// -- a federated app ---------------------------------------------------------

void claim_book::federate(const cluster_view& view, const std::set<resource_id>& reachable, time_point now,
                          random_source& random, decision& out) {
  std::map<std::uint32_t, std::string> unplaced;
  for (auto& [index, slot] : slots_)
    if (!slot.unplaced.empty())
      unplaced[index] = slot.unplaced;
  slots_.clear();
  auto room = [&](auto& gone, auto index) { return room_without(gone, index, view, reachable, now, random); };
  auto wishes = federation_->review(spec_.federation(), clusters(), sights(), unplaced, now, room);
  for (auto& failure : wishes.failures)
    excluded_[failure.node] = {now + options_.failure_exclusion,
                               fmt::format("failed there a moment ago ({})", failure.reason)};
  for (auto& stop : wishes.stops) {
    auto fresh = try_end(stop.token, {stop.node, stop.index, stop.reason, now, std::nullopt, false, stop.at_once});
    auto& known = released_.at(stop.token);
    if (!fresh && stop.at_once && !known.at_once) {
      known.at_once = true;
      known.reason = stop.reason;
      known.sent.reset();
    }
  }
  std::vector<federation::place_wish> heads;
  std::vector<federation::place_wish> workers;
  for (auto& wish : wishes.places)
    (wish.member.slot() == 0 ? heads : workers).push_back(std::move(wish));
  place_members(heads, true, view, reachable, now, random, out);
  place_members(workers, false, view, reachable, now, random, out);
  if (wishes.places.empty() && claims_.empty())
    quota_reason_.clear();
  auto waits = std::any_of(slots_.begin(), slots_.end(), [](auto& entry) { return !entry.second.unplaced.empty(); });
  if (!waits)
    columns_.reset();
  else if (!columns_)
    columns_.emplace(view.nodes());
}

std::vector<member_sight> claim_book::sights() const {
  std::vector<member_sight> result;
  for (auto& [id, node] : seen_) {
    if (lost(node))
      continue;
    for (auto& [token, replica] : node.replicas) {
      auto& sight = result.emplace_back();
      sight.token = token;
      sight.node = id;
      sight.node_name = node.name;
      sight.index = replica.index();
      // One from before the app was federated belongs to no cluster that there is.
      sight.member = replica.member();
      sight.state = replica.state();
      sight.reason = replica.reason();
      sight.host = replica.host();
      sight.ports.assign(replica.ports().begin(), replica.ports().end());
      sight.outdated = replica.spec_hash() != spec_hash_;
      sight.leaving = node.liveness == pb::LIVENESS_DRAINING;
      sight.released = released_.count(token) != 0;
    }
  }
  for (auto& [token, claim] : claims_) {
    auto& sight = result.emplace_back();
    sight.token = token;
    sight.node = claim.node;
    sight.index = claim.index;
    sight.member = claim.member;
    sight.state = pb::REPLICA_CLAIMED;
  }
  return result;
}

/// Whether a member would have a place if others were gone.
bool claim_book::room_without(const std::vector<const member_sight*>& gone, std::uint32_t index,
                              const cluster_view& view, const std::set<resource_id>& reachable, time_point now,
                              random_source random) const {
  auto spec = role_spec(spec_, index % cluster_stride == 0);
  auto input = input_for(spec, view, reachable, now);
  input.missing = {index};
  std::map<node_id, std::set<std::uint64_t>> tokens;
  for (auto member : gone)
    tokens[member->node].insert(member->token.value());
  for (auto& [node, without] : tokens)
    if (auto entry = view.find(node))
      input.corrections[node] = row_without(entry->row, without);
  return !plan(input, random).placements.empty();
}

void claim_book::place_members(const std::vector<federation::place_wish>& wishes, bool heads, const cluster_view& view,
                               const std::set<resource_id>& reachable, time_point now, random_source& random,
                               decision& out) {
  if (wishes.empty())
    return;
  if (!quota_reason_.empty() && now < quota_wait_) {
    for (auto& wish : wishes)
      slots_[wish.index].unplaced = quota_reason_;
    return;
  }
  std::map<std::uint32_t, const pb::ClusterMember*> members;
  auto spec = role_spec(spec_, heads);
  auto input = input_for(spec, view, reachable, now);
  // Heads keep away from heads: a request that comes to a node may go to any of them there.
  if (heads) {
    input.placed.clear();
    input.also_placed = nullptr;
    for (auto& sight : sights())
      if (sight.head())
        ++input.placed[sight.node];
  }
  for (auto& wish : wishes) {
    input.missing.push_back(wish.index);
    members[wish.index] = &wish.member;
  }
  auto planned = plan_and_keep_columns(input, random);
  for (auto& placement : planned.placements) {
    out.claims.push_back(
        new_claim(placement.replica_index, placement.node, view.find(placement.node)->row.incarnation()));
    *out.claims.back().mutable_member() = *members.at(placement.replica_index);
    count_claim(out.claims.back(), now);
  }
  for (auto index : planned.unplaced)
    slots_[index].unplaced = planned.reason;
}

/// Releases what is too much and finds out what is too little.
claim_book::wishes claim_book::review(const scope& looked, time_point now) {
  wishes result;
  auto& holders = looked.holders;
  std::vector<std::pair<time_point, std::uint32_t>> lost_ones;
  for (auto found = holders.lower_bound(wanted()); found != holders.end(); ++found)
    for (auto& surplus : found->second)
      if (!MUTANT(surplus_not_released))
        release_holder(surplus, deleting_ ? "the app is being deleted" : "fewer replicas are wanted", now);
  for (auto index : looked.indices) {
    auto& slot = slots_[index];
    slot.unplaced.clear();
    auto found = holders.find(index);
    if (found == holders.end()) {
      if (slot.held) {
        slot.held = false;
        slot.lost = now;
      }
      if (claimed(index) && !MUTANT(index_claimed_twice))
        continue;
      if (slot.lost)
        lost_ones.emplace_back(*slot.lost, index);
      else
        result.place.push_back(index);
      continue;
    }
    slot.held = true;
    slot.lost.reset();
    auto& best = found->second.front();
    auto current = !best.outdated && !best.leaving;
    if (current && best.ready()) {
      slot.updating = false;
      slot.failure.clear();
    }
    auto keeps = false;
    for (std::size_t i = current ? 1 : 0; i < found->second.size(); ++i) {
      auto& other = found->second[i];
      // One that still works stays until its successor is ready, and only one.
      auto stays = other.serving() || (other.outdated && rollout_.frozen());
      auto replaced = current && best.ready() && (!other.outdated || rollout_.good(best.ready_since(), now));
      if (!keeps && stays && !replaced && !MUTANT(old_replica_released_first)) {
        keeps = true;
        slot.updating |= current && other.outdated;
        continue;
      }
      auto why = other.outdated  ? "the app's spec has changed"
                 : other.leaving ? "replaced: its node is draining"
                                 : "another replica has this index";
      release_holder(other, why, now);
    }
    if (current)
      continue;
    if (!keeps)
      slot.held = false;
    if (claimed(index))
      continue;
    if (!keeps)
      result.place.push_back(index);
    else if (best.leaving || slot.updating)
      result.move.push_back(index);
  }
  std::sort(lost_ones.begin(), lost_ones.end());
  std::vector<std::uint32_t> first;
  for (auto& [since, index] : lost_ones) {
    if (replacements_.size() + first.size() < options_.replace_per_s || MUTANT(replacement_rate_ignored))
      first.push_back(index);
    else
      slots_[index].unplaced =
          fmt::format("its node was lost; at most {} replicas are replaced per second", options_.replace_per_s);
  }
  result.place.insert(result.place.begin(), first.begin(), first.end());
  return result;
}

/// With an update policy: lets the rollout say which indices go to the wanted spec now.
void claim_book::roll_out(scope& looked, time_point now) {
  auto& holders = looked.holders;
  std::vector<rollout::index_state> indices;
  for (auto index : looked.indices) {
    auto& slot = slots_[index];
    auto& state = indices.emplace_back();
    state.index = index;
    state.chosen = slot.updating;
    state.current = claimed(index);
    state.trouble = slot.unplaced;
    auto found = holders.find(index);
    if (found == holders.end())
      continue;
    for (auto& one : found->second) {
      if (one.leaving)
        continue;
      if (one.outdated) {
        state.outdated = true;
        state.old_ready |= one.ready();
        continue;
      }
      state.current = true;
      auto since = one.ready_since();
      if (since && (!state.ready_since || *since < *state.ready_since))
        state.ready_since = since;
      if (!one.ready())
        state.trouble = fmt::format("{} on {}", one.status->reason(), one.where->name);
    }
  }
  rollout::settled_indices rest;
  rest.outdated = &outdated_;
  rest.current = wanted() - static_cast<std::uint32_t>(looked.indices.size() + outdated_.size());
  auto step = rollout_.tick(indices, rest, now);
  for (auto index : step.beside) {
    look_at(looked, index);
    slots_[index].updating = true;
    reopen(index);
  }
  for (auto index : step.release) {
    look_at(looked, index);
    reopen(index);
    for (auto& old : holders[index])
      release_holder(old, "the app's spec has changed", now);
    holders.erase(index);
    slots_[index].held = false;
  }
  if (!rollout_.failed())
    return;
  // What is not good by now is not going to replace anything.
  for (auto& [index, found] : holders) {
    if (index >= wanted())
      break;
    slots_[index].updating = false;
    if (std::none_of(found.begin(), found.end(), [](auto& one) { return one.outdated && !one.leaving; }))
      continue;
    std::erase_if(found, [&](auto& one) {
      if (one.outdated || one.leaving || rollout_.good(one.ready_since(), now))
        return false;
      release_holder(one, "the update has failed", now);
      return true;
    });
  }
}

/// Picks the next replica to be replaced because of a new spec, when no other one is under way.
void claim_book::start_update(scope& looked, wishes& out) {
  for (auto index : looked.indices)
    if (auto& slot = slots_.at(index); slot.updating || !slot.failure.empty())
      return;
  auto next = outdated_.next(0);
  for (auto& [index, found] : looked.holders) {
    if (index >= wanted() || (next && *next < index))
      break;
    auto& best = found.front();
    if (best.outdated && !best.leaving && best.serving() && !claimed(index)) {
      next = index;
      break;
    }
  }
  if (!next)
    return;
  look_at(looked, *next);
  slots_[*next].updating = true;
  reopen(*next);
  out.move.push_back(*next);
}

void claim_book::place(const wishes& wanted, const holders_by_index& holders, const cluster_view& view,
                       const std::set<resource_id>& reachable, time_point now, random_source& random, decision& out) {
  if (wanted.place.empty() && wanted.move.empty()) {
    columns_.reset();
    if (claims_.empty())
      quota_reason_.clear();
    quota_move_since_.reset();
    return;
  }
  if (!quota_reason_.empty() && now < quota_wait_) {
    wait_for_quota(wanted, holders, now);
    return;
  }
  auto input = input_for(spec_, view, reachable, now);
  input.missing = wanted.place;
  input.missing.insert(input.missing.end(), wanted.move.begin(), wanted.move.end());
  auto planned = plan_and_keep_columns(input, random);
  for (auto& placement : planned.placements) {
    out.claims.push_back(
        new_claim(placement.replica_index, placement.node, view.find(placement.node)->row.incarnation()));
    count_claim(out.claims.back(), now);
  }
  if (spec_.priority() > 0 && !planned.unplaced.empty()) {
    auto then = input;
    for (auto& placement : planned.placements)
      then.count_claim(placement.node);
    preempt(planned.unplaced, std::move(then), view, now, random, out);
  }
  if (planned.unplaced.empty())
    columns_.reset();
  for (auto index : planned.unplaced) {
    auto& slot = slots_[index];
    slot.unplaced = planned.reason;
    auto found = holders.find(index);
    if (!slot.updating || found == holders.end())
      continue;
    for (auto& old : found->second) {
      if (!old.outdated || released_.count(old.token()) != 0 || !rollout_.may_release()
          || !place_is_taken_by(old, view, input, random))
        continue;
      rollout_.on_release();
      release_holder(old, "the app's spec has changed and there is no room for old and new side by side", now);
      slot.held = false;
    }
  }
}

/// The columns that are made for it serve the next plans, too.
plan_result claim_book::plan_and_keep_columns(plan_input& input, random_source& random) {
  std::optional<view_columns> made;
  input.made_columns = &made;
  auto result = plan(input, random);
  input.made_columns = nullptr;
  if (made) {
    columns_ = std::move(made);
    input.columns = &*columns_;
  }
  return result;
}

pb::Claim claim_book::new_claim(std::uint32_t index, node_id node, std::uint64_t incarnation) {
  pb::Claim message;
  message.set_sequence(++sequence_);
  message.set_token(token_of(spec_.name(), epoch_, MUTANT(token_reused) ? index : sequence_).value());
  message.set_node(node.value());
  message.set_node_incarnation(incarnation);
  message.set_replica_index(index);
  return message;
}

/// The claim is about to be sent.
void claim_book::count_claim(const pb::Claim& message, time_point now) {
  claim_token token{message.token()};
  drop_claim(token);
  claims_[token] = {message.sequence(), node_id{message.node()}, message.replica_index(), now, false, message.member()};
  claims_by_index_.emplace(message.replica_index(), token);
  reopen(message.replica_index());
  auto& slot = slots_[message.replica_index()];
  if (slot.lost) {
    replacements_.push_back(now);
    slot.lost.reset();
  }
}

plan_input claim_book::input_for(const pb::AppSpec& spec, const cluster_view& view,
                                 const std::set<resource_id>& reachable, time_point now) const {
  plan_input input{spec, view.nodes()};
  input.also_placed = &holders_on_;
  for (auto& [token, claim] : claims_)
    input.count_claim(claim.node);
  for (auto& [token, place] : gang_.places())
    input.count_claim(place.node);
  input.corrections = corrections_;
  input.excluded = exclusions();
  input.reachable = reachable;
  input.elsewhere = elsewhere_for(spec_, home_group_, view);
  std::tie(input.partition, input.partitions) = home_partition(spec_.name(), view.apps());
  input.index = &view.index();
  input.hazard = hazard_.rates(view.index(), view.nodes().size(), now);
  if (columns_ && columns_->size() == view.nodes().size())
    input.columns = &*columns_;
  return input;
}

std::vector<node_id> claim_book::prefetch(const cluster_view& view, const std::set<resource_id>& reachable,
                                          time_point now, random_source random) {
  if (deleting_ || spec_.contents().empty())
    return {};
  // Of clusters the workers are the many.
  auto spec = federation_ ? role_spec(spec_, false) : spec_;
  return prefetch_.look(input_for(spec, view, reachable, now), random);
}

std::optional<pb::PlacementReport> claim_book::placement(const cluster_view& view,
                                                         const std::set<resource_id>& reachable, time_point now) const {
  if (deleting_ || std::all_of(slots_.begin(), slots_.end(), [](auto& entry) { return entry.second.unplaced.empty(); }))
    return std::nullopt;
  auto shown = spec_;
  // Where the resources of the one that waits stand in the app's file.
  std::string table;
  if (federation_) {
    auto first = std::find_if(slots_.begin(), slots_.end(), [](auto& entry) { return !entry.second.unplaced.empty(); });
    auto head = first->first % cluster_stride == 0;
    shown = role_spec(spec_, head);
    table = head ? "federation.head." : "federation.worker.";
    if (head && spec_.has_per_request())
      table = "federation.head.resources and ";
  }
  auto told = explain(input_for(shown, view, reachable, now));
  pb::PlacementReport result;
  if (!quota_reason_.empty())
    result.add_reasons()->set_text(quota_reason_);
  result.set_nodes(told.nodes);
  result.set_fitting(told.fitting);
  for (auto& reason : told.reasons) {
    auto& entry = *result.add_reasons();
    entry.set_text(reason.text);
    entry.set_nodes(reason.nodes);
    entry.set_nearest(reason.nearest.value());
    entry.set_nearest_name(reason.nearest_name);
  }
  for (auto& change : told.changes) {
    auto text = to_text(change);
    result.add_changes()->set_text(text.starts_with("resources.") ? table + text : text);
  }
  result.set_node(told.node.value());
  result.set_node_name(told.node_name);
  return result;
}

/// Claims nothing until the quota may have room again.
void claim_book::wait_for_quota(const wishes& wanted, const holders_by_index& holders, time_point now) {
  auto wait = [&](std::uint32_t index) { slots_[index].unplaced = quota_reason_; };
  std::for_each(wanted.place.begin(), wanted.place.end(), wait);
  std::for_each(wanted.move.begin(), wanted.move.end(), wait);
  if (wanted.move.empty())
    quota_move_since_.reset();
  else if (!quota_move_since_)
    quota_move_since_ = now;
  if (!quota_move_since_ || now - std::max(quota_since_, *quota_move_since_) < options_.quota_patience)
    return;
  for (auto index : wanted.move) {
    auto found = holders.find(index);
    if (!slots_[index].updating || found == holders.end())
      continue;
    if (!rollout_.may_release())
      return;
    rollout_.on_release();
    for (auto& old : found->second)
      if (old.outdated && released_.count(old.token()) == 0)
        release_holder(
            old, "the app's spec has changed and its business's quota has no room for old and new side by side", now);
    slots_[index].held = false;
  }
}

/// Whether stopping `old` is what it takes to place its successor: nowhere else is room, not even on nodes that are
/// excluded only for now, and without it there is a place.
bool claim_book::place_is_taken_by(const holder& old, const cluster_view& view, const plan_input& input,
                                   random_source& random) const {
  auto entry = view.find(old.node);
  if (!entry)
    return false;
  auto everywhere = input;
  everywhere.missing = {old.status->index()};
  everywhere.excluded.clear();
  if (auto more = std::exchange(everywhere.also_placed, nullptr))
    for (auto& [id, count] : *more)
      everywhere.placed[id] += count;
  if (!plan(everywhere, random).placements.empty())
    return false;
  auto there = std::move(everywhere);
  there.excluded = input.excluded;
  if (auto& placed = there.placed[old.node]; placed > 0)
    --placed;
  there.corrections[old.node] = row_without(entry->row, {old.status->token()});
  return !plan(there, random).placements.empty();
}

void claim_book::release_holder(const holder& what, std::string reason, time_point now) {
  try_end(what.token(), {what.node, what.status->index(), std::move(reason), now, std::nullopt, false});
}

void claim_book::send_releases(const cluster_view& view, const std::set<resource_id>& reachable, time_point now,
                               decision& out) {
  for (auto& [token, release] : released_) {
    auto node = seen_.find(release.node);
    auto seen = node != seen_.end() && node->second.replicas.count(token) != 0;
    if (seen)
      release.since = now;
    // The first time in any case: what is not seen may still be on its way to the node.
    auto due = !release.sent
               || (seen && !lost(node->second) && now - *release.sent >= options_.release_retry
                   && !MUTANT(release_not_repeated));
    auto entry = view.find(release.node);
    if (!due || !entry || reachable.count(entry->origin) == 0)
      continue;
    release.sent = now;
    pb::Release message;
    message.set_app(spec_.name());
    message.set_epoch(epoch_);
    message.set_token(token.value());
    message.set_node(release.node.value());
    message.set_replica_index(release.index);
    message.set_grace_ms(release.at_once ? 0 : grace_ms());
    message.set_reason(release.reason);
    out.releases.push_back(std::move(message));
  }
}

void claim_book::on_result(const pb::ClaimResult& result, time_point now, random_source& random) {
  claim_token token{result.token()};
  if (auto place = gang_.places().find(token); place != gang_.places().end()) {
    if (result.outcome() == pb::CLAIM_HELD) {
      gang_.on_held(token);
    } else {
      if (result.outcome() == pb::CLAIM_OVER_QUOTA)
        over_quota(result.reason(), now, random);
      else if (result.outcome() != pb::CLAIM_FENCED)
        exclude_refused(place->second.node, result, now, random);
      gang_.forget(token);
    }
    return;
  }
  auto found = claims_.find(token);
  if (found == claims_.end())
    return; // seen at its node before the answer came, or given up
  auto& claim = found->second;
  switch (result.outcome()) {
  case pb::CLAIM_CONFIRMED:
    claim.confirmed = true;
    quota_since_ = now;
    return;
  case pb::CLAIM_TIMED_OUT:
    on_no_answer({token}, result.reason().empty() ? "its node did not answer in time" : result.reason(), now);
    return;
  case pb::CLAIM_HELD:
    return;
  case pb::CLAIM_FENCED:
    drop_claim(token);
    return;
  default:
    break;
  }
  if (result.outcome() == pb::CLAIM_OVER_QUOTA) {
    over_quota(result.reason(), now, random);
    drop_claim(token);
    return;
  }
  exclude_refused(claim.node, result, now, random);
  drop_claim(token);
}

/// No other node would be any better: the app waits.
void claim_book::over_quota(const std::string& reason, time_point now, random_source& random) {
  if (quota_reason_.empty())
    quota_since_ = now;
  quota_reason_ = reason;
  auto share = 0.5 + 0.5 * random.unit();
  quota_wait_ = now + std::chrono::duration_cast<milliseconds>(options_.refusal_exclusion * share);
}

/// Lets the node be for a while, which said no, and takes in how it is.
void claim_book::exclude_refused(node_id node, const pb::ClaimResult& result, time_point now, random_source& random) {
  auto share = 0.5 + 0.5 * random.unit();
  auto pause = std::chrono::duration_cast<milliseconds>(options_.refusal_exclusion * share);
  auto& entry = excluded_[node];
  if (entry.until < now + pause)
    entry = {now + pause, refusal_text(result)};
  if (result.has_row() && result.row().has_profile() && result.row().node() == node.value())
    corrections_[node] = result.row();
}

void claim_book::on_no_answer(const std::vector<claim_token>& tokens, const std::string& reason, time_point now) {
  auto asked = [&](auto& place) { return place.asked.has_value(); };
  for (auto token : tokens)
    if (auto place = gang_.places().find(token); place != gang_.places().end() && asked(place->second)) {
      auto& what = place->second;
      end(token, {what.node, what.index, reason, now, std::nullopt, true});
      auto& entry = excluded_[what.node];
      auto until = now + options_.refusal_exclusion;
      if (entry.until < until)
        entry = {until, "did not answer a claim a moment ago (" + reason + ")"};
      gang_.forget(token);
    }
  for (auto token : tokens) {
    auto found = claims_.find(token);
    if (found == claims_.end())
      continue;
    auto& claim = found->second;
    end(token, {claim.node, claim.index, reason, now, std::nullopt, true});
    auto& entry = excluded_[claim.node];
    auto until = now + options_.refusal_exclusion;
    if (entry.until < until)
      entry = {until, "did not answer a claim a moment ago (" + reason + ")"};
    drop_claim(token);
  }
}

bool claim_book::gone(time_point now) const {
  return deleting_ && (seen_.empty() || MUTANT(app_forgotten_early)) && claims_.empty() && gang_.places().empty()
         && std::all_of(released_.begin(), released_.end(), [&](auto& entry) {
              auto& release = entry.second;
              return !release.doubtful || now - release.since >= options_.claim_timeout;
            });
}

pb::AppDetail claim_book::describe(time_point now) const {
  pb::AppDetail result;
  result.set_found(true);
  auto filled = federation_ ? 0 : wanted();
  for (std::uint64_t next = 0;;) {
    auto index = std::numeric_limits<std::uint64_t>::max();
    if (next < filled)
      index = next;
    auto first = static_cast<std::uint32_t>(next);
    if (auto seen = sightings_.lower_bound({first, {}, {}}); seen != sightings_.end())
      index = std::min<std::uint64_t>(index, std::get<0>(*seen));
    if (auto asked = claims_by_index_.lower_bound({first, {}}); asked != claims_by_index_.end())
      index = std::min<std::uint64_t>(index, asked->first);
    if (index > std::numeric_limits<std::uint32_t>::max())
      break;
    for (auto& row : rows_at(static_cast<std::uint32_t>(index), now))
      *result.add_replicas() = std::move(row);
    next = index + 1;
    if (next > std::numeric_limits<std::uint32_t>::max())
      break;
  }
  *result.mutable_record() = record(now);
  return result;
}

/// What is known of an index, each thing on its own row, sorted by node.
std::vector<pb::ReplicaStatus> claim_book::rows_at(std::uint32_t index, time_point now) const {
  std::vector<pb::ReplicaStatus> result;
  auto found = slots_.find(index);
  auto unplaced = found == slots_.end() ? std::string{} : found->second.unplaced;
  for (auto seen = sightings_.lower_bound({index, {}, {}}); seen != sightings_.end() && std::get<0>(*seen) == index;
       ++seen) {
    auto& [at, id, token] = *seen;
    auto& node = seen_.at(id);
    auto& replica = node.replicas.at(token);
    auto& row = result.emplace_back(replica);
    row.set_node(id.value());
    row.set_node_name(node.name);
    row.set_in_state_ms(replica.in_state_ms() + milliseconds_between(node.told, now));
    if (lost(node)) {
      row.set_state(pb::REPLICA_UNKNOWN);
      row.set_reason(node.name + " is offline");
    } else if (auto released = released_.find(token); released != released_.end()) {
      row.set_state(pb::REPLICA_DRAINING);
      row.set_reason("being stopped: " + released->second.reason);
    } else if (replica.spec_hash() != spec_hash_) {
      row.set_reason("runs the previous spec" + (unplaced.empty() ? "" : "; its successor waits: " + unplaced));
    }
  }
  for (auto asked = claims_by_index_.lower_bound({index, {}}); asked != claims_by_index_.end() && asked->first == index;
       ++asked) {
    auto& claim = claims_.at(asked->second);
    auto& row = result.emplace_back();
    row.set_index(index);
    row.set_token(asked->second.value());
    row.set_epoch(epoch_);
    row.set_spec_hash(spec_hash_);
    row.set_state(pb::REPLICA_CLAIMED);
    row.set_reason(claim.confirmed ? "confirmed, not started yet" : "claimed, waiting for the node's word");
    row.set_in_state_ms(milliseconds_between(claim.since, now));
    row.set_node(claim.node.value());
    *row.mutable_resources() = spec_.per_replica();
    if (federation_) {
      *row.mutable_member() = claim.member;
      *row.mutable_resources() = role_spec(spec_, claim.member.slot() == 0).per_replica();
    }
    row.set_concurrency(spec_.concurrency());
  }
  if (!federation_ && index < wanted() && (states_at(index) & (bit(pb::REPLICA_READY) | states_on_the_way)) == 0) {
    auto& row = result.emplace_back();
    row.set_index(index);
    row.set_spec_hash(spec_hash_);
    row.set_epoch(epoch_);
    *row.mutable_resources() = spec_.per_replica();
    row.set_concurrency(spec_.concurrency());
    auto failure = found == slots_.end() ? std::string{} : found->second.failure;
    row.set_state(failure.empty() ? pb::REPLICA_PLANNED : pb::REPLICA_FAILED);
    if (failure.empty() && unplaced.empty())
      unplaced = "not placed yet";
    row.set_reason(failure + (failure.empty() || unplaced.empty() ? "" : "; ") + unplaced);
  }
  std::sort(result.begin(), result.end(), [](auto& a, auto& b) {
    return std::tuple{a.node(), a.token()} < std::tuple{b.node(), b.token()};
  });
  for (auto& row : result)
    row.set_app(spec_.name());
  return result;
}

/// The states of the rows of a wanted index but for the one that says that there is no other, as bits.
std::uint32_t claim_book::states_at(std::uint32_t index) const {
  std::uint32_t result = 0;
  for (auto seen = sightings_.lower_bound({index, {}, {}}); seen != sightings_.end() && std::get<0>(*seen) == index;
       ++seen) {
    auto& [at, id, token] = *seen;
    auto& node = seen_.at(id);
    if (lost(node))
      result |= bit(pb::REPLICA_UNKNOWN);
    else if (released_.count(token) != 0)
      result |= bit(pb::REPLICA_DRAINING);
    else
      result |= bit(node.replicas.at(token).state());
  }
  return claimed(index) ? result | bit(pb::REPLICA_CLAIMED) : result;
}

pb::AppRecord claim_book::record(time_point now) const {
  pb::AppRecord result;
  head(result);
  if (federation_) {
    result.set_ready(federation_->serving());
    result.set_starting(federation_->starting());
    result.set_pending(federation_->pending());
    for (auto& cluster : federation_->records())
      *result.add_clusters() = cluster;
    result.set_reason(deleting_ ? "being deleted" : federation_summary(*federation_, clusters()));
    return result;
  }
  if (deleting_) {
    result.set_reason(last_words(now));
    return result;
  }
  // Replicas in a state, and the first index where one is.
  struct tally {
    std::uint32_t count = 0;
    std::optional<std::uint32_t> first;

    void note(std::uint32_t index) {
      if (!first)
        first = index;
    }
  };
  tally failed;
  tally pending;
  tally starting;
  std::uint32_t open = 0;
  std::uint32_t ready = 0;
  for (auto next = open_.next(0); next && *next < wanted(); next = open_.next(std::uint64_t{*next} + 1)) {
    auto index = *next;
    ++open;
    auto states = states_at(index);
    if ((states & bit(pb::REPLICA_READY)) != 0) {
      ++ready;
    } else if ((states & states_on_the_way) != 0) {
      ++starting.count;
    } else {
      auto slot = slots_.find(index);
      auto has_failed = slot != slots_.end() && !slot->second.failure.empty();
      ++(has_failed ? failed : pending).count;
      states |= bit(has_failed ? pb::REPLICA_FAILED : pb::REPLICA_PLANNED);
    }
    if ((states & bit(pb::REPLICA_FAILED)) != 0)
      failed.note(index);
    if ((states & bit(pb::REPLICA_PLANNED)) != 0)
      pending.note(index);
    if ((states & states_on_the_way) != 0)
      starting.note(index);
  }
  ready += wanted() - open;
  result.set_ready(ready);
  result.set_starting(starting.count);
  result.set_pending(pending.count);
  result.set_failed(failed.count);
  if (ready == wanted())
    return result;
  auto lack = fmt::format("{} of {} ready", ready, wanted());
  auto note = [&](const tally& which, const char* what, std::uint32_t states) {
    if (which.count == 0)
      return;
    lack += fmt::format("; {} {}", which.count, what);
    auto rows = rows_at(*which.first, now);
    auto row = std::find_if(rows.begin(), rows.end(), [&](auto& one) { return (bit(one.state()) & states) != 0; });
    if (!row->reason().empty())
      lack += ": " + row->reason();
  };
  note(failed, "failed", bit(pb::REPLICA_FAILED));
  note(pending, "not placed", bit(pb::REPLICA_PLANNED));
  note(starting, "starting", states_on_the_way);
  result.set_reason(result.reason() + (result.reason().empty() ? "" : "; ") + lack);
  return result;
}

/// Fills in what does not depend on how the replicas are.
void claim_book::head(pb::AppRecord& record) const {
  *record.mutable_spec() = spec_;
  record.mutable_spec()->clear_deleting();
  record.set_spec_hash(spec_hash_);
  record.set_epoch(epoch_);
  record.set_deleting(deleting_);
  if (scaled_) {
    record.set_scaled_to(*scaled_);
    record.set_scale_reason(scale_reason_);
  }
  if (deleting_ || !rollout_.active())
    return;
  *record.mutable_rollout() = rollout_.status();
  record.set_reason(failure_text(record.rollout()));
}

/// What still is there of an app that is being deleted.
std::string claim_book::last_words(time_point now) const {
  auto count = sightings_.size() + claims_.size();
  if (count == 0)
    return "being deleted";
  auto index = std::numeric_limits<std::uint32_t>::max();
  if (!sightings_.empty())
    index = std::get<0>(*sightings_.begin());
  if (!claims_by_index_.empty())
    index = std::min(index, claims_by_index_.begin()->first);
  auto first = rows_at(index, now).front();
  return fmt::format("being deleted: {} {} to go ({} on {}: {})", count, count == 1 ? "replica" : "replicas",
                     first.index(), first.node_name().empty() ? to_hex(first.node()) : first.node_name(),
                     first.reason());
}

} // namespace astra
