#pragma once

#include "messages/app_protocol.hpp"

#include <caf/actor_system.hpp>
#include <caf/expected.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace astra {

/// Start arguments of an app actor: name -> value.
using app_arguments = std::map<std::string, std::string>;

/// App actors by name: what `kind = "actor"` in an app file can start.  Filled at start-up, read-only afterwards.
class app_registry {
public:
  /// Spawns one replica; fails with errc::invalid_argument when an argument is unknown or malformed.
  using factory = std::function<caf::expected<app_actor>(caf::actor_system&, const app_arguments&)>;

  /// @pre `name` is not registered yet.
  void add(std::string name, factory make);

  /// Fails with errc::unknown_name, naming what there is.
  caf::expected<app_actor> spawn(caf::actor_system& sys, const std::string& name, const app_arguments& args) const;

  std::vector<std::string> names() const;

private:
  std::map<std::string, factory> factories_;
};

/// Adds the actors that come with Astra: echo (answers what it is sent), counter (adds and returns a number; `init`)
/// and burn (computes for a number of milliseconds of CPU per request; `cpu_ms`).
void add_builtin_apps(app_registry& registry);

} // namespace astra
