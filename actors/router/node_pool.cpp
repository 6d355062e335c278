#include "actors/router/node_pool.hpp"

#include "actors/mutant.hpp"
#include "messages/replica_state.hpp"

#include <algorithm>
#include <tuple>

namespace astra {
namespace {

/// What a row says of one app.
struct replica_summary {
  bool any = false;
  std::uint32_t slots = 0;
  /// It is the head of a cluster: its node may drain, and it serves on until it is told to stop itself.
  bool serves_on = false;
  /// Of the first replica that is not ready.
  std::string reason;
};

std::string with_reason(std::string what, const std::string& reason) {
  return reason.empty() ? what : what + ": " + reason;
}

replica_summary summarise(const node_row& row, const std::string& app, const std::set<std::uint64_t>& serving) {
  replica_summary result;
  for (auto& replica : row.shape().replicas()) {
    if (replica.app() != app || (replica.has_member() && replica.member().slot() != 0))
      continue;
    result.any = true;
    auto ready = replica.state() == pb::REPLICA_READY;
    if (ready && replica.has_member()) {
      ready = serving.count(replica.member().cluster()) != 0;
      result.serves_on = result.serves_on || ready;
      if (!ready && result.reason.empty())
        result.reason = "ready, and its cluster is not";
      if (!ready)
        continue;
    }
    if (ready)
      result.slots += std::max(1U, replica.concurrency());
    else if (result.reason.empty())
      result.reason = with_reason(replica_state_text(replica.state()), replica.reason());
  }
  return result;
}

std::string why_not_serving(const node_row& row, const replica_summary& replicas) {
  switch (row.liveness()) {
  case pb::LIVENESS_ONLINE:
  case pb::LIVENESS_SUSPECT:
    break;
  case pb::LIVENESS_DRAINING:
    if (replicas.serves_on)
      break;
    return MUTANT(draining_node_in_rotation) ? std::string{} : with_reason("draining", row.reason());
  case pb::LIVENESS_OFFLINE:
    return MUTANT(offline_node_in_rotation) ? std::string{} : with_reason("offline", row.reason());
  default:
    return "its liveness is unknown";
  }
  return replicas.slots == 0 ? "its replica is " + replicas.reason : std::string{};
}

void set_load(weight_input& input, const node_load& load) {
  input.host_utilisation = load.host_utilisation();
  input.own_busy_cores = load.own_busy_cores();
  input.concurrency = load.concurrency();
}

weight_input weight_of(const node_row& row, const node_load& load) {
  weight_input result;
  result.cores = row.shape().capacity().cpu_milli() / 1000.0;
  auto fastest = 0.0;
  for (auto& accelerator : row.shape().accelerators())
    fastest = std::max(fastest, accelerator.coefficient());
  result.coefficient = fastest > 0.0 ? fastest : 1.0;
  set_load(result, load);
  return result;
}

} // namespace

bool node_pool::observe(const node_row& row, const node_load& load, std::uint64_t word) {
  auto node = node_id{row.node()};
  auto life = incarnation{row.incarnation()};
  auto known = members_.find(node);
  // A new life at the same address does not count: the session with the old one has ended by itself, and what runs
  // there now may be ours already.
  auto lost = known != members_.end()
              && (row.liveness() == pb::LIVENESS_OFFLINE || row.address() != known->second.address)
              && !MUTANT(work_at_offline_node_awaited);
  auto replicas = summarise(row, app_, serving_);
  if (!replicas.any) {
    forget(node);
    return lost;
  }
  auto& member = members_[node];
  auto was = std::tuple{member.cannot_serve.empty(), member.suspected.empty(), member.held.empty()};
  member.name = row.name();
  member.address = row.address();
  member.life = life;
  member.load = weight_of(row, load);
  member.slots = replicas.slots;
  member.cannot_serve = why_not_serving(row, replicas);
  member.suspected = row.liveness() == pb::LIVENESS_SUSPECT ? with_reason("suspect", row.reason()) : std::string{};
  heard(member, word);
  auto is = std::tuple{member.cannot_serve.empty(), member.suspected.empty(), member.held.empty()};
  unsettled_ = unsettled_ || known == members_.end() || was != is;
  return lost;
}

void node_pool::observe_load(node_id node, const node_load& load, std::uint64_t word) {
  auto known = members_.find(node);
  if (known == members_.end())
    return;
  auto& member = known->second;
  set_load(member.load, load);
  auto was_held = !member.held.empty();
  heard(member, word);
  unsettled_ = unsettled_ || was_held != !member.held.empty();
}

void node_pool::heard(member& who, std::uint64_t word) {
  who.word = word;
  if (std::pair{who.life, word} > who.held_at && !MUTANT(ejection_never_ends))
    who.held.clear();
}

void node_pool::forget(node_id node) {
  if (!MUTANT(vanished_node_keeps_weight) && members_.erase(node) != 0)
    unsettled_ = true;
}

void node_pool::eject(node_id node, std::string reason, time_point now) {
  hold(node, std::move(reason), false, now);
}

void node_pool::refuse(node_id node, std::string reason, time_point now) {
  hold(node, std::move(reason), true, now);
}

std::vector<node_id> node_pool::settle(time_point now) {
  expire(now);
  if (!unsettled_)
    return {};
  std::vector<node_id> left;
  for (auto& entry : order_.members())
    left.push_back(entry.node);
  refresh();
  std::erase_if(left, [this](node_id node) { return in_rotation(node); });
  return left;
}

void node_pool::refresh() {
  std::vector<std::pair<node_id, member*>> able;
  std::size_t doubted = 0;
  auto doubt = [](const member& x) { return !x.suspected.empty() || (!x.held.empty() && !x.refused); };
  for (auto& [node, member] : members_) {
    member.in_rotation = false;
    member.weight = 0.0;
    member.terms.clear();
    if (!member.cannot_serve.empty() || (!member.held.empty() && member.refused))
      continue;
    able.emplace_back(node, &member);
    doubted += doubt(member) ? 1 : 0;
  }
  if (2 * doubted <= able.size() || MUTANT(mass_doubt_empties_rotation))
    std::erase_if(able, [&](auto& entry) { return doubt(*entry.second); });

  std::vector<weight_input> inputs;
  for (auto& [node, member] : able)
    inputs.push_back(member->load);
  auto weights = seed_weights(inputs);
  std::vector<double> values;
  for (auto& weight : weights)
    values.push_back(weight.weight);
  auto ticks = to_ticks(values);
  std::vector<smooth_wrr::member> pool;
  for (std::size_t i = 0; i < able.size(); ++i) {
    auto& [node, member] = able[i];
    member->in_rotation = true;
    member->weight = weights[i].weight;
    member->terms = std::move(weights[i].terms);
    pool.push_back({node, ticks[i]});
  }
  order_.assign(std::move(pool), &phase_);
  unsettled_ = false;
}

std::optional<node_id> node_pool::pick(std::span<const node_id> asked, time_point now) {
  settle(now);
  auto node = order_.pick(asked);
  if (node)
    ++members_.at(*node).picked;
  return node;
}

bool node_pool::empty(time_point now) {
  settle(now);
  return order_.members().empty();
}

void node_pool::set_eta(node_id node, milliseconds eta) {
  if (auto found = members_.find(node); found != members_.end())
    found->second.eta = eta;
}

void node_pool::count_served(node_id node) {
  if (auto found = members_.find(node); found != members_.end())
    ++found->second.served;
}

bool node_pool::in_rotation(node_id node) const {
  auto member = find(node);
  return member != nullptr && member->in_rotation;
}

std::string node_pool::out_reason(node_id node) const {
  auto member = find(node);
  if (member == nullptr)
    return "it holds no replica";
  if (member->in_rotation)
    return {};
  if (!member->cannot_serve.empty())
    return member->cannot_serve;
  return member->held.empty() ? member->suspected : member->held;
}

node_pool::milliseconds node_pool::best_eta() const {
  milliseconds best{0};
  for (auto& entry : order_.members()) {
    auto eta = members_.at(entry.node).eta;
    if (eta > milliseconds{0} && (best == milliseconds{0} || eta < best))
      best = eta;
  }
  return best;
}

const node_pool::member* node_pool::find(node_id node) const {
  auto found = members_.find(node);
  return found != members_.end() ? &found->second : nullptr;
}

void node_pool::hold(node_id node, std::string reason, bool refused, time_point now) {
  auto found = members_.find(node);
  if (found == members_.end())
    return;
  auto& member = found->second;
  member.held = std::move(reason);
  member.refused = refused;
  member.held_until = now + ejection_;
  member.held_at = {member.life, member.word};
  held_.insert(node);
  next_expiry_ = std::min(next_expiry_, member.held_until);
  unsettled_ = true;
}

void node_pool::expire(time_point now) {
  if (now < next_expiry_)
    return;
  next_expiry_ = time_point::max();
  std::erase_if(held_, [&](node_id node) {
    auto found = members_.find(node);
    if (found == members_.end() || found->second.held.empty())
      return true;
    auto& member = found->second;
    if (member.held_until > now || MUTANT(ejection_never_ends)) {
      next_expiry_ = std::min(next_expiry_, member.held_until);
      return false;
    }
    member.held.clear();
    unsettled_ = true;
    return true;
  });
}

} // namespace astra
