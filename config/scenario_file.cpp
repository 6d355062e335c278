#include "config/scenario_file.hpp"

#include "config/app_file.hpp"
#include "config/process_file.hpp"
#include "config/scenario.pb.h"
#include "config/schema.pb.h"
#include "config/schema_reader.hpp"

#include "messages/wire/app.pb.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/reflection.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace astra {

namespace proto = google::protobuf;

namespace {

using labels = std::vector<std::pair<std::string, std::string>>;

constexpr std::array network_modes{"stream", "datagram"};
constexpr std::array policies{"mixed", "fifo", "random", "pct", "pctcp"};

template <class Io>
void pair_fields(Io& io, scenario& x) {
  io("name", x.name);
  io("about", x.about);
  io("seeds.first", x.first_seed);
  io("seeds.count", x.seeds);
  io("horizon", x.horizon);
  io("quiet", x.quiet);
  io("policy", x.policy);
  io("depth", x.depth);
  io("step_max", x.step_max);
  io("restart_after", x.restart_after);
  io("swarm", x.swarm);
  io("swarm_faults", x.swarm_faults);
  io("sometimes", x.sometimes);
}

template <class Io>
void pair_fields(Io& io, scenario_machines& x) {
  io("name", x.name);
  io("roles", x.roles);
  io("count", x.count);
  io("cores", x.cpu_milli);
  io("memory", x.memory_bytes);
  io("labels", x.labels);
  io("taints", x.taints);
  io("zones", x.zones);
  io("crowd", x.crowd);
  io("group", x.resource_group);
  io("interference.cores", x.interference_cores);
  io("interference.swing", x.interference_swing);
}

template <class Io>
void pair_fields(Io& io, scenario_network& x) {
  io("mode", x.mode);
  io("latency_min", x.latency_min);
  io("latency_max", x.latency_max);
  io("tail", x.tail);
  io("tail_max", x.tail_max);
  io("loss", x.loss);
  io("duplicate", x.duplicate);
  io("overtake", x.overtake);
  io("uplink", x.uplink_bytes_per_s);
  io("downlink", x.downlink_bytes_per_s);
  io("content_limit", x.content_limit_bytes_per_s);
}

template <class Io>
void pair_fields(Io& io, scenario_content& x) {
  io("name", x.name);
  io("size", x.bytes);
  io("node", x.node);
  io("at", x.at);
  io("fetch", x.fetch);
}

template <class Io>
void pair_fields(Io& io, scenario_behaviour& x) {
  io("start_min", x.start_min);
  io("start_max", x.start_max);
  io("service_min", x.service_min);
  io("service_max", x.service_max);
  io("crash", x.crash);
  io("hang", x.hang);
  io("outgrow", x.outgrow);
}

template <class Io>
void pair_fields(Io& io, scenario_load& x) {
  io("app", x.app);
  io("per_s", x.per_s);
  io("from", x.from);
  io("until", x.until);
  io("deadline", x.deadline);
  io("impatient", x.impatient);
}

template <class Io>
void pair_fields(Io& io, scenario_fault& x) {
  io("kind", x.kind);
  io("at", x.at);
  io("duration", x.duration);
  io("targets", x.targets);
  io("others", x.others);
  io("amount", x.amount);
  io("both_ways", x.both_ways);
  io("app", x.app);
}

template <class Io>
void pair_fields(Io& io, scenario_check& x) {
  io("invariant", x.invariant);
  io("bound", x.bound);
  io("off", x.off);
  io("why", x.why);
}

/// "seeds.first" is field first of the message in field seeds.
std::pair<std::string, std::string> split(std::string_view key) {
  auto dot = key.find('.');
  if (dot == std::string_view::npos)
    return {{}, std::string{key}};
  return {std::string{key.substr(0, dot)}, std::string{key.substr(dot + 1)}};
}

const proto::FieldDescriptor& field_of(const proto::Message& message, const std::string& name) {
  auto field = message.GetDescriptor()->FindFieldByName(name);
  assert(field);
  return *field;
}

template <class Names>
std::size_t index_of(const Names& names, const std::string& name) {
  auto found = std::find(names.begin(), names.end(), name);
  // The schema refuses other words.
  assert(found != names.end());
  return static_cast<std::size_t>(found - names.begin());
}

/// Copies what a message has into a struct.
class from_message {
public:
  explicit from_message(const proto::Message& message) : message_(message) {}

  template <class T>
  void operator()(std::string_view key, T& out) {
    auto [table, name] = split(key);
    const proto::Message* message = &message_;
    if (!table.empty())
      message = &message_.GetReflection()->GetMessage(message_, &field_of(message_, table));
    auto& field = field_of(*message, name);
    auto& reflection = *message->GetReflection();
    if (field.is_repeated() ? reflection.FieldSize(*message, &field) > 0 : reflection.HasField(*message, &field))
      get(*message, reflection, field, out);
  }

private:
  using message = const proto::Message&;
  using reflection = const proto::Reflection&;
  using field = const proto::FieldDescriptor&;

