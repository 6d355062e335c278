#pragma once

#include "messages/type_ids.hpp"
#include "runtime/sim/checks/history.hpp"

#include <caf/message.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// A history made by hand, told to one check: what a test of a check is made of.

namespace astra::sim::test {

using namespace std::chrono_literals;

struct staged_world : world_facts {
  instant now() const override { return time; }
  const scenario& what() const override { return script; }
  std::span<const machine_facts> machines() const override { return all; }
  std::optional<machine_id> find(std::string_view name) const override {
    for (std::uint32_t i = 1; i < all.size(); ++i)
      if (all[i].name == name)
        return machine_id{i};
    return std::nullopt;
  }
  std::string actor_name(std::uint64_t actor) const override { return actors.at(actor).name; }
  bool passes(machine_id, machine_id) const override { return true; }
  instant calm_since() const override { return calm; }
  std::vector<process_facts> processes() const override { return running; }

  struct actor_facts {
    std::string name;
    machine_id machine{};
  };

  instant time{0};
  /// Never, unless a test says so: checks go by what they see.
  instant calm{std::chrono::hours{1}};
  scenario script;
  std::vector<machine_facts> all{1};
  std::vector<actor_facts> actors{{"nobody", {}}};
  std::vector<process_facts> running;
};

/// Feeds one check, through a check_set, so that its topics count too.
class staged_history {
public:
  explicit staged_history(const std::string& name, nanoseconds bound = {}) {
    world.script.checks.push_back({name, bound, false, {}});
    auto all = make_checks(world.script);
    std::erase_if(all, [&](auto& entry) { return entry->name() != name; });
    REQUIRE(all.size() == 1);
    check_ = all.front().get();
    set_ = std::make_unique<check_set>(std::move(all));
  }

  machine_id machine(const std::string& name, std::vector<process_role> roles) {
    machine_facts facts;
    facts.name = name;
    facts.roles = std::move(roles);
    if (has_role(facts, process_role::node))
      facts.node = make_node_id(name);
    facts.up = true;
    facts.boot = 1;
    facts.since = world.time;
    world.all.push_back(std::move(facts));
    return machine_id{static_cast<std::uint32_t>(world.all.size() - 1)};
  }

  /// @param role "node", "resource", ...
  std::uint64_t actor(machine_id where, const std::string& role) {
    auto number = world.actors.size();
    world.actors.push_back({facts(where).name + "/astra." + role + "#" + std::to_string(number), where});
    return number;
  }

  machine_facts& facts(machine_id machine) { return world.all[static_cast<std::size_t>(machine)]; }

  staged_history& at(instant when) {
    world.time = when;
    return *this;
  }

  /// The message leaves its machine and is handled a moment later; within a machine it is only handled.
  template <class Message>
  void tell(std::uint64_t from, std::uint64_t to, const Message& message, nanoseconds latency = 1ms) {
    send(from, to, message);
    handle(from, to, message, latency);
  }

  template <class Message>
  void send(std::uint64_t from, std::uint64_t to, const Message& message) {
    auto content = caf::make_message(message);
    if (place(from) != place(to))
      feed(message_event(event_kind::send, from, to, place(from), place(to), content));
  }

  template <class Message>
  void handle(std::uint64_t from, std::uint64_t to, const Message& message, nanoseconds latency = 1ms) {
    auto content = caf::make_message(message);
    world.time += latency;
    auto remote = place(from) != place(to);
    feed(message_event(event_kind::step, from, to, place(to), remote ? place(from) : machine_id{}, content));
  }

  void log(machine_id where, const std::string& text) { happen(event_kind::log, where, text); }

  void happen(event_kind kind, machine_id where, const std::string& text = {}) {
    if (kind == event_kind::boot || kind == event_kind::crash || kind == event_kind::stop) {
      facts(where).up = kind == event_kind::boot;
      facts(where).boot += kind == event_kind::boot ? 1 : 0;
      facts(where).since = world.time;
    }
    if (kind == event_kind::stall || kind == event_kind::go_on)
      facts(where).stalled = kind == event_kind::stall;
    event what;
    what.kind = kind;
    what.machine = where;
    what.text = text;
    feed(what);
  }

  /// @returns what was wrong; empty: nothing.
  const std::string& quiet(final_state&& state = {}) { return quiet(state); }

  const std::string& quiet(final_state& state) {
    state.asked = world.now();
    set_->at_quiet(state, world);
    return check_->failure();
  }

  const std::string& failure() const { return check_->failure(); }
  bool good() const { return check_->failure().empty(); }

  staged_world world;

private:
  machine_id place(std::uint64_t actor) const { return world.actors.at(actor).machine; }

