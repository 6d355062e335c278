#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/scheduler_protocol.hpp"

#include <caf/actor_system.hpp>

#include <vector>

namespace astra {

/// Spawns the front of a process that hosts app schedulers: it runs one scheduler per app of `files` and of the
/// platform's app store (the store wins for an app that is in both), restarts those that die, takes applies and
/// deletes, beats to its home Resource, and publishes itself as `apps_service`.  Runs until its owner sends it an
/// exit message; replicas keep running then, to be adopted by the next incarnation.
/// @pre `validate(options)` returned no error.
apps_actor spawn_apps(caf::actor_system& sys, platform& world, const scheduler_options& options,
                      std::vector<pb::AppSpec> files, view_source view);

} // namespace astra
