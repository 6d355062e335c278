#include "config/process_file.hpp"

#include "config/schema.pb.h"
#include "config/schema_reader.hpp"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/reflection.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <string_view>
#include <utility>

namespace astra {

namespace proto = google::protobuf;

namespace {

/// Every key of the file but roles, include and [caf], with the option it sets.  What several structs need is copied
/// by share().
template <class Io>
void pair_fields(Io& io, process_options& o) {
  io("name", o.name);
  io("state_dir", o.state_dir);
  io("resources", o.node.resources);
  io("groups", o.scheduler.groups);
  io("net.cluster", o.net.cluster);
  io("net.listen", o.net.listen);
  io("net.advertise", o.net.advertise);
  io("net.edge_listen", o.net.edge_listen);
  io("net.insecure", o.net.insecure);
  io("net.heartbeat", o.net.heartbeat);
  io("net.timeout", o.net.timeout);
  io("net.dial_timeout", o.net.dial_timeout);
  io("net.edge_timeout", o.net.edge_timeout);
  io("net.sessions_max", o.net.sessions_max);
  io("net.admissions_per_s", o.net.admissions_per_s);
  io("tls.certificate", o.tls.certificate);
  io("tls.key", o.tls.key);
  io("tls.ca", o.tls.ca);
  io("tls.revoked", o.tls.revoked);
  io("node.heartbeat", o.node.heartbeat);
  io("node.home_silence", o.node.home_silence);
  io("node.slot_hold", o.node.slot_hold);
  io("node.queue_per_slot", o.node.queue_per_slot);
  io("node.labels", o.node.labels);
  io("node.taints", o.node.taints);
  io("node.aggregators", o.node.aggregators);
  io("capacity.cores", o.node.cpu_milli);
  io("capacity.cores_auto", o.cpu_auto);
  io("capacity.memory", o.node.memory_bytes);
  io("capacity.memory_auto", o.memory_auto);
  io("capacity.accelerators", o.node.accelerators);
  io("capacity.accelerators_auto", o.accelerators_auto);
  io("drain.wait", o.node.drain_wait);
  io("resource.suspect_after", o.resource.suspect_after);
  io("resource.evict_after", o.resource.evict_after);
  io("resource.sweep", o.resource.sweep);
  io("resource.liveness_tick", o.resource.liveness_tick);
  io("resource.claims_tick", o.resource.claims_tick);
  io("resource.load_tick", o.resource.load_tick);
  io("resource.forget_after", o.resource.forget_after);
  io("resource.orphan_grace", o.resource.orphan_grace);
  io("resource.claim_timeout", o.resource.claim_timeout);
  io("resource.peer_timeout", o.resource.peer_timeout);
  io("resource.view_chunk", o.resource.view_chunk_bytes);
  io("resource.events", o.resource.events_kept);
  io("resource.group", o.resource.group);
  io("resource.quotas", o.resource.quotas);
  io("aggregator.tick", o.aggregator.tick);
  io("scheduler.apps", o.scheduler.app_files);
  io("scheduler.plan", o.scheduler.plan);
  io("scheduler.claim_timeout", o.scheduler.claim_timeout);
  io("scheduler.replace_per_s", o.scheduler.replace_per_s);
  io("scheduler.standby", o.scheduler.standby);
  io("scheduler.takeover_after", o.scheduler.takeover_after);
  io("scheduler.claim_log", o.scheduler.claim_log_bytes);
  io("router.refresh", o.router.refresh);
  io("router.tries", o.router.tries);
  io("router.admission_timeout", o.router.admission_timeout);
  io("router.no_replica_wait", o.router.no_replica_wait);
  io("router.ejection", o.router.ejection);
  io("router.slow_start", o.router.slow_start);
  io("router.outlier_errors", o.router.outlier_errors);
  io("router.outlier_latency", o.router.outlier_latency);
  io("router.outlier_ejection", o.router.outlier_ejection);
  io("router.retry_budget", o.router.retry_budget);
  io("router.retry_budget_min", o.router.retry_budget_min);
  io("router.near", o.router.near);
  io("router.share", o.router.share);
  io("gateway.listen", o.gateway.listen);
  io("gateway.body_limit", o.gateway.body_limit_bytes);
  io("gateway.header_limit", o.gateway.header_limit_bytes);
  io("gateway.connections_max", o.gateway.connections_max);
  io("gateway.idle_timeout", o.gateway.idle_timeout);
  io("gateway.anonymous_invoke", o.gateway.anonymous_invoke);
  io("gateway.ca_dir", o.gateway.ca_dir);
  io("gateway.apps", o.gateway.apps);
  io("gateway.task_keep", o.gateway.task_keep);
  io("gateway.task_bytes", o.gateway.task_bytes);
  io("gateway.task_limit", o.gateway.task_limit);
  io("metrics.listen", o.metrics.listen);
  io("store.enabled", o.store.enabled);
  io("store.directory", o.store.directory);
  io("store.size", o.store.bytes_max);
  io("store.listen", o.store.listen);
  io("store.upload_limit", o.store.upload_bytes_per_s);
  io("store.download_limit", o.store.download_bytes_per_s);
  io("store.link_share", o.store.link_share);
  io("store.nat", o.store.nat);
  io("store.order", o.store.order);
  io("store.upload_floor", o.store.upload_floor_bytes_per_s);
  io("log.level", o.log.level);
  io("log.format", o.log.format);
  io("log.file", o.log.file);
  io("shutdown.timeout", o.shutdown_timeout);
}

/// One name, one list of Resources and one heartbeat for all roles of a process.
void share(process_options& o) {
  o.node.name = o.resource.name = o.aggregator.name = o.scheduler.name = o.name;
  o.resource.peers = o.aggregator.resources = o.scheduler.resources = o.router.resources = o.node.resources;
  o.router.groups = o.scheduler.groups;
  o.resource.heartbeat = o.aggregator.heartbeat = o.scheduler.heartbeat = o.node.heartbeat;
  o.aggregator.home_silence = o.node.home_silence;
  o.aggregator.claim_timeout = o.resource.claim_timeout;
}

/// "net.heartbeat" is field heartbeat of the message in field net.
struct leaf {
  std::string_view table;
  std::string field;
};

leaf split(std::string_view key) {
  auto dot = key.find('.');
  if (dot == std::string_view::npos)
    return {{}, std::string{key}};
  return {key.substr(0, dot), std::string{key.substr(dot + 1)}};
}

const proto::FieldDescriptor& field_of(const proto::Message& message, const std::string& name) {
  auto field = message.GetDescriptor()->FindFieldByName(name);
  assert(field);
  return *field;
}

/// Copies what the file has into the options.
class from_file {
public:
  explicit from_file(const schema::ProcessFile& file) : file_(file) {}