  static event message_event(event_kind kind, std::uint64_t from, std::uint64_t to, machine_id where, machine_id peer,
                             const caf::message& content) {
    event what;
    what.kind = kind;
    what.machine = where;
    what.peer = peer;
    what.actor = to;
    what.sender = from;
    what.content = &content;
    return what;
  }

  void feed(event what) {
    what.cause = number_;
    what.number = ++number_;
    what.at = world.time;
    set_->on_event(what, world);
  }

  std::unique_ptr<check_set> set_;
  const check* check_ = nullptr;
  std::uint64_t number_ = 0;
};

// -- messages -----------------------------------------------------------------

inline claim_batch claims_of(const std::string& app, std::uint64_t epoch, machine_facts& node,
                             std::vector<std::uint64_t> tokens, std::uint64_t incarnation = 1) {
  claim_batch batch;
  batch->set_epoch(epoch);
  batch->mutable_spec()->set_name(app);
  for (auto token : tokens) {
    auto& claim = *batch->add_claims();
    claim.set_token(token);
    claim.set_sequence(token);
    claim.set_node(node.node.value());
    claim.set_node_incarnation(incarnation);
    claim.set_replica_index(static_cast<std::uint32_t>(token));
  }
  return batch;
}

inline claim_reply answer_of(std::vector<std::uint64_t> tokens, pb::ClaimOutcome outcome = pb::CLAIM_CONFIRMED) {
  claim_reply reply;
  for (auto token : tokens) {
    auto& result = *reply->add_results();
    result.set_token(token);
    result.set_outcome(outcome);
  }
  return reply;
}

inline release_batch release_of(const std::string& app, std::uint64_t epoch, std::uint64_t token) {
  release_batch batch;
  auto& release = *batch->add_releases();
  release.set_app(app);
  release.set_epoch(epoch);
  release.set_token(token);
  return batch;
}

inline heartbeat beat_of(const machine_facts& node, std::uint64_t sequence, std::uint64_t incarnation = 1,
                         std::uint64_t home_epoch = 1) {
  heartbeat beat;
  beat->set_node(node.node.value());
  beat->set_incarnation(incarnation);
  beat->set_sequence(sequence);
  beat->set_home_epoch(home_epoch);
  return beat;
}

struct replica_text {
  std::string app;
  std::uint64_t token = 0;
  pb::ReplicaState state = pb::REPLICA_READY;
  std::string reason;
};

/// A profile of a node with 4 cores; each replica takes one, has its token as index and epoch 1.
inline profile_update profile_of(const machine_facts& node, std::uint64_t version,
                                 const std::vector<replica_text>& held, std::uint64_t incarnation = 1) {
  profile_update update;
  auto& profile = *update->mutable_profile();
  profile.set_node(node.node.value());
  profile.set_name(node.name);
  profile.set_incarnation(incarnation);
  profile.set_version(version);
  profile.mutable_capacity()->set_cpu_milli(4000);
  profile.mutable_capacity()->set_memory_bytes(4096);
  for (auto& entry : held) {
    auto& replica = *profile.add_replicas();
    replica.set_app(entry.app);
    replica.set_index(static_cast<std::uint32_t>(entry.token));
    replica.set_token(entry.token);
    replica.set_epoch(1);
    replica.set_state(entry.state);
    replica.set_reason(entry.reason);
    replica.set_concurrency(2);
    replica.mutable_resources()->set_cpu_milli(1000);
    replica.mutable_resources()->set_memory_bytes(1024);
  }
  return update;
}

inline view_delta delta_of(const std::string& origin, std::uint64_t base, std::uint64_t version,
                           std::uint64_t epoch = 1) {
  view_delta delta;
  delta->set_origin(make_resource_id(origin).value());
  delta->set_origin_name(origin);
  delta->set_epoch(epoch);
  delta->set_base(base);
  delta->set_version(version);
  return delta;
}

inline view_delta with_row(view_delta delta, const machine_facts& node, pb::Liveness liveness,
                           std::uint64_t sequence = 1, std::uint64_t incarnation = 1) {
  auto& row = *delta->add_nodes();
  row.set_node(node.node.value());
  row.set_incarnation(incarnation);
  row.set_home_epoch(1);
  row.set_sequence(sequence);
  row.set_liveness(liveness);
  return delta;
}

inline std::shared_ptr<const pb::AppSpec> spec_of(const std::string& name, std::uint32_t replicas = 1,
                                                  bool idempotent = false) {
  auto spec = std::make_shared<pb::AppSpec>();
  spec->set_name(name);
  spec->set_replicas(replicas);
  spec->set_idempotent(idempotent);
  spec->mutable_per_replica()->set_cpu_milli(1000);
  spec->mutable_per_replica()->set_memory_bytes(1024);
  spec->mutable_per_request()->add_command("work");
  return spec;
}

} // namespace astra::sim::test
