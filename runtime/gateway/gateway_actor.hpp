#pragma once

#include "actors/platform.hpp"
#include "messages/http_exchange.hpp"
#include "messages/router_protocol.hpp"
#include "runtime/tasks/task_desk.hpp"

#include <caf/actor_system.hpp>
#include <caf/typed_actor.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace astra {

class join_desk;

/// The front of a process towards HTTP clients.  Never leaves the process.
using gateway_actor = view_subscriber::extend<
    // Answers the exchange, now or later, exactly once.
    caf::result<void>(http_exchange_ptr),
    // The client of this request is gone.
    caf::result<void>(route_cancel),
    // Not ready any more: new invokes are refused.  Answered when none is under way.
    caf::result<void>(stop_atom)>;

struct gateway_setup {
  /// Name of the process.
  std::string name;
  std::string version;
  view_source view;
  /// Addresses of the Resources, those to ask first in front.
  std::vector<std::string> resources;
  /// The Resources of each group, the home group's first: one of each answers for its nodes.
  std::vector<std::vector<std::string>> groups;
  /// With TLS: requests to apps need no certificate.
  bool anonymous_invoke = false;
  /// Apps that requests are taken for, sorted; empty: all.
  std::vector<std::string> apps;
  /// The view has only nodes with replicas of them.
  bool narrow_view = false;
  /// Hands out certificates; null: not here.
  std::shared_ptr<const join_desk> desk;
  /// Starts the router of one app.
  std::function<router_actor(const std::string& app)> start_router;
  /// Starts who answers for tasks; unset: there are none here.
  std::function<task_desk_actor()> start_tasks;
  /// Why there are none.
  std::string no_tasks = "this gateway keeps no tasks; ask another one";
  std::chrono::milliseconds renew{1000};
  /// Waits for other processes: the dial, then the answer of a scheduler or node.
  std::chrono::milliseconds dial_timeout{2000};
  std::chrono::milliseconds control_timeout{5000};
  /// Wait for what every Resource says of itself, for /v1/status.
  std::chrono::milliseconds report_timeout{1500};
  /// Pause before a router that died is started again; doubles with each death up to the second, and starts over when
  /// a router lived longer than that.
  std::chrono::milliseconds restart_min{100};
  std::chrono::milliseconds restart_max{5000};
  /// An app that vanishes from the view without having been deleted keeps its router for this long: the scheduler
  /// that beats for it may just be moving to another Resource.
  std::chrono::milliseconds app_grace{10000};
  /// What a router may take beyond a request's deadline.
  std::chrono::milliseconds answer_grace{5000};
};

/// Spawns a gateway: it keeps the view, runs one router per app, and answers what the HTTP server hands to it.  Runs
/// until its owner sends it an exit message; invokes under way are then answered 503 and the routers end with it.
gateway_actor spawn_gateway_actor(caf::actor_system& sys, platform& world, gateway_setup setup);

} // namespace astra
