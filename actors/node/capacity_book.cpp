#include "actors/node/capacity_book.hpp"

#include "actors/mutant.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace astra {
namespace {

/// More than any machine has, and sums of it do not overflow.
constexpr std::uint64_t memory_bytes_max = std::uint64_t{1} << 53;

std::string memory_text(std::uint64_t bytes) {
  constexpr std::uint64_t mib = 1024 * 1024;
  if (bytes >= 1024 * mib)
    return fmt::format("{:.3g} GiB", static_cast<double>(bytes) / static_cast<double>(1024 * mib));
  if (bytes >= mib)
    return fmt::format("{:.3g} MiB", static_cast<double>(bytes) / static_cast<double>(mib));
  return fmt::format("{} bytes", bytes);
}

} // namespace

capacity_book::amounts::amounts(const pb::Resources& resources)
  : cpu_milli(resources.cpu_milli()),
    memory_bytes(static_cast<std::int64_t>(std::min(resources.memory_bytes(), memory_bytes_max))) {
  for (auto& accelerator : resources.accelerators())
    accelerators[accelerator.kind()] += accelerator.count();
}

void capacity_book::amounts::add(const amounts& other) {
  cpu_milli += other.cpu_milli;
  memory_bytes += other.memory_bytes;
  for (auto& [kind, count] : other.accelerators)
    if (count > 0)
      accelerators[kind] += count;
}

void capacity_book::amounts::subtract(const amounts& other) {
  cpu_milli -= other.cpu_milli;
  memory_bytes -= other.memory_bytes;
  for (auto& [kind, count] : other.accelerators)
    if (count > 0)
      accelerators[kind] -= count;
}

capacity_book::capacity_book(const pb::Resources& capacity) : free_(capacity) {}

std::optional<std::string> capacity_book::misfit(const pb::Resources& wanted) const {
  return why_not(free_, wanted);
}

std::optional<std::string> capacity_book::misfit_without(const std::vector<claim_token>& gone,
                                                         const pb::Resources& wanted) const {
  auto free = free_;
  for (auto token : gone)
    if (auto holder = holders_.find(token); holder != holders_.end())
      free.add(holder->second);
  return why_not(free, wanted);
}

std::optional<std::string> capacity_book::why_not(const amounts& free, const pb::Resources& wanted) {
  amounts needs{wanted};
  auto there = [](std::int64_t amount) { return std::max<std::int64_t>(amount, 0); };
  if (needs.cpu_milli > there(free.cpu_milli) && !MUTANT(claim_granted_without_room))
    return fmt::format("needs {:g} cores, {:g} free", static_cast<double>(needs.cpu_milli) / 1000.0,
                       static_cast<double>(there(free.cpu_milli)) / 1000.0);
  if (needs.memory_bytes > there(free.memory_bytes))
    return fmt::format("needs {} of memory, {} free", memory_text(static_cast<std::uint64_t>(needs.memory_bytes)),
                       memory_text(static_cast<std::uint64_t>(there(free.memory_bytes))));
  for (auto& [kind, count] : needs.accelerators) {
    auto found = free.accelerators.find(kind);
    if (found == free.accelerators.end() && count > 0)
      return fmt::format("needs {} {}, the node has none", count, kind);
    if (count > 0 && count > there(found->second))
      return fmt::format("needs {} {}, {} free", count, kind, there(found->second));
  }
  return std::nullopt;
}

void capacity_book::take(claim_token token, const pb::Resources& wanted) {
  assert(!misfit(wanted));
  replace(token, wanted);
}

void capacity_book::replace(claim_token token, const pb::Resources& wanted) {
  auto [holder, added] = holders_.emplace(token, wanted);
  assert(added);
  if (added)
    free_.subtract(holder->second);
}

void capacity_book::give_back(claim_token token) {
  auto holder = holders_.find(token);
  if (holder == holders_.end())
    return;
  free_.add(holder->second);
  holders_.erase(holder);
}

pb::Resources capacity_book::free() const {
  pb::Resources result;
  result.set_cpu_milli(static_cast<std::uint32_t>(std::max<std::int64_t>(free_.cpu_milli, 0)));
  result.set_memory_bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(free_.memory_bytes, 0)));
  for (auto& [kind, count] : free_.accelerators) {
    auto& entry = *result.add_accelerators();
    entry.set_kind(kind);
    entry.set_count(static_cast<std::uint32_t>(std::max<std::int64_t>(count, 0)));
  }
  return result;
}

} // namespace astra
