#include "actors/router/retry_budget.hpp"

#include "actors/mutant.hpp"

namespace astra {

void retry_budget::count_start(time_point now) {
  ++at(now).starts;
}

bool retry_budget::take(time_point now) {
  auto& current = at(now);
  std::uint64_t starts = 0;
  std::uint64_t retries = 0;
  for (auto& second : seconds_) {
    if (second.number < 0 || second.number + window.count() <= current.number)
      continue;
    starts += second.starts;
    retries += second.retries;
  }
  auto allowed = share_ * static_cast<double>(starts) + static_cast<double>(always_) * window.count();
  if (static_cast<double>(retries) + 1.0 > allowed && !MUTANT(retry_budget_ignored))
    return false;
  ++current.retries;
  return true;
}

retry_budget::second& retry_budget::at(time_point now) {
  auto number = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  auto& entry = seconds_[static_cast<std::size_t>(number % window.count())];
  if (entry.number != number)
    entry = second{number, 0, 0};
  return entry;
}

} // namespace astra
