#pragma once

#include "messages/type_ids.hpp"

#include <caf/actor_control_block.hpp>
#include <caf/actor_system.hpp>
#include <caf/typed_actor.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace astra {

/// The one actor of a process that other processes can reach without being told of it: it knows the others by name.
using directory_actor = caf::typed_actor<
    // The actor behind a service name.  Fails with unknown_name, naming what there is.
    caf::result<caf::strong_actor_ptr>(lookup_atom, std::string)>;

/// Services of this process, by name.  Shared between the platform, which fills it from any thread, and the directory
/// actor, which reads it.
class service_table {
public:
  void put(std::string_view name, caf::strong_actor_ptr target);
  void erase(std::string_view name);
  caf::expected<caf::strong_actor_ptr> find(const std::string& name) const;
  /// Empty: the actor is not a service.
  std::string name_of(caf::actor_id actor) const;
  void clear();

private:
  mutable std::mutex mutex_;
  std::map<std::string, caf::strong_actor_ptr, std::less<>> services_;
};

directory_actor spawn_directory(caf::actor_system& sys, std::shared_ptr<service_table> services);

} // namespace astra
