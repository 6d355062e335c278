#include "runtime/net/directory.hpp"

#include <caf/typed_event_based_actor.hpp>

namespace astra {

void service_table::put(std::string_view name, caf::strong_actor_ptr target) {
  std::lock_guard guard{mutex_};
  services_.insert_or_assign(std::string{name}, std::move(target));
}

void service_table::erase(std::string_view name) {
  std::lock_guard guard{mutex_};
  if (auto found = services_.find(name); found != services_.end())
    services_.erase(found);
}

caf::expected<caf::strong_actor_ptr> service_table::find(const std::string& name) const {
  std::lock_guard guard{mutex_};
  if (auto found = services_.find(name); found != services_.end())
    return found->second;
  std::string known;
  for (auto& entry : services_)
    known += known.empty() ? entry.first : ", " + entry.first;
  return caf::make_error(errc::unknown_name, "no service '" + name + "' in this process; there are: " + known);
}

std::string service_table::name_of(caf::actor_id actor) const {
  std::lock_guard guard{mutex_};
  for (auto& [name, target] : services_)
    if (target->id() == actor)
      return name;
  return "";
}

void service_table::clear() {
  std::lock_guard guard{mutex_};
  services_.clear();
}

directory_actor spawn_directory(caf::actor_system& sys, std::shared_ptr<service_table> services) {
  auto body = [services = std::move(services)](directory_actor::pointer) -> directory_actor::behavior_type {
    return {
        [services](lookup_atom, const std::string& name) -> caf::result<caf::strong_actor_ptr> {
          auto found = services->find(name);
          if (!found)
            return std::move(found.error());
          return std::move(*found);
        },
    };
  };
  return sys.spawn(std::move(body));
}

} // namespace astra
