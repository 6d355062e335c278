#include "config/process_file.hpp"

#include "config/schema.pb.h"
#include "config/schema_reader.hpp"
#include "test/config/config_files.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/config_option_set.hpp>
#include <caf/config_value.hpp>
#include <caf/io/middleman.hpp>
#include <doctest/doctest.h>
#include <google/protobuf/descriptor.h>

#include <set>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

TEST_CASE("a file reaches the options of every role") {
  auto config = load_text(R"(
name = "all"
roles = ["gateway", "node", "resource", "scheduler"]
resources = ["127.0.0.1:9700", "127.0.0.1:9701"]
state_dir = "/tmp/all"
[net]
listen = "127.0.0.1:9700"
heartbeat = "100ms"
[node]
heartbeat = "500ms"
queue_per_slot = 3
labels = { zone = "sz3", tier = "spot" }
taints = ["spot", "dedicated=db"]
[capacity]
cores = 1.5
memory = "2GiB"
[[capacity.accelerators]]
kind = "t4"
count = 2
memory = "16GiB"
coefficient = 0.6
[[capacity.accelerators]]
kind = "a10"
[drain]
wait = "9s"
[resource]
evict_after = "4s"
[scheduler]
plan = "50ms"
[router]
retry_budget = 0.25
[gateway]
body_limit = "1MiB"
[metrics]
listen = "127.0.0.1:9760"
[log]
level = "debug"
format = "json"
[shutdown]
timeout = "3s"
[caf.scheduler]
policy = "sharing"
max-threads = 2
[caf.work-stealing]
relaxed-sleep-duration = "20ms"
[caf.logger.console]
excluded-components = ["a", "b"]
)");
  CHECK(show(config.problems) == "");
  auto& o = config.options;
  CHECK(o.roles
        == std::vector{process_role::node, process_role::resource, process_role::scheduler, process_role::gateway});
  for (auto& name : {o.name, o.node.name, o.resource.name, o.scheduler.name})
    CHECK(name == "all");
  for (auto& resources : {o.node.resources, o.resource.peers, o.scheduler.resources, o.router.resources})
    CHECK(resources == std::vector<std::string>{"127.0.0.1:9700", "127.0.0.1:9701"});
  for (auto heartbeat : {o.node.heartbeat, o.resource.heartbeat, o.scheduler.heartbeat})
    CHECK(heartbeat == 500ms);
  CHECK(o.state_dir == "/tmp/all");
  CHECK(o.net.listen == "127.0.0.1:9700");
  CHECK(o.net.heartbeat == 100ms);
  CHECK(o.net.timeout == 1s);
  CHECK(o.node.queue_per_slot == 3);
  CHECK(o.node.labels == std::vector<std::pair<std::string, std::string>>{{"tier", "spot"}, {"zone", "sz3"}});
  CHECK(o.node.taints == std::vector<std::string>{"spot", "dedicated=db"});
  CHECK(o.node.cpu_milli == 1500);
  CHECK(o.node.memory_bytes == 2ull << 30);
  CHECK_FALSE(o.cpu_auto);
  CHECK_FALSE(o.memory_auto);
  CHECK_FALSE(o.accelerators_auto);
  REQUIRE(o.node.accelerators.size() == 2);
  CHECK(o.node.accelerators[0].kind == "t4");
  CHECK(o.node.accelerators[0].count == 2);
  CHECK(o.node.accelerators[0].memory_bytes == 16ull << 30);
  CHECK(o.node.accelerators[0].coefficient == 0.6);
  CHECK(o.node.accelerators[1].count == 1);
  CHECK(o.node.accelerators[1].coefficient == 1.0);
  CHECK(o.node.drain_wait == 9s);
  CHECK(o.resource.evict_after == 4s);
  CHECK(o.scheduler.plan == 50ms);
  CHECK(o.router.retry_budget == 0.25);
  CHECK(o.gateway.body_limit_bytes == 1024 * 1024);
  CHECK(o.metrics.listen == "127.0.0.1:9760");
  CHECK(o.log.level == "debug");
  CHECK(o.log.format == "json");
  CHECK(o.shutdown_timeout == 3s);
  CHECK(o.caf
        == std::vector<std::pair<std::string, std::string>>{
            {"caf.scheduler.policy", "\"sharing\""},
            {"caf.scheduler.max-threads", "2"},
            {"caf.work-stealing.relaxed-sleep-duration", "20ms"},
            {"caf.logger.console.excluded-components", "[\"a\", \"b\"]"},
        });
}

