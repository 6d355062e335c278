// Part of astra_actors_mutants alone.
#include "actors/mutant.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <new>

namespace astra::mutants {
namespace {

constexpr std::array infos{
#define M(id, breaks, rule) mutant_info{#id, breaks, rule},
#include "test/sim/mutants.def"
#undef M
};
static_assert(infos.size() == static_cast<std::size_t>(mutant::none));

using counter = std::atomic<std::uint64_t>;

/// Lies in memory that forked processes share, so that exploration with a process per core counts all that it did.
/// Null until a mutant is selected.
counter* reached_count = nullptr;

} // namespace

std::span<const mutant_info> all() {
  return infos;
}

bool select(std::string_view name) {
  auto found = std::find_if(infos.begin(), infos.end(), [name](auto& info) { return info.name == name; });
  if (found == infos.end())
    return false;
  if (!reached_count) {
    auto memory = mmap(nullptr, sizeof(counter), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(memory != MAP_FAILED);
    reached_count = new (memory) counter{0};
  }
  reached_count->store(0);
  selected = static_cast<mutant>(found - infos.begin());
  return true;
}

std::uint64_t reached() {
  return reached_count ? reached_count->load() : 0;
}

void count() {
  reached_count->fetch_add(1, std::memory_order_relaxed);
}

} // namespace astra::mutants
