#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/commands/quota.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace astra;

namespace {

const auto status_text_json = R"({
  "cluster": {"gateway": "gw-1", "version": "0.1.0", "uptime_s": 192, "view_age_ms": 240},
  "resources": [{"name": "r-1", "version": 123, "age_ms": 200, "lost": false},
                {"name": "r-2", "version": 9, "age_ms": 4100, "lost": true}],
  "schedulers": [{"name": "s-1", "state": "online", "reason": "", "address": "127.0.0.1:4"},
                 {"name": "s-2", "state": "suspect", "reason": "no beat for 2 s", "address": "127.0.0.1:5"}],
  "nodes": {"online": 5, "suspect": 1, "draining": 0, "offline": 0},
  "cores": {"total": 24, "reserved": 12.5, "busy": 3.4},
  "memory": {"total_bytes": 68719476736, "reserved_bytes": 1073741824},
  "apps": [{"name": "echo", "ready": 2, "replicas": 2, "reason": ""},
           {"name": "ocr", "ready": 4, "replicas": 6, "reason": "needs 4 cores, 1.5 free"}],
  "requests": {"running": 3, "queued": 1}
})";

} // namespace

TEST_CASE("status fits one screen and ends in the command to try next") {
  CHECK(render_status(json::parse(status_text_json), false)
        == "cluster    gateway gw-1   version 0.1.0   up 3m12s   view age 240ms\n"
           "nodes      5 online   1 suspect   0 draining   0 offline\n"
           "cores      24 total   12.5 reserved   3.4 busy (14 %)\n"
           "memory     64 GiB total   1 GiB reserved\n"
           "requests   3 running   1 queued\n"
           "resources  1 of 2 in view\n"
           "  RESOURCE  STATE    VIEW AGE\n"
           "  r-1       in view     200ms\n"
           "  r-2       lost         4.1s\n"
           "schedulers 1 of 2 online\n"
           "  SCHEDULER  STATE    REASON\n"
           "  s-2        suspect  no beat for 2 s\n"
           "apps       1 ready   1 not ready\n"
           "  APP  READY  REASON\n"
           "  ocr    4/6  needs 4 cores, 1.5 free\n"
           "next       astra app show ocr\n");
}

TEST_CASE("the next command follows what is wrong: an app, then a node, then nothing to run") {
  auto status = json::parse(status_text_json);
  status["apps"].erase(1);
  CHECK(render_status(status, false).find("next       astra node list\n") != std::string::npos);
  status["nodes"]["suspect"] = 0;
  CHECK(render_status(status, false).find("next       astra invoke echo < FILE\n") != std::string::npos);
  status["cluster"]["view_age_ms"] = nullptr;
  CHECK(render_status(status, false).find("view age unknown: no Resource heard yet\n") != std::string::npos);
  status["apps"].clear();
  CHECK(render_status(status, false).find("next       astra app apply FILE\n") != std::string::npos);
}

TEST_CASE("an answer without any field is rendered without a crash by every command") {
  for (auto text :
       {"{}", R"({"nodes":null,"apps":"x","rows":7,"cores":[],"spec":null})", R"({"nodes":[1,"x",null]})"}) {
    auto answer = json::parse(text);
    CHECK_FALSE(render_status(answer, false).empty());
    CHECK_FALSE(render_nodes(answer, true).empty());
    CHECK_FALSE(render_node(answer, false).empty());
    CHECK_FALSE(render_apps(answer, false).empty());
    CHECK_FALSE(render_app(answer, false).empty());
    CHECK_FALSE(render_router_table(answer, false).empty());
    CHECK_FALSE(render_quotas(answer, false).empty());
    CHECK_FALSE(quota_summary(answer, false).empty());
  }
}