  static void get(message m, reflection r, field f, std::string& out) { out = r.GetString(m, &f); }
  static void get(message m, reflection r, field f, bool& out) { out = r.GetBool(m, &f); }
  static void get(message m, reflection r, field f, double& out) { out = r.GetDouble(m, &f); }
  static void get(message m, reflection r, field f, std::uint32_t& out) { out = r.GetUInt32(m, &f); }
  static void get(message m, reflection r, field f, std::uint64_t& out) { out = r.GetUInt64(m, &f); }
  static void get(message m, reflection r, field f, nanoseconds& out) { out = nanoseconds{r.GetInt64(m, &f)}; }
  static void get(message m, reflection r, field f, network_mode& out) {
    out = static_cast<network_mode>(index_of(network_modes, r.GetString(m, &f)));
  }
  static void get(message m, reflection r, field f, schedule_policy& out) {
    out = static_cast<schedule_policy>(index_of(policies, r.GetString(m, &f)));
  }
  static void get(message m, reflection r, field f, std::vector<std::string>& out) {
    auto texts = r.GetRepeatedFieldRef<std::string>(m, &f);
    out.assign(texts.begin(), texts.end());
  }
  static void get(message m, reflection r, field f, std::vector<process_role>& out) {
    std::vector<std::string> names;
    get(m, r, f, names);
    for (auto role : all_process_roles)
      if (std::find(names.begin(), names.end(), to_string(role)) != names.end())
        out.push_back(role);
  }
  static void get(message m, reflection r, field f, labels& out) {
    for (int i = 0; i < r.FieldSize(m, &f); ++i) {
      auto& pair = r.GetRepeatedMessage(m, &f, i);
      auto& of_pair = *pair.GetReflection();
      out.emplace_back(of_pair.GetString(pair, f.message_type()->map_key()),
                       of_pair.GetString(pair, f.message_type()->map_value()));
    }
    std::sort(out.begin(), out.end());
  }

  const proto::Message& message_;
};

/// Copies a struct into a message.
class into_message {
public:
  explicit into_message(proto::Message& message) : message_(message) {}

  template <class T>
  void operator()(std::string_view key, T& in) {
    auto [table, name] = split(key);
    proto::Message* message = &message_;
    if (!table.empty())
      message = message_.GetReflection()->MutableMessage(&message_, &field_of(message_, table));
    set(*message, *message->GetReflection(), field_of(*message, name), in);
  }

private:
  using message = proto::Message&;
  using reflection = const proto::Reflection&;
  using field = const proto::FieldDescriptor&;

  static void set(message m, reflection r, field f, const std::string& in) { r.SetString(&m, &f, in); }
  static void set(message m, reflection r, field f, bool in) { r.SetBool(&m, &f, in); }
  static void set(message m, reflection r, field f, double in) { r.SetDouble(&m, &f, in); }
  static void set(message m, reflection r, field f, std::uint32_t in) { r.SetUInt32(&m, &f, in); }
  static void set(message m, reflection r, field f, std::uint64_t in) { r.SetUInt64(&m, &f, in); }
  static void set(message m, reflection r, field f, nanoseconds in) { r.SetInt64(&m, &f, in.count()); }
  static void set(message m, reflection r, field f, network_mode in) {
    r.SetString(&m, &f, network_modes.at(static_cast<std::size_t>(in)));
  }
  static void set(message m, reflection r, field f, schedule_policy in) {
    r.SetString(&m, &f, policies.at(static_cast<std::size_t>(in)));
  }
  static void set(message m, reflection r, field f, const std::vector<std::string>& in) {
    for (auto& text : in)
      r.AddString(&m, &f, text);
  }
  static void set(message m, reflection r, field f, const std::vector<process_role>& in) {
    for (auto role : in)
      r.AddString(&m, &f, to_string(role));
  }
  static void set(message m, reflection r, field f, const labels& in) {
    for (auto& [key, value] : in) {
      auto& pair = *r.AddMessage(&m, &f);
      pair.GetReflection()->SetString(&pair, f.message_type()->map_key(), key);
      pair.GetReflection()->SetString(&pair, f.message_type()->map_value(), value);
    }
  }