  template <class T>
  void operator()(std::string_view key, T& option) {
    auto [table, name] = split(key);
    const proto::Message* message = &file_;
    if (!table.empty())
      message = &file_.GetReflection()->GetMessage(file_, &field_of(file_, std::string{table}));
    auto& field = field_of(*message, name);
    auto present = field.is_repeated() ? message->GetReflection()->FieldSize(*message, &field) > 0
                                       : message->GetReflection()->HasField(*message, &field);
    if (present)
      get(*message, *message->GetReflection(), field, option);
  }

private:
  static void get(const proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f,
                  std::string& out) {
    out = r.GetString(m, &f);
  }
  static void get(const proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f, bool& out) {
    out = r.GetBool(m, &f);
  }
  static void get(const proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f, double& out) {
    out = r.GetDouble(m, &f);
  }
  static void get(const proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f,
                  std::uint32_t& out) {
    out = r.GetUInt32(m, &f);
  }
  static void get(const proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f,
                  std::uint64_t& out) {
    out = r.GetUInt64(m, &f);
  }
  static void get(const proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f,
                  milliseconds& out) {
    out = milliseconds{r.GetInt64(m, &f)};
  }
  static void get(const proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f,
                  std::vector<std::string>& out) {
    auto texts = r.GetRepeatedFieldRef<std::string>(m, &f);
    out.assign(texts.begin(), texts.end());
  }
  void get(const proto::Message&, const proto::Reflection&, const proto::FieldDescriptor&,
           std::vector<std::pair<std::string, std::string>>& out) {
    auto& labels = file_.node().labels();
    out.assign(labels.begin(), labels.end());
    std::sort(out.begin(), out.end());
  }
  void get(const proto::Message&, const proto::Reflection&, const proto::FieldDescriptor&,
           std::vector<accelerator_options>& out) {
    for (auto& entry : file_.capacity().accelerators()) {
      accelerator_options accelerator;
      accelerator.kind = entry.kind();
      if (entry.has_count())
        accelerator.count = entry.count();
      if (entry.has_memory())
        accelerator.memory_bytes = entry.memory();
      if (entry.has_coefficient())
        accelerator.coefficient = entry.coefficient();
      out.push_back(std::move(accelerator));
    }
  }

  void get(const proto::Message&, const proto::Reflection&, const proto::FieldDescriptor&,
           std::vector<resource_group>& out) {
    for (auto& entry : file_.groups())
      out.push_back({entry.name(), {entry.resources().begin(), entry.resources().end()}});
  }

  void get(const proto::Message&, const proto::Reflection&, const proto::FieldDescriptor&,
           std::vector<quota_options>& out) {
    for (auto& entry : file_.resource().quotas()) {
      auto& quota = out.emplace_back();
      quota.business = entry.business();
      if (entry.has_cpu())
        quota.cpu_milli = entry.cpu();
      if (entry.has_memory())
        quota.memory_bytes = entry.memory();
      quota.accelerators.assign(entry.accelerators().begin(), entry.accelerators().end());
      std::sort(quota.accelerators.begin(), quota.accelerators.end());
    }
  }

  const schema::ProcessFile& file_;
};

/// Copies plain options, lists of words and quotas into the file; other lists and tables have no default to show.
class into_file {
public:
  explicit into_file(schema::ProcessFile& file) : file_(file) {}

