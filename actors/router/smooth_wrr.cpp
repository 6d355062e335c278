#include "actors/router/smooth_wrr.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <map>
#include <numeric>

namespace astra {
namespace {

/// What all ticks sum up to, about.
constexpr auto round_ticks = static_cast<double>(std::int64_t{1} << 32);

/// Shifts all credits by the same amount, which changes no order, until their sum is zero.  What the division leaves
/// over is taken a tick each from the first ones.
void centre(std::vector<order::turn>& members) {
  if (members.empty())
    return;
  auto count = static_cast<std::int64_t>(members.size());
  std::int64_t sum = 0;
  for (auto& member : members)
    sum += member.credit;
  auto shift = sum / count;
  auto rest = sum % count;
  if (rest < 0) {
    rest += count;
    --shift;
  }
  for (auto& member : members) {
    member.credit -= shift;
    if (rest > 0) {
      --member.credit;
      --rest;
    }
  }
}

/// The same without the rest: distances stay exactly as they are.
void centre_evenly(std::vector<order::turn>& members) {
  if (members.empty())
    return;
  std::int64_t sum = 0;
  for (auto& member : members)
    sum += member.credit;
  auto count = static_cast<std::int64_t>(members.size());
  auto shift = sum / count - (sum % count < 0 ? 1 : 0);
  for (auto& member : members)
    member.credit -= shift;
}

std::int64_t draw_phase(random_source& phase, std::int64_t total) {
  return static_cast<std::int64_t>(phase.below(static_cast<std::uint64_t>(total))) - total / 2;
}

} // namespace

void smooth_wrr::assign_ticks(std::vector<turn> pool, random_source* phase) {
  std::map<seat, std::int64_t> known;
  for (auto& member : members_)
    known.emplace(member.at, member.credit);
  std::int64_t total = 0;
  std::int64_t stayed = 0;
  std::int64_t stayed_credit = 0;
  for (auto& member : pool) {
    assert(member.weight > 0);
    total += member.weight;
    if (auto found = known.find(member.at); found != known.end()) {
      ++stayed;
      stayed_credit += found->second;
    }
  }
  assert(total <= std::int64_t{1} << 40);
  auto mean = stayed > 0 ? stayed_credit / stayed : 0;
  for (auto& member : pool) {
    if (auto found = known.find(member.at); found != known.end()) {
      member.credit = found->second;
    } else {
      member.credit = mean;
      if (phase != nullptr)
        member.credit += draw_phase(*phase, total);
    }
  }
  centre(pool);
  members_ = std::move(pool);
}

void smooth_wrr::assign(std::span<const entry> pool, random_source* phase) {
  std::vector<double> weights;
  weights.reserve(pool.size());
  for (auto& who : pool)
    weights.push_back(who.weight);
  auto sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  scale_ = sum > 0.0 ? round_ticks / sum : 1.0;
  auto ticks = to_ticks(weights);
  std::vector<turn> turns;
  turns.reserve(pool.size());
  for (std::size_t i = 0; i < pool.size(); ++i)
    turns.push_back({pool[i].at, ticks[i]});
  assign_ticks(std::move(turns), phase);
}

void smooth_wrr::adopt(std::span<const entry> pool, std::span<const turn> turns, random_source* phase) {
  assert(members_.empty());
  auto sum = 0.0;
  for (auto& before : turns)
    sum += static_cast<double>(before.weight);
  // Credits that are known before anybody joins; their weights do not matter yet.
  for (auto& before : turns)
    members_.push_back(
        {before.at, before.weight, std::llround(static_cast<double>(before.credit) / sum * round_ticks)});
  assign(pool, phase);
}

void smooth_wrr::insert(const entry& who, random_source* phase) {
  if (members_.empty())
    scale_ = who.weight > 0.0 ? round_ticks / who.weight : 1.0;
  turn joined{who.at, ticks_of(who.weight)};
  auto round = total() + joined.weight;
  // The mean of those that are there is 0.
  if (phase != nullptr)
    joined.credit = draw_phase(*phase, round);
  members_.push_back(joined);
  centre_evenly(members_);
  keep_scale();
}

void smooth_wrr::update(const entry& who) {
  auto found = std::ranges::find(members_, who.at, &turn::at);
  assert(found != members_.end());
  found->weight = ticks_of(who.weight);
  keep_scale();
}

void smooth_wrr::remove(seat who) {
  auto found = std::ranges::find(members_, who, &turn::at);
  assert(found != members_.end());
  members_.erase(found);
  centre_evenly(members_);
  keep_scale();
}

std::int64_t smooth_wrr::ticks_of(double weight) const {
  // No single node may make the sum overflow before it is scaled down.
  return std::max<std::int64_t>(1, std::llround(std::min(weight * scale_, round_ticks * 64.0)));
}

std::int64_t smooth_wrr::total() const {
  std::int64_t sum = 0;
  for (auto& member : members_)
    sum += member.weight;
  return sum;
}

void smooth_wrr::keep_scale() {
  auto sum = static_cast<double>(total());
  if (members_.empty() || (sum >= round_ticks / 4 && sum <= round_ticks * 4))
    return;
  auto factor = round_ticks / sum;
  scale_ *= factor;
  for (auto& member : members_) {
    member.weight = std::max<std::int64_t>(1, std::llround(static_cast<double>(member.weight) * factor));
    member.credit = std::llround(static_cast<double>(member.credit) * factor);
  }
  centre(members_);
}

std::optional<seat> smooth_wrr::pick(std::span<const seat> passed_over) {
  std::int64_t total = 0;
  turn* best = nullptr;
  // A copy: read through the pointer, it would be loaded again after every store to a credit.
  std::int64_t best_credit = 0;
  for (auto& member : members_) {
    if (std::find(passed_over.begin(), passed_over.end(), member.at) != passed_over.end())
      continue;
    member.credit += member.weight;
    total += member.weight;
    if (best == nullptr || member.credit > best_credit) {
      best = &member;
      best_credit = member.credit;
    }
  }
  if (best == nullptr)
    return std::nullopt;
  best->credit -= MUTANT(credit_sum_not_conserved) ? best->weight : total;
  return best->at;
}

std::vector<std::int64_t> to_ticks(const std::vector<double>& weights) {
  auto total = std::accumulate(weights.begin(), weights.end(), 0.0);
  assert(std::isfinite(total));
  std::vector<std::int64_t> result;
  result.reserve(weights.size());
  for (auto weight : weights) {
    auto share = total > 0.0 ? weight / total : 1.0 / static_cast<double>(weights.size());
    result.push_back(std::max<std::int64_t>(1, std::llround(share * round_ticks)));
  }
  return result;
}

} // namespace astra
