#pragma once

#include "actors/platform.hpp"
#include "actors/scheduler/claim_store.hpp"
#include "config/options.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/scheduler_protocol.hpp"

#include <caf/actor_system.hpp>

#include <chrono>

namespace astra {

/// What one app's scheduler is told at start.
struct scheduler_start {
  pb::AppSpec spec;
  /// Larger than that of every earlier scheduler of the app.
  incarnation epoch;
  /// Identifies the process in records.
  scheduler_id process;
  /// Nothing is claimed before the view has been there for this long: after a cold start nodes are still turning up,
  /// and what runs on them is to be adopted, not doubled.
  std::chrono::milliseconds settle{0};
  /// Why the update to the spec was halted before; empty: it was not.
  std::string halted{};
};

/// Spawns one app's scheduler: it follows the view, claims places for missing replicas, releases what is too much, and
/// tells `parent` each change of the app's record.  It ends with exit_reason::normal when the app was deleted and
/// nothing of it runs any more; with errc::fenced, carrying the newer epoch, when a newer scheduler of the app has
/// spoken; and when `parent` or `view` ends.  Replicas keep running when it ends.
scheduler_actor spawn_scheduler(caf::actor_system& sys, platform& world, const scheduler_options& options,
                                scheduler_start start, view_source view, app_report_sink parent,
                                claim_store* claims = nullptr);

} // namespace astra
