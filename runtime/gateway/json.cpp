#include "runtime/gateway/json.hpp"

#include "messages/replica_state.hpp"

#include <google/protobuf/util/json_util.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cassert>

namespace astra {
namespace {

using json = nlohmann::ordered_json;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::int64_t ms_between(view_time from, view_time to) {
  return std::max<std::int64_t>(0, duration_cast<milliseconds>(to - from).count());
}

std::string_view name_of(pb::Liveness liveness) {
  switch (liveness) {
  case pb::LIVENESS_ONLINE:
    return "online";
  case pb::LIVENESS_SUSPECT:
    return "suspect";
  case pb::LIVENESS_DRAINING:
    return "draining";
  case pb::LIVENESS_OFFLINE:
    return "offline";
  default:
    return "unknown";
  }
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

std::string name_of(const cluster_view& view, resource_id id) {
  auto found = view.shards().find(id);
  return found == view.shards().end() || found->second.name.empty() ? to_string(id) : found->second.name;
}

std::string name_of(const node_entry& node) {
  return node.name().empty() ? to_string(node.id()) : node.name();
}

/// What the replicas on a node and the claims under way occupy together.
struct reserved {
  std::uint64_t cpu_milli = 0;
  std::uint64_t memory_bytes = 0;
};

reserved reserved_on(const node_entry& node) {
  reserved result;
  auto add = [&](const pb::Resources& part) {
    result.cpu_milli += part.cpu_milli();
    result.memory_bytes += part.memory_bytes();
  };
  for (auto& replica : node.row.profile().replicas())
    if (replica.state() != pb::REPLICA_STOPPED && replica.state() != pb::REPLICA_FAILED)
      add(replica.resources());
  add(node.row.held());
  return result;
}

double cores(std::uint64_t milli) {
  return static_cast<double>(milli) / 1000.0;
}

json to_json(const cluster_view& view, const node_entry& node, view_time now) {
  auto& row = node.row;
  auto& load = view.load(node);
  auto& profile = row.profile();
  auto occupied = reserved_on(node);
  json labels = json::object();
  for (auto& label : profile.labels())
    labels[label.key()] = label.value();
  json accelerators = json::array();
  for (auto& entry : profile.accelerators())
    accelerators.push_back({{"kind", entry.kind()}, {"count", entry.count()}, {"coefficient", entry.coefficient()}});
  json replicas = json::array();
  for (auto& replica : profile.replicas())
    replicas.push_back({{"app", replica.app()},
                        {"index", replica.index()},
                        {"state", name_of(replica.state())},
                        {"reason", replica.reason()}});
  return {
      {"name", name_of(node)},
      {"id", to_string(node.id())},
      {"state", name_of(row.liveness())},
      {"reason", row.reason()},
      {"age_ms", view.age(node, now).count()},
      {"home", name_of(view, node.origin)},
      {"address", profile.address()},
      {"incarnation", row.incarnation()},
      {"cores", cores(profile.capacity().cpu_milli())},
      {"cores_reserved", cores(occupied.cpu_milli)},
      {"utilisation", load.host_utilisation()},
      {"memory_bytes", profile.capacity().memory_bytes()},
      {"memory_reserved_bytes", occupied.memory_bytes},
      {"running", load.running()},
      {"queued", load.queued()},
      {"done", load.requests_done()},
      {"failed", load.requests_failed()},
      {"labels", std::move(labels)},
      {"accelerators", std::move(accelerators)},
      {"capacity_origin", profile.capacity_origin()},
      {"limits_backend", profile.limits_backend()},
      {"replicas", std::move(replicas)},
  };
}

json to_json(const cluster_view& view, const pb::AppRecord& record) {
  auto& spec = record.spec();
  scheduler_id scheduler{record.scheduler()};
  auto entry = view.find_scheduler(scheduler);
  return {
      {"name", spec.name()},
      {"kind", kind_of(spec)},
      {"replicas", spec.replicas()},
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

std::string status_json(const cluster_view& view, const gateway_info& gateway, view_time now) {
  std::int64_t view_age_ms = -1;
  json resources = json::array();
  for (auto& [id, shard] : view.shards()) {
    auto age_ms = ms_between(shard.last_delta, now);
    view_age_ms = view_age_ms < 0 ? age_ms : std::min(view_age_ms, age_ms);
    resources.push_back(
        {{"name", name_of(view, id)}, {"version", shard.version}, {"age_ms", age_ms}, {"lost", shard.lost}});
  }
  json schedulers = json::array();
  for (auto& [id, scheduler] : view.schedulers())
    schedulers.push_back({{"name", scheduler.row.name()},
                          {"state", name_of(scheduler.row.liveness())},
                          {"reason", scheduler.row.reason()},
                          {"address", scheduler.row.address()}});
  std::array<std::uint32_t, pb::Liveness_ARRAYSIZE> by_state{};
  reserved occupied;
  std::uint64_t total_milli = 0;
  std::uint64_t total_bytes = 0;
  auto busy = 0.0;
  std::uint64_t running = 0;
  std::uint64_t queued = 0;
  for (auto& [id, node] : view.nodes()) {
    auto state = node.row.liveness();
    by_state[pb::Liveness_IsValid(state) ? static_cast<std::size_t>(state) : 0] += 1;
    if (state == pb::LIVENESS_OFFLINE)
      continue;
    auto& capacity = node.row.profile().capacity();
    auto part = reserved_on(node);
    total_milli += capacity.cpu_milli();
    total_bytes += capacity.memory_bytes();
    occupied.cpu_milli += part.cpu_milli;
    occupied.memory_bytes += part.memory_bytes;
    auto& load = view.load(node);
    busy += load.host_utilisation() * cores(capacity.cpu_milli());
    running += load.running();
    queued += load.queued();
  }
  json apps = json::array();
  for (auto& [name, app] : view.apps())
    apps.push_back({{"name", name},
                    {"ready", app.record.ready()},
                    {"replicas", app.record.spec().replicas()},
                    {"reason", app.record.reason()}});
  return dump({
      {"cluster",
       {{"gateway", gateway.name},
        {"version", gateway.version},
        {"uptime_s", static_cast<double>(gateway.uptime.count()) / 1000.0},
        {"view_age_ms", view_age_ms < 0 ? json() : json(view_age_ms)}}},
      {"resources", std::move(resources)},
      {"schedulers", std::move(schedulers)},
      {"nodes",
       {{"online", by_state[pb::LIVENESS_ONLINE]},
        {"suspect", by_state[pb::LIVENESS_SUSPECT]},
        {"draining", by_state[pb::LIVENESS_DRAINING]},
        {"offline", by_state[pb::LIVENESS_OFFLINE]}}},
      {"cores", {{"total", cores(total_milli)}, {"reserved", cores(occupied.cpu_milli)}, {"busy", busy}}},
      {"memory", {{"total_bytes", total_bytes}, {"reserved_bytes", occupied.memory_bytes}}},
      {"apps", std::move(apps)},
      {"requests", {{"running", running}, {"queued", queued}}},
  });
}

std::string nodes_json(const cluster_view& view, view_time now) {
  std::vector<const node_entry*> order;
  for (auto& [id, node] : view.nodes())
    order.push_back(&node);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->name() < b->name(); });
  json nodes = json::array();
  for (auto* node : order)
    nodes.push_back(to_json(view, *node, now));
  return dump({{"nodes", std::move(nodes)}});
}

std::string node_json(const cluster_view& view, const node_entry& node, view_time now) {
  return dump(to_json(view, node, now));
}

std::string apps_json(const cluster_view& view) {
  json apps = json::array();
  for (auto& [name, app] : view.apps())
    apps.push_back(to_json(view, app.record));
  return dump({{"apps", std::move(apps)}});
}

std::string app_json(const cluster_view& view, const pb::AppRecord& record,
                     const std::vector<pb::ReplicaStatus>& replicas, std::string_view note) {
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
                      {"epoch", replica.epoch()}});
  result["replicas_detail"] = std::move(detail);
  if (!note.empty())
    result["note"] = note;
  return dump(result);
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
                    {"out_reason", row.out_reason}});
  }
  return dump({{"app", table.app},
               {"formula", table.formula},
               {"requests", table.requests},
               {"answered", table.answered},
               {"waiting", table.waiting},
               {"rows", std::move(rows)}});
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
  auto config = parse_app_config(text, name + ".toml");
  result.problems = std::move(config.problems);
  if (result.problems.empty() && config.spec)
    result.spec = std::move(*config.spec);
  return check_name(std::move(result), name);
}

} // namespace astra
