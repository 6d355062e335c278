#include "runtime/cli/commands/model.hpp"
#include "runtime/cli/commands/model_progress.hpp"
#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace astra;
using namespace std::chrono_literals;
using test::command_fixture;

namespace {

std::string job(const std::string& id, const std::string& state, std::uint64_t done, const std::string& more = "") {
  return R"({"id":")" + id + R"(","node":")" + id.substr(0, id.find(':')) + R"(","state":")" + state
         + R"(","name":"llama","version":3,"address":"0a0b","size_bytes":4194304,"bytes_total":4194304,"bytes_done":)"
         + std::to_string(done) + more + "}";
}

std::string jobs(const std::string& list) {
  return R"({"jobs":[)" + list + "]}";
}

const std::string fetch_begun = R"({"name":"llama","version":3,"address":"0a0b","size_bytes":4194304,"nodes":[
  {"node":"n1","state":"done","job":"n1:1","reason":""},
  {"node":"n2","state":"running","job":"n2:5","reason":""},
  {"node":"n3","state":"running","job":"n3:9","reason":""}]})";

const std::string both_jobs = "GET /v1/model-jobs?id=n2%3A5,n3%3A9";

} // namespace

TEST_CASE_FIXTURE(command_fixture, "publish makes the path absolute, names this machine, and ends with the version") {
  auto data = file("model.bin", "weights");
  answer("POST /v1/models/llama", 202, R"({"node":"n2","job":"n2:7"})");
  answer("GET /v1/model-jobs?id=n2%3A7", 200, jobs(job("n2:7", "running", 1048576, R"(,"bytes_per_s":1048576)")));
  on_sleep = [&] { answer("GET /v1/model-jobs?id=n2%3A7", 200, jobs(job("n2:7", "done", 4194304))); };
  auto relative = std::filesystem::relative(data).string();
  auto result = run({"model", "publish", "llama", relative.c_str(), "--pin", "--origin", "http://x/y"});
  CHECK(result.code == 0);
  CHECK(result.out == "published llama@3 (0a0b, 4 MiB, on node n2)\n");
  CHECK(result.err == "publish llama  25 %  1 MiB of 4 MiB  1.0 MB/s\n");
  auto body = json::parse(*calls.front().body);
  CHECK(body["path"] == data);
  CHECK(body["machine"] == "machine-1");
  CHECK(body["pin"] == true);
  CHECK(body["origin"] == "http://x/y");
  CHECK_FALSE(body.contains("node"));
}

TEST_CASE_FIXTURE(command_fixture, "what cannot be published is said before anything is sent") {
  auto missing = run({"model", "publish", "llama", "/no/such/directory"});
  CHECK(missing.code == exit_failed);
  CHECK(missing.err == "astra: cannot read /no/such/directory: there is no such file\n");
  auto relative = run({"model", "publish", "llama", "models", "--node", "n1"});
  CHECK(relative.code == exit_usage);
  CHECK(relative.err.find("write all of it, from / on, not 'models'") != std::string::npos);
  auto version = run({"model", "publish", "llama@3", "/tmp"});
  CHECK(version.code == exit_usage);
  CHECK(version.err.find("write 'llama'") != std::string::npos);
  CHECK(run({"model", "publish", "a b", "/tmp"}).code == exit_usage);
  auto origin = run({"model", "publish", "llama", "/tmp", "--origin", "http://me:secret@x/"});
  CHECK(origin.code == exit_usage);
  CHECK(origin.err.find("have the server let the nodes in by their addresses") != std::string::npos);
  CHECK(calls.empty());
}

TEST_CASE_FIXTURE(command_fixture, "with --node the path is that node's, and --no-wait prints the job") {
  answer("POST /v1/models/llama", 202, R"({"node":"n1","job":"n1:1"})");
  auto result = run({"model", "publish", "llama", "/no/such/directory", "--node", "n1", "--no-wait"});
  CHECK(result.code == 0);
  CHECK(result.out == "n1:1\n");
  auto body = json::parse(*calls.back().body);
  CHECK(body["node"] == "n1");
  CHECK_FALSE(body.contains("machine"));
}

