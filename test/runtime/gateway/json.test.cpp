#include "runtime/gateway/json.hpp"

#include "actors/resource/node_facts.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <rapidcheck.h>

using namespace astra;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

const view_time start{1000s};

pb::NodeRow make_node(const std::string& name, pb::Liveness state) {
  pb::NodeRow row;
  row.set_node(make_node_id(name).value());
  row.set_incarnation(3);
  row.set_home_epoch(1);
  row.set_liveness(state);
  row.set_reason(state == pb::LIVENESS_ONLINE ? "" : "silent for 2.1 s");
  row.set_age_ms(400);
  auto& load = *row.mutable_load();
  load.set_host_utilisation(0.5);
  load.set_running(3);
  load.set_queued(1);
  load.set_requests_done(10);
  load.set_requests_failed(2);
  auto& profile = *row.mutable_profile();
  profile.set_node(row.node());
  profile.set_incarnation(3);
  profile.set_version(1);
  profile.set_name(name);
  profile.set_address("127.0.0.1:7001");
  profile.mutable_capacity()->set_cpu_milli(8000);
  profile.mutable_capacity()->set_memory_bytes(1000);
  profile.set_capacity_origin("stated");
  profile.set_limits_backend("polling");
  auto& label = *profile.add_labels();
  label.set_key("zone");
  label.set_value("sz1");
  auto& accelerator = *profile.add_accelerators();
  accelerator.set_kind("t4");
  accelerator.set_count(2);
  accelerator.set_coefficient(0.8);
  for (auto replica_state : {pb::REPLICA_READY, pb::REPLICA_BACKING_OFF, pb::REPLICA_STOPPED}) {
    auto& replica = *profile.add_replicas();
    replica.set_app("ocr");
    replica.set_index(static_cast<std::uint32_t>(replica_state));
    replica.set_state(replica_state);
    replica.set_reason(replica_state == pb::REPLICA_READY ? "" : "exit 1");
    replica.mutable_resources()->set_cpu_milli(1500);
    replica.mutable_resources()->set_memory_bytes(100);
  }
  row.mutable_held()->set_cpu_milli(500);
  return row;
}

pb::AppRecord make_app(const std::string& name) {
  pb::AppRecord record;
  record.mutable_spec()->set_name(name);
  record.mutable_spec()->set_replicas(4);
  record.mutable_spec()->set_concurrency(2);
  record.mutable_spec()->set_request_timeout_ms(30000);
  record.mutable_spec()->mutable_per_request()->add_command("tesseract");
  record.set_epoch(1);
  record.set_version(1);
  record.set_scheduler(make_scheduler_id("s1").value());
  record.set_ready(3);
  record.set_pending(1);
  record.set_reason("needs 4 cores, 1.5 free");
  return record;
}

cluster_view make_view(std::vector<pb::NodeRow> nodes, std::vector<pb::AppRecord> apps) {
  pb::ViewDelta delta;
  delta.set_origin(make_resource_id("r1").value());
  delta.set_origin_name("r1");
  delta.set_epoch(1);
  delta.set_version(9);
  for (auto& node : nodes)
    *delta.add_nodes() = node;
  for (auto& app : apps)
    *delta.add_apps() = app;
  auto& scheduler = *delta.add_schedulers();
  scheduler.set_scheduler(make_scheduler_id("s1").value());
  scheduler.set_name("s1");
  scheduler.set_liveness(pb::LIVENESS_ONLINE);
  cluster_view view;
  view_changes changes;
  REQUIRE(view.apply(delta, start, changes) == cluster_view::apply_outcome::applied);
  return view;
}

} // namespace

TEST_CASE("/v1/status sums what is not offline, and counts nodes by state") {
  auto view = make_view({make_node("a", pb::LIVENESS_ONLINE), make_node("b", pb::LIVENESS_DRAINING),
                         make_node("c", pb::LIVENESS_OFFLINE)},
                        {make_app("ocr")});
  resource_answers answers;
  answers.silent.emplace_back("127.0.0.1:9", "refused");
  auto text = status_json(view, {"gw", "0.1.0", 1500ms}, answers, start + 250ms);
  CHECK(json::parse(text) == json::parse(R"({
    "cluster": {"gateway": "gw", "version": "0.1.0", "uptime_s": 1.5, "view_age_ms": 250},
    "resources": [{"name": "r1", "group": "main", "version": 9, "age_ms": 250, "lost": false}],
    "groups": [{"name": "main", "online": 1, "suspect": 0, "draining": 1, "offline": 1, "cores": 16.0, "cores_reserved": 7.0}],
    "schedulers": [{"name": "s1", "state": "online", "reason": "", "address": ""}],
    "nodes": {"online": 1, "suspect": 0, "draining": 1, "offline": 1},
    "cores": {"total": 16.0, "reserved": 7.0, "busy": 8.0},
    "memory": {"total_bytes": 2000, "reserved_bytes": 400},
    "cards": {"total": 4, "reserved": 0},
    "apps": [{"name": "ocr", "ready": 3, "replicas": 4, "reason": "needs 4 cores, 1.5 free"}],
    "requests": {"running": 6, "queued": 2},
    "views": {"reports": [], "unreachable": [{"address": "127.0.0.1:9", "reason": "refused"}], "differences": []}})"));
}

