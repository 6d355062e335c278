#include "p2p/limits.hpp"

#include <algorithm>
#include <utility>

namespace astra::p2p {
namespace {

// Beyond what any link carries; sums of 2^20 of them do not overflow.
constexpr std::uint64_t rate_max = std::uint64_t{1} << 43U;

/// Divides by largest parts of weights, exactly.
std::vector<std::uint64_t> in_proportion(std::uint64_t total, const std::vector<std::uint64_t>& weights,
                                         std::uint64_t sum) {
  std::vector<std::uint64_t> result;
  std::uint64_t given = 0;
  std::uint64_t before = 0;
  for (auto weight : weights) {
    before += weight;
    auto until = static_cast<std::uint64_t>(static_cast<long double>(total) * (static_cast<long double>(before) / sum));
    until = before == sum ? total : std::clamp(until, given, total);
    result.push_back(until - given);
    given = until;
  }
  return result;
}

/// Of what is left beside the floors each gets what brings it, floor included, to the highest level at which that
/// suffices, and not more than it wants.
/// @param mine indexes into `floors`; `wanted` has what each of them wants beside its floor
std::vector<std::uint64_t> fill(std::uint64_t left, const std::vector<std::size_t>& mine,
                                const std::vector<std::uint64_t>& floors, const std::vector<std::uint64_t>& wanted) {
  auto at_level = [&](std::size_t i, std::uint64_t level) {
    return std::min(wanted[i], level - std::min(level, floors[mine[i]]));
  };
  std::uint64_t low = 0;
  std::uint64_t high = rate_max + 1;
  while (high - low > 1) {
    auto middle = low + (high - low) / 2;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < mine.size(); ++i)
      sum += at_level(i, middle);
    (sum <= left ? low : high) = middle;
  }
  std::vector<std::uint64_t> result;
  for (std::size_t i = 0; i < mine.size(); ++i) {
    result.push_back(at_level(i, low));
    left -= result.back();
  }
  // The bytes that are left are fewer than those who would take one more.
  for (std::size_t i = 0; i < mine.size() && left > 0; ++i)
    if (at_level(i, low + 1) > result[i]) {
      ++result[i];
      --left;
    }
  return result;
}

} // namespace

std::vector<std::uint64_t> share_limit(std::uint64_t total_bytes_per_s, const std::vector<rate_demand>& demands) {
  if (demands.empty())
    return {};
  std::vector<std::uint64_t> floors;
  std::uint64_t floor_sum = 0;
  for (auto& demand : demands) {
    floors.push_back(std::min(demand.floor_bytes_per_s, rate_max));
    floor_sum += floors.back();
  }
  if (floor_sum > total_bytes_per_s)
    return in_proportion(total_bytes_per_s, floors, floor_sum);
  auto result = floors;
  auto left = total_bytes_per_s - floor_sum;
  for (auto level : {urgency::high, urgency::normal, urgency::low}) {
    // Beside its floor.
    std::vector<std::size_t> mine;
    std::vector<std::uint64_t> wanted;
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < demands.size(); ++i) {
      auto more = std::min(demands[i].wanted_bytes_per_s, rate_max);
      more -= std::min(more, floors[i]);
      if (demands[i].how == level) {
        mine.push_back(i);
        wanted.push_back(more);
      } else if (demands[i].how < level) {
        below += more;
      }
    }
    below = std::min(below, total_bytes_per_s / 32);
    auto shares = fill(left - std::min(left, below), mine, floors, wanted);
    for (std::size_t i = 0; i < mine.size(); ++i) {
      result[mine[i]] += shares[i];
      left -= shares[i];
    }
  }
  // What nobody wants.
  auto spare = left / result.size();
  for (auto& share : result) {
    share += spare;
    left -= spare;
  }
  for (std::size_t i = 0; left > 0; ++i, --left)
    ++result[i];
  return result;
}