TEST_CASE("other Resource groups reach those who follow them, and contradictions are refused") {
  auto text = std::string{R"(
name = "front"
roles = ["scheduler", "gateway"]
resources = ["10.0.0.1:9700"]
state_dir = "/tmp/front"
[[groups]]
name = "vision"
resources = ["10.1.0.1:9700", "10.1.0.2:9700"]
)"};
  auto config = load_text(text);
  CHECK(show(config.problems) == "");
  for (auto groups : {&config.options.scheduler.groups, &config.options.router.groups}) {
    REQUIRE(groups->size() == 1);
    CHECK(groups->front().name == "vision");
    CHECK(groups->front().resources == std::vector<std::string>{"10.1.0.1:9700", "10.1.0.2:9700"});
  }
  CHECK(all_resources(config.options.scheduler.resources, config.options.scheduler.groups).size() == 3);
  auto problems = [](const std::string& more) { return show(load_text(more).problems); };
  CHECK(problems(text + "[[groups]]\nname = \"vision\"\nresources = [\"10.2.0.1:9700\"]\n").find("is given twice")
        != std::string::npos);
  CHECK(problems(text + "[[groups]]\nname = \"speech\"\nresources = [\"10.0.0.1:9700\"]\n")
            .find("is in resources too; a Resource is in one group")
        != std::string::npos);
  CHECK(problems(text + "[[groups]]\nname = \"speech\"\n").find("missing; write resources") != std::string::npos);
  CHECK(problems(text + "[[groups]]\nresources = [\"10.3.0.1:9700\"]\n").find("missing; write the group")
        != std::string::npos);
  CHECK(problems(minimal + "[[groups]]\nname = \"speech\"\nresources = [\"10.3.0.1:9700\"]\n")
            .find("says nothing for this process")
        != std::string::npos);
}

TEST_CASE("capacity is probed unless it is stated") {
  auto o = load_text(minimal).options;
  CHECK(o.cpu_auto);
  CHECK(o.memory_auto);
  CHECK_FALSE(o.accelerators_auto);
  CHECK(o.node.cpu_milli == 0);
  o = load_text(minimal + "[capacity]\ncores = 4\nmemory = \"auto\"\naccelerators = \"auto\"\n").options;
  CHECK_FALSE(o.cpu_auto);
  CHECK(o.node.cpu_milli == 4000);
  CHECK(o.memory_auto);
  CHECK(o.accelerators_auto);
}

TEST_CASE("a process with a Resource joins itself when nothing else is said") {
  auto config = load_text("name = \"n\"\nroles = [\"resource\", \"node\"]\n[net]\nlisten = \"127.0.0.1:9700\"\n");
  CHECK(show(config.problems) == "");
  CHECK(config.options.node.resources == std::vector<std::string>{"127.0.0.1:9700"});
  config = load_text("name = \"n\"\nroles = [\"resource\"]\n");
  CHECK(show(config.problems) == "");
  CHECK(config.options.resource.peers.empty());
}

TEST_CASE("a key of another role is accepted and checked") {
  CHECK(show(load_text(minimal + "[resource]\nsweep = \"50ms\"\n").problems) == "");
  CHECK(show(load_text(minimal + "[resource]\nsweep = \"0s\"\n").problems) != "");
}

TEST_CASE("variables are put into texts, numbers and units, and errors do not show their values") {
  auto environment =
      fixed_environment({{"HOST", "h7"}, {"CORES", "2.5"}, {"TRIES", "7"}, {"BEAT", "1500"}, {"SECRET", "hunter2"}});
  auto config = load_text("name = \"${HOST}\"\nroles = [\"${ROLE:-node}\"]\nresources = [\"127.0.0.1:9700\"]\n"
                          "[capacity]\ncores = \"${CORES}\"\nmemory = \"${MEM:-auto}\"\n"
                          "[router]\ntries = \"${TRIES}\"\n[drain]\nwait = \"${BEAT}ms\"\n",
                          environment);
  CHECK(show(config.problems) == "");
  CHECK(config.options.name == "h7");
  CHECK(config.options.roles == std::vector{process_role::node});
  CHECK(config.options.node.cpu_milli == 2500);
  CHECK(config.options.memory_auto);
  CHECK(config.options.router.tries == 7);
  CHECK(config.options.node.drain_wait == 1500ms);
  auto wrong = show(load_text(minimal + "[router]\ntries = \"${SECRET}\"\n[log]\nlevel = \"${SECRET}\"\n"
                                  + "[drain]\nwait = \"${SECRET}\"\n",
                              environment)
                        .problems);
  CHECK(wrong.find("${SECRET}") != std::string::npos);
  CHECK(wrong.find("hunter2") == std::string::npos);
}

