#include "runtime/gateway/json.hpp"

#include "actors/resource/node_facts.hpp"
#include "messages/replica_state.hpp"
#include "runtime/gateway/view_comparison.hpp"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cassert>
#include <ctime>
#include <map>

namespace astra {
namespace {

using json = nlohmann::ordered_json;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

std::int64_t ms_between(view_time from, view_time to) {
  return std::max<std::int64_t>(0, duration_cast<milliseconds>(to - from).count());
}

/// One word, for programs: "backing_off".
std::string name_of(pb::ReplicaState state) {
  auto text = replica_state_text(state);
  std::replace(text.begin(), text.end(), ' ', '_');
  return text;
}

std::string_view kind_of(const pb::AppSpec& spec) {
  switch (spec.kind_case()) {
  case pb::AppSpec::kPerRequest:
  case pb::AppSpec::kServer:
    return "process";
  case pb::AppSpec::kActor:
    return "actor";
  default:
    return "unknown";
  }
}

double cores(std::uint64_t milli) {
  return static_cast<double>(milli) / 1000.0;
}

json to_json(const pb::NodeFacts& node) {
  json labels = json::object();
  for (auto& label : node.labels())
    labels[label.key()] = label.value();
  json accelerators = json::array();
  for (auto& entry : node.accelerators())
    accelerators.push_back({{"kind", entry.kind()},
                            {"count", entry.count()},
                            {"memory_bytes", entry.memory_bytes()},
                            {"coefficient", entry.coefficient()}});
  json accelerators_reserved = json::object();
  for (auto& entry : node.accelerators_reserved())
    accelerators_reserved[entry.kind()] = entry.count();
  json replicas = json::array();
  for (auto& replica : node.replicas())
    replicas.push_back({{"app", replica.app()},
                        {"index", replica.index()},
                        {"state", name_of(replica.state())},
                        {"reason", replica.reason()},
                        {"restarts", replica.restarts()}});
  json result = {
      {"name", node.name()},
      {"id", to_hex(node.node())},
      {"state", state_name(node.liveness())},
      {"reason", node.reason()},
      {"age_ms", node.age_ms()},
      {"home", node.home()},
      {"group", node.group()},
      {"address", node.address()},
      {"incarnation", node.incarnation()},
      {"cores", cores(node.cpu_milli())},
      {"cores_reserved", cores(node.cpu_milli_reserved())},
      {"utilisation", node.utilisation()},
      {"memory_bytes", node.memory_bytes()},
      {"memory_reserved_bytes", node.memory_reserved_bytes()},
      {"running", node.running()},
      {"queued", node.queued()},
      {"done", node.done()},
      {"failed", node.failed()},
      {"labels", std::move(labels)},
      {"accelerators", std::move(accelerators)},
      {"accelerators_reserved", std::move(accelerators_reserved)},
      {"capacity_origin", node.capacity_origin()},
      {"limits_backend", node.limits_backend()},
      {"replicas", std::move(replicas)},
      {"profile_version", node.profile_version()},
      {"beat", node.sequence()},
      {"home_epoch", node.home_epoch()},
  };
  // Where there are none the object is what it was before there were any.
  for (auto& taint : node.taints())
    result["taints"].push_back(taint.key() + (taint.value().empty() ? "" : "=" + taint.value()));
  return result;
}

std::string_view kind_name(pb::EventKind kind) {
  switch (kind) {
  case pb::EVENT_STARTED:
    return "started";
  case pb::EVENT_JOINED:
    return "joined";
  case pb::EVENT_SUSPECT:
    return "suspect";
  case pb::EVENT_OFFLINE:
    return "offline";
  case pb::EVENT_DRAINING:
    return "draining";
  case pb::EVENT_ONLINE:
    return "online";
  case pb::EVENT_MOVED:
    return "moved";
  case pb::EVENT_FENCED:
    return "fenced";
  case pb::EVENT_ORPHANED:
    return "orphaned";
  case pb::EVENT_PEER_FOUND:
    return "peer_found";
  case pb::EVENT_PEER_LOST:
    return "peer_lost";
  default:
    return "unknown";
  }
}

std::string_view witness_name(pb::EventWitness witness) {
  switch (witness) {
  case pb::WITNESS_SILENCE:
    return "silence";
  case pb::WITNESS_CLOSED_CONNECTION:
    return "closed connection";
  case pb::WITNESS_GOODBYE:
    return "goodbye";
  case pb::WITNESS_BEAT:
    return "beat";
  case pb::WITNESS_TIMER:
    return "timer";
  default:
    return "";
  }
}

} // namespace

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string utc(std::uint64_t wall_ms) {
  auto seconds = static_cast<std::time_t>(wall_ms / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, wall_ms % 1000);
}

namespace {

json to_json(const view_difference& difference) {
  auto kind = difference.what == view_difference::kind::behind       ? "behind"
              : difference.what == view_difference::kind::other_life ? "other_life"
                                                                     : "contradiction";
  return {{"kind", kind},
          {"shard", difference.shard},
          {"resource", difference.resource},
          {"versions_behind", difference.behind},
          {"detail", difference.detail}};
}

json silent_of(const resource_answers& answers) {
  json silent = json::array();
  for (auto& [address, reason] : answers.silent)
    silent.push_back({{"address", address}, {"reason", reason}});
  return silent;
}

json to_json(const quota_row& row) {
  json dimensions = json::array();
  for (auto& dimension : row.dimensions) {
    auto amount = [&](std::uint64_t value) { return dimension.name == "cpu" ? json(cores(value)) : json(value); };
    dimensions.push_back({{"dimension", dimension.name},
                          {"unit", dimension.name == "cpu"      ? "cores"
                                   : dimension.name == "memory" ? "bytes"
                                                                : "cards"},
                          {"limit", amount(dimension.limit)},
                          {"in_use", amount(dimension.in_use)},
                          {"given_out", amount(dimension.given_out)},
                          {"leased", amount(dimension.leased)},
                          {"left", amount(dimension.left())}});
  }
  json waiting = json::array();
  for (auto& wait : row.waiting)
    waiting.push_back(
        {{"app", wait.app}, {"replicas", wait.replicas}, {"for_ms", wait.lasts.count()}, {"reason", wait.reason}});
  return {{"business", row.business}, {"group", row.group},
          {"keeper", row.keeper},     {"dimensions", std::move(dimensions)},
          {"used_up", row.used_up()}, {"waiting", std::move(waiting)},
          {"reason", row.reason}};
}

json to_json(const std::vector<quota_row>& quotas) {
  json result = json::array();
  for (auto& row : quotas)
    result.push_back(to_json(row));
  return result;
}

json views_of(const resource_answers& answers) {
  json reports = json::array();
  for (auto& report : answers.reports) {
    json shards = json::array();
    for (auto& shard : report.shards())
      shards.push_back({{"origin", shard.name()},
                        {"epoch", shard.epoch()},
                        {"version", shard.version()},
                        {"age_ms", shard.age_ms()},
                        {"lost", shard.lost()},
                        {"nodes", shard.nodes()},
                        {"liveness_hash", shard.liveness_hash() != 0 ? json(to_hex(shard.liveness_hash())) : json()}});
    json slowest = json::array();
    for (auto& one : report.slowest())
      slowest.push_back({{"name", one.name()},
                         {"versions_behind", one.versions_behind()},
                         {"behind_ms", one.behind_ms()},
                         {"renewed_ms_ago", one.renewed_ms_ago()}});
    reports.push_back({{"resource", report.name()},
                       {"group", report.group()},
                       {"incarnation", report.incarnation()},
                       {"uptime_ms", report.uptime_ms()},
                       {"subscribers", report.subscribers()},
                       {"slowest", std::move(slowest)},
                       {"shards", std::move(shards)}});
  }
  json differences = json::array();
  for (auto& difference : compare_views(answers.reports))
    differences.push_back(to_json(difference));
  return {
      {"reports", std::move(reports)}, {"unreachable", silent_of(answers)}, {"differences", std::move(differences)}};
}

std::uint32_t wanted_in(const pb::AppRecord& record) {
  return record.has_scaled_to() ? record.scaled_to() : record.spec().replicas();
}

std::string_view phase_name(pb::RolloutPhase phase) {
  switch (phase) {
  case pb::ROLLOUT_CANARY:
    return "canary";
  case pb::ROLLOUT_RUNNING:
    return "running";
  case pb::ROLLOUT_HALTED:
    return "halted";
  case pb::ROLLOUT_ROLLING_BACK:
    return "rolling back";
  default:
    return "none";
  }
}

json to_json(const cluster_view& view, const pb::AppRecord& record) {
  auto& spec = record.spec();
  scheduler_id scheduler{record.scheduler()};
  auto entry = view.find_scheduler(scheduler);
  json result = {
      {"name", spec.name()},
      {"kind", kind_of(spec)},
      {"replicas", wanted_in(record)},
      {"ready", record.ready()},
      {"starting", record.starting()},
      {"pending", record.pending()},
      {"failed", record.failed()},
      {"reason", record.reason()},
      {"scheduler", entry != nullptr ? entry->row.name() : to_string(scheduler)},
      {"deleting", record.deleting()},
      {"idempotent", spec.idempotent()},
      {"concurrency", spec.concurrency()},
      {"request_timeout_ms", spec.request_timeout_ms()},
  };
  if (record.has_rollout())
    result["rollout"] = {{"phase", phase_name(record.rollout().phase())},
                         {"updated", record.rollout().updated()},
                         {"total", record.rollout().total()},
                         {"reason", record.rollout().reason()}};
  if (record.has_scaled_to()) {
    result["scaled_to"] = record.scaled_to();
    result["scale_reason"] = record.scale_reason();
  }
  return result;
}

const char* name_of(pb::ClusterState state) {
  switch (state) {
  case pb::CLUSTER_PENDING:
    return "pending";
  case pb::CLUSTER_CLAIMED:
    return "claimed";
  case pb::CLUSTER_HEAD_STARTING:
    return "head starting";
  case pb::CLUSTER_FILLING:
    return "filling";
  case pb::CLUSTER_SERVING:
    return "serving";
  case pb::CLUSTER_DEGRADED:
    return "degraded";
  case pb::CLUSTER_DRAINING:
    return "draining";
  case pb::CLUSTER_DEAD:
    return "dead";
  default:
    return "unknown";
  }
}

json clusters_json(const pb::AppRecord& record) {
  json result = json::array();
  for (auto& cluster : record.clusters()) {
    json ports = json::object();
    for (auto& port : cluster.head_ports())
      ports[port.name()] = port.port();
    result.push_back({{"cluster", to_hex(cluster.cluster())},
                      {"state", name_of(cluster.state())},
                      {"head_node", cluster.head_node()},
                      {"head_host", cluster.head_host()},
                      {"head_ports", std::move(ports)},
                      {"workers_ready", cluster.workers_ready()},
                      {"workers", cluster.workers()},
                      {"reason", cluster.reason()}});
  }
  return result;
}

json to_json(const pb::AppSpec& spec) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  auto status = google::protobuf::util::MessageToJsonString(spec, &text, options);
  auto result = json::parse(text, nullptr, false);
  // Strings of a spec are checked on arrival; a scheduler of another version may still have let one through.
  return status.ok() && !result.is_discarded() ? result : json::object();
}

} // namespace