TEST_CASE("/v1/quotas has cores, bytes and cards, who waits and who is silent; /v1/status the same quotas") {
  quota_row row{"media", "main", "r1", {{"cpu", 16'000, 15'500, 500, 500}, {"t4", 2, 1, 0, 0}}, {}, "cpu used up"};
  row.waiting.push_back({"ocr", 3, 32s, "16 of 16 cores in use"});
  resource_answers answers;
  answers.silent.emplace_back("127.0.0.1:9", "refused");
  auto expected = json::parse(R"({"quotas": [{"business": "media", "group": "main", "keeper": "r1", "dimensions": [
      {"dimension": "cpu", "unit": "cores", "limit": 16.0, "in_use": 15.5, "given_out": 0.5, "leased": 0.5, "left": 0.0},
      {"dimension": "t4", "unit": "cards", "limit": 2, "in_use": 1, "given_out": 0, "leased": 0, "left": 1}],
    "used_up": ["cpu"], "waiting": [{"app": "ocr", "replicas": 3, "for_ms": 32000, "reason": "16 of 16 cores in use"}],
    "reason": "cpu used up"}], "unreachable": [{"address": "127.0.0.1:9", "reason": "refused"}]})");
  CHECK(json::parse(quotas_json({row}, answers)) == expected);
  CHECK(json::parse(status_json({}, {"gw", "0.1.0", 0ms}, {}, start, {row}))["quotas"] == expected["quotas"]);
  CHECK(!json::parse(status_json({}, {"gw", "0.1.0", 0ms}, {}, start)).contains("quotas"));
}

TEST_CASE("/v1/status of an empty view says that nothing is known") {
  auto status = json::parse(status_json({}, {"gw", "0.1.0", 0ms}, {}, start));
  CHECK(status["cluster"]["view_age_ms"].is_null());
  CHECK(status["resources"] == json::array());
  CHECK(status["apps"] == json::array());
  CHECK(json::parse(apps_json({})) == json::parse(R"({"apps": []})"));
}

TEST_CASE("a node is shown with every field, and alike in a list and alone") {
  auto view = make_view({make_node("b", pb::LIVENESS_ONLINE), make_node("a", pb::LIVENESS_SUSPECT)}, {});
  auto expected = json::parse(R"({"name": "a", "state": "suspect", "reason": "silent for 2.1 s", "age_ms": 500,
    "home": "r1", "group": "main", "address": "127.0.0.1:7001", "incarnation": 3, "cores": 8.0, "cores_reserved": 3.5,
    "utilisation": 0.5, "memory_bytes": 1000, "memory_reserved_bytes": 200, "running": 3, "queued": 1, "done": 10,
    "failed": 2, "labels": {"zone": "sz1"}, "accelerators": [{"kind": "t4", "count": 2, "memory_bytes": 0, "coefficient": 0.8}],
    "accelerators_reserved": {}, "profile_version": 1, "beat": 0, "home_epoch": 1,
    "capacity_origin": "stated", "limits_backend": "polling", "replicas": [
      {"app": "ocr", "index": 5, "state": "ready", "reason": "", "restarts": 0},
      {"app": "ocr", "index": 7, "state": "backing_off", "reason": "exit 1", "restarts": 0},
      {"app": "ocr", "index": 9, "state": "stopped", "reason": "exit 1", "restarts": 0}]})");
  expected["id"] = to_string(make_node_id("a"));
  auto& node = *view.find(make_node_id("a"));
  CHECK(json::parse(node_json(view, node, start + 100ms)) == expected);
  auto line = node_line(facts_of(view, node, start + 100ms));
  CHECK(json::parse(line) == expected);
  CHECK(line.find('\n') == line.size() - 1);
}

