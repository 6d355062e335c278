#include "actors/router/water_filling.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace astra {
namespace {

/// Of its share of the capacity, for every node.
constexpr double floor_share = 0.01;
/// Arrivals that count, as parts of the capacity.
constexpr double load_min = 0.01;
constexpr double load_max = 10.0;
/// Weights are rounded to 2.2 % later on.
constexpr double tolerance = 5e-4;
constexpr int passes_max = 60;
/// Summed up as floats before doubles take over.
constexpr std::size_t block = 512;
/// Before the first solution.
constexpr double first_level = 0.5;

constexpr float ln_2 = 0.69314718F;

/// log2 and exp2 to about 1e-7, without a call, so that a loop of them runs four at a time.
inline float quick_log2(float x) {
  auto bits = std::bit_cast<std::int32_t>(x);
  // Such that the mantissa is in [sqrt(1/2), sqrt(2)).
  constexpr std::int32_t root_of_half = 0x3f3504f3;
  auto exponent = (bits - root_of_half) >> 23;
  auto mantissa = std::bit_cast<float>(bits - (exponent << 23));
  auto t = (mantissa - 1.0F) / (mantissa + 1.0F);
  auto t2 = t * t;
  auto series = t * (1.0F + t2 * (1.0F / 3 + t2 * (1.0F / 5 + t2 * (1.0F / 7))));
  return static_cast<float>(exponent) + series * (2.0F / ln_2);
}

/// @pre |x| < 120
inline float quick_exp2(float x) {
  auto whole = static_cast<std::int32_t>(x + (x < 0.0F ? -0.5F : 0.5F));
  auto f = (x - static_cast<float>(whole)) * ln_2;
  auto series = 1.0F + f * (1.0F + f * (1.0F / 2 + f * (1.0F / 6 + f * (1.0F / 24 + f * (1.0F / 120 + f / 720)))));
  return series * std::bit_cast<float>((whole + 127) << 23);
}

/// y / (1 - e^-y) - 1, for y >= 0: how much more than H has to arrive per request in flight at the end because some
/// have gone by then.
inline float growth_of(float y) {
  auto small = y * (0.5F + y * (1.0F / 12));
  auto bounded = y < 80.0F ? y : 80.0F;
  auto large = y / (1.0F - quick_exp2(bounded * (-1.0F / ln_2)) + 1e-30F) - 1.0F;
  return y < 0.02F ? small : large;
}

/// a H of one node at a level, and how it grows with the level.
struct need {
  float arrivals;
  float slope;
};

inline need need_of(float level, float slots, float in_flight, float decay, float growth, float preference,
                    float relative_rate) {
  auto filled = level * preference;
  auto over = filled > 1.0F;
  auto target = slots * (over ? 1.0F + relative_rate * (filled - 1.0F) : filled);
  auto free = growth * target + (decay - growth) * in_flight;
  auto all_busy = decay * slots;
  auto served = free < all_busy ? free : all_busy;
  auto arrivals = target - in_flight + served;
  auto slope = slots * preference * (over ? relative_rate : 1.0F) * (free < all_busy ? 1.0F + growth : 1.0F);
  return {arrivals > 0.0F ? arrivals : 0.0F, arrivals > 0.0F ? slope : 0.0F};
}

using quad = float __attribute__((vector_size(16)));

double total(std::array<float, block>& values, std::size_t count) {
  while (count % 4 != 0)
    values[count++] = 0.0F;
  quad sum{};
  for (std::size_t i = 0; i < count; i += 4) {
    quad next;
    std::memcpy(&next, &values[i], sizeof next);
    sum += next;
  }
  return static_cast<double>(sum[0]) + static_cast<double>(sum[1]) + static_cast<double>(sum[2])
         + static_cast<double>(sum[3]);
}

} // namespace

