#include "actors/resource/node_facts.hpp"

#include <algorithm>

namespace astra {

reserved_resources reserved_on(const node_entry& node) {
  reserved_resources result;
  auto add = [&](const pb::Resources& part) {
    result.cpu_milli += part.cpu_milli();
    result.memory_bytes += part.memory_bytes();
    for (auto& card : part.accelerators())
      result.accelerators[card.kind()] += card.count();
  };
  for (auto& replica : node.row.shape().replicas())
    if (replica.state() != pb::REPLICA_STOPPED && replica.state() != pb::REPLICA_FAILED)
      add(replica.resources());
  add(node.row.held());
  return result;
}

std::uint64_t accelerators_of(const node_entry& node) {
  std::uint64_t result = 0;
  for (auto& card : node.row.shape().accelerators())
    result += card.count();
  return result;
}

std::uint64_t cards_in(const reserved_resources& reserved) {
  std::uint64_t result = 0;
  for (auto& [kind, count] : reserved.accelerators)
    result += count;
  return result;
}

std::string name_of(const node_entry& node) {
  return node.name().empty() ? to_string(node.id()) : node.name();
}

std::string_view state_name(pb::Liveness liveness) {
  switch (liveness) {
  case pb::LIVENESS_ONLINE:
    return "online";
  case pb::LIVENESS_SUSPECT:
    return "suspect";
  case pb::LIVENESS_DRAINING:
    return "draining";
  case pb::LIVENESS_OFFLINE:
    return "offline";
  default:
    return "unknown";
  }
}

std::string resource_name(const cluster_view& view, resource_id id) {
  auto found = view.shards().find(id);
  return found == view.shards().end() || found->second.name.empty() ? to_string(id) : found->second.name;
}

std::string group_of(const cluster_view& view, const node_entry& node) {
  auto found = view.shards().find(node.origin);
  return found == view.shards().end() ? std::string{} : found->second.group;
}

void add_to(pb::NodeTotals& totals, const cluster_view& view, const node_entry& node) {
  switch (node.row.liveness()) {
  case pb::LIVENESS_ONLINE:
    totals.set_online(totals.online() + 1);
    break;
  case pb::LIVENESS_SUSPECT:
    totals.set_suspect(totals.suspect() + 1);
    break;
  case pb::LIVENESS_DRAINING:
    totals.set_draining(totals.draining() + 1);
    break;
  case pb::LIVENESS_OFFLINE:
    totals.set_offline(totals.offline() + 1);
    return;
  default:
    break;
  }
  auto& capacity = node.row.shape().capacity();
  auto reserved = reserved_on(node);
  auto& load = view.load(node);
  totals.set_cpu_milli(totals.cpu_milli() + capacity.cpu_milli());
  totals.set_cpu_milli_reserved(totals.cpu_milli_reserved() + reserved.cpu_milli);
  totals.set_memory_bytes(totals.memory_bytes() + capacity.memory_bytes());
  totals.set_memory_reserved_bytes(totals.memory_reserved_bytes() + reserved.memory_bytes);
  totals.set_cards(totals.cards() + accelerators_of(node));
  totals.set_cards_reserved(totals.cards_reserved() + cards_in(reserved));
  totals.set_busy_cores(totals.busy_cores()
                        + load.host_utilisation() * static_cast<double>(capacity.cpu_milli()) / 1000.0);
  totals.set_running(totals.running() + load.running());
  totals.set_queued(totals.queued() + load.queued());
}

void add_to(pb::NodeTotals& totals, const pb::NodeTotals& others) {
  totals.set_online(totals.online() + others.online());
  totals.set_suspect(totals.suspect() + others.suspect());
  totals.set_draining(totals.draining() + others.draining());
  totals.set_offline(totals.offline() + others.offline());
  totals.set_cpu_milli(totals.cpu_milli() + others.cpu_milli());
  totals.set_cpu_milli_reserved(totals.cpu_milli_reserved() + others.cpu_milli_reserved());
  totals.set_memory_bytes(totals.memory_bytes() + others.memory_bytes());
  totals.set_memory_reserved_bytes(totals.memory_reserved_bytes() + others.memory_reserved_bytes());
  totals.set_cards(totals.cards() + others.cards());
  totals.set_cards_reserved(totals.cards_reserved() + others.cards_reserved());
  totals.set_busy_cores(totals.busy_cores() + others.busy_cores());
  totals.set_running(totals.running() + others.running());
  totals.set_queued(totals.queued() + others.queued());
}

pb::NodeFacts facts_of(const cluster_view& view, const node_entry& node, cluster_view::time_point now) {
  auto& row = node.row;
  auto& load = view.load(node);
  auto& profile = row.shape();
  auto reserved = reserved_on(node);
  pb::NodeFacts facts;
  facts.set_node(node.id().value());
  facts.set_name(name_of(node));
  facts.set_liveness(row.liveness());
  facts.set_reason(row.reason());
  facts.set_age_ms(static_cast<std::uint64_t>(view.age(node, now).count()));
  facts.set_home(resource_name(view, node.origin));
  facts.set_group(group_of(view, node));
  facts.set_address(row.address());
  facts.set_incarnation(row.incarnation());
  facts.set_cpu_milli(profile.capacity().cpu_milli());
  facts.set_cpu_milli_reserved(reserved.cpu_milli);
  facts.set_memory_bytes(profile.capacity().memory_bytes());
  facts.set_memory_reserved_bytes(reserved.memory_bytes);
  facts.set_utilisation(load.host_utilisation());
  facts.set_running(load.running());
  facts.set_queued(load.queued());
  facts.set_done(load.requests_done());
  facts.set_failed(load.requests_failed());
  *facts.mutable_labels() = profile.labels();
  *facts.mutable_taints() = profile.taints();
  *facts.mutable_accelerators() = profile.accelerators();
  for (auto& [kind, count] : reserved.accelerators) {
    auto& entry = *facts.add_accelerators_reserved();
    entry.set_kind(kind);
    entry.set_count(static_cast<std::uint32_t>(count));
  }
  facts.set_capacity_origin(profile.capacity_origin());
  facts.set_limits_backend(profile.limits_backend());
  for (auto& replica : profile.replicas()) {
    auto& entry = *facts.add_replicas();
    entry.set_app(replica.app());
    entry.set_index(replica.index());
    entry.set_state(replica.state());
    entry.set_reason(replica.reason());
    entry.set_restarts(replica.restarts());
    entry.set_in_state_ms(replica.in_state_ms());
  }
  facts.set_profile_version(row.profile_version());
  facts.set_sequence(row.sequence());
  facts.set_home_epoch(row.home_epoch());
  return facts;
}

} // namespace astra
