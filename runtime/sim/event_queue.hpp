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
///
/// Entries stay where they were put until it is their turn: a slot is a list of cells, and the heap sorts small keys.
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
  void push(std::int64_t time, std::uint64_t tie, Payload&& payload) {
    assert(time >= 0);
    ++size_;
    auto place = store({time, tie, std::move(payload)});
    auto slot = time / slot_ns;
    if (slot <= present_) {
      due_.push_back({time, tie, place});
      std::push_heap(due_.begin(), due_.end(), later);
    } else if (slot < present_ + slot_count) {
      auto position = static_cast<std::size_t>(slot % slot_count);
      link(wheel_[position], place);
      mark(position);
    } else {
      link(far_.try_emplace(slot, nowhere).first->second, place);
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
    auto next = due_.back();
    due_.pop_back();
    --size_;
    auto result = std::move(cells_[next.place].content);
    link(free_, next.place);
    return result;
  }

  void clear() {
    due_.clear();
    std::fill(wheel_.begin(), wheel_.end(), nowhere);
    marks_.fill(0);
    far_.clear();
    cells_.clear();
    free_ = nowhere;
    size_ = 0;
  }

private:
  static constexpr std::int64_t slot_ns = 1'000'000;
  static constexpr std::int64_t slot_count = 8192;

  /// The end of a list.
  static constexpr auto nowhere = std::numeric_limits<std::uint32_t>::max();

  struct cell {
    entry content;
    /// The cell behind this one in its slot's list, or in that of the free ones.
    std::uint32_t next = nowhere;
  };

  /// What a heap moves about instead of the entry itself.
  struct key {
    std::int64_t time = 0;
    std::uint64_t tie = 0;
    std::uint32_t place = 0;
  };

  static bool later(const key& a, const key& b) { return a.time != b.time ? a.time > b.time : a.tie > b.tie; }

  void mark(std::size_t place) { marks_[place / 64] |= std::uint64_t{1} << (place % 64); }

  std::uint32_t store(entry&& content) {
    if (free_ == nowhere) {
      assert(cells_.size() < nowhere);
      cells_.push_back({std::move(content)});
      return static_cast<std::uint32_t>(cells_.size() - 1);
    }
    auto found = free_;
    free_ = cells_[found].next;
    cells_[found].content = std::move(content);
    return found;
  }

  /// Puts a cell at the head of a list.
  void link(std::uint32_t& head, std::uint32_t added) {
    cells_[added].next = head;
    head = added;
  }

  /// Makes everything in a list due, and the list empty.
  void take(std::uint32_t& head) {
    for (; head != nowhere; head = cells_[head].next)
      due_.push_back({cells_[head].content.time, cells_[head].content.tie, head});
  }

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
      take(wheel_[place]);
      marks_[place / 64] &= ~(std::uint64_t{1} << (place % 64));
      if (auto found = far_.find(next); found != far_.end()) {
        take(found->second);
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
  std::vector<key> due_;
  /// First cells of the lists of the slots.
  std::vector<std::uint32_t> wheel_ = std::vector<std::uint32_t>(slot_count, nowhere);
  std::array<std::uint64_t, slot_count / 64> marks_{};
  std::map<std::int64_t, std::uint32_t> far_;
  std::vector<cell> cells_;
  /// The one that was left last is filled first, for it is still in the cache.
  std::uint32_t free_ = nowhere;
  std::size_t size_ = 0;
};

} // namespace astra::sim
