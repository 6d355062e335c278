#include "actors/router/calendar_queue.hpp"

#include "actors/router/weight_class.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace astra {
namespace {

/// Weights and credits as they are shown.
constexpr auto round_ticks = static_cast<double>(std::int64_t{1} << 40);
/// Days, of a node that has next to no weight: a turn in that many.
constexpr double period_max = 1e9;
/// How many days ahead what is due is fetched from memory.
constexpr std::uint64_t look_ahead = 6;

/// Of the period, until the first turn.
double draw_part(random_source* phase) {
  return phase != nullptr ? phase->unit() : 0.5;
}

} // namespace

calendar_queue::instant calendar_queue::period_of(double share) {
  auto days = share > 0.0 ? std::min(1.0 / share, period_max) : period_max;
  return std::max<instant>(1, static_cast<instant>(std::ldexp(days, day_bits)));
}

void calendar_queue::assign(std::span<const entry> pool, random_source* phase) {
  auto seats = seats_.size();
  auto sum = 0.0;
  for (auto& who : pool) {
    seats = std::max<std::size_t>(seats, who.at + std::size_t{1});
    sum += who.weight;
  }
  std::vector<bool> stays(seats, false);
  for (auto& who : pool)
    stays[who.at] = true;
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (seats_[i].period != 0 && !stays[i])
      remove(static_cast<seat>(i));
  if (seats == 0)
    return;
  make_room(static_cast<seat>(seats - 1));
  scale_ = sum;
  for (auto& who : pool) {
    if (taken(who.at))
      change(who);
    else
      join(who, draw_part(phase));
  }
  keep_scale();
}

void calendar_queue::adopt(std::span<const entry> pool, std::span<const turn> turns, random_source* phase) {
  assert(size_ == 0);
  auto seats = std::size_t{0};
  auto round = 0.0;
  auto sum = 0.0;
  for (auto& before : turns) {
    seats = std::max<std::size_t>(seats, before.at + std::size_t{1});
    round += static_cast<double>(before.weight);
  }
  std::vector<double> saved(seats, std::numeric_limits<double>::quiet_NaN());
  for (auto& before : turns)
    saved[before.at] = static_cast<double>(before.credit) / round;
  for (auto& who : pool) {
    seats = std::max<std::size_t>(seats, who.at + std::size_t{1});
    sum += who.weight;
  }
  if (seats == 0)
    return;
  make_room(static_cast<seat>(seats - 1));
  scale_ = sum;
  for (auto& who : pool) {
    if (who.at < saved.size() && !std::isnan(saved[who.at]))
      join(who, std::clamp(0.5 - saved[who.at], 0.0, 2.0));
    else
      join(who, draw_part(phase));
  }
  keep_scale();
}

void calendar_queue::insert(const entry& who, random_source* phase) {
  join(who, draw_part(phase));
  keep_scale();
}

void calendar_queue::update(const entry& who) {
  change(who);
  keep_scale();
}

void calendar_queue::change(const entry& who) {
  assert(taken(who.at));
  auto share = share_of(who.weight);
  if (!weight_class::apart(weighed_[who.at], share))
    return;
  unlink(who.at);
  share_sum_ += share - weighed_[who.at];
  weighed_[who.at] = share;
  auto& sits = seats_[who.at];
  auto part = static_cast<double>(sits.deadline - now()) / static_cast<double>(sits.period);
  sits.period = period_of(share);
  sits.deadline = now() + static_cast<instant>(part * static_cast<double>(sits.period));
  link(who.at);
}

void calendar_queue::remove(seat who) {
  assert(taken(who));
  unlink(who);
  seats_[who].period = 0;
  share_sum_ -= weighed_[who];
  --size_;
  keep_scale();
}

