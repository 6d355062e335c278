#include "runtime/transfer/tracker_choice.hpp"

#include "actors/rendezvous.hpp"

#include <cstddef>

namespace astra {
namespace {

constexpr std::size_t ranked_max = 16'384;

} // namespace

std::optional<std::string> tracker_choice::tracker_of(const std::string& key, time_point now) {
  if (ranked_.size() >= ranked_max && ranked_.count(key) == 0)
    ranked_.clear();
  auto [place, fresh] = ranked_.try_emplace(key);
  if (fresh)
    place->second = rendezvous_order(key, trackers_);
  // One that failed is not asked before it has answered a dial: it would be told of contents that others are asked
  // about, and these would take it for an end.
  for (auto& tracker : place->second)
    if (down_until_.count(tracker) == 0)
      return tracker;
  for (auto& tracker : place->second)
    if (now >= down_until_.at(tracker))
      return tracker;
  return std::nullopt;
}

std::vector<std::string> tracker_choice::due(time_point now) const {
  std::vector<std::string> result;
  for (auto& [tracker, until] : down_until_)
    if (now >= until)
      result.push_back(tracker);
  return result;
}

} // namespace astra