std::string status_json(const cluster_view& view, const gateway_info& gateway, const resource_answers& answers,
                        view_time now, const std::vector<quota_row>& quotas) {
  std::int64_t view_age_ms = -1;
  json resources = json::array();
  for (auto& [id, shard] : view.shards()) {
    auto age_ms = ms_between(shard.last_delta, now);
    view_age_ms = view_age_ms < 0 ? age_ms : std::min(view_age_ms, age_ms);
    resources.push_back({{"name", resource_name(view, id)},
                         {"group", shard.group},
                         {"version", shard.version},
                         {"age_ms", age_ms},
                         {"lost", shard.lost}});
  }
  json schedulers = json::array();
  for (auto& [id, scheduler] : view.schedulers())
    schedulers.push_back({{"name", scheduler.row.name()},
                          {"state", state_name(scheduler.row.liveness())},
                          {"reason", scheduler.row.reason()},
                          {"address", scheduler.row.address()}});
  // Who follows only some nodes asks their homes for the rest: a Resource that is silent does not count then.
  std::map<std::string, pb::NodeTotals> by_group;
  for (auto& [id, shard] : view.shards())
    by_group[shard.group];
  if (gateway.follows_all)
    for (auto& [id, node] : view.nodes())
      add_to(by_group[group_of(view, node)], view, node);
  else
    for (auto& report : answers.reports)
      add_to(by_group[report.group()], report.at_home());
  pb::NodeTotals nodes;
  json groups = json::array();
  for (auto& [name, totals] : by_group) {
    add_to(nodes, totals);
    groups.push_back({{"name", name},
                      {"online", totals.online()},
                      {"suspect", totals.suspect()},
                      {"draining", totals.draining()},
                      {"offline", totals.offline()},
                      {"cores", cores(totals.cpu_milli())},
                      {"cores_reserved", cores(totals.cpu_milli_reserved())}});
  }
  json apps = json::array();
  for (auto& [name, app] : view.apps())
    apps.push_back({{"name", name},
                    {"ready", app.record.ready()},
                    {"replicas", wanted_in(app.record)},
                    {"reason", app.record.reason()}});
  json result = {
      {"cluster",
       {{"gateway", gateway.name},
        {"version", gateway.version},
        {"uptime_s", static_cast<double>(gateway.uptime.count()) / 1000.0},
        {"view_age_ms", view_age_ms < 0 ? json() : json(view_age_ms)}}},
      {"resources", std::move(resources)},
      {"groups", std::move(groups)},
      {"schedulers", std::move(schedulers)},
      {"nodes",
       {{"online", nodes.online()},
        {"suspect", nodes.suspect()},
        {"draining", nodes.draining()},
        {"offline", nodes.offline()}}},
      {"cores",
       {{"total", cores(nodes.cpu_milli())},
        {"reserved", cores(nodes.cpu_milli_reserved())},
        {"busy", nodes.busy_cores()}}},
      {"memory", {{"total_bytes", nodes.memory_bytes()}, {"reserved_bytes", nodes.memory_reserved_bytes()}}},
      {"cards", {{"total", nodes.cards()}, {"reserved", nodes.cards_reserved()}}},
      {"apps", std::move(apps)},
      {"requests", {{"running", nodes.running()}, {"queued", nodes.queued()}}},
      {"views", views_of(answers)},
  };
  if (!quotas.empty())
    result["quotas"] = to_json(quotas);
  return dump(result);
}

