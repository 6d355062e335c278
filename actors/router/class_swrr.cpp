#include "actors/router/class_swrr.hpp"

#include "actors/router/weight_class.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

namespace astra {
namespace {

/// What the weights of a pool sum up to, about: a million nodes have a million ticks each.
constexpr auto round_ticks = static_cast<double>(std::int64_t{1} << 40);
constexpr auto never = -std::numeric_limits<double>::infinity();
/// Two at a time, as every 64-bit machine can.
using pair = double __attribute__((vector_size(16)));

pair load(const double* from) {
  pair result;
  std::memcpy(&result, from, sizeof result);
  return result;
}

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

} // namespace

void class_swrr::queue::push(const ticket& what) {
  if (size_ == ring_.size()) {
    std::vector<ticket> larger(std::max<std::size_t>(8, 2 * ring_.size()));
    for (std::size_t i = 0; i < size_; ++i)
      larger[i] = at(i);
    ring_ = std::move(larger);
    begin_ = 0;
  }
  ring_[(begin_ + size_) & (ring_.size() - 1)] = what;
  ++size_;
}

void class_swrr::queue::assign(const std::vector<ticket>& sorted) {
  auto capacity = std::size_t{8};
  while (capacity < sorted.size())
    capacity *= 2;
  ring_.assign(capacity, {});
  std::copy(sorted.begin(), sorted.end(), ring_.begin());
  begin_ = 0;
  size_ = sorted.size();
}

bool class_swrr::before(const ticket& a, const ticket& b) {
  auto ahead = static_cast<std::int64_t>(a.credit - b.credit);
  return ahead != 0 ? ahead > 0 : a.rank < b.rank;
}

bool class_swrr::behind(const ticket& a, const ticket& b) {
  return before(b, a);
}

bool class_swrr::valid(const ticket& what, std::uint16_t of) const {
  auto& holder = seats_[what.at];
  return holder.group == of && holder.credit == what.credit && holder.rank == what.rank;
}

std::int64_t class_swrr::credit_of(const sitting& who) const {
  return static_cast<std::int64_t>(who.credit + earned(who.group));
}

std::uint16_t class_swrr::group_of(int number) {
  auto which = static_cast<std::size_t>(number);
  if (group_index_.empty())
    group_index_.assign(weight_class::count, nobody);
  if (group_index_[which] == nobody) {
    group_index_[which] = static_cast<std::uint16_t>(groups_.size());
    groups_.emplace_back();
    groups_.back().which = number;
    groups_.back().weight = static_cast<std::uint64_t>(weight_class::ticks(number));
    heads_.emplace_back();
    if (groups_.size() > blocks_.size() * head_block::size)
      blocks_.emplace_back().credit.fill(never);
    auto at = groups_.size() - 1;
    blocks_[at / head_block::size].weight[at % head_block::size] = static_cast<double>(groups_.back().weight);
  }
  return group_index_[which];
}

void class_swrr::assign(std::span<const entry> pool, random_source* phase) {
  auto seats = seats_.size();
  auto sum = 0.0;
  for (auto& who : pool) {
    seats = std::max<std::size_t>(seats, who.at + std::size_t{1});
    sum += who.weight;
  }
  seats_.resize(seats);
  weighed_.resize(seats);
  std::vector<bool> stays(seats, false);
  for (auto& who : pool)
    stays[who.at] = true;
  for (std::size_t i = 0; i < seats; ++i)
    if (seats_[i].group != nobody && !stays[i])
      leave(static_cast<seat>(i));
  scale_ = sum > 0.0 ? round_ticks / sum : 1.0;
  if (size_ == 0)
    credit_sum_ = 0;
  std::vector<entry> joining;
  auto round = total_;
  for (auto& who : pool) {
    if (seats_[who.at].group != nobody) {
      round -= total_;
      update(who);
      round += total_;
    } else {
      joining.push_back(who);
      round += weight_class::ticks(weight_class::nearest(who.weight * scale_));
    }
  }
  auto mean = size_ > 0 ? floor_div(credit_sum_, static_cast<std::int64_t>(size_)) : 0;
  auto many = joining.size() > size_;
  for (auto& who : joining) {
    join(who.at, who.weight, mean + draw_phase(phase, round));
    if (!many)
      add_ticket(who.at);
  }
  if (many)
    rebuild(0); // sorts once
  keep_scale();
}

void class_swrr::adopt(std::span<const entry> pool, std::span<const turn> turns, random_source* phase) {
  assert(size_ == 0);
  auto sum = 0.0;
  auto seats = std::size_t{0};
  for (auto& before : turns) {
    sum += static_cast<double>(before.weight);
    seats = std::max<std::size_t>(seats, before.at + std::size_t{1});
  }
  seats_.resize(std::max(seats_.size(), seats));
  weighed_.resize(seats_.size());
  scale_ = sum > 0.0 ? round_ticks / sum : 1.0;
  for (auto& before : turns)
    join(before.at, static_cast<double>(before.weight), std::llround(static_cast<double>(before.credit) * scale_));
  rebuild(0);
  // In a unit of its own.
  assign(pool, phase);
}

void class_swrr::insert(const entry& who, random_source* phase) {
  if (who.at >= seats_.size()) {
    seats_.resize(who.at + std::size_t{1});
    weighed_.resize(seats_.size());
  }
  assert(seats_[who.at].group == nobody);
  if (size_ == 0) {
    scale_ = who.weight > 0.0 ? round_ticks / who.weight : 1.0;
    credit_sum_ = 0;
  }
  auto mean = size_ > 0 ? floor_div(credit_sum_, static_cast<std::int64_t>(size_)) : 0;
  auto round = total_ + weight_class::ticks(weight_class::nearest(who.weight * scale_));
  join(who.at, who.weight, mean + draw_phase(phase, round));
  add_ticket(who.at);
  keep_scale();
}

void class_swrr::update(const entry& who) {
  auto& sits = seats_[who.at];
  assert(sits.group != nobody);
  auto weight = who.weight * scale_;
  if (!weight_class::apart(weighed_[who.at], weight))
    return;
  weighed_[who.at] = weight;
  auto to = group_of(weight_class::nearest(weight));
  auto from = sits.group;
  if (to == from)
    return;
  auto credit = credit_of(sits);
  sits.group = to;
  sits.credit = static_cast<offset>(credit) - earned(to);
  total_ += static_cast<std::int64_t>(groups_[to].weight) - static_cast<std::int64_t>(groups_[from].weight);
  --groups_[from].members;
  ++groups_[to].members;
  if (heads_[from].at == who.at)
    find_head(from);
  add_ticket(who.at);
}

void class_swrr::remove(seat who) {
  leave(who);
  keep_scale();
}

std::optional<seat> class_swrr::pick(std::span<const seat> passed_over) {
  if (passed_over.empty()) {
    if (size_ == 0)
      return std::nullopt;
    ++picks_;
    auto which = best_head();
    auto who = heads_[which].at;
    pay(which, who, total_);
    return who;
  }

  // Out of sight for this pick: seat and group.
  std::vector<std::pair<seat, std::uint16_t>> aside;
  auto price = total_;
  for (auto who : passed_over) {
    if (who >= seats_.size() || seats_[who].group == nobody)
      continue;
    auto& sits = seats_[who];
    aside.emplace_back(who, sits.group);
    price -= static_cast<std::int64_t>(groups_[sits.group].weight);
    sits.group = nobody;
  }
  for (auto [who, which] : aside)
    if (heads_[which].at == who)
      find_head(which);
  std::optional<seat> picked;
  auto some = aside.size() < size_;
  if (some) {
    ++picks_;
    auto which = best_head();
    picked = heads_[which].at;
    pay(which, *picked, price);
  }
  for (auto [who, which] : aside) {
    auto& sits = seats_[who];
    sits.group = which;
    if (some)
      sits.credit -= groups_[which].weight; // has not earned it
    add_ticket(who);
  }
  return picked;
}

std::vector<order::turn> class_swrr::turns() const {
  std::vector<seat> in_order;
  in_order.reserve(size_);
  for (std::size_t i = 0; i < seats_.size(); ++i)
    if (seats_[i].group != nobody)
      in_order.push_back(static_cast<seat>(i));
  std::ranges::sort(in_order, {}, [this](seat who) { return seats_[who].rank; });
  auto mean = size_ > 0 ? floor_div(credit_sum_, static_cast<std::int64_t>(size_)) : 0;
  std::vector<turn> result;
  result.reserve(size_);
  for (auto who : in_order) {
    auto& sits = seats_[who];
    result.push_back({who, static_cast<std::int64_t>(groups_[sits.group].weight), credit_of(sits) - mean});
  }
  return result;
}

/// Without a ticket.
void class_swrr::join(seat who, double weight, std::int64_t credit) {
  auto which = group_of(weight_class::nearest(weight * scale_));
  auto& sits = seats_[who];
  sits = {static_cast<offset>(credit) - earned(which), next_rank_, which};
  ++next_rank_;
  weighed_[who] = weight * scale_;
  ++groups_[which].members;
  ++size_;
  total_ += static_cast<std::int64_t>(groups_[which].weight);
  credit_sum_ += credit;
}

void class_swrr::leave(seat who) {
  auto& sits = seats_[who];
  assert(sits.group != nobody);
  auto which = sits.group;
  credit_sum_ -= credit_of(sits);
  total_ -= static_cast<std::int64_t>(groups_[which].weight);
  sits.group = nobody;
  --groups_[which].members;
  --size_;
  if (heads_[which].at == who)
    find_head(which);
}

/// Of the head of a group that was picked.
void class_swrr::pay(std::uint16_t which, seat who, std::int64_t price) {
  auto& from = groups_[which];
  auto& sits = seats_[who];
  sits.credit -= static_cast<offset>(price);
  const ticket later{sits.credit, sits.rank, who};
  if (from.head_in_turn) {
    from.in_turn.pop();
  } else {
    std::ranges::pop_heap(from.others, behind);
    from.others.pop_back();
  }
  if (from.in_turn.empty() || before(from.in_turn.back(), later)) {
    from.in_turn.push(later);
  } else {
    from.others.push_back(later);
    std::ranges::push_heap(from.others, behind);
  }
  find_head(which);
}

void class_swrr::add_ticket(seat who) {
  auto& sits = seats_[who];
  auto which = sits.group;
  const ticket what{sits.credit, sits.rank, who};
  auto& to = groups_[which];
  // Thrown away before they become many, so that a pick finds few in its way.
  if (to.in_turn.size() + to.others.size() > 2 * std::size_t{to.members} + 64)
    return tidy(which, {what});
  auto in_turn = to.in_turn.empty() || before(to.in_turn.back(), what);
  if (in_turn) {
    to.in_turn.push(what);
  } else {
    to.others.push_back(what);
    std::ranges::push_heap(to.others, behind);
  }
  if (head_credit(which) == never || before(what, heads_[which]))
    set_head(which, what, in_turn);
}

void class_swrr::find_head(std::uint16_t which) {
  auto& of = groups_[which];
  while (!of.in_turn.empty() && !valid(of.in_turn.front(), which))
    of.in_turn.pop();
  while (!of.others.empty() && !valid(of.others.front(), which)) {
    std::ranges::pop_heap(of.others, behind);
    of.others.pop_back();
  }
  if (of.in_turn.empty() && of.others.empty()) {
    head_credit(which) = never;
    return;
  }
  auto in_turn = of.others.empty() || (!of.in_turn.empty() && before(of.in_turn.front(), of.others.front()));
  set_head(which, in_turn ? of.in_turn.front() : of.others.front(), in_turn);
  // The next one is looked up when this one has been picked: by then it is here.
  if (of.in_turn.size() > 1)
    __builtin_prefetch(&seats_[of.in_turn.at(1).at]);
}

void class_swrr::set_head(std::uint16_t which, const ticket& what, bool in_turn) {
  groups_[which].head_in_turn = in_turn;
  heads_[which] = what;
  head_credit(which) = static_cast<double>(static_cast<std::int64_t>(what.credit + earned(which)));
}

/// Throws away the tickets of a group that count no more.
void class_swrr::tidy(std::uint16_t which, std::vector<ticket> more) {
  auto& of = groups_[which];
  for (std::size_t i = 0; i < of.in_turn.size(); ++i)
    more.push_back(of.in_turn.at(i));
  more.insert(more.end(), of.others.begin(), of.others.end());
  std::erase_if(more, [&](const ticket& what) { return !valid(what, which); });
  std::ranges::sort(more, before);
  auto same = [](const ticket& a, const ticket& b) { return a.at == b.at; };
  more.erase(std::unique(more.begin(), more.end(), same), more.end());
  of.in_turn.assign(more);
  of.others.clear();
  find_head(which);
}

/// Brings the sum of weights back to where credits have room, and the mean credit to 0.
void class_swrr::keep_scale() {
  if (size_ == 0)
    return;
  auto sum = static_cast<double>(total_);
  auto mean = credit_sum_ / static_cast<std::int64_t>(size_);
  if (sum < round_ticks / 4 || sum > round_ticks * 4)
    rebuild(std::ilogb(round_ticks / sum));
  else if (std::abs(mean) > total_ || next_rank_ > std::numeric_limits<std::uint32_t>::max() / 2)
    rebuild(0);
}

/// Makes all groups anew, with weights and credits times 2^octaves.
void class_swrr::rebuild(int octaves) {
  auto mean = size_ > 0 ? floor_div(credit_sum_, static_cast<std::int64_t>(size_)) : 0;
  std::vector<std::pair<int, std::int64_t>> before_now(seats_.size());
  std::vector<seat> in_order;
  in_order.reserve(size_);
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    if (seats_[i].group == nobody)
      continue;
    in_order.push_back(static_cast<seat>(i));
    auto which = groups_[seats_[i].group].which + octaves * weight_class::steps_per_octave;
    auto credit = std::ldexp(static_cast<double>(credit_of(seats_[i]) - mean), octaves);
    before_now[i] = {std::clamp(which, 0, weight_class::count - 1), std::llround(credit)};
  }
  if (next_rank_ > std::numeric_limits<std::uint32_t>::max() / 2) {
    std::ranges::sort(in_order, {}, [this](seat who) { return seats_[who].rank; });
    next_rank_ = 0;
    for (auto who : in_order)
      seats_[who].rank = next_rank_++;
  }
  groups_.clear();
  group_index_.clear();
  blocks_.clear();
  heads_.clear();
  picks_ = 0;
  total_ = 0;
  credit_sum_ = 0;
  scale_ = std::ldexp(scale_, octaves);
  std::vector<std::vector<ticket>> tickets;
  for (auto who : in_order) {
    auto [which, credit] = before_now[who];
    auto& sits = seats_[who];
    sits.group = group_of(which);
    weighed_[who] = std::ldexp(weighed_[who], octaves);
    sits.credit = static_cast<offset>(credit);
    ++groups_[sits.group].members;
    total_ += static_cast<std::int64_t>(groups_[sits.group].weight);
    credit_sum_ += credit;
    tickets.resize(groups_.size());
    tickets[sits.group].push_back({sits.credit, sits.rank, who});
  }
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    std::ranges::sort(tickets[i], before);
    groups_[i].in_turn.assign(tickets[i]);
    find_head(static_cast<std::uint16_t>(i));
  }
}

