#include "actors/node/admission.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace astra {

void admission::open(claim_token token, std::uint32_t concurrency, time_point now) {
  assert(concurrency > 0);
  auto& entry = replicas_[token];
  entry.concurrency = concurrency;
  entry.open = true;
  expire(now);
}

void admission::close(claim_token token, time_point now) {
  auto found = replicas_.find(token);
  if (found == replicas_.end())
    return;
  found->second.open = false;
  move_holds(token);
  expire(now);
}

void admission::remove(claim_token token, time_point now) {
  close(token, now);
  std::erase_if(running_, [token](auto& entry) { return entry.second.replica == token; });
  replicas_.erase(token);
}

void admission::reserve(attempt_id attempt, std::chrono::nanoseconds may_wait, time_point now) {
  expire(now);
  auto waits = [attempt](const waiter& other) { return other.attempt == attempt; };
  if (held_.count(attempt) != 0)
    return decide(attempt, pb::RESERVE_GRANTED, "");
  if (running_.count(attempt) != 0 || std::any_of(queue_.begin(), queue_.end(), waits))
    return decide(attempt, pb::RESERVE_BUSY, "the attempt is known already");
  if (draining_ && !MUTANT(slot_granted_while_draining))
    return decide(attempt, pb::RESERVE_DRAINING, "the node is draining");
  auto slots_now = slots();
  if (slots_now == 0)
    return decide(attempt, pb::RESERVE_NO_REPLICA, "no ready replica");
  auto queue_max = std::uint64_t{limits_.queue_per_slot} * slots_now;
  if (pick() == replicas_.end() && may_wait.count() <= 0)
    return decide(attempt, pb::RESERVE_BUSY, "all " + std::to_string(slots_now) + " slots are taken");
  if (pick() == replicas_.end() && queue_.size() >= queue_max)
    return decide(attempt, pb::RESERVE_QUEUE_FULL, std::to_string(queue_.size()) + " requests wait already");
  // A wait longer than a day is no wait but a mistake, and would overflow the clock.
  may_wait = std::min<std::chrono::nanoseconds>(may_wait, std::chrono::hours{24});
  queue_.push_back({attempt, now + may_wait});
  grant_waiting(now);
}

std::optional<claim_token> admission::use(attempt_id attempt, time_point now) {
  expire(now);
  auto found = held_.find(attempt);
  if (found == held_.end())
    return std::nullopt;
  auto token = found->second.replica;
  running_[attempt] = {token, now};
  held_.erase(found);
  return token;
}

void admission::finish(attempt_id attempt, bool completed, time_point now) {
  auto found = running_.find(attempt);
  if (found == running_.end())
    return;
  if (completed && now >= found->second.started) {
    auto seconds = std::chrono::duration<double>(now - found->second.started).count();
    service_s_ = measured_ ? 0.8 * service_s_ + 0.2 * seconds : seconds;
    measured_ = true;
  }
  if (completed || !MUTANT(slot_leaked_on_failure))
    release_slot(found->second.replica);
  running_.erase(found);
  expire(now);
}

bool admission::cancel(attempt_id attempt, time_point now) {
  auto waits = [attempt](const waiter& other) { return other.attempt == attempt; };
  if (auto found = std::find_if(queue_.begin(), queue_.end(), waits); found != queue_.end()) {
    queue_.erase(found);
    decide(attempt, pb::RESERVE_CANCELLED, "taken back");
    return true;
  }
  auto found = held_.find(attempt);
  if (found == held_.end())
    return false;
  if (!MUTANT(slot_leaked_on_cancel))
    release_slot(found->second.replica);
  held_.erase(found);
  expire(now);
  grant_waiting(now);
  return true;
}

void admission::drain() {
  draining_ = true;
  if (MUTANT(queue_kept_on_drain))
    return;
  for (auto& waiting : std::exchange(queue_, {}))
    decide(waiting.attempt, pb::RESERVE_DRAINING, "the node is draining");
}