  proto::Message& message_;
};

template <class T>
T read(const proto::Message& message) {
  T result;
  from_message io{message};
  pair_fields(io, result);
  return result;
}

/// Without the values that are defaults.
template <class T>
void write(proto::Message& message, T what) {
  into_message io{message};
  pair_fields(io, what);
  std::unique_ptr<proto::Message> defaults{message.New()};
  T untouched;
  into_message default_io{*defaults};
  pair_fields(default_io, untouched);
  remove_equal(message, *defaults);
}

/// Tables that a scenario has in common with the file of a process.
constexpr std::array role_tables{"net",       "node",   "drain",   "resource", "aggregator",
                                 "scheduler", "router", "gateway", "shutdown", "store"};

void merge_role_tables(const proto::Message& from, proto::Message& into) {
  for (auto name : role_tables) {
    auto& field = field_of(from, name);
    if (from.GetReflection()->HasField(from, &field))
      into.GetReflection()
          ->MutableMessage(&into, &field_of(into, name))
          ->MergeFrom(from.GetReflection()->GetMessage(from, &field));
  }
}

scenario_app to_app(const schema::ScenarioApp& file, const std::string& key, std::vector<broken_rule>& broken) {
  scenario_app result;
  std::vector<broken_rule> of_spec;
  result.spec = std::make_shared<pb::AppSpec>(to_spec(file.app(), of_spec));
  for (auto& rule : of_spec) {
    for (auto& related : rule.related)
      related = key + "." + related;
    broken.push_back({key + "." + rule.key, rule.message, rule.related});
  }
  auto& library = result.spec->actor().library();
  if (result.spec->has_actor() && library.empty() && file.has_behaviour())
    broken.push_back({key + ".behaviour",
                      "says nothing for this app: it is for the processes of kind = \"process\" and for actors of a "
                      "library; remove it",
                      {key + ".kind"}});
  if (library.starts_with('{'))
    broken.push_back({key + ".actor.library",
                      "is a content, and those of a simulation have no files; name the library by its path, such as "
                      "\"build/libtally.so\"",
                      {key + ".actor", key}});
  result.behaviour = read<scenario_behaviour>(file.behaviour());
  result.scheduler = file.scheduler();
  result.from_file = !file.has_apply_at();
  result.apply_at = nanoseconds{file.apply_at()};
  return result;
}

} // namespace

scenario to_scenario(const schema::ScenarioFile& file, std::vector<broken_rule>& broken) {
  auto result = read<scenario>(file);
  if (result.swarm == std::vector<std::string>{"all"})
    result.swarm = fault_kinds();
  for (auto& machines : file.machines())
    result.machines.push_back(read<scenario_machines>(machines));
  result.network = read<scenario_network>(file.network());
  for (auto& content : file.contents())
    result.contents.push_back(read<scenario_content>(content));
  for (int i = 0; i < file.apps_size(); ++i)
    result.apps.push_back(to_app(file.apps(i), fmt::format("apps[{}]", i), broken));
  for (auto& load : file.load())
    result.load.push_back(read<scenario_load>(load));
  for (int i = 0; i < file.faults_size(); ++i) {
    result.faults.push_back(read<scenario_fault>(file.faults(i)));
    // 0 is an amount that may be meant, so that it must be said.
    if (file.faults(i).kind() == "scale" && !file.faults(i).has_amount())
      broken.push_back({fmt::format("faults[{}].amount", i),
                        "missing; say how many replicas the app is to have, such as amount = 4",
                        {fmt::format("faults[{}].kind", i)}});
  }
  for (auto& check : file.checks())
    result.checks.push_back(read<scenario_check>(check));
  auto process = default_process_file();
  merge_role_tables(file, process);
  result.options = to_options(process);
  return result;
}

schema::ScenarioFile to_file(const scenario& what) {
  schema::ScenarioFile result;
  write(result, what);
  for (auto& machines : what.machines)
    write(*result.add_machines(), machines);
  write(*result.mutable_network(), what.network);
  for (auto& content : what.contents)
    write(*result.add_contents(), content);
  for (auto& app : what.apps) {
    auto& entry = *result.add_apps();
    if (app.spec)
      *entry.mutable_app() = to_file(*app.spec);
    write(*entry.mutable_behaviour(), app.behaviour);
    if (!app.scheduler.empty())
      entry.set_scheduler(app.scheduler);
    if (!app.from_file)
      entry.set_apply_at(app.apply_at.count());
  }
  for (auto& load : what.load)
    write(*result.add_load(), load);
  for (auto& fault : what.faults) {
    auto& entry = *result.add_faults();
    write(entry, fault);
    if (fault.kind == "scale")
      entry.set_amount(fault.amount);
  }
  for (auto& check : what.checks)
    write(*result.add_checks(), check);
  auto process = to_file(what.options);
  remove_equal(process, default_process_file());
  // What the simulator gives each machine itself.
  process.mutable_net()->clear_listen();
  process.mutable_gateway()->clear_listen();
  merge_role_tables(process, result);
  return result;
}

} // namespace astra
