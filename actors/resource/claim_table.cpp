#include "actors/resource/claim_table.hpp"

#include "actors/mutant.hpp"
#include "messages/wire.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace astra {
namespace {

/// Epochs of apps that claim nothing for this long are forgotten; nodes still know those of their replicas.
constexpr std::chrono::minutes epoch_memory{10};

/// A reservation lasts no longer, whatever is asked.
constexpr std::uint64_t reservation_ms_max = 60000;

/// A hold that was taken away is remembered for the scheduler that asks for it again, which it does within its hold
/// time.
constexpr std::chrono::minutes wounded_memory{1};

std::string cores_text(std::uint64_t milli) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f", static_cast<double>(milli) / 1000.0);
  std::string result = text;
  result.erase(result.find_last_not_of('0') + 1);
  if (result.ends_with('.'))
    result.pop_back();
  return result;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr double mib = 1024.0 * 1024.0;
  auto value = static_cast<double>(bytes) / mib;
  char text[32];
  if (value >= 1024.0)
    std::snprintf(text, sizeof(text), "%.1f GiB", value / 1024.0);
  else
    std::snprintf(text, sizeof(text), "%.1f MiB", value);
  return text;
}

std::uint32_t count_of(const pb::Resources& resources, const std::string& kind) {
  for (auto& entry : resources.accelerators())
    if (entry.kind() == kind)
      return entry.count();
  return 0;
}

void add(pb::Resources& sum, const pb::Resources& part) {
  sum.set_cpu_milli(sum.cpu_milli() + part.cpu_milli());
  sum.set_memory_bytes(sum.memory_bytes() + part.memory_bytes());
  std::map<std::string, std::uint32_t> counts;
  for (auto& entry : sum.accelerators())
    counts[entry.kind()] += entry.count();
  for (auto& entry : part.accelerators())
    counts[entry.kind()] += entry.count();
  sum.clear_accelerators();
  for (auto& [kind, count] : counts) {
    auto& entry = *sum.add_accelerators();
    entry.set_kind(kind);
    entry.set_count(count);
  }
}

void subtract(pb::Resources& from, const pb::Resources& part) {
  from.set_cpu_milli(from.cpu_milli() - std::min(from.cpu_milli(), part.cpu_milli()));
  from.set_memory_bytes(from.memory_bytes() - std::min(from.memory_bytes(), part.memory_bytes()));
  for (auto& entry : *from.mutable_accelerators())
    entry.set_count(entry.count() - std::min(entry.count(), count_of(part, entry.kind())));
}

/// Empty when the node carries every label that the app requires.
std::string why_labels_differ(const pb::AppSpec& spec, const pb::NodeProfile& profile) {
  for (auto& wanted : spec.require()) {
    auto has = std::find_if(profile.labels().begin(), profile.labels().end(),
                            [&](auto& label) { return label.key() == wanted.key(); });
    if (has == profile.labels().end())
      return "needs label " + wanted.key() + "=" + wanted.value() + ", the node has no " + wanted.key();
    if (has->value() != wanted.value())
      return "needs label " + wanted.key() + "=" + wanted.value() + ", the node has " + has->value();
  }
  return {};
}

bool runs(const pb::ReplicaStatus& replica) {
  return replica.state() != pb::REPLICA_STOPPED && replica.state() != pb::REPLICA_FAILED;
}

bool has_token(const pb::NodeProfile& profile, std::uint64_t token) {
  return std::any_of(profile.replicas().begin(), profile.replicas().end(),
                     [token](auto& replica) { return replica.token() == token; });
}

/// What is left without these replicas.
pb::Resources free_without(const pb::NodeProfile& profile, const pb::Resources& held,
                           const google::protobuf::RepeatedField<std::uint64_t>& gone) {
  auto used = held;
  for (auto& replica : profile.replicas())
    if (runs(replica) && std::find(gone.begin(), gone.end(), replica.token()) == gone.end())
      add(used, replica.resources());
  auto result = profile.capacity();
  subtract(result, used);
  return result;
}