TEST_CASE("node list shows a reason column as soon as 1 node has a reason") {
  auto answer = json::parse(R"({"nodes": [
    {"name": "node-1", "state": "online", "reason": "", "age_ms": 340, "home": "r-1", "cores": 4, "cores_reserved": 1.5,
     "utilisation": 0.62, "memory_bytes": 8589934592, "memory_reserved_bytes": 2147483648, "running": 2, "queued": 0,
     "replicas": [{"app": "ocr", "index": 0, "state": "ready", "reason": ""}]}]})");
  CHECK(render_nodes(answer, false)
        == "NAME    STATE   CORES         MEMORY  UTIL  RUN  QUEUE  REPLICAS    AGE  HOME\n"
           "node-1  online  1.5/4  2 GiB / 8 GiB  62 %    2      0         1  340ms  r-1\n");
  answer["nodes"].push_back(
      {{"name", "节点-2"}, {"state", "suspect"}, {"reason", "silent for 1.6s"}, {"age_ms", 1600}});
  CHECK(render_nodes(answer, false)
        == "NAME    STATE    CORES         MEMORY  UTIL  RUN  QUEUE  REPLICAS    AGE  HOME  REASON\n"
           "node-1  online   1.5/4  2 GiB / 8 GiB  62 %    2      0         1  340ms  r-1\n"
           "节点-2  suspect    0/0      0 B / 0 B   0 %    0      0         0   1.6s        silent for 1.6s\n");
}

TEST_CASE("node show names accelerators, labels and every replica") {
  auto text =
      render_node(json::parse(R"({"name": "node-1", "state": "draining", "reason": "asked by ann", "age_ms": 100,
    "home": "r-1", "labels": {"tier": "spot", "zone": "sz3"}, "accelerators": [{"kind": "t4", "count": 2,
    "coefficient": 1.25}], "replicas": [{"app": "ocr", "index": 3, "state": "backing_off", "reason": "exit code 1"}]})"),
                  false);
  CHECK(text.find("state        draining: asked by ann\n") != std::string::npos);
  CHECK(text.find("labels       tier=spot, zone=sz3\n") != std::string::npos);
  CHECK(text.find("accelerators 2 x t4 (coefficient 1.25)\n") != std::string::npos);
  CHECK(text.find("ocr/3    backing_off  exit code 1\n") != std::string::npos);
}

TEST_CASE("app list tells ready, starting, degraded, failed and deleting apart") {
  auto text = render_apps(json::parse(R"({"apps": [
    {"name": "a", "kind": "actor", "replicas": 2, "ready": 2},
    {"name": "b", "kind": "process", "replicas": 2, "ready": 1, "reason": "no node fits"},
    {"name": "c", "kind": "process", "replicas": 2, "starting": 2},
    {"name": "d", "kind": "process", "replicas": 2, "failed": 2, "reason": "exit code 1"},
    {"name": "e", "kind": "process", "replicas": 2, "ready": 2, "deleting": true}]})"),
                          false);
  CHECK(text
        == "NAME  KIND     STATE     READY  REASON\n"
           "a     actor    ready       2/2\n"
           "b     process  degraded    1/2  no node fits\n"
           "c     process  starting    0/2\n"
           "d     process  failed      0/2  exit code 1\n"
           "e     process  deleting    2/2\n");
}

TEST_CASE("app show understands Protobuf's 64-bit numbers in quotes") {
  auto text = render_app(json::parse(R"({"name": "ocr", "kind": "process", "replicas": 2, "ready": 1, "starting": 1,
    "reason": "1 replica is starting", "request_timeout_ms": 30000, "idempotent": true, "concurrency": 1,
    "scheduler": "ctl-1", "spec": {"per_replica": {"cpu_milli": 500, "memory_bytes": "268435456"},
    "per_request": {"command": ["tesseract", "stdin", "stdout"]}, "require": [{"key": "zone", "value": "sz3"}]},
    "replicas_detail": [
      {"index": 0, "state": "ready", "reason": "", "node": "node-1", "restarts": 0, "in_state_ms": 192000},
      {"index": 1, "state": "starting", "reason": "waiting for its port", "node": "node-2", "restarts": 3,
       "in_state_ms": 900}]})"),
                         false);
  CHECK(text
        == "name         ocr\n"
           "kind         process\n"
           "state        degraded: 1 replica is starting\n"
           "replicas     1/2 ready, 1 starting\n"
           "runs         tesseract stdin stdout, for every request\n"
           "per replica  cores 0.5, memory 256 MiB, concurrency 1\n"
           "requires     zone=sz3\n"
           "requests     deadline 30s, idempotent: may be started twice\n"
           "scheduler    ctl-1\n"
           "\n"
           "REPLICA  STATE     NODE    RESTARTS  IN STATE  REASON\n"
           "      0  ready     node-1         0     3m12s\n"
           "      1  starting  node-2         3     900ms  waiting for its port\n");
}

