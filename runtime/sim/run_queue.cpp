#include "runtime/sim/run_queue.hpp"

#include <algorithm>
#include <cassert>

namespace astra::sim {
namespace {

// Draws of draw_kind::schedule are told apart by their subject.
constexpr std::uint64_t subject_choice = 1;
constexpr std::uint64_t subject_pick = 2;
constexpr std::uint64_t subject_change = 3;
constexpr std::uint64_t subject_priority = 4;

} // namespace

schedule_policy run_queue::choose(schedule_policy policy, const draws& random) {
  if (policy != schedule_policy::mixed)
    return policy;
  switch (random.below(4, draw_kind::schedule, subject_choice, 0)) {
  case 0:
    return schedule_policy::fifo;
  case 1:
    return schedule_policy::random;
  default:
    return schedule_policy::pctcp;
  }
}

run_queue::run_queue(schedule_policy policy, std::uint32_t depth, std::uint64_t steps, draws random)
  : policy_(policy), random_(random) {
  assert(policy != schedule_policy::mixed);
  for (std::uint32_t i = 0; i < depth; ++i)
    changes_.push_back(random_.below(std::max<std::uint64_t>(steps, 1), draw_kind::schedule, subject_change, i));
  std::sort(changes_.begin(), changes_.end());
}

std::uint64_t run_queue::priority(const job& what) {
  auto whose = policy_ == schedule_policy::pct ? what.actor : what.chain;
  if (auto low = fallen_.find(whose); low != fallen_.end())
    return low->second;
  // Above every fallen one.
  return (std::uint64_t{1} << 63) | (random_.bits(draw_kind::schedule, subject_priority, whose) >> 1);
}

void run_queue::push(const job& what) {
  ++size_;
  ++pushed_;
  switch (policy_) {
  case schedule_policy::random:
    bag_.push_back(what);
    break;
  case schedule_policy::pct:
  case schedule_policy::pctcp:
    ranks_.emplace(std::pair{~priority(what), pushed_}, what);
    break;
  default:
    line_.push_back(what);
  }
}

job run_queue::pop() {
  assert(size_ > 0);
  --size_;
  ++popped_;
  job result;
  switch (policy_) {
  case schedule_policy::random: {
    auto place = random_.below(bag_.size(), draw_kind::schedule, subject_pick, popped_);
    result = bag_[place];
    bag_[place] = bag_.back();
    bag_.pop_back();
    break;
  }
  case schedule_policy::pct:
  case schedule_policy::pctcp: {
    while (next_change_ < changes_.size() && changes_[next_change_] <= popped_) {
      ++next_change_;
      auto& top = ranks_.begin()->second;
      fallen_[policy_ == schedule_policy::pct ? top.actor : top.chain] = changes_.size() - next_change_;
      auto moved = top;
      ranks_.erase(ranks_.begin());
      ranks_.emplace(std::pair{~priority(moved), ++pushed_}, moved);
    }
    result = ranks_.begin()->second;
    ranks_.erase(ranks_.begin());
    break;
  }
  default:
    result = line_.front();
    line_.pop_front();
  }
  return result;
}

bool run_queue::take(std::uint64_t actor, job& what) {
  auto mine = [actor](const job& other) { return other.actor == actor; };
  if (auto found = std::find_if(line_.begin(), line_.end(), mine); found != line_.end()) {
    what = *found;
    line_.erase(found);
  } else if (auto bagged = std::find_if(bag_.begin(), bag_.end(), mine); bagged != bag_.end()) {
    what = *bagged;
    bag_.erase(bagged);
  } else {
    auto ranked = std::find_if(ranks_.begin(), ranks_.end(), [&](auto& entry) { return mine(entry.second); });
    if (ranked == ranks_.end())
      return false;
    what = ranked->second;
    ranks_.erase(ranked);
  }
  --size_;
  return true;
}

std::vector<job> run_queue::drain() {
  std::vector<waiting> all;
  for (auto& what : line_)
    all.push_back({all.size(), what});
  for (auto& what : bag_)
    all.push_back({all.size(), what});
  for (auto& [rank, what] : ranks_)
    all.push_back({rank.second, what});
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.order < b.order; });
  std::vector<job> result;
  for (auto& entry : all)
    result.push_back(entry.what);
  line_.clear();
  bag_.clear();
  ranks_.clear();
  size_ = 0;
  return result;
}

} // namespace astra::sim
