#pragma once

#include "actors/platform.hpp"
#include "actors/scheduler/claim_store.hpp"
#include "config/options.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/scheduler_protocol.hpp"

#include <caf/actor_system.hpp>

#include <vector>

namespace astra {

/// Spawns the front of a process that hosts app schedulers: it runs one scheduler per app of `files` and of the
/// platform's app store (the store wins for an app that is in both), takes applies and deletes, beats to its home
/// Resource once per heartbeat and at once when an app's record changes, and publishes itself as `apps_service`.
///
/// A scheduler that dies is started again with a new epoch, after a backoff and within a budget; the app's record says
/// why.  One whose app was taken over by a newer epoch elsewhere stays down and its app leaves the beats, also after a
/// restart: the store notes that it was given up.  Applying the app here takes it back.
///
/// A standby takes over the apps of processes that are gone (standby.hpp).  A process that starts asks the standbys
/// that it sees which of its apps they have, or have deleted, and claims nothing before they have answered.
///
/// An app that is being deleted stays listed, marked, until none of its replicas is seen any more; an apply in that
/// time is refused as a conflict, and a deletion that the end of the process interrupts goes on in the next one.
///
/// Every change is a revision in the store, before it is answered, and can be gone back to.  Of a spec it tells what
/// applying it would do; an apply that names such a plan is refused as a conflict when the plan is another one by now.
///
/// Runs until its owner sends it an exit message; replicas keep running then, to be adopted by the next incarnation.
/// Ends by itself when `view` ends, with errc::io_failed when the store cannot be read at the start, and, with
/// errc::fenced, when a newer process of its name runs.
/// @param claims where claims are logged; null: nowhere.
/// @pre `validate(options)` returned no error.
apps_actor spawn_apps(caf::actor_system& sys, platform& world, const scheduler_options& options,
                      std::vector<pb::AppSpec> files, view_source view, claim_store* claims = nullptr);

} // namespace astra