void admission::expire(time_point now) {
  for (auto entry = held_.begin(); entry != held_.end();) {
    if (now < entry->second.expiry) {
      ++entry;
      continue;
    }
    if (!MUTANT(slot_leaked_on_expiry))
      release_slot(entry->second.replica);
    entry = held_.erase(entry);
  }
  // Waits that are over go before slots are given: a grant after the deadline would be a grant to nobody.
  for (auto waiting = queue_.begin(); waiting != queue_.end();) {
    if (now < waiting->deadline) {
      ++waiting;
      continue;
    }
    decide(waiting->attempt, pb::RESERVE_BUSY, "no slot became free in time");
    waiting = queue_.erase(waiting);
  }
  grant_waiting(now);
}

std::optional<admission::time_point> admission::next_expiry() const {
  std::optional<time_point> result;
  auto consider = [&result](time_point when) {
    if (!result || when < *result)
      result = when;
  };
  for (auto& entry : held_)
    consider(entry.second.expiry);
  for (auto& waiting : queue_)
    consider(waiting.deadline);
  return result;
}

std::vector<admission::answer> admission::take_answers() {
  return std::exchange(answers_, {});
}

std::uint32_t admission::slots() const {
  std::uint32_t result = 0;
  for (auto& entry : replicas_)
    if (entry.second.open)
      result += entry.second.concurrency;
  return result;
}

std::uint32_t admission::running(claim_token token) const {
  return static_cast<std::uint32_t>(
      std::count_if(running_.begin(), running_.end(), [token](auto& entry) { return entry.second.replica == token; }));
}

std::chrono::milliseconds admission::eta() const {
  std::uint32_t slots_now = 0;
  for (auto& entry : replicas_) {
    if (!entry.second.open)
      continue;
    if (entry.second.busy < entry.second.concurrency && queue_.empty())
      return std::chrono::milliseconds{0};
    slots_now += entry.second.concurrency;
  }
  auto ahead = static_cast<double>(queue_.size() + 1);
  auto seconds = ahead * service_s_ / std::max(1.0, static_cast<double>(slots_now));
  return std::chrono::milliseconds{static_cast<std::int64_t>(std::min(seconds, 3600.0) * 1000.0)};
}

std::map<claim_token, admission::replica>::iterator admission::pick() {
  auto best = replicas_.end();
  for (auto entry = replicas_.begin(); entry != replicas_.end(); ++entry) {
    auto& candidate = entry->second;
    if (!candidate.open || candidate.busy >= candidate.concurrency)
      continue;
    if (best == replicas_.end()) {
      best = entry;
      continue;
    }
    auto mine = std::uint64_t{candidate.busy} * best->second.concurrency;
    auto theirs = std::uint64_t{best->second.busy} * candidate.concurrency;
    if (mine < theirs || (mine == theirs && candidate.granted < best->second.granted))
      best = entry;
  }
  return best;
}

void admission::release_slot(claim_token token) {
  auto found = replicas_.find(token);
  if (found == replicas_.end())
    return;
  assert(found->second.busy > 0);
  --found->second.busy;
}

void admission::move_holds(claim_token from) {
  for (auto entry = held_.begin(); entry != held_.end();) {
    if (entry->second.replica != from) {
      ++entry;
      continue;
    }
    release_slot(from);
    auto other = pick();
    if (other == replicas_.end()) {
      entry = held_.erase(entry);
      continue;
    }
    ++other->second.busy;
    ++other->second.granted;
    entry->second.replica = other->first;
    ++entry;
  }
}

void admission::grant_waiting(time_point now) {
  if (slots() == 0) {
    for (auto& waiting : std::exchange(queue_, {}))
      decide(waiting.attempt, pb::RESERVE_NO_REPLICA, "no ready replica any more");
    return;
  }
  while (!queue_.empty()) {
    auto free = pick();
    if (free == replicas_.end())
      return;
    ++free->second.busy;
    ++free->second.granted;
    auto hold = MUTANT(reservation_never_expires) ? std::chrono::hours{24} : limits_.hold;
    held_[queue_.front().attempt] = {free->first, now + hold};
    decide(queue_.front().attempt, pb::RESERVE_GRANTED, "");
    queue_.pop_front();
  }
}

void admission::decide(attempt_id attempt, pb::ReserveOutcome outcome, std::string reason) {
  answers_.push_back({attempt, outcome, std::move(reason)});
}

} // namespace astra