std::string quotas_json(const std::vector<quota_row>& quotas, const resource_answers& answers) {
  return dump({{"quotas", to_json(quotas)}, {"unreachable", silent_of(answers)}});
}

std::string node_json(const cluster_view& view, const node_entry& node, view_time now) {
  return dump(to_json(facts_of(view, node, now)));
}

std::string node_line(const pb::NodeFacts& node) {
  return dump(to_json(node));
}

std::string listing_end_line(std::uint64_t listed, std::uint64_t more) {
  return dump({{"end", true}, {"listed", listed}, {"more", more}});
}

std::string event_line(const std::string& resource, const pb::Event& event) {
  auto of_resource =
      event.kind() == pb::EVENT_STARTED || event.kind() == pb::EVENT_PEER_FOUND || event.kind() == pb::EVENT_PEER_LOST;
  return dump({{"time", utc(event.wall_ms())},
               {"wall_ms", event.wall_ms()},
               {"kind", kind_name(event.kind())},
               {"object", event.name()},
               {"object_kind", of_resource ? "resource" : "node"},
               {"cause", event.cause()},
               {"resource", resource},
               {"witness", witness_name(event.witness())},
               {"sequence", event.sequence()}});
}

std::string note_line(std::string_view note, const std::string& resource, std::string_view message,
                      std::uint64_t count) {
  return dump({{"note", note}, {"resource", resource}, {"count", count}, {"message", message}});
}