TEST_CASE("/v1/apps/{app} is the list's object with spec, replicas and, when second-hand, a note") {
  auto view = make_view({}, {make_app("ocr")});
  auto object = json::parse(apps_json(view))["apps"][0];
  CHECK(object == json::parse(R"({"name": "ocr", "kind": "process", "replicas": 4, "ready": 3, "starting": 0,
    "pending": 1, "failed": 0, "reason": "needs 4 cores, 1.5 free", "scheduler": "s1", "deleting": false,
    "idempotent": false, "concurrency": 2, "request_timeout_ms": 30000})"));
  pb::ReplicaStatus replica;
  replica.set_index(1);
  replica.set_state(pb::REPLICA_STARTING);
  replica.set_reason("fetching");
  replica.set_node_name("n1");
  replica.set_restarts(2);
  replica.set_in_state_ms(17);
  replica.set_epoch(5);
  auto detail = json::parse(app_json(view, view.find_app("ocr")->record, {replica}, "a note"));
  CHECK(detail["replicas_detail"] == json::parse(R"([{"index": 1, "state": "starting", "reason": "fetching",
    "node": "n1", "restarts": 2, "in_state_ms": 17, "epoch": 5, "outdated": false}])"));
  CHECK(detail["spec"]["per_request"]["command"] == json::array({"tesseract"}));
  CHECK(detail["spec"]["request_timeout_ms"] == "30000");
  CHECK(detail["note"] == "a note");
  CHECK_FALSE(detail.contains("placement"));
  pb::PlacementReport report;
  report.set_nodes(6);
  report.set_node_name("n3");
  report.add_reasons()->set_text("offline");
  report.add_changes()->set_text("resources.memory down to 6 GiB");
  CHECK(json::parse(app_json(view, view.find_app("ocr")->record, {}, "", &report))["placement"]
        == json::parse(R"({"nodes": 6, "fitting": 0, "node": "n3", "reasons": [{"nodes": 0, "text": "offline",
    "nearest": ""}], "changes": [{"text": "resources.memory down to 6 GiB"}]})"));
  detail.erase("spec");
  detail.erase("replicas_detail");
  detail.erase("note");
  CHECK(detail == object);
}

TEST_CASE("a router's table keeps every term of the weight") {
  router_table table;
  table.app = "ocr";
  table.formula = "seed";
  table.requests = 7;
  table.answered = 6;
  table.waiting = 1;
  router_table_row row;
  row.node = make_node_id("a");
  row.name = "a";
  row.weight = 2.5;
  row.terms = {{"cores", 8.0}, {"log_free", 0.5}};
  row.out_reason = "ejected";
  table.rows.push_back(row);
  auto shown = json::parse(router_table_json(table));
  CHECK(shown["waiting"] == 1);
  CHECK(shown["rows"][0]["terms"] == json::parse(R"({"cores": 8.0, "log_free": 0.5})"));
  CHECK(shown["rows"][0]["out_reason"] == "ejected");
  CHECK(shown["rows"][0]["node"] == to_string(make_node_id("a")));
}

TEST_CASE("a dry run of a router keeps the order of the turns") {
  router_picks picks{"ocr", "fast", "scan", {"b", "a", "b"}, ""};
  auto shown = json::parse(router_picks_json(picks));
  CHECK(shown["picks"] == json::parse(R"(["b", "a", "b"])"));
  CHECK(shown["formula"] == "fast");
  CHECK(shown["order"] == "scan");
}

TEST_CASE("hostile names and reasons come out as valid JSON that reads back, whatever their bytes") {
  const std::string hostile = "\"quote\\ </script> \n\t\x01\x7f {\"a\":1} \xe6\xa8\xa1";
  auto error = json::parse(error_json("app_failed", hostile));
  CHECK(error["error"]["message"] == hostile);
  CHECK(json::parse(app_failure_json("m", -9, "bad \xff\xfe end"))["error"]["stderr"] == "bad \uFFFD\uFFFD end");

  auto node = make_node(hostile, pb::LIVENESS_ONLINE);
  node.set_reason("cut \xe6\xa8");
  node.mutable_profile()->mutable_labels(0)->set_key(hostile + "\xc0");
  auto app = make_app(hostile);
  app.set_reason("\xff");
  auto view = make_view({node}, {app});
  auto shown = json::parse(node_json(view, view.nodes().begin()->second, start));
  CHECK(shown["name"] == hostile);
  CHECK(shown["reason"] == "cut \uFFFD");
  CHECK(json::parse(apps_json(view))["apps"][0]["reason"] == "\uFFFD");
  CHECK(json::accept(status_json(view, {"\xff", "\"", 0ms}, {}, start)));

  CHECK(rc::check("any bytes", [](const std::vector<std::uint8_t>& bytes) {
    std::string text(bytes.begin(), bytes.end());
    RC_ASSERT(json::accept(error_json(text, text)));
    RC_ASSERT(json::accept(health_json(text, text)));
    RC_ASSERT(json::accept(message_json(text)));
    config_problem problem;
    problem.key = text;
    problem.message = text;
    RC_ASSERT(json::accept(problems_json(text, {problem})));
    RC_ASSERT(json::accept(app_failure_json(text, 1, text)));
  }));
}

