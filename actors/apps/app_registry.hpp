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

  /// @param schema What it takes, as describe_actor() tells it.
  /// @pre `name` is not registered yet.
  void add(std::string name, factory make, std::string schema = {});

  /// Fails with errc::unknown_name, naming what there is.
  caf::expected<app_actor> spawn(caf::actor_system& sys, const std::string& name, const app_arguments& args) const;

  std::vector<std::string> names() const;

  /// JSON: name, doc, arguments and messages of an actor; empty when there is none.
  std::string schema(const std::string& name) const;

private:
  struct entry {
    factory make;
    std::string schema;
  };

  std::map<std::string, entry> entries_;
};

/// Adds the actors that come with Astra.  They take messages, as docs/actors.md has it, and raw bodies:
/// - echo answers with the body and content type that it is sent;
/// - counter holds an integer that starts at `init` (0): "add" adds and "get" reads, as do a body that is an integer
/// and
///   an empty one; the answer is the value after that;
/// - burn computes for `cpu_ms` (100) milliseconds of a core, or as many as the message or the body says, and answers
/// with
///   the result in hexadecimal.  The amount of work is fixed, so the time depends on the machine; requests advance side
///   by side.
/// A body that an actor does not understand fails with errc::invalid_argument.
void add_builtin_apps(app_registry& registry);

} // namespace astra
