#include "actors/node/replica_set.hpp"

#include "actors/mutant.hpp"
#include "messages/replica_state.hpp"
#include "messages/text.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <tuple>

namespace astra {

using std::chrono::milliseconds;

namespace {

/// Longest answer to why an app has no ready replica.
constexpr std::size_t none_ready_bytes_max = 2048;

/// What a replica of this app takes in a profile, whatever becomes of it, with the shortest reason.
std::size_t profile_bytes_of(const pb::AppSpec& spec) {
  pb::ReplicaStatus status;
  status.set_app(spec.name());
  *status.mutable_resources() = spec.per_replica();
  status.set_business(spec.business());
  status.set_priority(spec.priority());
  constexpr std::size_t tag_and_length = 4;
  constexpr std::size_t fixed_fields = 2 * 9;
  constexpr std::size_t number_fields = 6 * 11;
  if (spec.has_federation()) {
    constexpr std::size_t number_and_tag = 8;
    constexpr std::size_t host_bytes = 64;
    status.set_host(std::string(host_bytes, ' '));
    auto& member = *status.mutable_member();
    member.set_cluster(1);
    member.set_slot(std::numeric_limits<std::uint32_t>::max());
    member.set_incarnation(std::numeric_limits<std::uint32_t>::max());
    for (auto& name : spec.federation().ports())
      status.add_ports()->set_name(name + std::string(number_and_tag, ' '));
  }
  return status.ByteSizeLong() + fixed_fields + number_fields + tag_and_length + replica_set::reason_bytes_min
         + tag_and_length;
}

} // namespace

replica_set::replica_set(node_id node, incarnation started, const pb::Resources& capacity, label_list labels)
  : node_(node), incarnation_(started), capacity_(capacity), labels_(std::move(labels)) {}

replica_set::decision replica_set::claim(const pb::ClaimBatch& batch, const pb::Claim& claim, time_point now) {
  decision made;
  claim_token token{claim.token()};
  std::string reason;
  auto outcome = check(batch, claim, reason);
  if (outcome != pb::CLAIM_FENCED) {
    auto& newest = epochs_[batch.spec().name()];
    newest = std::max(newest, batch.epoch());
  }
  if (outcome == pb::CLAIM_CONFIRMED && replicas_.count(token) == 0) {
    replica added;
    added.token = token;
    added.index = claim.replica_index();
    added.epoch = batch.epoch();
    added.spec_hash = batch.spec_hash();
    added.spec = std::make_shared<const pb::AppSpec>(batch.spec());
    added.reason = "claimed, about to start";
    added.since = now;
    added.budget = restart_budget{restart_policy_of(batch.spec())};
    if (claim.has_member()) {
      added.member = claim.member();
      fence_.remember(batch.epoch(), claim.member());
    }
    added.profile_bytes = profile_bytes_of(batch.spec());
    profile_bytes_ += added.profile_bytes;
    if (capacity_.misfit(batch.spec().per_replica())) {
      wait_for_victims(added, claim);
      made.preempted = added.waits_for;
    }
    capacity_.replace(token, batch.spec().per_replica());
    replicas_.emplace(token, std::move(added));
    made.fresh = true;
  }
  made.result.set_sequence(claim.sequence());
  made.result.set_token(claim.token());
  made.result.set_outcome(outcome);
  made.result.set_reason(std::move(reason));
  return made;
}

pb::ClaimOutcome replica_set::check(const pb::ClaimBatch& batch, const pb::Claim& claim, std::string& reason) const {
  auto& spec = batch.spec();
  if (node_id{claim.node()} != node_ || incarnation{claim.node_incarnation()} != incarnation_) {
    reason = "the claim is for another incarnation of this node";
    return pb::CLAIM_NODE_GONE;
  }
  if (auto newest = newest_epoch(spec.name()); batch.epoch() < newest && !MUTANT(fenced_claim_obeyed)) {
    reason =
        fmt::format("epoch {} of the scheduler of app '{}' is fenced by epoch {}", batch.epoch(), spec.name(), newest);
    return pb::CLAIM_FENCED;
  }
  claim_token token{claim.token()};
  if (tombstones_.count(token) != 0) {
    reason = "this claim was released before";
    return pb::CLAIM_NO_ROOM;
  }
  if (replicas_.count(token) != 0)
    return pb::CLAIM_CONFIRMED;
  if (claim.has_member()) {
    reason = fence_.misfit(batch.epoch(), claim.member());
    if (!reason.empty())
      return pb::CLAIM_NO_ROOM;
  }
  if (draining_ && !MUTANT(claim_granted_while_draining)) {
    reason = "the node is draining: " + drain_reason_;
    return pb::CLAIM_NODE_DRAINING;
  }
  for (auto& wanted : spec.require()) {
    auto same_key = [&wanted](auto& label) { return label.first == wanted.key(); };
    auto found = std::find_if(labels_.begin(), labels_.end(), same_key);
    if (found != labels_.end() && found->second == wanted.value())
      continue;
    reason = fmt::format("needs label {}={}, the node has {}", wanted.key(), wanted.value(),
                         found == labels_.end() ? "none of that key" : found->second);
    return pb::CLAIM_LABEL_MISMATCH;
  }
  if (auto misfit = why_no_room(spec, claim)) {
    reason = *misfit;
    return pb::CLAIM_NO_ROOM;
  }
  if (profile_bytes_ + profile_bytes_of(spec) > profile_room_) {
    reason = fmt::format("the node has {} replicas, and its profile has no room for more; use more nodes, or replicas "
                         "that take more requests at once",
                         replicas_.size());
    return pb::CLAIM_NO_ROOM;
  }
  return pb::CLAIM_CONFIRMED;
}

/// Nothing when it fits, be it when what it preempts has gone.
std::optional<std::string> replica_set::why_no_room(const pb::AppSpec& spec, const pb::Claim& claim) const {
  auto misfit = capacity_.misfit(spec.per_replica());
  if (!misfit || claim.preempt().empty())
    return misfit;
  std::vector<claim_token> victims;
  for (auto token : claim.preempt()) {
    auto victim = replicas_.find(claim_token{token});
    if (victim == replicas_.end())
      return "a replica that was to make room is gone";
    if (victim->second.spec->priority() >= spec.priority() && !MUTANT(preempted_by_lower))
      return fmt::format("replica {}/{} has priority {}, which is not below {}", victim->second.spec->name(),
                         victim->second.index, victim->second.spec->priority(), spec.priority());
    if (std::find(victims.begin(), victims.end(), claim_token{token}) == victims.end())
      victims.emplace_back(token);
  }
  return capacity_.misfit_without(victims, spec.per_replica());
}

void replica_set::wait_for_victims(replica& added, const pb::Claim& claim) const {
  std::string names;
  milliseconds longest{0};
  for (auto token : claim.preempt()) {
    auto victim = replicas_.find(claim_token{token});
    if (victim == replicas_.end()
        || std::find(added.waits_for.begin(), added.waits_for.end(), claim_token{token}) != added.waits_for.end())
      continue;
    added.waits_for.emplace_back(token);
    names += fmt::format("{}{}/{}", names.empty() ? "" : ", ", victim->second.spec->name(), victim->second.index);
    longest = std::max(longest, preempt_notice_of(*victim->second.spec));
  }
  added.state = pb::REPLICA_CLAIMED;
  added.reason =
      shorten(fmt::format("waits for {} {} to go, at most {:g} s", added.waits_for.size() == 1 ? "replica" : "replicas",
                          names, std::chrono::duration<double>(longest).count()),
              reason_bytes_max);
}

bool replica_set::release(const pb::Release& release) {
  if (release.epoch() < newest_epoch(release.app()) && !MUTANT(fenced_release_obeyed))
    return false;
  auto& newest = epochs_[release.app()];
  newest = std::max(newest, release.epoch());
  claim_token token{release.token()};
  if (!MUTANT(tombstone_missing))
    bury(token);
  return replicas_.count(token) != 0;
}

void replica_set::drain(std::string reason) {
  draining_ = true;
  drain_reason_ = std::move(reason);
}

void replica_set::set_state(claim_token token, pb::ReplicaState state, std::string reason, time_point now) {
  auto found = replicas_.find(token);
  if (found == replicas_.end())
    return;
  found->second.state = state;
  // It may quote an app, which may say any bytes.
  found->second.reason = shorten(to_utf8(std::move(reason)), reason_bytes_max);
  found->second.since = now;
}

void replica_set::set_location(claim_token token, std::string host, std::vector<pb::NamedPort> ports) {
  auto found = replicas_.find(token);
  if (found == replicas_.end())
    return;
  found->second.host = std::move(host);
  found->second.ports = std::move(ports);
}

std::optional<std::chrono::milliseconds> replica_set::crashed(claim_token token, const std::string& reason,
                                                              time_point now, random_source& random) {
  auto found = replicas_.find(token);
  if (found == replicas_.end())
    return std::nullopt;
  auto& entry = found->second;
  auto uptime = entry.state == pb::REPLICA_READY ? now - entry.since : std::chrono::nanoseconds{0};
  auto delay = entry.budget.next_delay(now, uptime, random);
  auto& policy = entry.budget.policy();
  if (delay)
    set_state(token, pb::REPLICA_BACKING_OFF,
              fmt::format("{}; restart {} of at most {} in {} s, in {} ms", reason, entry.budget.recent(),
                          policy.budget, std::chrono::duration<double>(policy.budget_window).count(), delay->count()),
              now);
  else
    set_state(token, pb::REPLICA_FAILED,
              fmt::format("{}; given up after {} restarts in {} s", reason, entry.budget.recent(),
                          std::chrono::duration<double>(policy.budget_window).count()),
              now);
  return delay;
}

std::vector<claim_token> replica_set::startable() const {
  std::vector<claim_token> result;
  for (auto& [token, entry] : replicas_)
    if (entry.state == pb::REPLICA_CLAIMED
        && std::none_of(entry.waits_for.begin(), entry.waits_for.end(),
                        [this](auto victim) { return replicas_.count(victim) != 0; }))
      result.push_back(token);
  return result;
}

void replica_set::erase(claim_token token) {
  if (!MUTANT(capacity_leaked))
    capacity_.give_back(token);
  if (auto found = replicas_.find(token); found != replicas_.end()) {
    profile_bytes_ -= found->second.profile_bytes;
    replicas_.erase(found);
  }
}

const replica* replica_set::find(claim_token token) const {
  auto found = replicas_.find(token);
  return found == replicas_.end() ? nullptr : &found->second;
}

std::uint64_t replica_set::newest_epoch(const std::string& app) const {
  auto found = epochs_.find(app);
  return found == epochs_.end() ? 0 : found->second;
}

std::string replica_set::why_none_ready(const std::string& app) const {
  std::string result;
  for (auto& [token, entry] : replicas_) {
    if (entry.spec->name() != app)
      continue;
    if (!result.empty())
      result += "; ";
    result += fmt::format("replica {}: {}, {}", entry.index, replica_state_text(entry.state), entry.reason);
  }
  return result.empty() ? "no replica of app '" + app + "' on this node"
                        : shorten(std::move(result), none_ready_bytes_max);
}

std::vector<pb::ReplicaStatus> replica_set::describe(time_point now) const {
  std::vector<pb::ReplicaStatus> result;
  for (auto& [token, entry] : replicas_) {
    auto& status = result.emplace_back();
    status.set_app(entry.spec->name());
    status.set_index(entry.index);
    status.set_token(token.value());
    status.set_epoch(entry.epoch);
    status.set_spec_hash(entry.spec_hash);
    status.set_state(entry.state);
    status.set_reason(entry.reason);
    status.set_restarts(entry.budget.restarts());
    *status.mutable_resources() = entry.spec->per_replica();
    status.set_business(entry.spec->business());
    status.set_concurrency(entry.concurrency());
    status.set_priority(entry.spec->priority());
    if (entry.member) {
      auto& member = *status.mutable_member();
      member.set_cluster(entry.member->cluster());
      member.set_slot(entry.member->slot());
      member.set_incarnation(entry.member->incarnation());
      status.set_host(entry.host);
      for (auto& port : entry.ports)
        *status.add_ports() = port;
    }
    auto in_state = std::chrono::duration_cast<std::chrono::milliseconds>(now - entry.since).count();
    status.set_in_state_ms(in_state > 0 ? static_cast<std::uint64_t>(in_state) : 0);
  }
  std::sort(result.begin(), result.end(), [](const pb::ReplicaStatus& a, const pb::ReplicaStatus& b) {
    return std::tuple{a.app(), a.index(), a.token()} < std::tuple{b.app(), b.index(), b.token()};
  });
  return result;
}

std::vector<claim_token> replica_set::tokens() const {
  std::vector<claim_token> result;
  for (auto& entry : replicas_)
    result.push_back(entry.first);
  return result;
}

void replica_set::bury(claim_token token) {
  if (!tombstones_.insert(token).second)
    return;
  tombstone_order_.push_back(token);
  if (tombstone_order_.size() > tombstones_max) {
    tombstones_.erase(tombstone_order_.front());
    tombstone_order_.pop_front();
  }
}

milliseconds preempt_notice_of(const pb::AppSpec& spec) {
  constexpr std::uint64_t usual_ms = 30'000;
  constexpr std::uint64_t longest_ms = 24ULL * 3600 * 1000;
  return milliseconds{std::min(spec.has_preempt_notice_ms() ? spec.preempt_notice_ms() : usual_ms, longest_ms)};
}

restart_policy restart_policy_of(const pb::AppSpec& spec) {
  restart_policy policy;
  if (!spec.has_restart())
    return policy;
  // Durations beyond a year are limited so that no later sum overflows.
  auto ms = [](std::uint64_t value) {
    constexpr std::uint64_t year_ms = 365ULL * 24 * 3600 * 1000;
    return std::chrono::milliseconds{static_cast<std::int64_t>(std::min(value, year_ms))};
  };
  policy.backoff_min = ms(spec.restart().backoff_min_ms());
  policy.backoff_max = ms(spec.restart().backoff_max_ms());
  policy.healthy_after = ms(spec.restart().healthy_after_ms());
  policy.budget = spec.restart().budget();
  policy.budget_window = ms(spec.restart().budget_window_ms());
  return policy;
}

} // namespace astra