/// Empty when every replica that is to go may be made to.
std::string why_not_preempted(const pb::AppSpec& spec, const pb::Claim& claim, const pb::NodeProfile& profile) {
  for (auto token : claim.preempt()) {
    auto victim = std::find_if(profile.replicas().begin(), profile.replicas().end(),
                               [token](auto& replica) { return replica.token() == token; });
    if (victim == profile.replicas().end() || !runs(*victim))
      return "a replica that was to make room is gone";
    if (victim->priority() >= spec.priority() && !MUTANT(preempted_by_lower))
      return "replica " + victim->app() + "/" + std::to_string(victim->index()) + " has priority "
             + std::to_string(victim->priority()) + ", which is not below " + std::to_string(spec.priority());
  }
  return {};
}

} // namespace

pb::Resources free_resources(const pb::NodeProfile& profile, const pb::Resources& held) {
  return free_without(profile, held, {});
}

std::string why_no_room(const pb::Resources& wanted, const pb::Resources& free) {
  if (wanted.cpu_milli() > free.cpu_milli())
    return "needs " + cores_text(wanted.cpu_milli()) + " cores, " + cores_text(free.cpu_milli()) + " free";
  if (wanted.memory_bytes() > free.memory_bytes())
    return "needs " + bytes_text(wanted.memory_bytes()) + " of memory, " + bytes_text(free.memory_bytes()) + " free";
  for (auto& entry : wanted.accelerators()) {
    auto available = count_of(free, entry.kind());
    if (entry.count() > available)
      return "needs " + std::to_string(entry.count()) + " " + entry.kind() + ", " + std::to_string(available) + " free";
  }
  return {};
}

pb::ClaimResult claim_table::arbitrate(const pb::ClaimBatch& batch, const pb::Claim& claim, const node_row* row,
                                       time_point now, const std::function<refusal()>& last_word) {
  pb::ClaimResult result;
  result.set_sequence(claim.sequence());
  result.set_token(claim.token());
  auto refuse = [&](pb::ClaimOutcome outcome, std::string reason) {
    result.set_outcome(outcome);
    result.set_reason(std::move(reason));
    // A quota says nothing about the node.
    if (row && outcome != pb::CLAIM_OVER_QUOTA)
      *result.mutable_row() = row->to_pb();
    return result;
  };
  if (!row)
    return refuse(pb::CLAIM_NODE_GONE, "no node " + to_hex(claim.node()) + " is known here");
  if (row->incarnation() != claim.node_incarnation())
    return refuse(pb::CLAIM_NODE_GONE, "the node restarted: incarnation " + std::to_string(row->incarnation())
                                           + ", claimed was " + std::to_string(claim.node_incarnation()));
  if (row->liveness() == pb::LIVENESS_OFFLINE)
    return refuse(pb::CLAIM_NODE_GONE, "offline: " + row->reason());
  if (row->liveness() == pb::LIVENESS_DRAINING)
    return refuse(pb::CLAIM_NODE_DRAINING, row->reason());
  if (!row->has_profile())
    return refuse(pb::CLAIM_NODE_GONE, "the node has just joined and has not described itself yet");
  claim_token token{claim.token()};
  auto reserves = batch.hold_ms() > 0;
  auto lasts =
      reserves ? std::chrono::milliseconds{std::min<std::uint64_t>(batch.hold_ms(), reservation_ms_max)} : hold_time_;
  result.set_outcome(reserves ? pb::CLAIM_HELD : pb::CLAIM_CONFIRMED);
  auto& wanted = batch.spec().per_replica();
  auto known = holds_.find(token);
  // Its app was changed while it waited.
  if (known != holds_.end() && known->second.reserved && encode(known->second.resources) != encode(wanted)) {
    release(token);
    known = holds_.end();
  }
  if (known != holds_.end() || has_token(row->shape(), claim.token())) {
    if (auto no = last_word(); !no.reason.empty()) {
      release(token);
      return refuse(no.outcome, std::move(no.reason));
    }
    if (known != holds_.end() && known->second.reserved) {
      known->second.reserved = reserves;
      known->second.expires = now + lasts;
    }
    return result;
  }
  if (wounded_.erase(token) != 0)
    return refuse(pb::CLAIM_NO_ROOM, "its hold went to an older gang");
  if (auto reason = why_labels_differ(batch.spec(), row->shape()); !reason.empty())
    return refuse(pb::CLAIM_LABEL_MISMATCH, std::move(reason));
  node_id node{claim.node()};
  auto reason = why_no_room(wanted, free_resources(row->shape(), held(node)));
  if (!reason.empty() && claim.preempt_size() > 0) {
    reason = why_not_preempted(batch.spec(), claim, row->shape());
    if (reason.empty())
      reason = why_no_room(wanted, free_without(row->shape(), held(node), claim.preempt()));
  }
  std::vector<claim_token> wounded;
  if (!reason.empty() && batch.has_gang())
    wounded = younger_holds(batch, claim, row->shape());
  if (!reason.empty() && wounded.empty() && !MUTANT(claim_granted_without_room))
    return refuse(pb::CLAIM_NO_ROOM, std::move(reason));
  if (auto no = last_word(); !no.reason.empty())
    return refuse(no.outcome, std::move(no.reason));
  for (auto younger : wounded) {
    release(younger);
    wounded_[younger] = now;
  }
  holds_[token] = {node, wanted, now + lasts, reserves, {batch.gang().since_wall_ms(), batch.gang().id()}};
  by_node_[node][token] = wanted;
  return result;
}