std::string filter_problem_json(std::string_view message, std::uint32_t column) {
  return dump({{"error", {{"code", "invalid_argument"}, {"message", message}, {"column", column}}}});
}

std::string apps_json(const cluster_view& view) {
  json apps = json::array();
  for (auto& [name, app] : view.apps())
    apps.push_back(to_json(view, app.record));
  return dump({{"apps", std::move(apps)}});
}

namespace {

json to_json(const pb::PlacementReport& report) {
  json reasons = json::array();
  for (auto& reason : report.reasons())
    reasons.push_back({{"nodes", reason.nodes()}, {"text", reason.text()}, {"nearest", reason.nearest_name()}});
  json changes = json::array();
  for (auto& change : report.changes())
    changes.push_back({{"text", change.text()}});
  return {{"nodes", report.nodes()},
          {"fitting", report.fitting()},
          {"reasons", std::move(reasons)},
          {"changes", std::move(changes)},
          {"node", report.node_name()}};
}

} // namespace

std::string app_json(const cluster_view& view, const pb::AppRecord& record,
                     const std::vector<pb::ReplicaStatus>& replicas, std::string_view note,
                     const pb::PlacementReport* placement) {
  auto result = to_json(view, record);
  result["spec"] = to_json(record.spec());
  json detail = json::array();
  for (auto& replica : replicas)
    detail.push_back({{"index", replica.index()},
                      {"state", name_of(replica.state())},
                      {"reason", replica.reason()},
                      {"node", replica.node_name()},
                      {"restarts", replica.restarts()},
                      {"in_state_ms", replica.in_state_ms()},
                      {"epoch", replica.epoch()},
                      {"outdated", replica.spec_hash() != record.spec_hash()}});
  if (record.spec().has_federation()) {
    for (int i = 0; i < static_cast<int>(replicas.size()); ++i) {
      auto& member = replicas[static_cast<std::size_t>(i)].member();
      detail[static_cast<std::size_t>(i)]["cluster"] = to_hex(member.cluster());
      detail[static_cast<std::size_t>(i)]["slot"] = member.slot();
    }
    result["clusters"] = clusters_json(record);
  }
  result["replicas_detail"] = std::move(detail);
  if (placement)
    result["placement"] = to_json(*placement);
  if (!note.empty())
    result["note"] = note;
  return dump(result);
}