std::int64_t class_swrr::draw_phase(random_source* phase, std::int64_t round) {
  if (phase == nullptr)
    return 0;
  return static_cast<std::int64_t>(phase->below(static_cast<std::uint64_t>(round))) - round / 2;
}

/// Gives every head what it earns with a pick, and finds the one with the most credit; of equals, the lowest rank.
std::uint16_t class_swrr::best_head() {
  std::array<pair, (weight_class::count + head_block::size - 1) / head_block::size> most;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    auto& block = blocks_[i];
    auto high = pair{never, never};
    for (std::size_t lane = 0; lane < head_block::size; lane += 2) {
      auto now = load(&block.credit[lane]) + load(&block.weight[lane]);
      std::memcpy(&block.credit[lane], &now, sizeof now);
      high = now > high ? now : high;
    }
    most[i] = high;
  }
  auto high = most[0];
  for (std::size_t i = 1; i < blocks_.size(); ++i)
    high = most[i] > high ? most[i] : high;
  auto best = std::max(high[0], high[1]);
  std::size_t found = heads_.size();
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (most[i][0] != best && most[i][1] != best)
      continue;
    for (std::size_t lane = 0; lane < head_block::size; ++lane) {
      auto at = i * head_block::size + lane;
      if (blocks_[i].credit[lane] == best && (found == heads_.size() || heads_[at].rank < heads_[found].rank))
        found = at;
    }
  }
  return static_cast<std::uint16_t>(found);
}

} // namespace astra
