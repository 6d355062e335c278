#include "actors/mutant.hpp"
#include "actors/scheduler/claim_book.hpp"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

// The parts of claim_book that keep track of which replicas there are, and of where something may have to be done.

namespace astra {

using std::chrono::milliseconds;

auto claim_book::holder::rank() const {
  return std::tuple{outdated,        leaving,        !ready(), where->liveness == pb::LIVENESS_SUSPECT,
                    status->epoch(), status->token()};
}

void claim_book::observe(const node_entry& entry, time_point now) {
  auto id = entry.id();
  auto& row = entry.row;
  corrections_.erase(id);
  hazard_.observe(entry, now);
  if (columns_)
    columns_->update(entry);
  auto known = seen_.find(id);
  if (known != seen_.end() && known->second.incarnation != row.incarnation()) {
    // Replicas die with their agent.
    unsee(known);
    known = seen_.end();
  }
  std::optional<replicas_by_token> before;
  if (row.has_profile()) {
    replicas_by_token replicas;
    for (auto& replica : row.shape().replicas())
      if (replica.app() == spec_.name() && replica.state() != pb::REPLICA_STOPPED
          && (replica.epoch() == epoch_ || !MUTANT(replicas_not_adopted)))
        replicas.emplace(claim_token{replica.token()}, replica);
    if (replicas.empty()) {
      if (known != seen_.end())
        unsee(known);
      return;
    }
    for (auto& [token, replica] : replicas)
      drop_claim(token);
    if (known == seen_.end())
      known = seen_.try_emplace(id).first;
    auto& node = known->second;
    node.name = entry.name();
    node.incarnation = row.incarnation();
    node.told = now;
    std::map<claim_token, time_point> ready_since;
    for (auto& [token, replica] : replicas) {
      if (replica.state() != pb::REPLICA_READY)
        continue;
      auto since = now - milliseconds{static_cast<std::int64_t>(replica.in_state_ms())};
      // Its node tells of a replica when that changes, not how long ago that was now.
      auto earlier = node.ready_since.find(token);
      ready_since[token] = earlier == node.ready_since.end() ? since : std::min(since, earlier->second);
    }
    node.ready_since = std::move(ready_since);
    before = std::exchange(node.replicas, std::move(replicas));
  }
  if (known == seen_.end())
    return;
  auto& node = known->second;
  auto moved = node.liveness != row.liveness();
  node.liveness = row.liveness();
  node.vanished.reset();
  vanished_.erase(id);
  note_changes(id, node, before ? *before : node.replicas, moved);
}

void claim_book::forget(node_id node, time_point now) {
  corrections_.erase(node);
  hazard_.forget(node);
  if (columns_)
    columns_->erase(node);
  if (auto known = seen_.find(node); known != seen_.end() && !known->second.vanished) {
    known->second.vanished = now;
    vanished_.insert(node);
  }
}

/// The replicas of a node were `before`.
/// @param all What its replicas count for has changed.
void claim_book::note_changes(node_id id, const seen_node& node, const replicas_by_token& before, bool all) {
  auto gone = [&](claim_token token, const pb::ReplicaStatus& replica) {
    sightings_.erase({replica.index(), id, token});
    failed_.erase({id, token});
    reopen(replica.index());
  };
  auto come = [&](claim_token token, const pb::ReplicaStatus& replica) {
    sightings_.emplace(replica.index(), id, token);
    if (replica.state() == pb::REPLICA_FAILED)
      failed_.emplace(id, token);
    reopen(replica.index());
  };
  auto same = [](const pb::ReplicaStatus& a, const pb::ReplicaStatus& b) {
    return a.index() == b.index() && a.state() == b.state() && a.spec_hash() == b.spec_hash() && a.epoch() == b.epoch();
  };
  auto old = before.begin();
  auto now = node.replicas.begin();
  while (old != before.end() || now != node.replicas.end()) {
    if (now == node.replicas.end() || (old != before.end() && old->first < now->first)) {
      gone(old->first, old->second);
      ++old;
    } else if (old == before.end() || now->first < old->first) {
      come(now->first, now->second);
      ++now;
    } else {
      if (!same(old->second, now->second)) {
        gone(old->first, old->second);
        come(now->first, now->second);
      } else if (all) {
        reopen(now->second.index());
      }
      ++old;
      ++now;
    }
  }
  count_on(id);
}

claim_book::seen_nodes::iterator claim_book::unsee(seen_nodes::iterator node) {
  auto id = node->first;
  auto before = std::exchange(node->second.replicas, {});
  note_changes(id, node->second, before, true);
  vanished_.erase(id);
  return seen_.erase(node);
}

/// Whether its replicas hold their indices.
bool claim_book::counts(const seen_node& node) const {
  return !lost(node) || MUTANT(lost_replica_not_replaced);
}

void claim_book::count_on(node_id id) {
  std::uint32_t count = 0;
  if (auto found = seen_.find(id); found != seen_.end() && counts(found->second))
    for (auto& [token, replica] : found->second.replicas)
      count += released_.count(token) == 0;
  if (count > 0)
    holders_on_[id] = count;
  else
    holders_on_.erase(id);
}

void claim_book::reopen(std::uint32_t index) {
  if (federation_)
    return;
  open_.insert(index);
  outdated_.erase(index);
}

void claim_book::look_everywhere() {
  open_.clear();
  outdated_.clear();
  if (federation_)
    return;
  open_.insert(0, wanted());
  for (auto& [index, node, token] : sightings_)
    open_.insert(index);
}

/// The token must not run any more.
void claim_book::end(claim_token token, release what) {
  auto node = what.node;
  released_[token] = std::move(what);
  on_ended(token, node);
}

/// @returns false when that had been said before.
bool claim_book::try_end(claim_token token, release what) {
  auto node = what.node;
  if (!released_.try_emplace(token, std::move(what)).second)
    return false;
  on_ended(token, node);
  return true;
}

/// Of a token on a node it has changed whether it is to end.
void claim_book::on_ended(claim_token token, node_id node) {
  auto found = seen_.find(node);
  if (found == seen_.end())
    return;
  auto replica = found->second.replicas.find(token);
  if (replica == found->second.replicas.end())
    return;
  count_on(node);
  reopen(replica->second.index());
}

bool claim_book::claimed(std::uint32_t index) const {
  auto found = claims_by_index_.lower_bound({index, claim_token{}});
  return found != claims_by_index_.end() && found->first == index;
}

void claim_book::drop_claim(claim_token token) {
  auto found = claims_.find(token);
  if (found == claims_.end())
    return;
  auto index = found->second.index;
  claims_by_index_.erase({index, token});
  claims_.erase(found);
  reopen(index);
}

/// The best one first.
std::vector<claim_book::holder> claim_book::holders_at(std::uint32_t index) const {
  std::vector<holder> result;
  for (auto seen = sightings_.lower_bound({index, node_id{}, claim_token{}});
       seen != sightings_.end() && std::get<0>(*seen) == index; ++seen) {
    auto& [at, id, token] = *seen;
    auto& node = seen_.at(id);
    if (!counts(node) || released_.count(token) != 0)
      continue;
    auto& replica = node.replicas.at(token);
    auto& found = result.emplace_back();
    found.node = id;
    found.where = &node;
    found.status = &replica;
    found.outdated = replica.spec_hash() != spec_hash_;
    found.leaving = (node.liveness == pb::LIVENESS_DRAINING && !MUTANT(draining_replica_counted))
                    || replica.state() == pb::REPLICA_DRAINING;
  }
  std::sort(result.begin(), result.end(), [](auto& a, auto& b) { return a.rank() < b.rank(); });
  return result;
}

claim_book::holders_by_index claim_book::all_holders() const {
  holders_by_index result;
  for (auto next = sightings_.begin(); next != sightings_.end();) {
    auto index = std::get<0>(*next);
    if (auto found = holders_at(index); !found.empty())
      result.emplace_hint(result.end(), index, std::move(found));
    while (next != sightings_.end() && std::get<0>(*next) == index)
      ++next;
  }
  return result;
}

claim_book::scope claim_book::open_scope() const {
  scope result;
  for (auto next = open_.next(0); next; next = open_.next(std::uint64_t{*next} + 1)) {
    if (*next < wanted())
      result.indices.push_back(*next);
    if (auto found = holders_at(*next); !found.empty())
      result.holders.emplace_hint(result.holders.end(), *next, std::move(found));
  }
  return result;
}

/// Adds a wanted index, if it is not there.
void claim_book::look_at(scope& what, std::uint32_t index) const {
  auto place = std::lower_bound(what.indices.begin(), what.indices.end(), index);
  if (place != what.indices.end() && *place == index)
    return;
  what.indices.insert(place, index);
  if (auto found = holders_at(index); !found.empty())
    what.holders[index] = std::move(found);
}

/// Nothing is under way, and nothing is to be told.
bool claim_book::is_still(const slot& what) {
  return what.held && !what.lost && !what.updating && what.failure.empty() && what.unplaced.empty();
}

/// Whether an index is as it is to be with this replica alone, now and until something changes.
bool claim_book::is_settled(const holder& only, time_point now) const {
  return !only.leaving && only.ready() && (only.outdated || rollout_.seasoned(only.ready_since(), now));
}

/// Closes indices where a tick would find nothing to do.
void claim_book::close_settled(time_point now) {
  for (auto next = open_.next(0); next; next = open_.next(std::uint64_t{*next} + 1)) {
    auto index = *next;
    if (index >= wanted()) {
      if (holders_at(index).empty())
        open_.erase(index);
      continue;
    }
    if (claimed(index) || !is_still(slots_[index]))
      continue;
    auto found = holders_at(index);
    if (found.size() != 1 || !is_settled(found.front(), now))
      continue;
    open_.erase(index);
    if (found.front().outdated)
      outdated_.insert(index);
  }
}

bool claim_book::keeps_count() const {
  decltype(sightings_) sightings;
  decltype(failed_) failed;
  decltype(vanished_) vanished;
  decltype(holders_on_) holders_on;
  decltype(claims_by_index_) claims;
  for (auto& [id, node] : seen_) {
    if (node.vanished)
      vanished.insert(id);
    for (auto& [token, replica] : node.replicas) {
      sightings.emplace(replica.index(), id, token);
      if (replica.state() == pb::REPLICA_FAILED)
        failed.emplace(id, token);
      if (counts(node) && released_.count(token) == 0)
        ++holders_on[id];
    }
  }
  for (auto& [token, claim] : claims_)
    claims.emplace(claim.index, token);
  return sightings == sightings_ && failed == failed_ && vanished == vanished_ && holders_on == holders_on_
         && claims == claims_by_index_;
}

} // namespace astra
