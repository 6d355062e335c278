#include "runtime/sim/checks/history.hpp"
#include "runtime/sim/checks/sharing.hpp"

#include <algorithm>
#include <cassert>

namespace astra::sim {
namespace {

const std::vector<check_kind>& all_kinds() {
  static const auto kinds = [] {
    std::vector<check_kind> all;
    add_content_checks(all);
    add_life_checks(all);
    add_claim_checks(all);
    add_replica_checks(all);
    add_draining_checks(all);
    add_request_checks(all);
    add_start_checks(all);
    add_routing_checks(all);
    add_liveness_checks(all);
    add_heartbeat_checks(all);
    add_view_checks(all);
    add_view_flow_checks(all);
    add_app_checks(all);
    add_counter_checks(all);
    add_log_checks(all);
    add_budget_checks(all);
    add_placement_checks(all);
    add_sharing_checks(all);
    add_router_checks(all);
    std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.info.name < b.info.name; });
    return all;
  }();
  return kinds;
}

constexpr auto kinds_of_messages = static_cast<std::size_t>(message_kind::count_);
constexpr auto kinds_of_events = static_cast<std::size_t>(event_kind::count_);

} // namespace

const std::vector<check_info>& all_checks() {
  static const auto infos = [] {
    std::vector<check_info> all;
    for (auto& kind : all_kinds())
      all.push_back(kind.info);
    return all;
  }();
  return infos;
}

std::vector<std::unique_ptr<check>> make_checks(const scenario& what) {
  std::vector<std::unique_ptr<check>> result;
  for (auto& kind : all_kinds()) {
    auto bound = kind.info.bound;
    auto off = false;
    for (auto& wish : what.checks) {
      if (wish.invariant != kind.info.name)
        continue;
      off = off || wish.off;
      if (wish.bound.count() > 0)
        bound = wish.bound;
    }
    if (!off)
      result.push_back(kind.make(bound));
  }
  return result;
}

check_set::check_set(std::vector<std::unique_ptr<check>> checks) : checks_(std::move(checks)) {
  std::vector<topics> wants;
  for (auto& entry : checks_)
    wants.push_back(entry->wants());
  begin_.reserve(kinds_of_events * kinds_of_messages + 1);
  for (std::size_t what = 0; what < kinds_of_events; ++what) {
    for (std::size_t about = 0; about < kinds_of_messages; ++about) {
      begin_.push_back(static_cast<std::uint32_t>(listeners_.size()));
      for (std::size_t i = 0; i < checks_.size(); ++i)
        if (wants[i].has(static_cast<event_kind>(what), static_cast<message_kind>(about)))
          listeners_.push_back(checks_[i].get());
    }
  }
  begin_.push_back(static_cast<std::uint32_t>(listeners_.size()));
}

bool check_set::on_event(const event& what, const world_facts& facts) {
  if (failed_ != nullptr)
    return false;
  learn(what);
  // Checks tell what is said from what is heard by whether it has crossed machines: a step names its actor's machine
  // only, so the sender's is added here.
  if (what.kind == event_kind::step && what.peer == machine_id{} && what.sender < places_.size()) {
    auto from = places_[what.sender];
    if (from != machine_id{} && from != what.machine) {
      auto whole = what;
      whole.peer = from;
      return tell(whole, facts);
    }
  }
  return tell(what, facts);
}

/// Whoever sends or handles a message does so on its own machine.
void check_set::learn(const event& what) {
  auto actor = what.kind == event_kind::step ? what.actor : what.kind == event_kind::send ? what.sender : 0;
  if (actor == 0)
    return;
  if (places_.size() <= actor)
    places_.resize(std::max<std::size_t>(actor + 1, 2 * places_.size()));
  places_[actor] = what.machine;
}

bool check_set::tell(const event& what, const world_facts& facts) {
  auto place =
      static_cast<std::size_t>(what.kind) * kinds_of_messages + static_cast<std::size_t>(kind_of(what.content));
  for (auto i = begin_[place]; i != begin_[place + 1]; ++i) {
    listeners_[i]->on_event(what, facts);
    if (!listeners_[i]->failure().empty()) {
      failed_ = listeners_[i];
      return false;
    }
  }
  return true;
}

bool check_set::at_quiet(const final_state& state, const world_facts& facts) {
  for (auto& entry : checks_) {
    if (failed_ != nullptr)
      return false;
    entry->at_quiet(state, facts);
    if (!entry->failure().empty())
      failed_ = entry.get();
  }
  return failed_ == nullptr;
}

} // namespace astra::sim
