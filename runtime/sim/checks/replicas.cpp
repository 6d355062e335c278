#include "messages/replica_state.hpp"
#include "runtime/sim/checks/history.hpp"
#include "runtime/sim/checks/placements.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

// Replicas as their nodes describe them.

namespace astra::sim {
namespace {

std::uint32_t count_of(const pb::Resources& resources, const std::string& kind) {
  std::uint32_t sum = 0;
  for (auto& entry : resources.accelerators())
    if (entry.kind() == kind)
      sum += entry.count();
  return sum;
}

/// Whoever holds a place at a node, running or not, holds its resources; their sum is never more than the node has.
class node_capacity : public named_check<node_capacity> {
public:
  static constexpr const char* label = "node-capacity";
  static constexpr const char* about =
      "The replicas at a node never hold more than the node's capacity, those left out "
      "that wait for others to go.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.said({message_kind::profile_update}); }

  void on_event(const event& what, const world_facts&) override {
    auto update = content_as<profile_update>(what);
    if (!update || !said(what))
      return;
    auto& profile = (*update)->profile();
    auto& capacity = profile.capacity();
    std::uint64_t cpu = 0;
    std::uint64_t memory = 0;
    auto waits = [](auto& replica) { return replica.state() == pb::REPLICA_CLAIMED; };
    for (auto& replica : profile.replicas()) {
      if (waits(replica))
        continue;
      cpu += replica.resources().cpu_milli();
      memory += replica.resources().memory_bytes();
      for (auto& entry : replica.resources().accelerators()) {
        std::uint32_t held = 0;
        for (auto& other : profile.replicas())
          held += waits(other) ? 0 : count_of(other.resources(), entry.kind());
        if (held > count_of(capacity, entry.kind()))
          fail(fmt::format("replicas at node {} hold {} {} of {}", profile.name(), held, entry.kind(),
                           count_of(capacity, entry.kind())));
      }
    }
    if (cpu > capacity.cpu_milli() || memory > capacity.memory_bytes())
      fail(fmt::format("replicas at node {} hold {} of {} thousandths of a core and {} of {} bytes", profile.name(),
                       cpu, capacity.cpu_milli(), memory, capacity.memory_bytes()));
  }
};

/// States go only where they may, and whoever is not ready says why.
class replica_states : public named_check<replica_states> {
public:
  static constexpr const char* label = "replica-states";
  static constexpr const char* about = "A replica that goes stays on its way out, one that failed does not come back, "
                                       "and none is not ready for no reason.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.said({message_kind::profile_update}); }

  void on_event(const event& what, const world_facts&) override {
    auto update = content_as<profile_update>(what);
    if (!update || !said(what))
      return;
    auto& profile = (*update)->profile();
    auto node = profile.name();
    const pb::ReplicaStatus* before = nullptr;
    for (auto& replica : profile.replicas()) {
      auto ready = replica.state() == pb::REPLICA_READY;
      if (ready != replica.reason().empty())
        fail(fmt::format("replica {} of app {} at node {} is {} and says \"{}\"", replica.index(), replica.app(), node,
                         replica_state_text(replica.state()), replica.reason()));
      if (before != nullptr
          && std::tuple{std::string_view{before->app()}, before->index()}
                 > std::tuple{std::string_view{replica.app()}, replica.index()})
        fail(fmt::format("the profile of node {} is not sorted: app {} replica {} comes after app {} replica {}", node,
                         replica.app(), replica.index(), before->app(), before->index()));
      before = &replica;
      auto& last = last_[joint_id(profile.incarnation(), replica.token())];
      if (last.version > profile.version())
        continue; // overtaken: it describes the past
      if (!may_follow(last.state, replica.state()))
        fail(fmt::format("replica {} of app {} at node {} was {} and is {}", replica.index(), replica.app(), node,
                         replica_state_text(last.state), replica_state_text(replica.state())));
      last = {profile.version(), replica.state()};
    }
  }

private:
  struct seen {
    std::uint64_t version = 0;
    pb::ReplicaState state = pb::REPLICA_UNKNOWN;
  };