TEST_CASE("effective values stand in the schema's order with their origins") {
  config_files files;
  auto path = files.write("node.toml", "name = \"${HOST}\"\nroles = [\"node\"]\nresources = [\"127.0.0.1:9700\"]\n"
                                       "[node]\nheartbeat = \"1000ms\"\n[capacity]\ncores = 2\n"
                                       "[node.labels]\nzone = \"sz3\"\n[[capacity.accelerators]]\nkind = \"t4\"\n");
  auto config = load_process_config(path, fixed_environment({{"HOST", "h7"}}));
  CHECK(show(config.problems) == "");
  auto expect = [&](const char* key, const std::string& value, const std::string& origin) {
    CAPTURE(key);
    auto found = find_value(config, key);
    REQUIRE(found);
    CHECK(found->value == value);
    CHECK(found->origin == origin);
  };
  expect("name", "\"h7\"", path + ":1 ($HOST)");
  expect("roles", "[\"node\"]", path + ":2");
  expect("state_dir", "\"/var/lib/astra/h7\"", "default");
  expect("net.heartbeat", "\"200ms\"", "default");
  expect("node.heartbeat", "\"1s\"", path + ":5");
  expect("node.labels.zone", "\"sz3\"", path + ":9");
  expect("capacity.cores", "2", path + ":7");
  expect("capacity.memory", "\"auto\"", "default");
  expect("capacity.accelerators", "[{ kind = \"t4\" }]", path + ":10");
  expect("router.retry_budget", "0.1", "default");
  expect("gateway.body_limit", "\"64MiB\"", "default");
  expect("log.file", "\"\"", "default");
  CHECK(config.values.front().key == "name");
  CHECK(config.values.back().key == "groups");
}

TEST_CASE("every key of the schema but those of CAF shows up among the effective values of any file") {
  auto config = load_text(minimal);
  std::set<std::string> shown;
  for (auto& value : config.values)
    CHECK_MESSAGE(shown.insert(value.key).second, value.key);
  auto file = schema::ProcessFile::descriptor();
  for (int i = 0; i < file->field_count(); ++i) {
    auto table = file->field(i);
    if (table->name() == "caf")
      continue;
    if (!table->message_type() || table->is_repeated()) {
      CHECK_MESSAGE(shown.contains(table->name()), table->name());
      continue;
    }
    for (int j = 0; j < table->message_type()->field_count(); ++j) {
      auto field = table->message_type()->field(j);
      if (!field->options().GetExtension(schema::internal))
        CHECK_MESSAGE(shown.contains(table->name() + "." + field->name()), field->full_name());
    }
  }
}

TEST_CASE("the defaults of the structs keep their own rules") {
  CHECK(validate(node_options{}).empty());
  CHECK(validate(resource_options{}).empty());
  CHECK(validate(scheduler_options{}).empty());
  CHECK(validate(router_options{}).empty());
  CHECK(validate(gateway_options{}).empty());
  CHECK(validate(log_options{}).empty());
  CHECK(validate(net_options{}).empty());
}

namespace {

/// Dotted names of all leaves below a message of the schema.
void collect(const google::protobuf::Descriptor& type, const std::string& prefix, std::vector<std::string>& out) {
  for (int i = 0; i < type.field_count(); ++i) {
    auto field = type.field(i);
    auto key = prefix + "." + key_of(*field);
    if (field->message_type())
      collect(*field->message_type(), key, out);
    else
      out.push_back(key);
  }
}

struct caf_config : caf::actor_system_config {
  caf_config() { load<caf::io::middleman>(); }
  const caf::config_option_set& all() const { return custom_options_; }
};

const caf::config_option* find_caf_option(const caf_config& config, const std::string& key) {
  auto dot = key.rfind('.');
  return config.all().qualified_name_lookup(key.substr(0, dot), key.substr(dot + 1));
}

} // namespace

TEST_CASE("every CAF option that a file may set is known to CAF, and so are the reserved ones") {
  caf_config config;
  std::vector<std::string> keys;
  collect(*schema::Caf::descriptor(), "caf", keys);
  CHECK(keys.size() > 20);
  for (auto& key : keys)
    CHECK_MESSAGE(find_caf_option(config, key), key);
  for (auto& [key, cure] : reserved_keys())
    if (key != "caf.openssl" && key != "caf.middleman.prometheus-http" && key != "caf.middleman.network-backend")
      CHECK_MESSAGE(find_caf_option(config, key), key);
}

TEST_CASE("the literals of CAF options are what CAF reads, with the same types") {
  auto config = load_text(minimal + R"([caf.scheduler]
policy = "sharing"
max-threads = 3
[caf.work-stealing]
relaxed-sleep-duration = "20ms"
[caf.stream.size-based-policy]
sampling-rate = 50
[caf.logger.console]
colored = false
excluded-components = ["a b", "c"]
)");
  CHECK(show(config.problems) == "");
  CHECK(config.options.caf.size() == 6);
  caf_config target;
  for (auto& [key, literal] : config.options.caf) {
    CAPTURE(key);
    auto value = caf::config_value::parse(literal);
    REQUIRE(value);
    CHECK_FALSE(find_caf_option(target, key)->sync(*value));
    CHECK_FALSE(target.set(key, *value).content.empty());
  }
  CHECK(caf::get_or(target, "caf.scheduler.policy", "") == "sharing");
  CHECK(caf::get_or(target, "caf.scheduler.max-threads", 0) == 3);
  CHECK(caf::get_or(target, "caf.work-stealing.relaxed-sleep-duration", caf::timespan{}) == caf::timespan{20ms});
}
