#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>

using namespace astra;
using namespace std::chrono_literals;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr auto no_such = R"({"error":{"code":"unknown_app","message":"no app 'ocr'"}})";

} // namespace

TEST_CASE_FIXTURE(command_fixture, "wait returns with one line once every replica of an app is ready") {
  answer("GET /v1/apps/ocr", 200, R"({"name":"ocr","replicas":2,"ready":1,"reason":"1 replica is starting"})");
  int sleeps = 0;
  on_sleep = [&] {
    if (++sleeps == 3)
      answer("GET /v1/apps/ocr", 200, R"({"name":"ocr","replicas":2,"ready":2})");
  };
  auto result = run({"wait", "app/ocr", "--for", "ready"});
  CHECK(result.code == exit_ok);
  CHECK(result.out == "app ocr is ready: 2 of 2 replicas, after 475ms\n");
  CHECK(result.err.empty());
  // That is the usual one, and true already.
  CHECK(run({"wait", "app/ocr"}).out == "app ocr is ready: 2 of 2 replicas, after 0ms\n");
}

TEST_CASE_FIXTURE(command_fixture, "an app is not ready while an update goes on or replicas are of an older spec") {
  for (auto body : {R"({"name":"ocr","replicas":1,"ready":1,"rollout":{"phase":"running","updated":0,"total":1}})",
                    R"({"name":"ocr","replicas":1,"ready":1,"deleting":true})",
                    R"({"name":"ocr","replicas":1,"ready":1,"replicas_detail":[{"state":"ready","outdated":true}]})"}) {
    answer("GET /v1/apps/ocr", 200, body);
    CHECK(run({"wait", "app/ocr", "--timeout", "1s"}).code == exit_unreachable);
  }
  answer("GET /v1/apps/ocr", 200,
         R"({"name":"ocr","replicas":1,"ready":1,"reason":"it is bad","rollout":{"phase":"halted"}})");
  auto before = time;
  auto halted = run({"wait", "app/ocr"});
  CHECK(halted.code == exit_unreachable);
  CHECK(contains(halted.err, "app ocr will not be ready: ocr: it is bad"));
  CHECK(time == before);
}

TEST_CASE_FIXTURE(command_fixture, "after the timeout, 60 s by itself, exit 5 and what astra why says") {
  auto body = R"({"name":"ocr","replicas":1,"ready":0,"reason":"1 replica has no place",
    "replicas_detail":[{"index":0,"state":"planned","reason":"no node has 9 cores"}]})";
  answer("GET /v1/apps/ocr", 200, body);
  auto why = run({"why", "app/ocr"}).out;
  auto before = time;
  auto result = run({"wait", "app/ocr"});
  CHECK(result.code == exit_unreachable);
  CHECK(result.out.empty());
  CHECK(result.err == "astra: app ocr is not ready after 1m00s\n" + why);
  CHECK(time - before == 60s);
  before = time;
  run({"wait", "app/ocr", "--timeout", "3s"});
  CHECK(time - before == 3s);
}

TEST_CASE_FIXTURE(command_fixture,
                  "what does not exist: exit 4 after 2 s, for it may be on its way; --for gone: exit 0") {
  answer("GET /v1/apps/ocr", 404, no_such);
  auto before = time;
  auto result = run({"wait", "app/ocr"});
  CHECK(result.code == exit_not_found);
  CHECK(result.err == "astra: no app 'ocr'\n");
  CHECK(time - before < 4s);
  CHECK(run({"wait", "app/ocr", "--for", "gone"}).out == "app ocr is gone, after 0ms\n");
  on_sleep = [&] { answer("GET /v1/apps/ocr", 200, R"({"name":"ocr","replicas":1,"ready":1})"); };
  CHECK(run({"wait", "app/ocr"}).code == exit_ok);
  answer("GET /v1/models/m", 200, R"({"name":"m","versions":[{"name":"m","version":1,"removed":true}]})");
  CHECK(run({"wait", "model/m@1", "--for", "gone"}).code == exit_ok);
  CHECK(run({"wait", "model/m@1"}).code == exit_not_found);
}

TEST_CASE_FIXTURE(command_fixture, "a node: online, offline, and drained when nothing runs there any more") {
  answer("GET /v1/nodes/n1", 200, R"({"name":"n1","state":"online"})");
  CHECK(run({"wait", "node/n1"}).code == exit_ok);
  auto drained = [&] { return run({"wait", "node/n1", "--for", "drained", "--timeout", "1s"}); };
  auto undrained = drained();
  CHECK(undrained.code == exit_unreachable);
  CHECK(contains(undrained.err, "nobody drains it; 'astra node drain n1' does"));
  answer("GET /v1/nodes/n1", 200, R"({"name":"n1","state":"draining","running":2})");
  CHECK(contains(drained().err, "0 replicas, 2 requests running, 0 queued"));
  answer("GET /v1/nodes/n1", 200, R"({"name":"n1","state":"draining","replicas":[{"state":"ready"}]})");
  CHECK(drained().code == exit_unreachable);
  answer("GET /v1/nodes/n1", 200, R"({"name":"n1","state":"draining","replicas":[{"state":"stopped"}]})");
  CHECK(drained().code == exit_ok);
  answer("GET /v1/nodes/n1", 200, R"({"name":"n1","state":"offline","reason":"drained"})");
  CHECK(drained().code == exit_ok);
  answer("GET /v1/nodes/n1", 200, R"({"name":"n1","state":"offline","reason":"silent for 3.1 s"})");
  CHECK(drained().code == exit_unreachable);
  CHECK(run({"wait", "node/n1", "--for", "offline"}).out == "node n1 is offline: silent for 3.1 s, after 0ms\n");
}

