#include "actors/node/capacity_book.hpp"

#include "actors/mutant.hpp"

#include <spdlog/fmt/fmt.h>

#include <cassert>
#include <utility>

namespace astra {
namespace {

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
  : cpu_milli(resources.cpu_milli()), memory_bytes(resources.memory_bytes()) {
  for (auto& accelerator : resources.accelerators())
    accelerators[accelerator.kind()] += accelerator.count();
}

capacity_book::capacity_book(const pb::Resources& capacity) : free_(capacity) {}

std::optional<std::string> capacity_book::misfit(const pb::Resources& wanted) const {
  amounts needs{wanted};
  if (needs.cpu_milli > free_.cpu_milli && !MUTANT(claim_granted_without_room))
    return fmt::format("needs {:g} cores, {:g} free", static_cast<double>(needs.cpu_milli) / 1000.0,
                       static_cast<double>(free_.cpu_milli) / 1000.0);
  if (needs.memory_bytes > free_.memory_bytes)
    return fmt::format("needs {} of memory, {} free", memory_text(needs.memory_bytes), memory_text(free_.memory_bytes));
  for (auto& [kind, count] : needs.accelerators) {
    auto found = free_.accelerators.find(kind);
    if (found == free_.accelerators.end() && count > 0)
      return fmt::format("needs {} {}, the node has none", count, kind);
    if (count > 0 && count > found->second)
      return fmt::format("needs {} {}, {} free", count, kind, found->second);
  }
  return std::nullopt;
}

void capacity_book::take(claim_token token, const pb::Resources& wanted) {
  assert(!misfit(wanted));
  amounts taken{wanted};
  free_.cpu_milli -= taken.cpu_milli;
  free_.memory_bytes -= taken.memory_bytes;
  for (auto& [kind, count] : taken.accelerators)
    if (count > 0)
      free_.accelerators[kind] -= count;
  [[maybe_unused]] auto added = holders_.emplace(token, std::move(taken)).second;
  assert(added);
}

void capacity_book::give_back(claim_token token) {
  auto holder = holders_.find(token);
  if (holder == holders_.end())
    return;
  free_.cpu_milli += holder->second.cpu_milli;
  free_.memory_bytes += holder->second.memory_bytes;
  for (auto& [kind, count] : holder->second.accelerators)
    if (count > 0)
      free_.accelerators[kind] += count;
  holders_.erase(holder);
}

pb::Resources capacity_book::free() const {
  pb::Resources result;
  result.set_cpu_milli(static_cast<std::uint32_t>(free_.cpu_milli));
  result.set_memory_bytes(free_.memory_bytes);
  for (auto& [kind, count] : free_.accelerators) {
    auto& entry = *result.add_accelerators();
    entry.set_kind(kind);
    entry.set_count(static_cast<std::uint32_t>(count));
  }
  return result;
}

} // namespace astra
