#pragma once

#include "actors/platform.hpp"
#include "messages/type_ids.hpp"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/typed_actor.hpp>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace astra {

using supervisor_actor = caf::typed_actor<
    // How the children are.
    caf::result<children_report>(report_atom)>;

struct supervisor_options {
  std::chrono::milliseconds backoff_min{100};
  std::chrono::milliseconds backoff_max{30000};
  std::chrono::milliseconds healthy_after{60000};
  std::uint32_t budget = 5;
  std::chrono::milliseconds budget_window{60000};
};

/// One child: how to start it, again and again.
struct child_spec {
  std::string name;
  std::function<caf::actor()> start;
};

/// Spawns a supervisor: it starts the children in order and restarts each one that dies abnormally, after a backoff
/// and within a budget (one for one).  A child whose budget is spent stays down, with its last reason in the report
/// and in the log, and `on_failed(name, reason)` is called once; so does one that ended with errc::fenced, at once.  An
/// exit message to the supervisor ends the children in reverse order, then itself.
supervisor_actor spawn_supervisor(caf::actor_system& sys, platform& world, supervisor_options options,
                                  std::vector<child_spec> children,
                                  std::function<void(const std::string&, const std::string&)> on_failed);

} // namespace astra
