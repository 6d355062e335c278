#pragma once

#include "actors/apps/app_registry.hpp"
#include "actors/platform.hpp"
#include "actors/scheduler/claim_store.hpp"
#include "actors/supervisor/supervisor.hpp"
#include "config/options.hpp"
#include "messages/node_protocol.hpp"
#include "messages/transfer_protocol.hpp"
#include "runtime/gateway/gateway.hpp"

#include <caf/actor_system.hpp>
#include <caf/timespan.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace astra {

class content_port;

/// The actors of one process, as its roles want them: the same set under a live platform and under a simulated one.
class role_set {
public:
  using on_failed = std::function<void(const std::string& role, const std::string& reason)>;

  /// Spawns the view client, the supervised roles and the gateway's actor.
  /// @param aggregated_nodes whom an aggregator may speak for; empty: all.
  /// @param failed called once for a role that its supervisor gives up, on that actor's thread.
  /// @param claims where schedulers log their claims; null: nowhere.
  /// @param tasks where a gateway keeps its tasks.
  /// @param contents the doors of a node's contents; null: it has none.
  /// @pre `validate(options)` returned no error; system, platform and registry outlive the set.
  role_set(caf::actor_system& sys, platform& world, const process_options& options, std::vector<pb::AppSpec> apps,
           const app_registry& actors, on_failed failed, std::vector<std::string> aggregated_nodes = {},
           claim_store* claims = nullptr, gateway_tasks tasks = {}, std::shared_ptr<content_port> contents = nullptr);
  role_set(const role_set&) = delete;
  role_set& operator=(const role_set&) = delete;

  /// Null in processes without the gateway role.
  const gateway_actor& gateway() const { return gateway_; }

  /// The node that runs now: another one after its supervisor restarted it.  Null in processes without that role.
  node_actor node() const;

  const supervisor_actor& supervisor() const { return supervisor_; }

  /// Drains: the node finishes its work for at most `wait` and says goodbye, the gateway answers what it has; `done` is
  /// called when both have, or after `limit`.  On a thread of the actor system.
  void stop(caf::timespan wait, caf::timespan limit, std::function<void()> done);

  /// Sends exit messages to all of them but the gateway's actor.
  void end();

private:
  std::vector<child_spec> children();
  content_source keeper() const;

  caf::actor_system& sys_;
  platform& world_;
  process_options options_;
  std::vector<pb::AppSpec> apps_;
  const app_registry& actors_;
  std::vector<std::string> aggregated_nodes_;
  claim_store* claims_;
  std::shared_ptr<content_port> contents_;
  view_source view_;
  gateway_actor gateway_;
  supervisor_actor supervisor_;
  mutable std::mutex mutex_;
  node_actor node_;
  /// Null: it has none, or not yet.
  content_keeper_actor keeper_;
};

} // namespace astra
