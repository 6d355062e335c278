#pragma once

#include "messages/type_ids.hpp"
#include "runtime/sim/check.hpp"
#include "runtime/sim/checks/id_table.hpp"

#include <caf/message.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What checks have in common: how to read events.

namespace astra::sim {

/// The message of an event when it is of this type, null otherwise.
template <class Message>
const Message* content_as(const event& what) {
  if (what.content == nullptr || !what.content->match_elements<Message>())
    return nullptr;
  return &what.content->get_as<Message>(0);
}

/// Whether somebody says something here: a message leaves its machine, or one that never does is handled.
/// The other ends of messages between machines are repetitions, late or never to come.
inline bool said(const event& what) {
  return what.kind == event_kind::send || (what.kind == event_kind::step && what.peer == machine_id{});
}

/// Number of the event in which a message that is `said` was said; 0 when that is not known.
inline std::uint64_t said_in(const event& what) {
  return what.kind == event_kind::send ? what.number : what.cause;
}

inline const machine_facts& facts_of(machine_id machine, const world_facts& facts) {
  return facts.machines()[static_cast<std::size_t>(machine)];
}

inline bool healthy(machine_id machine, const world_facts& facts) {
  auto& known = facts_of(machine, facts);
  return known.up && !known.stalled;
}

bool has_role(const machine_facts& machine, process_role role);

/// One value per machine.
template <class Value>
class per_machine {
public:
  Value& operator[](machine_id machine) {
    auto place = static_cast<std::size_t>(machine);
    if (values_.size() <= place)
      values_.resize(place + 1);
    return values_[place];
  }

  std::size_t size() const { return values_.size(); }

private:
  std::vector<Value> values_;
};

enum class actor_role : std::uint8_t { unknown, node, resource, apps, scheduler, router, gateway, view_client, other };

/// Roles of actors, asked of the world once per actor.
class actor_roles {
public:
  actor_role of(std::uint64_t actor, const world_facts& facts);

private:
  std::vector<actor_role> known_;
};

/// Whether two machines are one, or run processes of one name.
bool same_name(machine_id a, machine_id b, const world_facts& facts);

/// Whether a later process has the name of the node on this machine.
inline bool superseded(machine_id machine, const world_facts& facts) {
  auto& known = facts_of(machine, facts);
  return known.twin != machine_id{} && !known.node && has_role(known, process_role::node);
}

/// Machines of nodes, asked of the world once and whenever a node has gone to another one.
class node_machines {
public:
  /// Of several processes of one name the latest.  Nobody when no machine runs this node.
  machine_id of(std::uint64_t node, const world_facts& facts);

private:
  void learn(const world_facts& facts);

  bool known_ = false;
  id_table<machine_id> machines_;
};

/// An app as the scenario has it; null when it has none of that name.
const pb::AppSpec* spec_of(std::string_view app, const scenario& script);

/// One id for a request and its response: a response has the id of its request, with flags of its own in front.
inline std::uint64_t exchange_id(std::uint64_t asker, std::uint64_t message_id) {
  return joint_id(asker, message_id & 0x1fff'ffff'ffff'ffffU);
}

/// First word of a text.
std::string_view first_word(std::string_view text);

/// Value of a key=value in a log line or the like, without quotes; empty when there is none.  `key` includes the equals
/// sign: "token=".
std::string_view field(std::string_view text, std::string_view key);

/// A decimal number.  Empty when it is none.
std::optional<std::uint64_t> number(std::string_view text);

/// Sixteen hexadecimal digits.  Empty when they are none.
std::optional<std::uint64_t> hex_number(std::string_view text);

/// "12.345 s"
std::string seconds_text(std::chrono::nanoseconds time);

/// Who disturbed whom, and when: what decides whether a bound applies.
class disturbances {
public:
  static topics wants();

  void observe(const event& what);

  /// Neither the network nor the machine was disturbed in the `span` before now.
  bool calm(machine_id machine, nanoseconds span, const world_facts& facts) const;

  /// The same, whatever becomes of the network.
  bool calm_itself(machine_id machine, nanoseconds span, const world_facts& facts) const;

  /// Nothing was cut or slowed in the `span` before now.
  bool network_calm(nanoseconds span, const world_facts& facts) const;

  /// Time since `from` in which the machine was frozen.
  nanoseconds frozen_since(machine_id machine, instant from, instant now) const;

  /// When it was last started, ended, frozen or thawed; the start of the run when never.
  instant last_touched(machine_id machine) const;

private:
  struct machine_record {
    instant touched{-1};
    /// Frozen since; negative: it is not.
    instant frozen{-1};
    /// The freezes that are over: (begin, end).
    std::vector<std::pair<instant, instant>> freezes;
  };

  machine_record& record(machine_id machine);
  const machine_record* find(machine_id machine) const;

  std::vector<machine_record> machines_;
  int network_faults_ = 0;
  instant network_touched_{-1};
};

/// Whether what is sent may be lost or overtaken.
inline bool lossy(const scenario& what) {
  return what.network.mode == network_mode::datagram;
}

/// A check with a name, a sentence and a bound of its own: `label`, `about`, `default_bound` of `Self`.
template <class Self>
class named_check : public check {
public:
  explicit named_check(nanoseconds bound) : bound_(bound) {}

  std::string_view name() const final { return Self::label; }

protected:
  nanoseconds bound() const { return bound_; }

private:
  nanoseconds bound_;
};

/// A kind of check, to make one for a run.
struct check_kind {
  check_info info;
  std::unique_ptr<check> (*make)(nanoseconds bound);
};

template <class Check>
check_kind kind_of_check() {
  return {{Check::label, Check::about, Check::default_bound},
          [](nanoseconds bound) -> std::unique_ptr<check> { return std::make_unique<Check>(bound); }};
}

// One function per subject.
void add_content_checks(std::vector<check_kind>& all);
void add_life_checks(std::vector<check_kind>& all);
void add_claim_checks(std::vector<check_kind>& all);
void add_replica_checks(std::vector<check_kind>& all);
void add_draining_checks(std::vector<check_kind>& all);
void add_request_checks(std::vector<check_kind>& all);
void add_start_checks(std::vector<check_kind>& all);
void add_routing_checks(std::vector<check_kind>& all);
void add_liveness_checks(std::vector<check_kind>& all);
void add_heartbeat_checks(std::vector<check_kind>& all);
void add_view_checks(std::vector<check_kind>& all);
void add_view_flow_checks(std::vector<check_kind>& all);
void add_app_checks(std::vector<check_kind>& all);
void add_counter_checks(std::vector<check_kind>& all);
void add_log_checks(std::vector<check_kind>& all);
void add_budget_checks(std::vector<check_kind>& all);
void add_router_checks(std::vector<check_kind>& all);
void add_placement_checks(std::vector<check_kind>& all);

} // namespace astra::sim
