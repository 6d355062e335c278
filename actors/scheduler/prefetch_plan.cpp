#include "actors/scheduler/prefetch_plan.hpp"

#include "actors/scheduler/placement_rules.hpp"
#include "messages/ids.hpp"

#include <algorithm>
#include <utility>

namespace astra {

std::vector<node_id> prefetch_plan::look(plan_input input, random_source& random) {
  auto wanted = input.spec.prefetch();
  auto has_replica = [&](node_id id) { return placed_on(input, id) > 0; };
  std::erase_if(chosen_, [&](node_id id) {
    auto found = input.nodes.find(id);
    if (found == input.nodes.end() || has_replica(id) || !unusable_because(input, found->second).empty())
      return true;
    auto claimed = input.claimed.find(id);
    return room_for(input.spec, newest_row(input, found->second), claimed == input.claimed.end() ? 0 : claimed->second)
           == 0;
  });
  while (chosen_.size() > wanted)
    chosen_.erase(std::prev(chosen_.end()));
  if (chosen_.size() < wanted) {
    // Where there are replicas the contents are, too.
    for (auto placed : {&std::as_const(input.placed), input.also_placed})
      if (placed != nullptr)
        for (auto& [id, count] : *placed)
          if (count > 0)
            input.excluded.try_emplace(id, "has a replica");
    for (auto id : chosen_)
      input.excluded.try_emplace(id, "is chosen already");
    input.missing.clear();
    for (auto missing = wanted - chosen_.size(); missing > 0; --missing)
      input.missing.push_back(static_cast<std::uint32_t>(missing));
    for (auto& place : plan(input, random).placements)
      chosen_.insert(place.node);
  }
  std::vector<node_id> result;
  for (auto id : chosen_) {
    auto& held = input.nodes.at(id).row.shape().contents();
    auto& needed = input.spec.contents();
    if (!std::all_of(needed.begin(), needed.end(), [&](const std::string& content) {
          return std::binary_search(held.begin(), held.end(), name_hash(content));
        }))
      result.push_back(id);
  }
  return result;
}

} // namespace astra
