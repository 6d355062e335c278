#include "actors/apps/app_registry.hpp"

#include <cassert>

namespace astra {

void app_registry::add(std::string name, factory make) {
  [[maybe_unused]] auto added = factories_.emplace(std::move(name), std::move(make)).second;
  assert(added);
}

caf::expected<app_actor> app_registry::spawn(caf::actor_system& sys, const std::string& name,
                                             const app_arguments& args) const {
  auto found = factories_.find(name);
  if (found != factories_.end())
    return found->second(sys, args);
  std::string known;
  for (auto& other : names())
    known += known.empty() ? other : ", " + other;
  return caf::make_error(errc::unknown_name, "no actor type '" + name + "'; there are: " + known);
}

std::vector<std::string> app_registry::names() const {
  std::vector<std::string> result;
  for (auto& entry : factories_)
    result.push_back(entry.first);
  return result;
}

} // namespace astra