  static bool may_follow(pb::ReplicaState before, pb::ReplicaState after) {
    switch (before) {
    case pb::REPLICA_UNKNOWN:
      return true;
    case pb::REPLICA_CLAIMED:
      return after != pb::REPLICA_UNKNOWN && after != pb::REPLICA_PLANNED;
    case pb::REPLICA_DRAINING:
      return after == pb::REPLICA_DRAINING;
    case pb::REPLICA_FAILED:
      return after == pb::REPLICA_FAILED || after == pb::REPLICA_DRAINING;
    default:
      return after != pb::REPLICA_UNKNOWN && after != pb::REPLICA_PLANNED && after != pb::REPLICA_CLAIMED;
    }
  }

  /// By (incarnation, token).
  id_table<seen> last_;
};

/// What is ready, as nodes log it.
class ready_before_grant : public named_check<ready_before_grant> {
public:
  static constexpr const char* label = "ready-before-grant";
  static constexpr const char* about = "A node grants slots only while a replica of the app is ready there.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::log)
        .add(event_kind::boot)
        .add(event_kind::step, {message_kind::reserve})
        .said({message_kind::reserve_reply});
  }

  void on_event(const event& what, const world_facts& facts) override {
    auto& here = nodes_[what.machine];
    if (what.kind == event_kind::boot) {
      here = {};
    } else if (what.kind == event_kind::log) {
      auto word = first_word(what.text);
      if (!word.starts_with("node.re"))
        return;
      auto token = hex_number(field(what.text, "token="));
      if (!token)
        return;
      if (word == "node.replica_ready")
        here.ready[*token] = field(what.text, "app=");
      else if (word != "node.release" || field(what.text, "known=") == "true")
        here.ready.erase(*token);
    } else if (auto slot = content_as<reserve>(what)) {
      if (roles_.of(what.actor, facts) == actor_role::node)
        here.apps[(*slot)->attempt()] = (*slot)->app();
    } else if (auto reply = content_as<reserve_reply>(what)) {
      if (said(what) && (*reply)->outcome() == pb::RESERVE_GRANTED && roles_.of(what.sender, facts) == actor_role::node)
        on_grant((*reply)->attempt(), what, facts);
      if (said(what))
        here.apps.erase((*reply)->attempt());
    }
  }

private:
  struct node_record {
    /// Apps by token.
    std::map<std::uint64_t, std::string> ready;
    /// Apps by attempt, of those that have no slot yet.
    std::map<std::uint64_t, std::string> apps;
  };

  void on_grant(std::uint64_t attempt, const event& what, const world_facts& facts) {
    auto& here = nodes_[what.machine];
    auto app = here.apps.extract(attempt);
    // The same grant may be said again.
    if (app.empty())
      return;
    if (std::none_of(here.ready.begin(), here.ready.end(), [&](auto& entry) { return entry.second == app.mapped(); }))
      fail(fmt::format("node {} grants a slot of app {} (attempt {}), and no replica of it is ready there",
                       facts_of(what.machine, facts).name, app.mapped(), to_hex(attempt)));
  }

  actor_roles roles_;
  per_machine<node_record> nodes_;
};

/// What a node confirmed and has not ended takes room, nothing else.
class room_accounted : public named_check<room_accounted> {
public:
  static constexpr const char* label = "room-accounted";
  static constexpr const char* about = "A node refuses a claim for want of room only when its replicas leave none.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return placements::wants(); }

  void on_event(const event& what, const world_facts& facts) override {
    placed_.observe(what, facts);
    if (what.kind != event_kind::log || first_word(what.text) != "node.claim"
        || field(what.text, "outcome=") != "CLAIM_NO_ROOM" || !field(what.text, "reason=").starts_with("needs "))
      return;
    auto token = hex_number(field(what.text, "token="));
    if (token && placed_.has_room(what.machine, *token, facts))
      fail(fmt::format("node {} refuses a claim although its replicas leave room for it: {}",
                       facts_of(what.machine, facts).name, field(what.text, "reason=")));
  }

private:
  placements placed_;
};

} // namespace

void add_replica_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<node_capacity>());
  all.push_back(kind_of_check<replica_states>());
  all.push_back(kind_of_check<ready_before_grant>());
  all.push_back(kind_of_check<room_accounted>());
}

} // namespace astra::sim
