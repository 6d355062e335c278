#include "config/spelling.hpp"

#include <algorithm>

namespace astra {

namespace {

char folded(char c) {
  if (c >= 'A' && c <= 'Z')
    return static_cast<char>(c - 'A' + 'a');
  return c == '-' ? '_' : c;
}

std::size_t replace_cost(char a, char b) {
  if (a == b)
    return 0;
  return folded(a) == folded(b) ? 1 : 2;
}

/// Whether one is the start of the other: "warning" for "warn", "mem" for "memory".
bool is_start(std::string_view a, std::string_view b) {
  return std::min(a.size(), b.size()) >= 3 && (a.starts_with(b) || b.starts_with(a));
}

} // namespace

std::size_t half_edits(std::string_view a, std::string_view b) {
  // Three rows of the usual table: the swap looks two rows back.
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j)
    last[j] = 2 * j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = 2 * i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 2, row[j - 1] + 2, last[j - 1] + replace_cost(a[i - 1], b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 2);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::optional<std::string> closest(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  std::size_t best_cost = 0;
  for (auto& candidate : candidates) {
    auto cost = half_edits(word, candidate);
    auto longer = std::max(word.size(), candidate.size());
    auto near = cost <= 2 * std::max<std::size_t>(1, longer / 3) && cost < 2 * longer;
    if ((near || is_start(word, candidate)) && (!best || cost < best_cost)) {
      best = &candidate;
      best_cost = cost;
    }
  }
  if (!best)
    return std::nullopt;
  return *best;
}

} // namespace astra