void water_filling::solve(std::span<const node> nodes, double arrival_rate, const setting& how,
                          std::span<double> weights) {
  assert(nodes.size() == weights.size());
  passes_ = 0;
  if (nodes.empty())
    return;
  capacity_ = 0.0;
  auto rates = 0.0;
  for (auto& who : nodes) {
    capacity_ += who.slots * who.rate;
    rates += who.rate;
  }
  mean_rate_ = rates / static_cast<double>(nodes.size());
  horizon_s_ = how.horizon_s;
  load_ = std::isnan(arrival_rate) ? 0.0 : std::max(0.0, arrival_rate) / capacity_;
  arrival_rate_ = std::clamp(load_, load_min, load_max) * capacity_;
  beta_ = how.prefer_fast ? std::clamp(6.0 * (1.0 - load_), 0.0, 2.0) : 0.0;
  prepare(nodes, how);
  find_level(arrival_rate_ * horizon_s_);

  auto level = static_cast<float>(level_);
  auto per_mean = static_cast<float>(1.0 / (mean_rate_ * horizon_s_));
  auto per_second = 1.0 / horizon_s_;
  auto floor = floor_share * arrival_rate_ / capacity_ * per_second;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    auto wants = need_of(level, slots_[i], in_flight_[i], decay_[i], growth_[i], preference_[i], decay_[i] * per_mean);
    auto least = floor * static_cast<double>(slots_[i] * decay_[i]);
    auto most = static_cast<double>(wants.arrivals) * per_second;
    weights[i] = most > least ? most : least;
  }
}

void water_filling::prepare(std::span<const node> nodes, const setting& how) {
  auto count = nodes.size();
  for (auto column : {&slots_, &in_flight_, &decay_, &growth_, &preference_})
    column->resize(count);
  auto horizon = static_cast<float>(how.horizon_s);
  for (std::size_t i = 0; i < count; ++i) {
    slots_[i] = static_cast<float>(nodes[i].slots);
    in_flight_[i] = static_cast<float>(nodes[i].in_flight);
    decay_[i] = static_cast<float>(nodes[i].rate) * horizon;
  }
  for (std::size_t i = 0; i < count; ++i)
    growth_[i] = growth_of(decay_[i]);
  if (beta_ <= 0.0) {
    std::ranges::fill(preference_, 1.0F);
    return;
  }
  auto beta = static_cast<float>(beta_);
  auto mean = quick_log2(static_cast<float>(mean_rate_) * horizon);
  for (std::size_t i = 0; i < count; ++i)
    preference_[i] = quick_exp2(beta * (quick_log2(decay_[i]) - mean));
}

/// Sums of a(L) H over all nodes.
water_filling::sum water_filling::at(double level) const {
  auto L = static_cast<float>(level);
  auto per_mean = static_cast<float>(1.0 / (mean_rate_ * horizon_s_));
  std::array<float, block> arrivals;
  std::array<float, block> slope;
  sum result;
  for (std::size_t begin = 0; begin < slots_.size(); begin += block) {
    auto count = std::min(block, slots_.size() - begin);
    auto* slots = slots_.data() + begin;
    auto* in_flight = in_flight_.data() + begin;
    auto* decay = decay_.data() + begin;
    auto* growth = growth_.data() + begin;
    auto* preference = preference_.data() + begin;
    for (std::size_t i = 0; i < count; ++i) {
      auto one = need_of(L, slots[i], in_flight[i], decay[i], growth[i], preference[i], decay[i] * per_mean);
      arrivals[i] = one.arrivals;
      slope[i] = one.slope;
    }
    result.arrivals += total(arrivals, count);
    result.slope += total(slope, count);
  }
  return result;
}

/// Newton's method, kept between what was too low and what was too high.
void water_filling::find_level(double wanted) {
  auto low = 0.0;
  auto high = std::numeric_limits<double>::infinity();
  auto level = level_ > 0.0 ? level_ : first_level;
  while (passes_ < passes_max) {
    ++passes_;
    auto now = at(level);
    auto excess = now.arrivals - wanted;
    if (std::abs(excess) <= tolerance * wanted)
      break;
    (excess > 0.0 ? high : low) = level;
    auto next = now.slope > 0.0 ? level - excess / now.slope : high;
    if (!(next > low && next < high))
      next = std::isfinite(high) ? (low + high) / 2 : 2.0 * level;
    if (next == level)
      break;
    level = next;
  }
  level_ = level;
}

water_filling::share water_filling::of(const node& who) const {
  share result;
  result.relative_rate = who.rate / mean_rate_;
  result.preference = std::pow(result.relative_rate, beta_);
  auto filled = level_ * result.preference;
  result.target = who.slots * (filled > 1.0 ? 1.0 + result.relative_rate * (filled - 1.0) : filled);
  auto decay = static_cast<float>(who.rate * horizon_s_);
  auto wants =
      need_of(static_cast<float>(level_), static_cast<float>(who.slots), static_cast<float>(who.in_flight), decay,
              growth_of(decay), static_cast<float>(result.preference), static_cast<float>(result.relative_rate));
  result.arrivals = static_cast<double>(wants.arrivals) / horizon_s_;
  result.weight = std::max(result.arrivals, floor_share * arrival_rate_ * who.slots * who.rate / capacity_);
  return result;
}

} // namespace astra