TEST_CASE_FIXTURE(command_fixture, "a model: complete where it is fetched, or on as many nodes as --count says") {
  auto model = [&](int complete, int fetching) {
    answer("GET /v1/models/m", 200,
           R"({"name":"m","versions":[{"name":"m","version":1,"complete":9},{"name":"m","version":2,"complete":)"
               + std::to_string(complete) + R"(,"fetching":)" + std::to_string(fetching)
               + R"(,"holders":[{"node":"n2","state":"fetching","percent":12.5,"reason":"no peer"}]}]})");
  };
  auto wait = [&](std::vector<const char*> more) {
    std::vector<const char*> words{"wait", "model/m", "--timeout", "1s"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  model(1, 1);
  auto half = wait({});
  CHECK(half.code == exit_unreachable);
  CHECK(contains(half.err, "complete on 1 node, 1 at it\nn2: fetching 12.5 %: no peer\n"));
  CHECK(wait({"--count", "1"}).code == exit_ok);
  CHECK(wait({"--count", "2"}).code == exit_unreachable);
  CHECK(contains(wait({"--count", "3"}).err, "'astra model fetch m@2 --count 3' has them begin"));
  model(2, 0);
  CHECK(wait({}).out == "model m is complete: on 2 nodes, after 0ms\n");
  CHECK(run({"wait", "model/m@1", "--count", "9"}).code == exit_ok);
}

TEST_CASE_FIXTURE(command_fixture, "a task that has failed will not be done: exit 1 at once") {
  auto target = "GET /v1/tasks/g-1.7.0123456789abcdef";
  answer(std::string{target} + "?wait=5s", 200, R"({"state":"done","attempts":1})");
  CHECK(run({"wait", "task/g-1.7.0123456789abcdef"}).out == "task g-1.7.0123456789abcdef is done, after 0ms\n");
  answer(std::string{target} + "?wait=5s", 200, R"({"state":"failed","reason":"exit code 3"})");
  auto failed = run({"wait", "task/g-1.7.0123456789abcdef"});
  CHECK(failed.code == exit_failed);
  CHECK(contains(failed.err, "will not be done: failed: exit code 3"));
  answer(std::string{target} + "?wait=5s", 200, R"({"state":"expired"})");
  CHECK(run({"wait", "task/g-1.7.0123456789abcdef"}).code == exit_unreachable);
  answer(target, 410, R"({"error":{"code":"dropped","message":"it was dropped"}})");
  CHECK(run({"wait", "task/g-1.7.0123456789abcdef", "--for", "gone"}).code == exit_ok);
}

TEST_CASE_FIXTURE(command_fixture, "a gateway that is not there yet is asked again, and said once") {
  int sleeps = 0;
  on_sleep = [&] {
    if (++sleeps == 5)
      answer("GET /v1/nodes/n1", 200, R"({"name":"n1","state":"online"})");
  };
  auto result = run({"wait", "node/n1"});
  CHECK(result.code == exit_ok);
  CHECK(contains(result.err, "connection refused"));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  answers.clear();
  auto never = run({"wait", "node/n1", "--timeout", "2s"});
  CHECK(never.code == exit_unreachable);
  CHECK(contains(never.err, "node n1 is not online after 2s\ncannot reach the gateway"));
  answer("GET /v1/nodes/n1", 403, R"({"error":{"code":"forbidden","message":"no"}})");
  CHECK(run({"wait", "node/n1"}).code == exit_failed);
}

TEST_CASE_FIXTURE(command_fixture, "wait for what cannot be: exit 2 and what can") {
  struct expectation {
    std::vector<const char*> words;
    std::string message;
  };
  for (const auto& expected : std::vector<expectation>{
           {{"wait"}, "'astra wait' needs WHAT"},
           {{"wait", "ocr"}, "'ocr' names nothing that can be waited for; write app/NAME"},
           {{"wait", "apps/ocr"}, "names nothing that can be waited for"},
           {{"wait", "app/"}, "names nothing that can be waited for"},
           {{"wait", "app/ocr", "--for", "redy"}, "no app is ever 'redy'; did you mean 'ready'?"},
           {{"wait", "app/ocr", "--for", "online"}, "there are ready, gone"},
           {{"wait", "app/ocr", "--count", "2"}, "--count is for models"},
           {{"wait", "app/ocr", "--timeout", "soon"}, "--timeout: 'soon' is not a duration"},
           {{"wait", "app/ocr", "--fro", "ready"}, "unknown option '--fro'; did you mean '--for'?"}}) {
    auto result = run(expected.words);
    INFO(expected.message);
    CHECK(result.code == exit_usage);
    CHECK(contains(result.err, expected.message));
  }
  CHECK(calls.empty());
}
