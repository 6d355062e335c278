#include "runtime/bench/view_board.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <new>
#include <string>

namespace astra::bench {

static_assert(std::atomic<std::int64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free
              && std::atomic<bool>::is_always_lock_free);

view_board::view_board(std::uint32_t members, double dying)
  : members_(members), followed_(std::min(followed_max, std::max(1U, members / 4))), stride_(members / followed_),
    dying_(dying) {
  assert(members > 0);
  bytes_ = sizeof(head) + members_ * sizeof(member_note) + followed_ * sizeof(followed_note);
  memory_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory_ == MAP_FAILED)
    throw std::bad_alloc{};
  // The kernel's pages are zero, and so is every atomic number in them.
  head_ = static_cast<head*>(memory_);
  notes_ = reinterpret_cast<member_note*>(head_ + 1);
  followed_notes_ = reinterpret_cast<followed_note*>(notes_ + members_);
  for (std::uint32_t i = 0; i < members_; ++i)
    doomed_ += doomed(i) ? 1 : 0;
}

view_board::~view_board() {
  ::munmap(memory_, bytes_);
}

bool view_board::doomed(std::uint32_t member) const {
  if (place_of(member))
    return false;
  // Spread over all, and the same in every process.
  auto draw = static_cast<double>(member * 2654435761U) / 4294967296.0;
  return draw < dying_;
}

std::string crowd_name(std::uint32_t swarm) {
  return "swarm-" + std::to_string(swarm + 1);
}

} // namespace astra::bench