std::string app_claims_json(const std::string& app, const std::string& scheduler, const pb::ClaimLogPage& page) {
  auto word_of = [](std::string name, std::string_view prefix) {
    name.erase(0, prefix.size());
    for (auto& letter : name)
      letter = static_cast<char>(letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter);
    return name;
  };
  json records = json::array();
  for (auto& record : page.records()) {
    json entry = {{"number", record.number()},
                  {"when", utc(record.wall_ms())},
                  {"wall_ms", record.wall_ms()},
                  {"epoch", record.epoch()},
                  {"action", word_of(pb::ClaimAction_Name(record.action()), "CLAIM_ACTION_")},
                  {"replica", record.replica_index()},
                  {"token", to_hex(record.token())},
                  {"node", record.node_name()},
                  {"node_id", to_hex(record.node())},
                  {"resource_id", to_hex(record.origin())},
                  {"view_version", record.view_version()},
                  {"view_age_ms", record.view_age_ms()}};
    if (record.outcome() != pb::CLAIM_UNKNOWN)
      entry["outcome"] = word_of(pb::ClaimOutcome_Name(record.outcome()), "CLAIM_");
    entry["reason"] = record.reason();
    std::string hash;
    for (unsigned char byte : record.hash())
      hash += fmt::format("{:02x}", byte);
    entry["hash"] = hash;
    records.push_back(std::move(entry));
  }
  return dump({{"name", app}, {"scheduler", scheduler}, {"last", page.last()}, {"records", std::move(records)}});
}

std::string app_history_json(const std::string& app, const pb::AppHistory& history, std::string_view note) {
  json revisions = json::array();
  for (auto& revision : history.revisions())
    revisions.push_back({{"revision", revision.number()},
                         {"when", utc(revision.wall_ms())},
                         {"by", revision.origin()},
                         {"change", revision.change()},
                         {"note", revision.note()},
                         {"current", &revision == &*history.revisions().rbegin()},
                         {"deleted", revision.spec().deleting()},
                         {"spec", to_json(revision.spec())}});
  json result = {{"name", app}, {"revisions", std::move(revisions)}};
  if (!note.empty())
    result["note"] = note;
  return dump(result);
}

std::string app_plan_json(const std::string& app, const pb::AppPlan& plan) {
  auto action_name = [](pb::PlanAction action) {
    switch (action) {
    case pb::PLAN_KEEP:
      return "keep";
    case pb::PLAN_CREATE:
      return "create";
    case pb::PLAN_MOVE:
      return "move";
    case pb::PLAN_REPLACE:
      return "replace";
    case pb::PLAN_STOP:
      return "stop";
    default:
      return "";
    }
  };
  json replicas = json::array();
  for (auto& replica : plan.replicas()) {
    json row{{"index", replica.index()}, {"action", action_name(replica.action())}, {"from", replica.from()},
             {"to", replica.to()},       {"unplaced", replica.unplaced()},          {"reason", replica.reason()}};
    if (!replica.role().empty())
      row["role"] = replica.role();
    replicas.push_back(std::move(row));
  }
  return dump({{"name", app},
               {"index", plan.index()},
               {"changes", plan.changes()},
               {"change", plan.change()},
               {"replicas", std::move(replicas)}});
}

