#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace astra {

enum class gateway_route {
  unknown,
  /// The path exists, but not for this method.
  wrong_method,
  livez,
  readyz,
  metrics,
  status,
  nodes,
  node,
  drain_node,
  events,
  quotas,
  apps,
  app,
  apply_app,
  delete_app,
  app_history,
  app_claims,
  rollback_app,
  plan_app,
  invoke,
  submit_task,
  tasks,
  task,
  task_result,
  task_events,
  cancel_task,
  router,
  router_picks,
  models,
  model,
  publish_model,
  fetch_model,
  verify_model,
  pin_model,
  delete_model,
  model_jobs,
  model_job,
  model_nodes,
  model_limit,
  limit_models,
  join,
  renew,
};

struct route_match {
  gateway_route what = gateway_route::unknown;
  /// The {name} of the path, percent-decoded.
  std::string name;
  /// With wrong_method: the value of the Allow header.
  std::string allow;
};

/// Finds the route of a request; the query of `target` is ignored.  HEAD is GET.
route_match find_route(std::string_view method, std::string_view target);

/// The parameters of a target's query, decoded ("+" is a blank); of a name that is there twice, the last.  Nothing for
/// a broken escape.
std::optional<std::map<std::string, std::string>> find_query(std::string_view target);

} // namespace astra
