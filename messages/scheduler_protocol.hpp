#pragma once

#include "messages/resource_protocol.hpp"
#include "messages/type_ids.hpp"

#include <caf/result.hpp>
#include <caf/typed_actor.hpp>

namespace astra {

/// The front of a process that hosts app schedulers: what gateways may say to it.
using apps_actor = caf::typed_actor<
    // Creates the app or changes it to this spec, or to one that it had.  Answered when it is on disk.  With the index
    // of a plan: refused with conflict when the plan is another one now.
    caf::result<control_reply>(apply_app),
    // Stops all replicas and forgets the app.  Answered when the wish is on disk, before the replicas are gone.
    caf::result<control_reply>(delete_app),
    // The app, and what else is asked for: its revisions, or what applying a spec would do now.
    caf::result<app_detail>(describe_app)>;

/// Service name of a process's apps actor.
inline constexpr const char* apps_service = "apps";

/// Whom a scheduler tells how its app is.  Never leaves the process.
using app_report_sink = caf::typed_actor<
    // The app's record has changed; replicas are left out.
    caf::result<void>(app_detail)>;

/// One app's scheduler, spoken to only by the apps actor of its process.
using scheduler_actor = view_subscriber::extend<
    // New desired state.
    caf::result<void>(apply_app),
    // Stops all replicas; the apps actor hears of the end by the scheduler's exit.
    caf::result<void>(delete_app), caf::result<app_detail>(describe_app)>;

} // namespace astra