/// What has to give way on the claim's node so that it fits, the youngest first; empty: it does not fit even so.
std::vector<claim_token> claim_table::younger_holds(const pb::ClaimBatch& batch, const pb::Claim& claim,
                                                    const pb::NodeProfile& profile) const {
  node_id node{claim.node()};
  auto here = by_node_.find(node);
  if (here == by_node_.end() || !why_not_preempted(batch.spec(), claim, profile).empty())
    return {};
  std::pair mine{batch.gang().since_wall_ms(), batch.gang().id()};
  std::vector<std::pair<std::pair<std::uint64_t, std::uint64_t>, claim_token>> younger;
  for (auto& [token, resources] : here->second)
    if (auto& hold = holds_.at(token); hold.reserved && hold.order > mine)
      younger.emplace_back(hold.order, token);
  std::sort(younger.rbegin(), younger.rend());
  auto left = held(node);
  std::vector<claim_token> result;
  for (auto& [order, token] : younger) {
    subtract(left, here->second.at(token));
    result.push_back(token);
    if (why_no_room(batch.spec().per_replica(), free_without(profile, left, claim.preempt())).empty())
      return result;
  }
  return {};
}

std::uint64_t claim_table::fence(const std::string& app, std::uint64_t epoch, time_point now) {
  auto& seen = epochs_[app];
  seen.last = now;
  if (epoch < seen.epoch && !MUTANT(fenced_epoch_accepted))
    return seen.epoch;
  seen.epoch = epoch;
  return 0;
}

void claim_table::confirmed(claim_token token, time_point now) {
  auto found = holds_.find(token);
  if (found != holds_.end())
    found->second.expires = now + hold_time_;
}

node_id claim_table::release(claim_token token) {
  auto found = holds_.find(token);
  if (found == holds_.end())
    return {};
  auto node = found->second.node;
  if (found->second.reserved)
    unused_.push_back(token);
  holds_.erase(found);
  auto& held = by_node_[node];
  held.erase(token);
  if (held.empty())
    by_node_.erase(node);
  return node;
}

bool claim_table::settle(node_id node, const pb::NodeProfile& profile) {
  auto changed = false;
  for (auto& replica : profile.replicas()) {
    auto found = holds_.find(claim_token{replica.token()});
    if (found == holds_.end() || found->second.node != node)
      continue;
    release(claim_token{replica.token()});
    changed = true;
  }
  return changed;
}

bool claim_table::drop(node_id node) {
  auto found = by_node_.find(node);
  if (found == by_node_.end())
    return false;
  std::vector<claim_token> tokens;
  for (auto& [token, resources] : found->second)
    tokens.push_back(token);
  for (auto token : tokens)
    release(token);
  return true;
}

std::vector<node_id> claim_table::expire(time_point now) {
  std::vector<claim_token> due;
  for (auto& [token, hold] : holds_)
    if (hold.expires <= now && !MUTANT(hold_never_expires))
      due.push_back(token);
  std::vector<node_id> result;
  for (auto token : due)
    result.push_back(release(token));
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  std::erase_if(wounded_, [now](auto& entry) { return now - entry.second >= wounded_memory; });
  std::erase_if(epochs_, [now](auto& entry) { return now - entry.second.last >= epoch_memory; });
  return result;
}

pb::Resources claim_table::held(node_id node) const {
  pb::Resources sum;
  auto found = by_node_.find(node);
  if (found != by_node_.end())
    for (auto& [token, resources] : found->second)
      add(sum, resources);
  return sum;
}

} // namespace astra