TEST_CASE_FIXTURE(command_fixture, "a job that fails ends in its reason and exit code 1") {
  answer("POST /v1/models/llama", 202, R"({"node":"n1","job":"n1:1"})");
  answer("GET /v1/model-jobs?id=n1%3A1", 200, jobs(job("n1:1", "failed", 0, R"(,"reason":"no space left")")));
  auto result = run({"model", "publish", "llama", "/data", "--node", "n1"});
  CHECK(result.code == exit_failed);
  CHECK(result.err == "astra: node 'n1' could not publish /data: no space left\n");
  answer("POST /v1/models/llama", 409,
         R"({"error":{"code":"conflict","message":"no node of the cluster runs on this machine"}})");
  CHECK(run({"model", "publish", "llama", "/", "--no-wait"}).code == exit_conflict);
}

TEST_CASE_FIXTURE(command_fixture, "fetch follows the jobs of all nodes, tells who is behind, and what failed") {
  answer("POST /v1/models/llama/fetch", 202, fetch_begun);
  answer(both_jobs, 200,
         jobs(job("n2:5", "running", 2097152, R"(,"bytes_per_s":1048576,"peers":2,"eta_ms":2000)") + ","
              + job("n3:9", "running", 0, R"(,"peers":1,"eta_ms":9000,"reason":"waits for a tracker")")));
  on_sleep = [&] {
    answer(both_jobs, 200,
           jobs(job("n2:5", "done", 4194304) + "," + job("n3:9", "failed", 0, R"(,"reason":"disk full")")));
  };
  auto result = run({"model", "fetch", "llama", "--all", "--pin"});
  CHECK(result.code == exit_failed);
  CHECK(*calls.front().body == R"({"all":true,"pin":true})");
  CHECK(result.out == "llama@3: 2 nodes have it (4 MiB, 500ms)\n");
  CHECK(result.err
        == "fetch llama@3  25 %  2 MiB of 8 MiB  1.0 MB/s  3 peers  ETA 9s  0 of 2 nodes  n3 0 %: waits for a "
           "tracker\n"
           "n3: disk full\n"
           "astra: fetch llama@3: 1 of 3 nodes failed\n");
  auto as_json = run({"model", "fetch", "llama", "--all", "-o", "json"});
  CHECK(json::parse(as_json.out)["nodes"][2]["reason"] == "disk full");
  CHECK(as_json.code == exit_failed);
}

TEST_CASE_FIXTURE(command_fixture, "fetch needs exactly one way to say which nodes") {
  for (auto& words : std::vector<std::vector<const char*>>{{"model", "fetch", "llama"},
                                                           {"model", "fetch", "llama", "--all", "--count", "2"},
                                                           {"model", "fetch", "llama", "--count", "0"}})
    CHECK(run(words).code == exit_usage);
  CHECK(calls.empty());
  answer("POST /v1/models/llama%402/fetch", 202, fetch_begun);
  auto begun = run({"model", "fetch", "llama@2", "--node", "n2", "--node", "n3", "--no-wait"});
  CHECK(begun.code == 0);
  CHECK(*calls.back().body == R"({"nodes":["n2","n3"]})");
  CHECK(begun.out
        == "NODE  JOB   STATE\n"
           "n1    n1:1  done\n"
           "n2    n2:5  running\n"
           "n3    n3:9  running\n");
}

TEST_CASE_FIXTURE(command_fixture, "on a terminal progress is one line that is written anew, and cut to its width") {
  environment.err_is_terminal = true;
  variables["NO_COLOR"] = "1";
  environment.err_columns = [] { return std::size_t{60}; };
  answer("POST /v1/models/llama/fetch", 202, fetch_begun);
  answer(both_jobs, 200,
         jobs(job("n2:5", "running", 2097152, R"(,"peers":2)") + "," + job("n3:9", "running", 2097152)));
  on_sleep = [&] { answer(both_jobs, 200, jobs(job("n2:5", "done", 1) + "," + job("n3:9", "done", 1))); };
  auto result = run({"model", "fetch", "llama", "--count", "3"});
  CHECK(result.code == 0);
  CHECK(result.err == "\r\033[Kfetch llama@3 [##########----------]   50 %  4 MiB of 8 MiB\r\033[K");
  CHECK(result.out == "llama@3: 3 nodes have it (4 MiB, 500ms)\n");
}