  template <class T>
  void operator()(std::string_view key, T& option) {
    auto [table, name] = split(key);
    proto::Message* message = &file_;
    if (!table.empty())
      message = file_.GetReflection()->MutableMessage(&file_, &field_of(file_, std::string{table}));
    set(*message, *message->GetReflection(), field_of(*message, name), option);
  }

private:
  static void set(proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f,
                  const std::string& in) {
    r.SetString(&m, &f, in);
  }
  static void set(proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f, bool in) {
    r.SetBool(&m, &f, in);
  }
  static void set(proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f, double in) {
    r.SetDouble(&m, &f, in);
  }
  static void set(proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f, std::uint32_t in) {
    r.SetUInt32(&m, &f, in);
  }
  static void set(proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f, std::uint64_t in) {
    r.SetUInt64(&m, &f, in);
  }
  static void set(proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f, milliseconds in) {
    r.SetInt64(&m, &f, in.count());
  }
  static void set(proto::Message& m, const proto::Reflection& r, const proto::FieldDescriptor& f,
                  const std::vector<std::string>& in) {
    for (auto& text : in)
      r.AddString(&m, &f, text);
  }
  static void set(proto::Message& m, const proto::Reflection&, const proto::FieldDescriptor&,
                  const std::vector<quota_options>& in) {
    for (auto& quota : in) {
      auto& entry = *static_cast<schema::Resource&>(m).add_quotas();
      entry.set_business(quota.business);
      if (quota.cpu_milli)
        entry.set_cpu(*quota.cpu_milli);
      if (quota.memory_bytes)
        entry.set_memory(*quota.memory_bytes);
      for (auto& [kind, count] : quota.accelerators)
        (*entry.mutable_accelerators())[kind] = count;
    }
  }
  template <class T>
  static void set(proto::Message&, const proto::Reflection&, const proto::FieldDescriptor&, const std::vector<T>& in) {
    assert(in.empty());
  }

  schema::ProcessFile& file_;
};

std::vector<process_role> to_roles(const schema::ProcessFile& file) {
  std::vector<process_role> result;
  for (auto role : all_process_roles)
    if (std::find(file.roles().begin(), file.roles().end(), to_string(role)) != file.roles().end())
      result.push_back(role);
  return result;
}

/// CAF writes durations without quotes.
std::string unquoted(const std::string& text) {
  return text.substr(1, text.size() - 2);
}

void collect_caf(const proto::Message& table, const std::string& prefix,
                 std::vector<std::pair<std::string, std::string>>& out) {
  std::vector<const proto::FieldDescriptor*> fields;
  table.GetReflection()->ListFields(table, &fields);
  for (auto field : fields) {
    auto key = prefix + "." + key_of(*field);
    if (!field->is_repeated() && field->message_type())
      collect_caf(table.GetReflection()->GetMessage(table, field), key, out);
    else if (field->options().GetExtension(schema::notation) == schema::DURATION)
      out.emplace_back(key, unquoted(render(table, *field)));
    else
      out.emplace_back(key, render(table, *field));
  }
}

} // namespace

schema::ProcessFile default_process_file() {
  auto result = to_file(process_options{});
  // No default: what an operator has to say, and what only a stated capacity has.
  result.clear_name();
  result.clear_state_dir();
  result.mutable_capacity()->clear_cores();
  result.mutable_capacity()->clear_memory();
  return result;
}

schema::ProcessFile to_file(process_options options) {
  options.node.resources.clear();
  options.node.aggregators.clear();
  options.node.labels.clear();
  options.node.taints.clear();
  options.node.accelerators.clear();
  options.scheduler.app_files.clear();
  options.scheduler.groups.clear();
  schema::ProcessFile result;
  into_file io{result};
  pair_fields(io, options);
  return result;
}

process_options to_options(const schema::ProcessFile& file) {
  process_options result;
  from_file io{file};
  pair_fields(io, result);
  result.roles = to_roles(file);
  collect_caf(file.caf(), "caf", result.caf);
  share(result);
  return result;
}

const std::map<std::string, std::string>& reserved_keys() {
  static const std::map<std::string, std::string> keys{
      {"caf.middleman.app-identifiers", "Astra sets this itself; remove it"},
      {"caf.middleman.attach-utility-actors", "Astra sets this itself; remove it"},
      {"caf.middleman.connection-timeout", "Astra sets this itself; write net.timeout instead"},
      {"caf.middleman.enable-automatic-connections", "Astra dials its peers itself; remove it"},
      {"caf.middleman.heartbeat-interval", "Astra sets this itself; write net.heartbeat instead"},
      {"caf.middleman.manual-multiplexing", "Astra sets this itself; remove it"},
      {"caf.middleman.network-backend", "Astra sets this itself; remove it"},
      {"caf.middleman.prometheus-http", "opens a port that nothing guards; remove it"},
      {"caf.openssl", "Astra does not use CAF's TLS settings; remove it"},
  };
  return keys;
}

} // namespace astra
