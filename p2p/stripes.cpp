#include "p2p/stripes.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <tuple>
#include <utility>

namespace astra::p2p {
namespace {

constexpr std::uint8_t own_priority = 7;
constexpr std::uint8_t other_priority = 4;

/// Spreads neighbours: SplitMix64's last steps.
std::uint64_t scattered(std::uint64_t x) {
  x = (x + 0x9E3779B97F4A7C15ULL) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ x >> 27U) * 0x94D049BB133111EBULL;
  return x ^ x >> 31U;
}

} // namespace

std::vector<std::uint8_t> piece_priorities(const std::optional<stripe>& preferred, std::uint32_t pieces) {
  std::vector<std::uint8_t> result(pieces, other_priority);
  if (preferred)
    for (std::uint32_t piece = 0; piece < pieces; ++piece)
      if (preferred->has(piece))
        result[piece] = own_priority;
  return result;
}

std::vector<std::uint8_t> shuffled_priorities(std::uint64_t seed, std::uint32_t pieces) {
  std::vector<std::uint8_t> result(pieces);
  for (std::uint32_t piece = 0; piece < pieces; ++piece)
    result[piece] = static_cast<std::uint8_t>(1 + scattered(scattered(seed) + piece) % own_priority);
  return result;
}

stripe_plan::stripe_plan(std::uint32_t pieces)
  : pieces_(pieces), owners_(std::min(pieces, slots_max)), holders_(pieces), without_(pieces) {
  assert(pieces > 0);
}

void stripe_plan::join_seeder(member who) {
  assert(!members_.contains(who));
  seeders_.insert(who);
}

void stripe_plan::join(member who, double weight) {
  assert(weight > 0.0 && std::isfinite(weight) && !seeders_.contains(who));
  if (phase_ == phase::steady && !members_.contains(who))
    begin_anew();
  auto [found, fresh] = members_.try_emplace(who);
  found->second.weight = weight;
  if (fresh) {
    found->second.pieces.resize(pieces_);
    auto seated = std::ranges::count_if(members_, [](auto& entry) { return entry.second.seated; });
    auto seats = std::max<std::uint32_t>(1, pieces_ / pieces_per_member_min);
    if (phase_ == phase::scattered && static_cast<std::uint32_t>(seated) < seats)
      seat(found->second);
  }
  rebalance();
}

void stripe_plan::seat(state& who) {
  who.seated = true;
  seated_and_busy_ += who.held < pieces_ ? 1 : 0;
}

void stripe_plan::count(std::uint32_t piece, bool more) {
  auto& holders = holders_[piece];
  without_ -= holders == 0 ? 1 : 0;
  with_one_ -= holders == 1 ? 1 : 0;
  holders = more ? holders + 1 : holders - 1;
  without_ += holders == 0 ? 1 : 0;
  with_one_ += holders == 1 ? 1 : 0;
}

/// Those that have everything are seeders now, and the others' stripes are dealt out again.
void stripe_plan::begin_anew() {
  phase_ = phase::scattered;
  for (auto member = members_.begin(); member != members_.end();) {
    if (member->second.held < pieces_) {
      ++member;
      continue;
    }
    seeders_.insert(member->first);
    for (std::uint32_t piece = 0; piece < pieces_; ++piece)
      count(piece, false);
    member = members_.erase(member);
  }
  std::ranges::fill(owners_, std::nullopt);
  auto seats = std::max<std::uint32_t>(1, pieces_ / pieces_per_member_min);
  for (auto& [who, state] : members_) {
    if (seats == 0)
      break;
    --seats;
    seat(state);
  }
}

void stripe_plan::leave(member who) {
  seeders_.erase(who);
  auto found = members_.find(who);
  if (found == members_.end())
    return;
  for (std::uint32_t piece = 0; piece < pieces_; ++piece)
    if (found->second.pieces[piece])
      count(piece, false);
  for (auto& owner : owners_)
    if (owner == who)
      owner.reset();
  auto seated = found->second.seated;
  seated_and_busy_ -= seated && found->second.held < pieces_ ? 1 : 0;
  members_.erase(found);
  changed_.erase(who);
  // Its seat is free for whoever came too late.
  if (seated && phase_ == phase::scattered)
    for (auto& [other, state] : members_)
      if (!state.seated) {
        seat(state);
        break;
      }
  rebalance();
  advance();
}

