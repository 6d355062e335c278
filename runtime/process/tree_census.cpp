#include "runtime/process/tree_census.hpp"

#include <algorithm>

namespace astra {

void tree_census::add(process_key key, pid_t first) {
  first_[key] = first;
}

void tree_census::remove(process_key key) {
  first_.erase(key);
  members_.erase(key);
  std::erase_if(known_, [key](auto& entry) { return entry.second == key; });
}

void tree_census::update(const std::vector<process_stat>& all, pid_t launcher, const marker_reader& marker) {
  std::multimap<pid_t, const process_stat*> children;
  for (auto& process : all)
    children.emplace(process.parent, &process);
  members_.clear();
  strays_.clear();
  std::map<identity, process_key> seen;
  auto root_key = [&](const process_stat& root) -> process_key {
    for (auto& [key, first] : first_)
      if (root.pid == first || root.session == first)
        return key;
    if (auto found = known_.find({root.pid, root.start_ticks}); found != known_.end())
      return found->second;
    auto key = marker(root.pid);
    return key && first_.count(*key) != 0 ? *key : process_key{};
  };
  // A tree deeper than the machine has processes would be a cycle, which a scan that is not atomic could show.
  auto budget = all.size();
  auto [begin, end] = children.equal_range(launcher);
  for (auto root = begin; root != end && budget > 0; ++root) {
    auto key = root_key(*root->second);
    std::vector<const process_stat*> rest{root->second};
    while (!rest.empty() && budget > 0) {
      --budget;
      auto& process = *rest.back();
      rest.pop_back();
      if (key)
        seen.emplace(identity{process.pid, process.start_ticks}, key);
      if (!process.ended())
        (key ? members_[key] : strays_).push_back(process);
      auto [first, last] = children.equal_range(process.pid);
      for (auto child = first; child != last; ++child)
        rest.push_back(child->second);
    }
  }
  for (auto& [key, list] : members_)
    std::sort(list.begin(), list.end(), [](auto& a, auto& b) { return a.pid < b.pid; });
  known_ = std::move(seen);
}

const std::vector<process_stat>& tree_census::members(process_key key) const {
  static const std::vector<process_stat> none;
  auto found = members_.find(key);
  return found != members_.end() ? found->second : none;
}

} // namespace astra