TEST_CASE("the router table has a column for each term of the weight") {
  auto text = render_router_table(json::parse(R"({"app": "ocr", "formula": "seed", "order": "scan", "requests": 10,
    "answered": 9, "waiting": 1, "retries": 2, "hedges": 0, "rows": [
      {"name": "node-1", "weight": 3.25, "credit": -1.5, "terms": {"cores": 4, "log_free": 0.81}, "slots": 2,
       "in_flight": 1, "picked": 8, "served": 7, "out_reason": ""},
      {"name": "node-2", "weight": 0, "credit": 0, "terms": {"cores": 2}, "slots": 1, "in_flight": 0, "picked": 2,
       "served": 2, "out_reason": "draining"}]})"),
                                  false);
  CHECK(text
        == "app ocr   formula seed   order scan   10 requests taken   9 answered   1 waiting   2 retries\n"
           "NODE    WEIGHT  cores  log_free  CREDIT  SLOTS  IN FLIGHT  PICKED  SERVED  OUT\n"
           "node-1    3.25      4      0.81    -1.5      2          1       8       7\n"
           "node-2       0      2         0       0      1          0       2       2  draining\n");
}

TEST_CASE("the next turns are shown in order, with the share of each node") {
  auto text = render_router_picks(json::parse(R"({"app": "ocr", "formula": "fast", "order": "scan",
    "picks": ["b", "a", "b", "c"], "reason": ""})"),
                                  false);
  CHECK(text
        == "app ocr   formula fast   order scan\n"
           "b a b c\n"
           "\n"
           "NODE  TURNS   SHARE\n"
           "b         2  50.0 %\n"
           "a         1  25.0 %\n"
           "c         1  25.0 %\n");
  CHECK(render_router_picks(json::parse(R"({"app": "ocr", "formula": "fast", "order": "scan", "picks": [],
                                             "reason": "no replica of app 'ocr' is ready"})"),
                            false)
        == "app ocr   formula fast   order scan\nnobody: no replica of app 'ocr' is ready\n");
}

TEST_CASE("spec_changes names every field that differs and no other") {
  auto before =
      json::parse(R"({"name": "ocr", "replicas": 3, "per_replica": {"cpu_milli": 500}, "idempotent": false})");
  auto after =
      json::parse(R"({"name": "ocr", "replicas": 6, "per_replica": {"cpu_milli": 500}, "actor": {"type": "x"}})");
  CHECK(spec_changes(before, after)
        == std::vector<std::string>{"actor.type: x (new)", "replicas: 3 -> 6", "idempotent: false (removed)"});
  CHECK(spec_changes(after, after).empty());
}

TEST_CASE("status says whether the Resources see the same cluster, and who is the furthest behind") {
  auto status = json::parse(status_text_json);
  status["cards"] = {{"total", 8}, {"reserved", 3}};
  status["views"] = json::parse(R"({
    "reports": [{"resource": "r-1", "uptime_ms": 61000, "subscribers": 4,
                 "slowest": [{"name": "router/ocr", "versions_behind": 2, "behind_ms": 120, "renewed_ms_ago": 400}],
                 "shards": [{"origin": "r-1", "version": 9, "nodes": 3}]}],
    "unreachable": [{"address": "127.0.0.1:9", "reason": "connection refused"}],
    "differences": [{"kind": "behind", "shard": "r-1", "resource": "r-2", "versions_behind": 3, "detail": "3 versions behind"}]
  })");
  auto text = render_status(status, false);
  auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
  CHECK(has("cards      8 total   3 reserved\n"));
  CHECK(has("  RESOURCE  STATE    VIEW AGE  NODES  SUBSCRIBERS     UP\n"));
  CHECK(has("  r-1       in view     200ms      3            4  1m01s\n"));
  CHECK(has("views      one Resource, nothing to compare   at most 3 versions on the way\n"));
  CHECK(has("127.0.0.1:9 does not answer: connection refused\n"));
  CHECK(has("slowest    router/ocr was 2 versions and 120ms behind r-1, 400ms ago\n"));
  status["views"]["differences"][0]["kind"] = "contradiction";
  text = render_status(status, false);
  CHECK(has("views      the Resources do not agree\n"));
  CHECK(has("  r-1    r-2      3 versions behind\n"));
  status["views"]["reports"].clear();
  text = render_status(status, false);
  CHECK(has("views      the Resources do not agree\n") == false);
  CHECK(has("no Resource answers"));
  CHECK(has("  r-1       in view"));
  // Whom nobody calls lost, as nobody of its group is left.
  status["resources"][0]["age_ms"] = 9000;
  text = render_status(status, false);
  CHECK(has("  r-1       silent "));
}