void stripe_plan::has(member who, std::uint32_t piece) {
  assert(piece < pieces_);
  auto found = members_.find(who);
  if (found == members_.end() || found->second.pieces[piece])
    return;
  found->second.pieces[piece] = true;
  ++found->second.held;
  seated_and_busy_ -= found->second.seated && found->second.held == pieces_ ? 1 : 0;
  count(piece, true);
  advance();
}

std::optional<stripe> stripe_plan::stripe_of(member who) const {
  auto found = members_.find(who);
  if (phase_ != phase::scattered || found == members_.end() || !found->second.seated)
    return std::nullopt;
  stripe result;
  for (auto& owner : owners_)
    result.slots.push_back(owner == who);
  return result;
}

std::vector<stripe_plan::member> stripe_plan::take_changed() {
  std::vector<member> result(changed_.begin(), changed_.end());
  changed_.clear();
  return result;
}

std::uint32_t stripe_plan::uncovered() const {
  return without_;
}

/// Slots by weight, rounded so that they add up.
std::map<stripe_plan::member, std::uint32_t> stripe_plan::targets() const {
  auto total = 0.0;
  for (auto& [who, state] : members_)
    total += state.seated ? state.weight : 0.0;
  std::map<member, std::uint32_t> result;
  std::vector<std::pair<double, member>> rests;
  auto left = static_cast<std::uint32_t>(owners_.size());
  for (auto& [who, state] : members_) {
    if (!state.seated)
      continue;
    auto exact = static_cast<double>(owners_.size()) * (state.weight / total);
    auto whole = std::min(left, static_cast<std::uint32_t>(exact));
    result[who] = whole;
    left -= whole;
    rests.emplace_back(static_cast<double>(whole) - exact, who);
  }
  std::ranges::sort(rests);
  for (std::size_t i = 0; left > 0 && !rests.empty(); ++i, --left)
    ++result[rests[i % rests.size()].second];
  return result;
}

/// Moves as few slots as it takes: what a member has asked for already should stay its own.
void stripe_plan::rebalance() {
  if (phase_ != phase::scattered)
    return;
  auto wanted = targets();
  if (wanted.empty())
    return;
  std::map<member, std::vector<std::uint32_t>> owned;
  std::vector<std::uint32_t> pool;
  for (std::uint32_t slot = 0; slot < owners_.size(); ++slot)
    if (owners_[slot])
      owned[*owners_[slot]].push_back(slot);
    else
      pool.push_back(slot);
  for (auto& [who, slots] : owned) {
    if (slots.size() <= wanted[who])
      continue;
    auto& held = members_.at(who).pieces;
    auto done = [&](std::uint32_t slot) {
      std::uint32_t count = 0;
      for (auto piece = slot; piece < pieces_; piece += static_cast<std::uint32_t>(owners_.size()))
        count += held[piece];
      return count;
    };
    std::ranges::sort(slots, {}, [&](auto slot) { return std::tuple{done(slot), scattered(slot)}; });
    auto surplus = static_cast<std::ptrdiff_t>(slots.size() - wanted[who]);
    pool.insert(pool.end(), slots.begin(), slots.begin() + surplus);
    slots.erase(slots.begin(), slots.begin() + surplus);
    changed_.insert(who);
  }
  // In turn, so that nobody has a run of neighbours.
  std::ranges::sort(pool);
  while (!pool.empty())
    for (auto& [who, count] : wanted) {
      if (pool.empty() || owned[who].size() >= count)
        continue;
      owners_[pool.back()] = who;
      owned[who].push_back(pool.back());
      pool.pop_back();
      changed_.insert(who);
    }
}

void stripe_plan::advance() {
  if (members_.empty() || phase_ == phase::steady)
    return;
  auto enough = without_ == 0 && (with_one_ == 0 || members_.size() == 1);
  if (phase_ == phase::scattered && enough) {
    phase_ = phase::covered;
    for (auto& [who, state] : members_)
      if (state.seated)
        changed_.insert(who);
  }
  if (phase_ == phase::covered && seated_and_busy_ == 0)
    phase_ = phase::steady;
}

} // namespace astra::p2p
