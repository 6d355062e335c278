#include "actors/router/smooth_wrr.hpp"

#include "actors/mutant.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <map>
#include <numeric>

namespace astra {
namespace {

/// Shifts all credits by the same amount, which changes no order, until their sum is zero.  What the division leaves
/// over is taken a tick each from the first ones.
void centre(std::vector<smooth_wrr::member>& members) {
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

} // namespace

void smooth_wrr::assign(std::vector<member> pool, random_source* phase) {
  std::map<node_id, std::int64_t> known;
  for (auto& member : members_)
    known.emplace(member.node, member.credit);
  std::int64_t total = 0;
  std::int64_t stayed = 0;
  std::int64_t stayed_credit = 0;
  for (auto& member : pool) {
    assert(member.weight > 0);
    total += member.weight;
    if (auto found = known.find(member.node); found != known.end()) {
      ++stayed;
      stayed_credit += found->second;
    }
  }
  assert(total <= std::int64_t{1} << 40);
  auto mean = stayed > 0 ? stayed_credit / stayed : 0;
  for (auto& member : pool) {
    if (auto found = known.find(member.node); found != known.end()) {
      member.credit = found->second;
    } else {
      member.credit = mean;
      if (phase != nullptr)
        member.credit += static_cast<std::int64_t>(phase->below(static_cast<std::uint64_t>(total))) - total / 2;
    }
  }
  centre(pool);
  members_ = std::move(pool);
}

std::optional<node_id> smooth_wrr::pick(std::span<const node_id> passed_over) {
  std::int64_t total = 0;
  member* best = nullptr;
  // A copy: read through the pointer, it would be loaded again after every store to a credit.
  std::int64_t best_credit = 0;
  for (auto& member : members_) {
    if (std::find(passed_over.begin(), passed_over.end(), member.node) != passed_over.end())
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
  return best->node;
}

std::vector<std::int64_t> to_ticks(const std::vector<double>& weights) {
  constexpr auto round = static_cast<double>(std::int64_t{1} << 32);
  auto total = std::accumulate(weights.begin(), weights.end(), 0.0);
  assert(std::isfinite(total));
  std::vector<std::int64_t> result;
  result.reserve(weights.size());
  for (auto weight : weights) {
    auto share = total > 0.0 ? weight / total : 1.0 / static_cast<double>(weights.size());
    result.push_back(std::max<std::int64_t>(1, std::llround(share * round)));
  }
  return result;
}

} // namespace astra
