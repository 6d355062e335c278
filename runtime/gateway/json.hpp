#pragma once

#include "actors/resource/cluster_view.hpp"
#include "config/load.hpp"
#include "messages/local.hpp"
#include "messages/wire/control.pb.h"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What the HTTP API says, as plain functions: view in, JSON text out.  Names and reasons may hold any bytes; what is
// not UTF-8 comes out as U+FFFD.

namespace astra {

using view_time = cluster_view::time_point;

/// Who answers, for /v1/status.
struct gateway_info {
  std::string name;
  std::string version;
  std::chrono::milliseconds uptime{0};
};

std::string status_json(const cluster_view& view, const gateway_info& gateway, view_time now);

std::string nodes_json(const cluster_view& view, view_time now);
std::string node_json(const cluster_view& view, const node_entry& node, view_time now);

std::string apps_json(const cluster_view& view);
/// @param note why the replicas are not the scheduler's own word; empty when they are.
std::string app_json(const cluster_view& view, const pb::AppRecord& record,
                     const std::vector<pb::ReplicaStatus>& replicas, std::string_view note);

std::string router_table_json(const router_table& table);

/// {"status":..., "reason":...}
std::string health_json(std::string_view status, std::string_view reason);
std::string message_json(std::string_view message);
std::string drain_json(const pb::DrainReply& reply);

/// {"error":{"code":..., "message":...}}
std::string error_json(std::string_view code, std::string_view message);
std::string app_failure_json(std::string_view message, std::int32_t exit_code, std::string_view stderr_tail);
std::string problems_json(std::string_view message, const std::vector<config_problem>& problems);

/// An app that came over the API: Protobuf JSON with the names of app.proto, or an app file.
struct app_reading {
  std::optional<pb::AppSpec> spec;
  /// Why there is no spec; never empty then.
  std::vector<config_problem> problems;
};

/// @param name the app of the path: what the text must name, or stands in for a JSON text that names none.
app_reading read_app_json(const std::string& text, const std::string& name);
app_reading read_app_toml(const std::string& text, const std::string& name);

} // namespace astra
