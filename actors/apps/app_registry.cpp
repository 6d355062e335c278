#include "actors/apps/app_registry.hpp"

#include <cassert>

namespace astra {

void app_registry::add(std::string name, factory make, std::string schema) {
  [[maybe_unused]] auto added = entries_.emplace(std::move(name), entry{std::move(make), std::move(schema)}).second;
  assert(added);
}

caf::expected<app_actor> app_registry::spawn(caf::actor_system& sys, const std::string& name,
                                             const app_arguments& args) const {
  auto found = entries_.find(name);
  if (found != entries_.end())
    return found->second.make(sys, args);
  std::string known;
  for (auto& other : names())
    known += known.empty() ? other : ", " + other;
  return caf::make_error(errc::unknown_name, "no actor type '" + name + "'; there are: " + known);
}

std::vector<std::string> app_registry::names() const {
  std::vector<std::string> result;
  for (auto& entry : entries_)
    result.push_back(entry.first);
  return result;
}

std::string app_registry::schema(const std::string& name) const {
  auto found = entries_.find(name);
  return found == entries_.end() ? std::string{} : found->second.schema;
}

} // namespace astra
