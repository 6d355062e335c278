#include "actors/scheduler/index_set.hpp"

#include <bit>
#include <limits>

namespace astra {
namespace {

std::uint64_t bit_of(std::uint32_t index) {
  return std::uint64_t{1} << (index % 64);
}

} // namespace

bool index_set::insert(std::uint32_t index) {
  auto& page = pages_[index / page_size];
  auto& word = page.words[index % page_size / 64];
  if ((word & bit_of(index)) != 0)
    return false;
  word |= bit_of(index);
  ++page.count;
  ++size_;
  return true;
}

void index_set::insert(std::uint32_t begin, std::uint32_t end) {
  for (auto index = begin; index < end; ++index)
    insert(index);
}

bool index_set::erase(std::uint32_t index) {
  auto found = pages_.find(index / page_size);
  if (found == pages_.end())
    return false;
  auto& word = found->second.words[index % page_size / 64];
  if ((word & bit_of(index)) == 0)
    return false;
  word &= ~bit_of(index);
  --size_;
  if (--found->second.count == 0)
    pages_.erase(found);
  return true;
}

void index_set::clear() {
  pages_.clear();
  size_ = 0;
}

bool index_set::contains(std::uint32_t index) const {
  auto found = pages_.find(index / page_size);
  return found != pages_.end() && (found->second.words[index % page_size / 64] & bit_of(index)) != 0;
}

std::optional<std::uint32_t> index_set::next(std::uint64_t from) const {
  if (from > std::numeric_limits<std::uint32_t>::max())
    return std::nullopt;
  auto first = static_cast<std::uint32_t>(from);
  for (auto found = pages_.lower_bound(first / page_size); found != pages_.end(); ++found) {
    auto here = found->first == first / page_size ? first % page_size : 0;
    auto& words = found->second.words;
    for (std::size_t i = here / 64; i < words.size(); ++i) {
      auto word = words[i];
      if (i == here / 64)
        word &= ~std::uint64_t{0} << (here % 64);
      if (word != 0)
        return found->first * page_size + static_cast<std::uint32_t>(i * 64)
               + static_cast<std::uint32_t>(std::countr_zero(word));
    }
  }
  return std::nullopt;
}

} // namespace astra