TEST_CASE_FIXTURE(command_fixture, "^C leaves the nodes at it and says so") {
  answer("POST /v1/models/llama/fetch", 202, fetch_begun);
  answer(both_jobs, 200, jobs(job("n2:5", "running", 0) + "," + job("n3:9", "running", 0)));
  interrupted = true;
  auto result = run({"model", "fetch", "llama", "--all"});
  CHECK(result.code == exit_unreachable);
  CHECK(result.err.find("the nodes go on with it; astra model show llama@3 tells how far they are\n")
        != std::string::npos);
  CHECK(result.out.empty());
}

TEST_CASE_FIXTURE(command_fixture, "a node that is gone is waited for 60 s, one that cannot begin again is not") {
  answer("POST /v1/models/llama/fetch", 202, fetch_begun);
  auto gone = [](const std::string& id, const std::string& code, const std::string& reason) {
    return R"({"id":")" + id + R"(","state":"unknown","code":")" + code + R"(","reason":")" + reason + R"("})";
  };
  answer(both_jobs, 200,
         jobs(gone("n2:5", "unreachable", "refused") + "," + gone("n3:9", "unknown_name", "no such job")));
  answer("GET /v1/model-jobs?id=n2%3A5", 200, jobs(gone("n2:5", "unreachable", "refused")));
  answer("POST /v1/models/llama%403/fetch", 409, R"({"error":{"code":"conflict","message":"no room"}})");
  auto begun = time;
  auto result = run({"model", "fetch", "llama", "--all"});
  CHECK(result.code == exit_failed);
  CHECK(time - begun >= 60s);
  CHECK(time - begun < 62s);
  CHECK(result.err.find("n2: refused\nn3: no room\n") != std::string::npos);
}

TEST_CASE_FIXTURE(command_fixture,
                  "a node that was started anew gets a new job, also when its old number is another one") {
  answer("POST /v1/models/llama/fetch", 202, fetch_begun);
  answer("POST /v1/models/llama%403/fetch", 202,
         R"({"name":"llama","version":3,"nodes":[{"node":"n3","state":"running","job":"n3:1","reason":""}]})");
  answer(both_jobs, 200, jobs(job("n2:5", "done", 1) + "," + job("n3:9", "running", 0, R"(,"verb":"verify")")));
  answer("GET /v1/model-jobs?id=n3%3A1", 200, jobs(job("n3:1", "done", 1, R"(,"verb":"fetch")")));
  auto result = run({"model", "fetch", "llama", "--all", "--pin"});
  CHECK(result.code == 0);
  CHECK(result.out == "llama@3: 3 nodes have it (4 MiB, 500ms)\n");
  CHECK(*calls.at(2).body == R"({"nodes":["n3"],"pin":true})");
}