TEST_CASE("a spec with bytes that are not UTF-8 is shown without tearing the answer apart") {
  auto app = make_app("ocr");
  app.mutable_spec()->mutable_per_request()->set_command(0, "\xff\xfe");
  auto view = make_view({}, {app});
  CHECK(json::accept(app_json(view, app, {}, "")));
}

TEST_CASE("numbers that are no numbers do not break the answer") {
  auto node = make_node("a", pb::LIVENESS_ONLINE);
  node.mutable_load()->set_host_utilisation(std::numeric_limits<double>::quiet_NaN());
  auto view = make_view({node}, {});
  CHECK(json::accept(node_json(view, view.nodes().begin()->second, start)));
  CHECK(json::accept(status_json(view, {}, {}, start)));
}

TEST_CASE("an app in JSON is read strictly, and its name must be the path's") {
  auto good = read_app_json(R"({"replicas": 1, "concurrency": 1, "request_timeout_ms": "1000",
    "per_replica": {"cpu_milli": 500, "memory_bytes": "67108864"}, "queue_limit": 10,
    "restart": {"backoff_min_ms": "100", "backoff_max_ms": "1000", "healthy_after_ms": "1000", "budget": 5,
                "budget_window_ms": "60000"},
    "per_request": {"command": ["cat"], "output_limit_bytes": "1000000"}})",
                            "ocr");
  REQUIRE(good.spec);
  CHECK(good.spec->name() == "ocr");
  for (auto text : {"", "{", "[]", "null", R"({"replica": 2})", R"({"replicas": "many"})", R"({"replicas": -1})",
                    R"({"name": "other", "concurrency": 1})", "{\"name\": \"\xff\"}",
                    "{\"per_request\": {\"env\": [\"A=\xff\"]}}", R"({"per_request": {"env": ["A=\ud800"]}})"}) {
    CAPTURE(text);
    auto bad = read_app_json(text, "ocr");
    CHECK_FALSE(bad.spec);
    REQUIRE_FALSE(bad.problems.empty());
    CHECK_FALSE(bad.problems[0].message.empty());
  }
}

TEST_CASE("an app file over the API is refused with the place of each problem") {
  auto bad = read_app_toml("nmae = \"ocr\"\n", "ocr");
  CHECK_FALSE(bad.spec);
  REQUIRE_FALSE(bad.problems.empty());
  CHECK(bad.problems[0].line == 1);
  CHECK(bad.problems[0].file == "ocr.toml");
}

TEST_CASE("a library over the API is no path from the folder in which the gateway happens to run") {
  auto file = [](const std::string& library) {
    return "name = \"t\"\nkind = \"actor\"\n[actor]\ntype = \"tally\"\nlibrary = \"" + library + "\"\n";
  };
  auto relative = read_app_toml(file("build/libtally.so"), "t");
  CHECK_FALSE(relative.spec);
  REQUIRE(relative.problems.size() == 1);
  CHECK(relative.problems[0].message.find("\"build/libtally.so\" is neither a content") != std::string::npos);
  auto whole = read_app_toml(file("/opt/libtally.so"), "t");
  REQUIRE(whole.spec);
  CHECK(whole.spec->actor().library() == "/opt/libtally.so");
}

TEST_CASE("an event is one line with time, kind, object, cause and who saw it by what") {
  pb::Event event;
  event.set_sequence(5);
  event.set_wall_ms(1'764'184'203'045);
  event.set_kind(pb::EVENT_OFFLINE);
  event.set_name("node-\n2");
  event.set_cause("no heartbeat for 3.1 s");
  event.set_witness(pb::WITNESS_CLOSED_CONNECTION);
  auto line = event_line("r1", event);
  CHECK(line.find('\n') == line.size() - 1);
  CHECK(json::parse(line) == json::parse(R"({"time": "2025-11-26T19:10:03.045Z", "wall_ms": 1764184203045,
    "kind": "offline", "object": "node-\n2", "object_kind": "node", "cause": "no heartbeat for 3.1 s", "resource": "r1",
    "witness": "closed connection", "sequence": 5})"));
  event.set_kind(pb::EVENT_PEER_LOST);
  CHECK(json::parse(event_line("r1", event))["object_kind"] == "resource");
}