TEST_CASE("status adds up by Resource group where there are several") {
  auto status = json::parse(status_text_json);
  for (auto group : {"main", "vision"})
    status["groups"].push_back({{"name", group},
                                {"online", 2},
                                {"suspect", 0},
                                {"draining", 0},
                                {"offline", 1},
                                {"cores", 4.0},
                                {"cores_reserved", 0.5}});
  status["resources"][0]["group"] = "vision";
  auto text = render_status(status, false);
  auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
  CHECK(has("groups     2 Resource groups\n"));
  CHECK(has("  GROUP   ONLINE  SUSPECT  DRAINING  OFFLINE  CORES  RESERVED\n"));
  CHECK(has("  vision       2        0         0        1      4       0.5\n"));
}

TEST_CASE("quota list has a row per business and dimension, the reason once, and names who is silent") {
  auto answer = json::parse(R"json({"quotas": [
      {"business": "media", "group": "main", "keeper": "r-1", "used_up": ["cpu"], "reason": "cpu used up: 4 replicas wait",
       "waiting": [{"app": "ocr", "replicas": 3}, {"app": "tts", "replicas": 1}], "dimensions": [
        {"dimension": "cpu", "unit": "cores", "limit": 16.0, "in_use": 15.5, "given_out": 0.5, "left": 0.0},
        {"dimension": "memory", "unit": "bytes", "limit": 68719476736, "in_use": 1073741824, "given_out": 0,
         "left": 67645734912}]},
      {"business": "search", "group": "main", "keeper": "r-1", "used_up": [], "waiting": [], "reason": "", "dimensions": [
        {"dimension": "t4", "unit": "cards", "limit": 4, "in_use": 1, "given_out": 0, "left": 3}]}],
    "unreachable": [{"address": "127.0.0.1:9", "reason": "refused"}]})json");
  CHECK(render_quotas(answer, false)
        == "BUSINESS  WHAT     LIMIT  IN USE  GIVEN OUT    LEFT  KEEPER  REASON\n"
           "media     cpu         16    15.5        0.5       0  r-1     cpu used up: 4 replicas wait\n"
           "media     memory  64 GiB   1 GiB        0 B  63 GiB  r-1\n"
           "search    t4           4       1          0       3  r-1\n"
           "127.0.0.1:9 does not answer: refused\n");
  CHECK(quota_summary(answer["quotas"], false) == "2 businesses, 1 used up: media (cpu 15.5 of 16, 4 replicas wait)");
  answer["quotas"][1]["reason"] = "no Resource keeps it";
  CHECK(quota_summary(answer["quotas"], false)
        == "2 businesses, 1 used up: media (cpu 15.5 of 16, 4 replicas wait); search: no Resource keeps it");
  auto status = json::parse(status_text_json);
  CHECK(render_status(status, false).find("quotas ") == std::string::npos);
  answer["quotas"].erase(0);
  answer["quotas"][0]["reason"] = "";
  status["quotas"] = answer["quotas"];
  CHECK(render_status(status, false).find("quotas     1 business\n") != std::string::npos);
  answer["quotas"].push_back(answer["quotas"][0]);
  answer["quotas"][1]["group"] = "vision";
  CHECK(render_quotas(answer, false).find("search    vision  t4") != std::string::npos);
  CHECK(render_quotas(json::parse(R"({"quotas": []})"), false).find("no business has a quota") == 0);
}

TEST_CASE("why tells a quota without a count of nodes") {
  auto app = json::parse(R"json({"name": "ocr", "replicas": 1, "reason": "1 not placed", "replicas_detail": [],
    "placement": {"nodes": 2, "fitting": 2, "reasons": [
      {"nodes": 0, "text": "business media has 4 of 4 cores in use, and 1 is needed"}, {"nodes": 1, "text": "is full"}]}})json");
  CHECK(render_why_app(app, {}, false)
        == "ocr: 1 not placed\n"
           "a place for one more: 2 of 2 nodes\n"
           "            business media has 4 of 4 cores in use, and 1 is needed\n"
           "          1 is full\n");
}