TEST_CASE_FIXTURE(command_fixture, "verify, pin, rm and limit ask their routes and tell what came of it") {
  answer("POST /v1/models/llama/verify", 202,
         R"({"name":"llama","version":3,"size_bytes":1024,"nodes":[{"node":"n1","state":"done","job":"n1:1"}]})");
  CHECK(run({"model", "verify", "llama"}).out == "llama@3: 1 node has it undamaged (1 KiB, 0ms)\n");
  answer("POST /v1/models/llama/pin", 200,
         R"({"name":"llama","version":3,"nodes":[{"node":"n1","state":"done"},
             {"node":"n2","state":"failed","reason":"does not have it"}]})");
  auto pinned = run({"model", "unpin", "llama", "--node", "n1", "--node", "n2"});
  CHECK(*calls.back().body == R"({"pinned":false,"nodes":["n1","n2"]})");
  CHECK(pinned.out == "llama@3 not pinned on n1\n");
  CHECK(pinned.err == "n2: does not have it\n");
  CHECK(pinned.code == exit_failed);
  CHECK(run({"model", "rm", "llama"}).err.find("name the version that is to go, such as llama@3") != std::string::npos);
  answer("DELETE /v1/models/llama%402", 200,
         R"({"name":"llama","version":2,"nodes":[{"node":"n1","state":"freed","freed_bytes":1024,"reason":""},
             {"node":"n2","state":"stays","freed_bytes":0,"reason":"2 replicas use it"}]})");
  CHECK(run({"model", "rm", "llama@2"}).out
        == "removed llama@2: 1 KiB freed\n"
           "NODE  FILES        REASON\n"
           "n1    freed 1 KiB\n"
           "n2    stay         2 replicas use it\n");
  answer(
      "GET /v1/model-nodes", 200,
      R"({"nodes":[{"node":"n1","zone":"a","store_used_bytes":1048576,"store_max_bytes":0,"uplink_bytes_per_s":12500000,
             "downlink_bytes_per_s":0,"reachability":"port_restricted","reason":""}],"unreachable":[]})");
  CHECK(run({"model", "nodes"}).out
        == "NODE  ZONE  STORED         ROOM   UPLINK  REACHED\n"
           "n1    a      1 MiB  as the disk  12 MB/s  port_restricted\n");
  answer("GET /v1/model-limit", 200, R"({"bytes_per_s":0,"unreachable":[]})");
  CHECK(run({"model", "limit"}).out == "no limit\n");
  answer("PUT /v1/model-limit", 200,
         R"({"bytes_per_s":100000000,"since":"2026-11-26T19:10:03.123Z",
             "unreachable":[{"address":"r2:1","reason":"refused"}]})");
  auto limited = run({"model", "limit", "800Mbit/s"});
  CHECK(*calls.back().body == R"({"bytes_per_s":100000000})");
  CHECK(limited.out
        == "all nodes together send at most 100MB/s, since 2026-11-26 19:10:03 UTC\n"
           "tracker at r2:1 does not answer: refused\n");
  auto bad = run({"model", "limit", "fast"});
  CHECK(bad.code == exit_usage);
  CHECK(bad.err.find("write such as 10GB/s, 800Mbit/s, 1.5GiB/s or none") != std::string::npos);
}

TEST_CASE("models are listed with the newest marked, and what is on no node says so") {
  auto answer = json::parse(R"({"models":[
    {"name":"llama","version":2,"size_bytes":1073741824,"published":"2026-11-26T19:10:03.123Z","publisher":"n1",
     "complete":3,"fetching":0,"missing":0,"newest":false},
    {"name":"llama","version":3,"size_bytes":1073741824,"published":"2026-11-26T20:10:03.123Z","publisher":"n1",
     "complete":0,"fetching":2,"progress":0.456,"missing":12,"newest":true}],
    "limit":{"bytes_per_s":1000000},"settling":true,"left_out":0})");
  CHECK(render_models(answer, false)
        == "NAME     NEWEST   SIZE  NODES  FETCHING  DONE  PUBLISHED (UTC)      BY  REASON\n"
           "llama@2          1 GiB      3                  2026-11-26 19:10:03  n1\n"
           "llama@3  *       1 GiB      0         2  46 %  2026-11-26 20:10:03  n1  12 pieces are on no node\n"
           "all nodes together send at most 1MB/s\n"
           "a tracker has just started and may not have heard of all yet\n");
  CHECK(render_models(json::parse(R"({"models":[]})"), false)
        == "no models; astra model publish NAME PATH makes one\n");
}

