#include "actors/scheduler/claim_book.hpp"
#include "actors/scheduler/placement_rules.hpp"
#include "actors/scheduler/preemption.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

// The parts of claim_book that place gangs, and that take places of replicas of lower priority.

namespace astra {

/// Whether the app is a gang that has not been placed yet.
bool claim_book::gang_waits(const scope& looked, time_point now) {
  if (!spec_.gang() || deleting_ || gang_.placed())
    return false;
  std::set<std::uint32_t> confirmed;
  for (auto& [token, claim] : claims_)
    if (claim.confirmed)
      confirmed.insert(claim.index);
  // What a scheduler finds when it starts was placed by the one before.
  auto adopted = !gang_.begun() && (!looked.holders.empty() || looked.indices.size() < wanted());
  auto there = [&](auto index) { return looked.holders.count(index) != 0 || confirmed.count(index) != 0; };
  if (!adopted && !std::all_of(looked.indices.begin(), looked.indices.end(), there))
    return true;
  drop_places([](auto&) { return true; }, "its gang is placed", now);
  gang_.set_placed();
  return false;
}

bool claim_book::impatient(time_point now) const {
  return spec_.gang() && !deleting_ && gang_.begun() && !gang_.placed() && !gang_.asks() && !gang_.paused(now)
         && std::all_of(claims_.begin(), claims_.end(), [](auto& entry) { return entry.second.confirmed; });
}

void claim_book::place_gang(const wishes& wishes, const cluster_view& view, const std::set<resource_id>& reachable,
                            time_point now, random_source& random, decision& out) {
  out.gang = gang_.order(spec_.name());
  out.hold = gang_.hold_time();
  std::set<std::uint32_t> missing{wishes.place.begin(), wishes.place.end()};
  auto stale = [&](const gang::place& place) {
    auto entry = view.find(place.node);
    return missing.count(place.index) == 0 || !entry || !entry->usable()
           || entry->row.incarnation() != place.incarnation;
  };
  drop_places(stale, "it is no place for its gang any more", now);
  if (gang_.late(now))
    give_gang_up(now, random);
  auto open = missing;
  for (auto& [token, place] : gang_.places())
    open.erase(place.index);
  std::string reason;
  if (gang_.paused(now)) {
    reason = "its gang gave back what it held, for others to use, and tries again in a moment";
  } else if (!open.empty()) {
    auto input = input_for(spec_, view, reachable, now);
    auto hold = [&](std::uint32_t index, node_id node, std::vector<std::uint64_t> victims) {
      ask_to_hold(index, node, std::move(victims), view, now, out);
      input.count_claim(node);
      open.erase(index);
    };
    input.missing.assign(open.begin(), open.end());
    auto planned = plan_and_keep_columns(input, random);
    for (auto& placement : planned.placements)
      hold(placement.replica_index, placement.node, {});
    reason = planned.reason;
    if (!open.empty()) {
      // What others hold may be that of younger gangs: their Resources know.
      input.missing.assign(open.begin(), open.end());
      auto newest = input.corrections;
      for (auto& [id, entry] : view.nodes()) {
        auto& row = newest_row(input, entry);
        if (row.held().ByteSizeLong() == 0)
          continue;
        auto bare = row;
        bare.set_held({});
        input.corrections[id] = std::move(bare);
      }
      auto bold = plan(input, random);
      input.corrections = std::move(newest);
      for (auto& placement : bold.placements)
        hold(placement.replica_index, placement.node, {});
    }
    if (!open.empty() && spec_.priority() > 0) {
      input.missing.assign(open.begin(), open.end());
      for (auto& placement : plan_preemption(input, random))
        hold(placement.replica_index, placement.node, std::move(placement.victims));
    }
  }
  auto placed = wanted() - static_cast<std::uint32_t>(missing.size());
  auto held = gang_.held();
  if (reason.empty())
    reason = "the word of its Resources";
  auto text = fmt::format("a gang of {}: {} fit; holds {} of {} places; waits for {}", wanted(), wanted() - open.size(),
                          placed + held, wanted(), reason);
  for (auto index : missing)
    slots_[index].unplaced = text;
  if (!missing.empty() && gang_.complete(missing, now)) {
    for (auto& [token, place] : gang_.commit(now)) {
      pb::Claim message;
      message.set_sequence(place.sequence);
      message.set_token(token.value());
      message.set_node(place.node.value());
      message.set_node_incarnation(place.incarnation);
      message.set_replica_index(place.index);
      message.mutable_preempt()->Add(place.preempt.begin(), place.preempt.end());
      count_claim(message, now);
      slots_[place.index].unplaced.clear();
      out.claims.push_back(std::move(message));
    }
    return;
  }
  for (auto token : gang_.renew(now)) {
    auto& place = gang_.places().at(token);
    auto& message = out.holds.emplace_back();
    message.set_sequence(place.sequence);
    message.set_token(token.value());
    message.set_node(place.node.value());
    message.set_node_incarnation(place.incarnation);
    message.set_replica_index(place.index);
    message.mutable_preempt()->Add(place.preempt.begin(), place.preempt.end());
  }
}

void claim_book::ask_to_hold(std::uint32_t index, node_id node, std::vector<std::uint64_t> victims,
                             const cluster_view& view, time_point now, decision& out) {
  auto message = new_claim(index, node, view.find(node)->row.incarnation());
  message.mutable_preempt()->Add(victims.begin(), victims.end());
  gang::place place;
  place.sequence = message.sequence();
  place.index = index;
  place.node = node;
  place.incarnation = message.node_incarnation();
  place.preempt = std::move(victims);
  gang_.ask(claim_token{message.token()}, std::move(place), now);
  out.holds.push_back(std::move(message));
}

/// Gives back places that are held or asked for.
void claim_book::drop_places(const std::function<bool(const gang::place&)>& which, const std::string& reason,
                             time_point now) {
  std::vector<claim_token> going;
  for (auto& [token, place] : gang_.places())
    if (which(place)) {
      going.push_back(token);
      end(token, {place.node, place.index, reason, now, std::nullopt, place.asked.has_value()});
    }
  for (auto token : going)
    gang_.forget(token);
}

/// The gang has kept others out for long enough: all goes, also what is committed, but for its place in the order.
void claim_book::give_gang_up(time_point now, random_source& random) {
  constexpr auto reason = "not all replicas of its gang found a place in time";
  drop_places([](auto&) { return true; }, reason, now);
  std::vector<claim_token> committed;
  for (auto& [token, claim] : claims_) {
    end(token, {claim.node, claim.index, reason, now, std::nullopt, true});
    committed.push_back(token);
  }
  for (auto token : committed)
    drop_claim(token);
  for (auto& [index, found] : all_holders())
    for (auto& holder : found) {
      release_holder(holder, reason, now);
      slots_[index].held = false;
    }
  gang_.pause(now, random);
}

/// Claims places of replicas of lower priority for what has found no other.
void claim_book::preempt(std::vector<std::uint32_t>& unplaced, plan_input input, const cluster_view& view,
                         time_point now, random_source& random, decision& out) {
  // An update gets along with what the app has.
  input.missing.clear();
  std::copy_if(unplaced.begin(), unplaced.end(), std::back_inserter(input.missing),
               [&](auto index) { return !slots_[index].updating; });
  if (input.missing.empty())
    return;
  for (auto& placement : plan_preemption(input, random)) {
    auto message = new_claim(placement.replica_index, placement.node, view.find(placement.node)->row.incarnation());
    message.mutable_preempt()->Add(placement.victims.begin(), placement.victims.end());
    count_claim(message, now);
    out.claims.push_back(std::move(message));
    std::erase(unplaced, placement.replica_index);
  }
}

} // namespace astra
