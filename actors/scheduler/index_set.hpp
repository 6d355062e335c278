#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace astra {

/// A set of replica indices: a bit for each of those that are close together.
/// A plain class.
class index_set {
public:
  /// @returns false when it was there.
  bool insert(std::uint32_t index);
  /// All of [begin, end).
  void insert(std::uint32_t begin, std::uint32_t end);
  /// @returns false when it was not there.
  bool erase(std::uint32_t index);
  void clear();

  bool contains(std::uint32_t index) const;
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  /// The smallest one that is not smaller than `from`; none: there is none.  Stays meaningful when the set changes.
  std::optional<std::uint32_t> next(std::uint64_t from) const;

private:
  static constexpr std::uint32_t page_size = 4096;

  struct page {
    std::array<std::uint64_t, page_size / 64> words{};
    std::uint32_t count = 0;
  };

  /// By index / page_size; none is empty.
  std::map<std::uint32_t, page> pages_;
  std::size_t size_ = 0;
};

} // namespace astra