std::optional<seat> calendar_queue::pick(std::span<const seat> passed_over) {
  std::size_t aside = 0;
  for (std::size_t i = 0; i < passed_over.size(); ++i)
    if (taken(passed_over[i])
        && std::find(passed_over.begin(), passed_over.begin() + static_cast<std::ptrdiff_t>(i), passed_over[i])
               == passed_over.begin() + static_cast<std::ptrdiff_t>(i))
      ++aside;
  if (aside >= size_)
    return std::nullopt;
  auto mask = days_.size() - 1;
  auto waits = false;
  for (auto day = today_;; ++day) {
    if (auto soon = days_[(day + look_ahead) & mask]; soon != none)
      __builtin_prefetch(&seats_[soon]);
    seat due = none;
    for (auto who = days_[day & mask]; who != none; who = seats_[who].next) {
      auto& sits = seats_[who];
      if (day_of(sits.deadline) != day)
        continue; // a later year
      if (!passed_over.empty() && std::ranges::find(passed_over, who) != passed_over.end())
        waits = true;
      else if (due == none || sits.deadline < seats_[due].deadline)
        due = who;
    }
    if (due == none)
      continue;
    // Who is passed over keeps his turn: time stands still for him.
    if (!waits)
      today_ = day;
    unlink(due);
    seats_[due].deadline += seats_[due].period;
    link(due);
    return due;
  }
}

std::vector<order::turn> calendar_queue::turns() const {
  std::vector<seat> in_order;
  in_order.reserve(size_);
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (seats_[i].period != 0)
      in_order.push_back(static_cast<seat>(i));
  std::ranges::sort(in_order, {}, [this](seat who) { return seats_[who].rank; });
  std::vector<turn> result;
  result.reserve(size_);
  std::int64_t sum = 0;
  for (auto who : in_order) {
    auto& sits = seats_[who];
    auto ahead =
        static_cast<double>(static_cast<std::int64_t>(sits.deadline - now())) / static_cast<double>(sits.period);
    auto weight = weighed_[who] * round_ticks;
    result.push_back({who, std::max<std::int64_t>(1, std::llround(weight)), std::llround((0.5 - ahead) * round_ticks)});
    sum += result.back().credit;
  }
  if (result.empty())
    return result;
  auto count = static_cast<std::int64_t>(result.size());
  auto mean = sum / count - (sum % count < 0 ? 1 : 0);
  for (auto& turn : result)
    turn.credit -= mean;
  return result;
}

void calendar_queue::make_room(seat who) {
  if (who < seats_.size())
    return;
  seats_.resize(who + std::size_t{1});
  weighed_.resize(seats_.size());
  if (days_.size() < seats_.size())
    rebuild();
}

void calendar_queue::join(const entry& who, double part_of_period) {
  make_room(who.at);
  assert(!taken(who.at));
  if (size_ == 0 && scale_ <= 0.0)
    scale_ = who.weight;
  auto& sits = seats_[who.at];
  auto share = share_of(who.weight);
  sits.period = period_of(share);
  sits.deadline = now() + static_cast<instant>(part_of_period * static_cast<double>(sits.period));
  sits.rank = next_rank_++;
  weighed_[who.at] = share;
  share_sum_ += share;
  ++size_;
  link(who.at);
}

void calendar_queue::link(seat who) {
  auto& sits = seats_[who];
  auto& first = days_[day_of(sits.deadline) & (days_.size() - 1)];
  sits.next = first;
  first = who;
}

void calendar_queue::unlink(seat who) {
  auto* link = &days_[day_of(seats_[who].deadline) & (days_.size() - 1)];
  while (*link != who)
    link = &seats_[*link].next;
  *link = seats_[who].next;
}

/// The days must not become crowded, nor most of them empty.
void calendar_queue::keep_scale() {
  if (size_ == 0 || (share_sum_ >= 0.5 && share_sum_ <= 2.0) || share_sum_ <= 0.0)
    return;
  auto sum = share_sum_;
  scale_ *= sum;
  for (auto& share : weighed_)
    share /= sum;
  rebuild();
}

/// Makes the calendar anew.  Everybody keeps his part of the period.
void calendar_queue::rebuild() {
  auto days = std::size_t{64};
  while (days < seats_.size())
    days *= 2;
  days_.assign(days, none);
  auto was = now();
  today_ = 0;
  share_sum_ = 0.0;
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    auto& sits = seats_[i];
    if (sits.period == 0)
      continue;
    auto part = static_cast<double>(sits.deadline - was) / static_cast<double>(sits.period);
    sits.period = period_of(weighed_[i]);
    sits.deadline = static_cast<instant>(part * static_cast<double>(sits.period));
    share_sum_ += weighed_[i];
    link(static_cast<seat>(i));
  }
}

} // namespace astra
