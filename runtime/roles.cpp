#include "runtime/roles.hpp"

#include "actors/aggregator/aggregator.hpp"
#include "actors/node/node.hpp"
#include "actors/resource/resource.hpp"
#include "actors/resource/view_client.hpp"
#include "actors/scheduler/apps.hpp"
#include "messages/wire/app.pb.h"
#include "runtime/transfer/content_keeper.hpp"
#include "runtime/transfer/tracker.hpp"

#include <caf/actor_cast.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <utility>

namespace astra {

role_set::role_set(caf::actor_system& sys, platform& world, const process_options& options,
                   std::vector<pb::AppSpec> apps, const app_registry& actors, on_failed failed,
                   std::vector<std::string> aggregated_nodes, claim_store* claims, gateway_tasks tasks,
                   std::shared_ptr<content_port> contents)
  : sys_(sys), world_(world), options_(options), apps_(std::move(apps)), actors_(actors),
    aggregated_nodes_(std::move(aggregated_nodes)), claims_(claims), contents_(std::move(contents)) {
  // A scheduler places replicas anywhere, and says why not: it needs every node.
  auto narrow = !options_.gateway.apps.empty() && !options_.has(process_role::scheduler);
  if (options_.has(process_role::scheduler) || options_.has(process_role::gateway)) {
    view_client_options view;
    view.name = options_.name;
    view.resources = options_.scheduler.resources;
    view.groups = options_.scheduler.groups;
    view.orphan_grace = options_.resource.orphan_grace;
    view.forget_after = options_.resource.forget_after;
    if (narrow)
      view.apps = options_.gateway.apps;
    view_ = spawn_view_client(sys_, world_, view);
  }
  supervisor_ = spawn_supervisor(sys_, world_, supervisor_options{}, children(), std::move(failed));
  if (options_.has(process_role::gateway))
    gateway_ =
        spawn_gateway(sys_, world_, options_.router, view_, options_.name, options_.gateway, narrow, std::move(tasks));
}

std::vector<child_spec> role_set::children() {
  std::vector<child_spec> result;
  if (options_.has(process_role::resource))
    result.push_back(
        {"resource", [this] { return caf::actor_cast<caf::actor>(spawn_resource(sys_, world_, options_.resource)); }});
  if (options_.has(process_role::resource))
    result.push_back(
        {"tracker", [this] { return caf::actor_cast<caf::actor>(spawn_tracker(sys_, world_, options_.name)); }});
  if (options_.has(process_role::aggregator))
    result.push_back({"aggregator", [this] {
                        return caf::actor_cast<caf::actor>(
                            spawn_aggregator(sys_, world_, options_.aggregator, aggregated_nodes_));
                      }});
  auto keeps_contents = options_.has(process_role::node) && options_.store.enabled && contents_;
  if (keeps_contents)
    result.push_back({"contents", [this] {
                        auto keeper = spawn_content_keeper(sys_, world_, options_.node, options_.store, contents_);
                        std::lock_guard guard{mutex_};
                        keeper_ = keeper;
                        return caf::actor_cast<caf::actor>(keeper);
                      }});
  if (options_.has(process_role::node))
    result.push_back({"node", [this, keeps_contents] {
                        auto node = keeps_contents
                                        ? spawn_node(sys_, world_, options_.node, actors_, [this] { return keeper(); })
                                        : spawn_node(sys_, world_, options_.node, actors_);
                        std::lock_guard guard{mutex_};
                        node_ = node;
                        return caf::actor_cast<caf::actor>(node);
                      }});
  if (options_.has(process_role::scheduler))
    result.push_back({"apps", [this] {
                        return caf::actor_cast<caf::actor>(
                            spawn_apps(sys_, world_, options_.scheduler, apps_, view_, claims_));
                      }});
  return result;
}

content_source role_set::keeper() const {
  std::lock_guard guard{mutex_};
  return keeper_;
}

node_actor role_set::node() const {
  std::lock_guard guard{mutex_};
  return node_;
}

void role_set::stop(caf::timespan wait, caf::timespan limit, std::function<void()> done) {
  sys_.spawn([node = node(), front = gateway_, wait, limit, done = std::move(done)](caf::event_based_actor* self) {
    auto left = std::make_shared<int>((node ? 1 : 0) + (front ? 1 : 0));
    auto one_done = [left, done] {
      if (--*left <= 0)
        done();
    };
    auto one_failed = [one_done](const caf::error& reason) {
      spdlog::warn("process.drain_incomplete reason=\"{}\"", error_text(reason));
      one_done();
    };
    if (node)
      self->request(node, limit, stop_atom_v, wait).then(one_done, one_failed);
    if (front)
      self->request(front, wait, stop_atom_v).then(one_done, one_failed);
    if (*left == 0)
      done();
  });
}

void role_set::end() {
  auto end_one = [](auto& handle) {
    if (handle)
      caf::anon_send_exit(handle, caf::exit_reason::user_shutdown);
    handle = nullptr;
  };
  end_one(supervisor_);
  end_one(view_);
  gateway_ = nullptr;
  std::lock_guard guard{mutex_};
  node_ = nullptr;
  keeper_ = nullptr;
}

} // namespace astra
