#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace astra::sim {

/// Two numbers as one id.  Different pairs have the same id with a probability of 2^-64.
inline std::uint64_t joint_id(std::uint64_t a, std::uint64_t b) {
  auto z = a * 0x9e3779b97f4a7c15U + b + 0x7f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Values by 64-bit ids, for checks, which look things up millions of times per second: open addressing, memory only
/// when it grows, no removal, and no order that could leak into a result.  References are valid until the next
/// insertion.
template <class Value>
class id_table {
public:
  /// Null when there is none.
  Value* find(std::uint64_t id) {
    if (slots_.empty())
      return nullptr;
    auto& slot = place(key_of(id));
    return slot.key == 0 ? nullptr : &slot.value;
  }

  const Value* find(std::uint64_t id) const { return const_cast<id_table*>(this)->find(id); }

  bool has(std::uint64_t id) const { return find(id) != nullptr; }

  /// The value of this id, made when there is none.
  Value& operator[](std::uint64_t id) {
    if (2 * (size_ + 1) > slots_.size())
      grow();
    auto& slot = place(key_of(id));
    if (slot.key == 0) {
      slot.key = key_of(id);
      ++size_;
    }
    return slot.value;
  }

  std::size_t size() const { return size_; }

private:
  struct slot {
    /// 0: free.
    std::uint64_t key = 0;
    Value value{};
  };

  static std::uint64_t key_of(std::uint64_t id) { return id == 0 ? ~std::uint64_t{0} : id; }

  slot& place(std::uint64_t key) {
    auto mask = slots_.size() - 1;
    auto at = static_cast<std::size_t>(joint_id(key, 0)) & mask;
    while (slots_[at].key != 0 && slots_[at].key != key)
      at = (at + 1) & mask;
    return slots_[at];
  }

  void grow() {
    auto before = std::exchange(slots_, std::vector<slot>(slots_.empty() ? 16 : 2 * slots_.size()));
    for (auto& entry : before)
      if (entry.key != 0)
        std::swap(place(entry.key), entry);
  }

  std::vector<slot> slots_;
  std::size_t size_ = 0;
};

} // namespace astra::sim
