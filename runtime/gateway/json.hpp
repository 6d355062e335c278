#pragma once

#include "actors/resource/cluster_view.hpp"
#include "config/load.hpp"
#include "messages/local.hpp"
#include "messages/wire/control.pb.h"
#include "messages/wire/inspection.pb.h"
#include "runtime/gateway/quota_summary.hpp"

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What the HTTP API says, as plain functions: view in, JSON text out.  Names and reasons may hold any bytes; what is
// not UTF-8 comes out as U+FFFD.

namespace astra {

using view_time = cluster_view::time_point;

/// One line.
std::string dump(const nlohmann::ordered_json& value);

/// A time of day: "2026-11-26T19:10:03.123Z".
std::string utc(std::uint64_t wall_ms);

/// Who answers, for /v1/status.
struct gateway_info {
  std::string name;
  std::string version;
  std::chrono::milliseconds uptime{0};
  /// Its view has every node.
  bool follows_all = true;
};

/// What the Resources said when they were asked.
struct resource_answers {
  std::vector<pb::ResourceReport> reports;
  /// Addresses of those that said nothing, and why.
  std::vector<std::pair<std::string, std::string>> silent;
};

/// @param quotas where there are none, the answer does not mention any.
std::string status_json(const cluster_view& view, const gateway_info& gateway, const resource_answers& answers,
                        view_time now, const std::vector<quota_row>& quotas = {});

/// Cores as a number, memory in bytes.
std::string quotas_json(const std::vector<quota_row>& quotas, const resource_answers& answers);

std::string node_json(const cluster_view& view, const node_entry& node, view_time now);

// Lines of answers that come in pieces: one JSON object each, ended by a line feed.

/// The same object as node_json.
std::string node_line(const pb::NodeFacts& node);
/// The last line of a complete listing.
/// @param more nodes that match and are left out by a limit
std::string listing_end_line(std::uint64_t listed, std::uint64_t more);
/// @param resource name of the Resource that saw it
std::string event_line(const std::string& resource, const pb::Event& event);
/// Something about the listing itself that its reader must know.
/// @param note "lost", "restarted", "unreachable", "reached", "cut", "end"
std::string note_line(std::string_view note, const std::string& resource, std::string_view message,
                      std::uint64_t count = 0);
std::string filter_problem_json(std::string_view message, std::uint32_t column);

std::string apps_json(const cluster_view& view);
/// @param note why the replicas are not the scheduler's own word; empty when they are.
/// @param placement why one more has no place; null: nobody said.
std::string app_json(const cluster_view& view, const pb::AppRecord& record,
                     const std::vector<pb::ReplicaStatus>& replicas, std::string_view note,
                     const pb::PlacementReport* placement = nullptr);

/// @param note why there is less than one might expect; empty: there is not.
std::string app_claims_json(const std::string& app, const std::string& scheduler, const pb::ClaimLogPage& page);

std::string app_history_json(const std::string& app, const pb::AppHistory& history, std::string_view note);
std::string app_plan_json(const std::string& app, const pb::AppPlan& plan);

std::string router_table_json(const router_table& table);
std::string router_picks_json(const router_picks& picks);

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