TEST_CASE("one model is shown newest version first, with state, rates, peers and reason of each holder") {
  auto answer = json::parse(R"({"name":"llama","versions":[
    {"name":"llama","version":2,"address":"0a","size_bytes":1024,"published":"2026-11-26T19:10:03.123Z",
     "publisher":"n1","removed":true,"holders":[]},
    {"name":"llama","version":3,"address":"0b","size_bytes":1024,"pieces":4,"published":"2026-11-26T20:10:03.123Z",
     "publisher":"n1","complete":1,"fetching":1,"progress":0.25,"missing":0,"newest":true,"holders":[
      {"node":"n1","zone":"a","state":"ready","percent":100.0,"upload_bytes_per_s":2048,"peers":1,"pinned":true,
       "users":2,"reason":""},
      {"node":"n2","zone":"b","state":"fetching","percent":25.5,"download_bytes_per_s":2048,"peers":1,
       "eta_ms":3000,"reason":"1 peer is slow"}]}]})");
  CHECK(render_model(answer, false)
        == "model llama@3   1 KiB   4 pieces   newest\n"
           "address      0b\n"
           "published    2026-11-26 20:10:03 UTC by n1\n"
           "nodes        1 complete, 1 fetching (25 %)\n"
           "  NODE  ZONE  STATE       DONE      DOWN        UP  PEERS  ETA  PINNED  USED BY  REASON\n"
           "  n1    a     ready      100 %            2.0 kB/s      1       yes           2\n"
           "  n2    b     fetching  25.5 %  2.0 kB/s                1   3s                   1 peer is slow\n"
           "\n"
           "model llama@2   1 KiB   removed\n"
           "address      0a\n"
           "published    2026-11-26 19:10:03 UTC by n1\n"
           "nodes        0 complete\n");
}

TEST_CASE("an answer about models without any field is rendered without a crash") {
  for (auto text : {"{}", R"({"models":null,"versions":7,"nodes":"x","limit":[]})",
                    R"({"models":[1,"x",null],"versions":[1,null],"nodes":[2],"unreachable":[3]})",
                    R"({"versions":{"a":1},"models":{"b":2},"nodes":{"c":3}})"}) {
    auto answer = json::parse(text);
    CHECK_FALSE(render_models(answer, false).empty());
    CHECK_FALSE(render_model(answer, true).empty());
    CHECK_FALSE(render_model_removal(answer, false).empty());
    CHECK_FALSE(render_model_nodes(answer, false).empty());
    CHECK_FALSE(render_model_limit(answer, false).empty());
  }
}

TEST_CASE("jobs are summed up: the failed ones left out, the last ETA, and none when of one nobody knows") {
  auto list = [](const std::string& text) {
    std::vector<json> result;
    for (const auto& one : json::parse(text))
      result.push_back(one);
    return result;
  };
  auto all = summarise_jobs(list("[" + job("n1:1", "done", 0) + "," + job("n2:1", "running", 2097152, R"(,"eta_ms":50)")
                                 + "," + job("n3:1", "running", 1048576, R"(,"eta_ms":90,"reason":"slow")") + ","
                                 + job("n4:1", "failed", 0) + "]"));
  CHECK(all.bytes_total == 3 * 4194304);
  CHECK(all.bytes_done == 4194304 + 3 * 1048576);
  CHECK(all.eta == 90ms);
  CHECK(all.slowest == "n3");
  CHECK(all.reason == "slow");
  CHECK_FALSE(all.ended());
  CHECK_FALSE(
      summarise_jobs(list("[" + job("n1:1", "running", 1, R"(,"eta_ms":50)") + "," + job("n2:1", "running", 1) + "]"))
          .eta);
  CHECK(summarise_jobs(list("[" + job("n1:1", "failed", 1) + "]")).ended());
  CHECK(progress_text(summarise_jobs({}), true) == "[--------------------]    0 %");
  CHECK(clipped("päckchen", 2) == "pä");
  CHECK(bare_reason("62 %, 41 s left at 3.1 MB/s from 4 peers, limited by the uplinks of its peers")
        == "limited by the uplinks of its peers");
  CHECK(bare_reason("100 %, makes it ready") == "makes it ready");
  CHECK(bare_reason("no node, limited by nothing") == "no node, limited by nothing");
}