void upload_demand::look(std::uint64_t sent, std::optional<std::uint64_t> share) {
  if (!share) {
    seconds_.clear();
    share_.reset();
    return;
  }
  // What is told of this second may have been sent in the one before.
  seconds_.push_back({std::min(sent, rate_max), std::min({*share, share_.value_or(*share), rate_max})});
  share_ = share;
  if (seconds_.size() > seconds_max)
    seconds_.pop_front();
}

std::uint64_t upload_demand::wanted(std::uint64_t most) const {
  if (seconds_.size() < seconds_max)
    return most;
  std::uint64_t sent = 0;
  std::uint64_t share = 0;
  for (auto& second : seconds_) {
    sent += second.sent;
    share += second.share;
  }
  if (static_cast<double>(sent) >= used_up * static_cast<double>(share))
    return most;
  return std::min(most, (sent + sent / 10 + share / 50) / seconds_max);
}

std::vector<std::uint64_t> share_by_urgency(std::uint64_t capacity, const std::vector<link_use>& uses) {
  std::vector<std::uint64_t> result(uses.size());
  capacity = std::min(capacity, rate_max);
  for (auto level : {urgency::low, urgency::normal}) {
    std::uint64_t above = 0;
    std::uint64_t here = 0;
    for (auto& use : uses) {
      above += use.how > level ? std::min(use.bytes_per_s, rate_max) : 0;
      here += use.how == level ? 1 : 0;
    }
    if (capacity == 0 || above == 0 || here == 0)
      continue;
    auto taken = above + above / 4;
    auto rest = std::max(capacity - std::min(taken, capacity), capacity / 32);
    for (std::size_t i = 0; i < uses.size(); ++i)
      if (uses[i].how == level)
        result[i] = std::max<std::uint64_t>(rest / here, 1);
  }
  return result;
}

std::uint64_t stepped_limit::set(std::uint64_t bytes_per_s, time_point now) {
  // Shares change a little all the time: a bucket that is a fifth too full is not worth a pause.
  auto lower = target_ != 0 && bytes_per_s != 0 && bytes_per_s < target_ - target_ / 5;
  target_ = bytes_per_s;
  // While it brakes already it goes on to: the bucket need not be drained twice.
  if (brake_ends_ && now < *brake_ends_ && bytes_per_s != 0)
    return brake_bytes_per_s;
  brake_ends_.reset();
  if (lower && bytes_per_s > brake_bytes_per_s) {
    brake_ends_ = now + brake_time;
    return brake_bytes_per_s;
  }
  return bytes_per_s;
}

std::uint64_t stepped_limit::in_force(time_point now) {
  if (brake_ends_ && now < *brake_ends_)
    return brake_bytes_per_s;
  brake_ends_.reset();
  return target_;
}

std::optional<std::uint64_t> give_way::look(std::uint64_t moved, double pressure, bool working) {
  if (!working) {
    limit_.reset();
    full_ = 0;
    return limit_;
  }
  if (pressure > pressure_high) {
    // Not what is allowed but what is moved says what less is: the farther above, the more.
    auto now = limit_ ? std::min(*limit_, std::max(moved, *limit_ / 2)) : moved;
    // Nothing that goes on harms anybody.
    if (moved > least_bytes_per_s || full_ > 0) {
      full_ = std::max(full_, moved);
      auto less = std::clamp(pressure_high / pressure, 0.25, 0.8) * static_cast<double>(now);
      limit_ = std::max(least_bytes_per_s, static_cast<std::uint64_t>(less));
    }
    return limit_;
  }
  if (!limit_) {
    // What is to come begins gently: until the pressure shows, much harm would be done.
    if (moved < gentle_bytes_per_s)
      limit_ = gentle_bytes_per_s;
  } else if (pressure < pressure_low && full_ > 0) {
    *limit_ += std::max(full_ / 10, least_bytes_per_s / 2);
    if (*limit_ >= full_)
      full_ = 0;
  } else if (pressure < pressure_low && moved >= *limit_ / 2) {
    *limit_ = std::min(*limit_ * 2, rate_max);
  } else if (full_ == 0 && moved < gentle_bytes_per_s) {
    limit_ = gentle_bytes_per_s;
  }
  return limit_;
}

} // namespace astra::p2p