TEST_CASE("why tells what is in the way on how many nodes, and the smallest change") {
  auto app =
      json::parse(R"json({"name": "ocr", "replicas": 3, "reason": "2 of 3 ready; 1 not placed", "replicas_detail": [
      {"index": 0, "state": "ready", "node": "n1"},
      {"index": 2, "state": "planned", "reason": "0 of 6 nodes fit"}],
    "placement": {"nodes": 6, "fitting": 0, "node": "n3",
      "reasons": [{"nodes": 4, "text": "lack memory (8 GiB needed, at most 6 GiB free, on n3)", "nearest": "n3"},
                  {"nodes": 2, "text": "have the taint spot", "nearest": "n5"}],
      "changes": [{"text": "resources.memory down to 6 GiB"}]
}
})json");
  auto placement = "a place for one more: 0 of 6 nodes\n"
                   "          4 lack memory (8 GiB needed, at most 6 GiB free, on n3)\n"
                   "          2 have the taint spot; n5 comes closest\n"
                   "smallest change that makes one, on n3: resources.memory down to 6 GiB\n";
  CHECK(render_why_app(app, {}, false)
        == std::string{"ocr: 2 of 3 ready; 1 not placed\nreplica 2: planned: 0 of 6 nodes fit\n"} + placement);
  CHECK(render_why_app(app, 2, false) == std::string{"replica 2: planned: 0 of 6 nodes fit\n"} + placement);
  CHECK(render_why_app(app, 0, false) == "replica 0 on n1: ready\n");
  CHECK(render_why_app(app, 7, false) == "ocr has no replica 7: it has 3, from 0\n");
  CHECK(render_why_app(json::parse(R"({"name": "ocr", "replicas": 3, "reason": ""})"), {}, false)
        == "ocr: all 3 replicas are ready\n");
  // What a lost node held runs elsewhere: nothing is wrong.
  auto moved = json::parse(R"json({"name": "ocr", "replicas": 1, "reason": "", "replicas_detail": [
      {"index": 0, "state": "unknown", "node": "n1", "reason": "n1 is offline"},
      {"index": 0, "state": "ready", "node": "n2"}]})json");
  CHECK(render_why_app(moved, {}, false) == "ocr: its replica is ready\n");
  CHECK(render_why_app(moved, 0, false) == "replica 0 on n1: unknown: n1 is offline\nreplica 0 on n2: ready\n");
  moved["replicas_detail"].erase(1);
  CHECK(render_why_app(moved, {}, false) == "ocr: its replica is ready\nreplica 0 on n1: unknown: n1 is offline\n");
  auto federated = json::parse(R"json({"name": "dask", "replicas": 3, "reason": "", "clusters": [
      {"cluster": "a1", "state": "serving", "reason": "", "workers_ready": 2, "workers": 2}],
    "replicas_detail": [
      {"index": 0, "cluster": "a1", "slot": 0, "state": "ready", "node": "n1"},
      {"index": 0, "cluster": "a1", "slot": 1, "state": "ready", "node": "n2"}]})json");
  CHECK(render_why_app(federated, {}, false) == "dask: 1 cluster, 1 serving\n");
  federated["clusters"].push_back(
      json::parse(R"json({"cluster": "b2", "state": "filling", "reason": "waits for workers",
      "workers_ready": 0, "workers": 2})json"));
  federated["replicas_detail"].push_back(
      json::parse(R"json({"index": 0, "cluster": "b2", "slot": 1, "state": "starting", "node": "n2"})json"));
  CHECK(render_why_app(federated, {}, false)
        == "dask: 2 clusters, 1 serving\ncluster b2: filling: waits for workers, 0 of 2 workers ready\n"
           "worker 1 of cluster b2 on n2: starting\n");
  CHECK(render_why_node(json::parse(R"({"name": "n1", "state": "draining", "reason": "asked to", "taints": ["spot"],
    "replicas": [{"app": "a", "index": 1, "state": "ready"}]})"),
                        false)
        == "n1: draining: asked to\nonly apps that tolerate its taints are placed there: spot\n");
}
