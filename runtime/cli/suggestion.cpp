#include "runtime/cli/suggestion.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace astra {
namespace {

// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours, each counted once.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      auto same = a[i - 1] == b[j - 1];
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

} // namespace

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  // One slip per three letters; more is another word.
  auto allowed = std::max<std::size_t>(1, word.size() / 3);
  for (const auto& candidate : known) {
    auto distance = edit_distance(word, candidate);
    if (distance <= allowed && distance < candidate.size()) {
      best = candidate;
      if (distance == 0)
        break;
      allowed = distance - 1;
    }
  }
  return best;
}

} // namespace astra