std::string router_table_json(const router_table& table) {
  json rows = json::array();
  for (auto& row : table.rows) {
    json terms = json::object();
    for (auto& [name, value] : row.terms)
      terms[name] = value;
    rows.push_back({{"node", to_string(row.node)},
                    {"name", row.name},
                    {"address", row.address},
                    {"weight", row.weight},
                    {"credit", row.credit},
                    {"terms", std::move(terms)},
                    {"slots", row.slots},
                    {"in_flight", row.in_flight},
                    {"picked", row.picked},
                    {"served", row.served},
                    {"out_reason", row.out_reason},
                    {"near", row.near}});
  }
  return dump({{"app", table.app},
               {"formula", table.formula},
               {"order", table.order},
               {"requests", table.requests},
               {"answered", table.answered},
               {"waiting", table.waiting},
               {"retries", table.retries},
               {"hedges", table.hedges},
               {"rows", std::move(rows)}});
}

std::string router_picks_json(const router_picks& picks) {
  return dump({{"app", picks.app},
               {"formula", picks.formula},
               {"order", picks.order},
               {"picks", picks.picks},
               {"reason", picks.reason}});
}

std::string health_json(std::string_view status, std::string_view reason) {
  return dump({{"status", status}, {"reason", reason}});
}

std::string message_json(std::string_view message) {
  return dump({{"message", message}});
}

std::string drain_json(const pb::DrainReply& reply) {
  return dump({{"running", reply.running()}, {"queued", reply.queued()}});
}

std::string error_json(std::string_view code, std::string_view message) {
  return dump({{"error", {{"code", code}, {"message", message}}}});
}

std::string app_failure_json(std::string_view message, std::int32_t exit_code, std::string_view stderr_tail) {
  return dump(
      {{"error", {{"code", "app_failed"}, {"message", message}, {"exit_code", exit_code}, {"stderr", stderr_tail}}}});
}

std::string problems_json(std::string_view message, const std::vector<config_problem>& problems) {
  json list = json::array();
  for (auto& problem : problems)
    list.push_back(
        {{"line", problem.line}, {"column", problem.column}, {"key", problem.key}, {"message", problem.message}});
  return dump({{"error", {{"code", "invalid_argument"}, {"message", message}, {"problems", std::move(list)}}}});
}

namespace {

app_reading refuse(std::string key, std::string message) {
  app_reading result;
  config_problem problem;
  problem.key = std::move(key);
  problem.message = std::move(message);
  result.problems.push_back(std::move(problem));
  return result;
}

/// One app under two names would be two apps to everybody else.
app_reading check_name(app_reading reading, const std::string& name) {
  if (reading.spec && reading.spec->name() != name)
    return refuse("name", "it names the app '" + reading.spec->name() + "', the path names '" + name + "'");
  return reading;
}

} // namespace

app_reading read_app_json(const std::string& text, const std::string& name) {
  app_reading result;
  pb::AppSpec spec;
  auto status = google::protobuf::util::JsonStringToMessage(text, &spec);
  if (!status.ok())
    return refuse("", "not an AppSpec in JSON: " + std::string{status.message()});
  if (spec.name().empty())
    spec.set_name(name);
  result.problems = validate(spec);
  if (result.problems.empty())
    result.spec = std::move(spec);
  return check_name(std::move(result), name);
}

app_reading read_app_toml(const std::string& text, const std::string& name) {
  app_reading result;
  // Without a file's name no path begins in a folder of this process, which is not where the app file is.
  auto config = parse_app_config(text, {});
  result.problems = std::move(config.problems);
  for (auto& problem : result.problems)
    problem.file = name + ".toml";
  if (result.problems.empty() && config.spec)
    result.spec = std::move(*config.spec);
  return check_name(std::move(result), name);
}

} // namespace astra
