#include "runtime/sim/checks/history.hpp"

#include "messages/wire/app.pb.h"

#include <caf/error.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <utility>

namespace astra::sim {

message_kind kind_of(const caf::message* content) {
  if (content == nullptr)
    return message_kind::none;
  auto types = content->types();
  if (types.size() != 1)
    return message_kind::other;
  switch (types[0]) {
  case caf::type_id_v<heartbeat>:
    return message_kind::heartbeat;
  case caf::type_id_v<heartbeat_ack>:
    return message_kind::heartbeat_ack;
  case caf::type_id_v<profile_update>:
    return message_kind::profile_update;
  case caf::type_id_v<scheduler_beat>:
    return message_kind::scheduler_beat;
  case caf::type_id_v<view_delta>:
    return message_kind::view_delta;
  case caf::type_id_v<subscribe>:
    return message_kind::subscribe;
  case caf::type_id_v<subscribe_ack>:
    return message_kind::subscribe_ack;
  case caf::type_id_v<claim_batch>:
    return message_kind::claim_batch;
  case caf::type_id_v<claim_reply>:
    return message_kind::claim_reply;
  case caf::type_id_v<release_batch>:
    return message_kind::release_batch;
  case caf::type_id_v<reserve>:
    return message_kind::reserve;
  case caf::type_id_v<reserve_reply>:
    return message_kind::reserve_reply;
  case caf::type_id_v<cancel>:
    return message_kind::cancel;
  case caf::type_id_v<invoke>:
    return message_kind::invoke;
  case caf::type_id_v<invoke_reply>:
    return message_kind::invoke_reply;
  case caf::type_id_v<apply_app>:
    return message_kind::apply_app;
  case caf::type_id_v<delete_app>:
    return message_kind::delete_app;
  case caf::type_id_v<control_reply>:
    return message_kind::control_reply;
  case caf::type_id_v<app_detail>:
    return message_kind::app_detail;
  case caf::type_id_v<drain>:
    return message_kind::drain;
  case caf::type_id_v<route_request>:
    return message_kind::route_request;
  case caf::type_id_v<route_result>:
    return message_kind::route_result;
  case caf::type_id_v<router_table>:
    return message_kind::router_table;
  case caf::type_id_v<caf::error>:
    return message_kind::error;
  default:
    return message_kind::other;
  }
}

bool has_role(const machine_facts& machine, process_role role) {
  return std::find(machine.roles.begin(), machine.roles.end(), role) != machine.roles.end();
}

actor_role actor_roles::of(std::uint64_t actor, const world_facts& facts) {
  if (actor == 0)
    return actor_role::unknown;
  auto place = static_cast<std::size_t>(actor);
  if (known_.size() <= place)
    known_.resize(std::max(place + 1, 2 * known_.size()), actor_role::unknown);
  auto& role = known_[place];
  if (role != actor_role::unknown)
    return role;
  auto name = facts.actor_name(actor);
  auto begin = name.find('/');
  begin = begin == std::string::npos ? 0 : begin + 1;
  auto word = std::string_view{name}.substr(begin, name.find('#', begin) - begin);
  role = word == "astra.node"          ? actor_role::node
         : word == "astra.resource"    ? actor_role::resource
         : word == "astra.apps"        ? actor_role::apps
         : word == "astra.scheduler"   ? actor_role::scheduler
         : word == "astra.router"      ? actor_role::router
         : word == "astra.gateway"     ? actor_role::gateway
         : word == "astra.view-client" ? actor_role::view_client
                                       : actor_role::other;
  return role;
}

bool same_name(machine_id a, machine_id b, const world_facts& facts) {
  return a == b || (a != machine_id{} && b != machine_id{} && facts_of(a, facts).twin == b);
}

machine_id node_machines::of(std::uint64_t node, const world_facts& facts) {
  if (!std::exchange(known_, true))
    learn(facts);
  auto found = machines_.find(node);
  if (found != nullptr && facts_of(*found, facts).node.value() != node)
    learn(facts);
  return found != nullptr ? *found : machine_id{};
}

void node_machines::learn(const world_facts& facts) {
  auto all = facts.machines();
  for (std::size_t i = 1; i < all.size(); ++i)
    if (all[i].node)
      machines_[all[i].node.value()] = machine_id{static_cast<std::uint32_t>(i)};
}

const pb::AppSpec* spec_of(std::string_view app, const scenario& script) {
  for (auto& entry : script.apps)
    if (entry.spec && entry.spec->name() == app)
      return entry.spec.get();
  return nullptr;
}

std::string_view first_word(std::string_view text) {
  return text.substr(0, text.find(' '));
}

std::string_view field(std::string_view text, std::string_view key) {
  for (auto at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    if (at != 0 && text[at - 1] != ' ')
      continue;
    auto value = text.substr(at + key.size());
    if (!value.empty() && value.front() == '"')
      return value.substr(1, value.find('"', 1) - 1);
    return first_word(value);
  }
  return {};
}

namespace {

std::optional<std::uint64_t> parse(std::string_view text, int base) {
  std::uint64_t value = 0;
  auto end = text.data() + text.size();
  auto result = std::from_chars(text.data(), end, value, base);
  if (text.empty() || result.ec != std::errc{} || result.ptr != end)
    return std::nullopt;
  return value;
}

bool touches_network(std::string_view fault) {
  auto kind = first_word(fault);
  return kind == "cut" || kind == "partition" || kind == "slow_link";
}

} // namespace

std::optional<std::uint64_t> number(std::string_view text) {
  return parse(text, 10);
}

std::optional<std::uint64_t> hex_number(std::string_view text) {
  return parse(text, 16);
}

std::string seconds_text(std::chrono::nanoseconds time) {
  char text[48];
  std::snprintf(text, sizeof(text), "%.3f s", std::chrono::duration<double>(time).count());
  return text;
}

topics disturbances::wants() {
  return topics{}
      .add(event_kind::boot)
      .add(event_kind::crash)
      .add(event_kind::stop)
      .add(event_kind::stall)
      .add(event_kind::go_on)
      .add(event_kind::fault)
      .add(event_kind::heal);
}

void disturbances::observe(const event& what) {
  switch (what.kind) {
  case event_kind::boot:
  case event_kind::crash:
  case event_kind::stop: {
    auto& machine = record(what.machine);
    // Who starts at the very beginning is disturbed by nobody, but must come up first.
    machine.touched = what.at;
    if (machine.frozen >= instant{0})
      machine.freezes.emplace_back(std::exchange(machine.frozen, instant{-1}), what.at);
    break;
  }
  case event_kind::stall:
    record(what.machine).touched = what.at;
    record(what.machine).frozen = what.at;
    break;
  case event_kind::go_on: {
    auto& machine = record(what.machine);
    machine.touched = what.at;
    if (machine.frozen >= instant{0})
      machine.freezes.emplace_back(std::exchange(machine.frozen, instant{-1}), what.at);
    break;
  }
  case event_kind::fault:
    if (touches_network(what.text)) {
      ++network_faults_;
      network_touched_ = what.at;
    }
    break;
  case event_kind::heal:
    if (what.text.starts_with("everything")) {
      network_faults_ = 0;
      network_touched_ = what.at;
    } else if (touches_network(what.text)) {
      network_faults_ = std::max(0, network_faults_ - 1);
      network_touched_ = what.at;
    }
    break;
  default:
    break;
  }
}

bool disturbances::calm(machine_id machine, nanoseconds span, const world_facts& facts) const {
  auto now = facts.now();
  if (now - facts.calm_since() >= span)
    return true;
  return calm_itself(machine, span, facts) && network_calm(span, facts);
}

bool disturbances::calm_itself(machine_id machine, nanoseconds span, const world_facts& facts) const {
  auto now = facts.now();
  auto& state = facts_of(machine, facts);
  return state.up && !state.stalled && now - state.since >= span && now - last_touched(machine) >= span;
}

bool disturbances::network_calm(nanoseconds span, const world_facts& facts) const {
  auto now = facts.now();
  if (now - facts.calm_since() >= span)
    return true;
  return network_faults_ == 0 && (network_touched_ < instant{0} || now - network_touched_ >= span);
}

nanoseconds disturbances::frozen_since(machine_id machine, instant from, instant now) const {
  nanoseconds sum{0};
  auto known = find(machine);
  if (known == nullptr)
    return sum;
  for (auto& [begin, end] : known->freezes)
    if (end > from)
      sum += end - std::max(begin, from);
  if (known->frozen >= instant{0})
    sum += now - std::max(known->frozen, from);
  return sum;
}

instant disturbances::last_touched(machine_id machine) const {
  auto known = find(machine);
  return known == nullptr ? instant{0} : std::max(known->touched, instant{0});
}

disturbances::machine_record& disturbances::record(machine_id machine) {
  auto place = static_cast<std::size_t>(machine);
  if (machines_.size() <= place)
    machines_.resize(place + 1);
  return machines_[place];
}

const disturbances::machine_record* disturbances::find(machine_id machine) const {
  auto place = static_cast<std::size_t>(machine);
  return place < machines_.size() ? &machines_[place] : nullptr;
}

} // namespace astra::sim
