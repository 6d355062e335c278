#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace astra;
using namespace std::chrono_literals;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string error_body(const std::string& code, const std::string& message) {
  return R"({"error":{"code":")" + code + R"(","message":")" + message + R"("}})";
}

const auto ocr_file = "name = \"ocr\"\n"
                      "kind = \"process\"\n"
                      "mode = \"per-request\"\n"
                      "command = [\"tesseract\", \"stdin\", \"stdout\"]\n"
                      "replicas = 2\n";

} // namespace

TEST_CASE_FIXTURE(command_fixture, "each class of error has its exit code and the gateway's own words") {
  struct expectation {
    std::uint16_t status;
    std::string code;
    int exit;
  };
  std::vector<expectation> expectations = {
      {404, "unknown_app", exit_not_found},   {404, "unknown_node", exit_not_found},
      {404, "no_route", exit_not_found},      {409, "conflict", exit_conflict},
      {409, "fenced", exit_conflict},         {504, "timed_out", exit_unreachable},
      {503, "unavailable", exit_unreachable}, {503, "lost", exit_failed},
      {503, "draining", exit_failed},         {429, "saturated", exit_failed},
      {502, "app_failed", exit_failed},       {400, "invalid_argument", exit_failed},
      {413, "too_large", exit_failed},        {500, "io_failed", exit_failed},
  };
  for (const auto& expected : expectations) {
    answer("GET /v1/apps/ocr", expected.status, error_body(expected.code, "the reason"));
    auto result = run({"app", "show", "ocr"});
    INFO(expected.code);
    CHECK(result.code == expected.exit);
    CHECK(result.err == "astra: the reason\n");
    CHECK(result.out.empty());
  }
}

TEST_CASE_FIXTURE(command_fixture, "no gateway: exit 5, the address, the cause and two cures") {
  auto result = run({"status"});
  CHECK(result.code == exit_unreachable);
  CHECK(
      result.err
      == "astra: cannot reach the gateway at 127.0.0.1:9750: connection refused; is it running? start one with 'astra "
         "dev', or name it with --gateway HOST:PORT\n");
}

TEST_CASE_FIXTURE(command_fixture, "a silent gateway: exit 5 and the time waited") {
  environment.fetch = [this](const http_call& call) -> caf::expected<http_answer> {
    calls.push_back(call);
    return caf::make_error(errc::timed_out);
  };
  auto result = run({"node", "list", "--timeout", "1500ms"});
  CHECK(result.code == exit_unreachable);
  CHECK(calls.back().timeout == 1500ms);
  CHECK(contains(result.err, "did not answer within 1.5s; allow more with --timeout"));
}

TEST_CASE_FIXTURE(command_fixture, "something that is not a gateway is told apart from an error of the gateway") {
  answers["GET /v1/status"] = {200, "<html>hello</html>", "text/html", {}};
  auto result = run({"status"});
  CHECK(result.code == exit_failed);
  CHECK(contains(result.err, "answered 200 with text/html, which is not an Astra gateway's answer"));
  answers["GET /v1/status"] = {500, "oops", "text/plain", {}};
  CHECK(contains(run({"status"}).err, "answered HTTP 500 without a reason; is it an Astra gateway?"));
}

TEST_CASE_FIXTURE(command_fixture, "a message with escape sequences is printed without them") {
  answer("GET /v1/apps/x", 404, error_body("unknown_app", "\\u001b[31mred"));
  CHECK(run({"app", "show", "x"}).err == "astra: \\x1b[31mred\n");
}

TEST_CASE_FIXTURE(command_fixture, "-o json prints the gateway's fields in the gateway's order") {
  answer("GET /v1/models", 200, R"({"models":[{"zeta":1,"alpha":18446744073709551615}]})");
  CHECK(run({"model", "list", "-o", "json"}).out
        == "{\n  \"models\": [\n    {\n      \"zeta\": 1,\n      \"alpha\": 18446744073709551615\n    }\n  ]\n}\n");
  // The one word for all that is said of an app.
  answer("GET /v1/apps", 200, R"({"apps":[{"name":"x","replicas":1,"ready":0}]})");
  CHECK(nlohmann::json::parse(run({"app", "list", "-o", "json"}).out)["apps"][0]["state"] == "starting");
}

TEST_CASE_FIXTURE(command_fixture, "a name is one segment of the path, whatever is in it") {
  run({"node", "show", "a/b ?模"});
  CHECK(calls.back().target == "/v1/nodes/a%2Fb%20%3F%E6%A8%A1");
}

TEST_CASE_FIXTURE(command_fixture, "node drain posts once and tells what is still running") {
  answer("POST /v1/nodes/node-1/drain", 200, R"({"running":1,"queued":2})");
  auto result = run({"node", "drain", "node-1"});
  CHECK(result.code == exit_ok);
  CHECK(result.out == "node node-1 is draining; 1 request running and 2 queued will be finished\n");
  CHECK(calls.size() == 1);
}

TEST_CASE_FIXTURE(command_fixture, "invoke sends stdin unchanged and prints the answer's bytes unchanged") {
  std::string bytes{"\0\xff\r\n\x1b[31m", 9};
  answer("POST /v1/apps/ocr/invoke", 200, bytes);
  auto result = run({"invoke", "ocr"}, bytes);
  CHECK(result.code == exit_ok);
  CHECK(result.out == bytes);
  CHECK(result.err.empty());
  CHECK(*calls.back().body == bytes);
  CHECK(calls.back().content_type == "application/octet-stream");
  CHECK(calls.back().headers.empty());
}

TEST_CASE_FIXTURE(command_fixture, "invoke --in reads a file; a missing one and a folder exit 1 with the reason") {
  answer("POST /v1/apps/ocr/invoke", 200, "");
  CHECK(run({"invoke", "ocr", "--in", file("page", "pixels").c_str(), "--content-type", "image/png"}).code == exit_ok);
  CHECK(*calls.back().body == "pixels");
  CHECK(calls.back().content_type == "image/png");
  calls.clear();
  auto missing = run({"invoke", "ocr", "--in", "/nowhere/page"});
  CHECK(missing.code == exit_failed);
  CHECK(missing.err == "astra: cannot read /nowhere/page: No such file or directory\n");
  CHECK(contains(run({"invoke", "ocr", "--in", directory.c_str()}).err, "Is a directory"));
  CHECK(calls.empty());
}

TEST_CASE_FIXTURE(command_fixture, "invoke --timeout is the request's deadline, and the client waits 2 s longer") {
  answer("POST /v1/apps/ocr/invoke", 200, "");
  run({"invoke", "ocr", "--timeout", "1.5s"});
  CHECK(calls.back().headers == http_headers{{"Astra-Timeout", "1500ms"}});
  CHECK(calls.back().timeout == 3500ms);
}

TEST_CASE_FIXTURE(command_fixture, "invoke -v tells node, tries and times on stderr, from headers in any case") {
  answer("POST /v1/apps/ocr/invoke", 200, "text",
         {{"astra-node", "node-2"}, {"ASTRA-TRIES", "2"}, {"Astra-Starts", "1"}, {"Astra-Service-Ms", "120"}});
  auto result = run({"invoke", "ocr", "-v"});
  CHECK(result.out == "text");
  CHECK(result.err == "node node-2  tries 2  starts 1  service 120ms  total 0ms\n");
}

TEST_CASE_FIXTURE(command_fixture, "a failed invocation shows the app's stderr line by line and when to try again") {
  answer(
      "POST /v1/apps/ocr/invoke", 502,
      R"({"error":{"code":"app_failed","message":"exit code 3","exit_code":3,"stderr":"first\nsecond \u001b[1m\n"}})");
  auto failed = run({"invoke", "ocr"});
  CHECK(failed.code == exit_failed);
  CHECK(failed.out.empty());
  CHECK(failed.err == "  | first\n  | second \\x1b[1m\nastra: exit code 3\n");
  answer("POST /v1/apps/ocr/invoke", 429, error_body("saturated", "all slots are taken"), {{"Retry-After", "3"}});
  CHECK(run({"invoke", "ocr"}).err == "astra: all slots are taken; try again in 3 s\n");
}

TEST_CASE_FIXTURE(command_fixture, "app apply sends the checked file as JSON and prints what changed") {
  auto path = file("ocr.toml", ocr_file);
  answer("GET /v1/apps/ocr", 404, error_body("unknown_app", "no app 'ocr'"));
  answer("PUT /v1/apps/ocr", 200, R"({"message":"created"})");
  auto created = run({"app", "apply", path.c_str()});
  CHECK(created.err.empty());
  CHECK(created.code == exit_ok);
  CHECK(created.out == "app ocr: created\n");
  CHECK(calls.back().content_type == "application/json");
  auto spec = *calls.back().body;
  CHECK(contains(spec, R"("replicas":2)"));
  CHECK(contains(spec, R"("per_request":{"command":["tesseract","stdin","stdout"])"));

  auto before = spec;
  before.replace(before.find(R"("replicas":2)"), 12, R"("replicas":5)");
  answer("GET /v1/apps/ocr", 200, R"({"name":"ocr","spec":)" + before + "}");
  answer("PUT /v1/apps/ocr", 200, R"({"message":"changed"})");
  CHECK(run({"app", "apply", path.c_str()}).out == "app ocr: changed\n  replicas: 5 -> 2\n");
}

TEST_CASE_FIXTURE(command_fixture, "app apply of a broken file prints every problem, exits 78 and sends nothing") {
  auto path = file("ocr.toml", "name = \"ocr\"\nkind = \"proces\"\nreplica = 2\n");
  auto result = run({"app", "apply", path.c_str()});
  CHECK(result.code == exit_bad_config);
  CHECK(contains(result.err, "ocr.toml:2:"));
  CHECK(contains(result.err, "ocr.toml:3:"));
  CHECK(contains(result.err, "nothing was sent"));
  CHECK(calls.empty());
}

TEST_CASE_FIXTURE(command_fixture, "an app that the gateway refuses exits 78 with all of its problems") {
  auto path = file("ocr.toml", ocr_file);
  answer("GET /v1/apps/ocr", 404, error_body("unknown_app", "no app 'ocr'"));
  answer("PUT /v1/apps/ocr", 400,
         R"({"error":{"code":"invalid_argument","message":"2 problems","problems":[
             {"key":"replicas","message":"at most 1"},{"key":"kind","message":"not here"}]}})");
  auto result = run({"app", "apply", path.c_str()});
  CHECK(result.code == exit_bad_config);
  CHECK(result.err == "astra: 2 problems\n  replicas: at most 1\n  kind: not here\n");
}

TEST_CASE_FIXTURE(command_fixture, "app apply --wait returns when the new spec is ready, not the old one") {
  auto path = file("ocr.toml", ocr_file);
  answer("GET /v1/apps/ocr", 404, error_body("unknown_app", "no app 'ocr'"));
  answer("PUT /v1/apps/ocr", 200, R"({"message":"created"})");
  run({"app", "apply", path.c_str()});
  auto spec = *calls.back().body;
  auto old = spec;
  old.replace(old.find(R"("replicas":2)"), 12, R"("replicas":1)");
  auto app = [](const std::string& of, int ready, const std::string& reason) {
    return R"({"name":"ocr","replicas":2,"ready":)" + std::to_string(ready) + R"(,"reason":")" + reason + R"(","spec":)"
           + of + "}";
  };
  int sleeps = 0;
  on_sleep = [&] {
    ++sleeps;
    if (sleeps == 1)
      answer("GET /v1/apps/ocr", 200, app(old, 2, ""));
    else if (sleeps == 2)
      answer("GET /v1/apps/ocr", 200, app(spec, 1, "1 replica is starting"));
    else if (sleeps == 3)
      answer("GET /v1/apps/ocr", 200,
             app(spec + R"(,"replicas_detail":[{"index":0,"state":"ready","outdated":true},
             {"index":0,"state":"starting"},{"index":1,"state":"ready"}])",
                 2, ""));
    else if (sleeps == 4)
      answer("GET /v1/apps/ocr", 200,
             app(spec + R"(,"replicas_detail":[{"index":0,"state":"draining","outdated":true},
             {"index":0,"state":"ready"},{"index":1,"state":"ready"}])",
                 2, ""));
  };
  auto result = run({"app", "apply", "--wait", "5s", path.c_str()});
  CHECK(result.code == exit_ok);
  CHECK(sleeps == 4);
  CHECK(result.out == "app ocr: created\n");
  CHECK(result.err
        == "app ocr: the scheduler has not taken it over yet\napp ocr: 1/2 ready; 1 replica is starting\n"
           "app ocr: 2/2 ready; 1 still of the previous spec\n"
           "app ocr is ready: 2/2 ready after 800ms\n");
}

TEST_CASE_FIXTURE(command_fixture, "app apply --wait ends after its time with exit 5 and the reason") {
  auto path = file("ocr.toml", ocr_file);
  answer("GET /v1/apps/ocr", 404, error_body("unknown_app", "no app 'ocr'"));
  answer("PUT /v1/apps/ocr", 200, R"({"message":"created"})");
  run({"app", "apply", path.c_str()});
  answer("GET /v1/apps/ocr", 200,
         R"({"name":"ocr","replicas":2,"ready":0,"pending":2,"reason":"needs 4 cores, 1.5 free","spec":)"
             + *calls.back().body + "}");
  auto start = time;
  auto result = run({"app", "apply", path.c_str(), "--wait=2s"});
  CHECK(result.code == exit_unreachable);
  CHECK(time - start == 2s);
  CHECK(contains(result.err,
                 "astra: app 'ocr' is not ready after 2s: 0/2 ready, 2 pending; needs 4 cores, 1.5 free; see "
                 "'astra app show ocr'\n"));
  start = time;
  run({"app", "apply", path.c_str(), "--wait"});
  CHECK(time - start == 30s);
}

TEST_CASE_FIXTURE(command_fixture, "app delete deletes once; an unknown app exits 4") {
  answer("DELETE /v1/apps/ocr", 200, R"({"message":"stopping 2 replicas"})");
  CHECK(run({"app", "delete", "ocr"}).out == "app ocr: stopping 2 replicas\n");
  CHECK(calls.size() == 1);
  answer("DELETE /v1/apps/ocrr", 404, error_body("unknown_app", "no app 'ocrr'; did you mean 'ocr'?"));
  auto result = run({"app", "delete", "ocrr"});
  CHECK(result.code == exit_not_found);
  CHECK(result.err == "astra: no app 'ocrr'; did you mean 'ocr'?\n");
}

TEST_CASE_FIXTURE(command_fixture, "app history lists the newest revision first and marks the current one") {
  answer("GET /v1/apps/ocr/history", 200, R"({"name":"ocr","revisions":[
    {"revision":1,"when":"2026-01-01T00:00:00.000Z","by":"alice","change":"created with 3 replicas","current":false},
    {"revision":2,"when":"2026-01-02T00:00:00.000Z","by":"bob","change":"replicas 3 -> 5","current":true}]})");
  auto result = run({"app", "history", "ocr"});
  CHECK(result.code == exit_ok);
  CHECK(result.out
        == "REVISION     WHEN                      BY     CHANGE\n"
           "       2  *  2026-01-02T00:00:00.000Z  bob    replicas 3 -> 5\n"
           "       1     2026-01-01T00:00:00.000Z  alice  created with 3 replicas\n");
  CHECK(contains(run({"app", "history", "ocr", "-o", "json"}).out, R"("revision": 2)"));
  answer("GET /v1/apps/ocr/history", 200, R"({"name":"ocr","revisions":[],"note":"its scheduler keeps none"})");
  CHECK(run({"app", "history", "ocr"}).out == "no revisions\nits scheduler keeps none\n");
}

TEST_CASE_FIXTURE(command_fixture,
                  "app rollback goes to the revision before or to the one that is named; 4 without it") {
  answer("POST /v1/apps/ocr/rollback", 200, R"({"message":"rolled back to revision 4"})");
  CHECK(run({"app", "rollback", "ocr"}).out == "app ocr: rolled back to revision 4\n");
  answer("POST /v1/apps/ocr/rollback?to=3", 404,
         error_body("unknown_name", "app 'ocr' has no revision 3; there are 4 to 7"));
  auto result = run({"app", "rollback", "ocr", "--to", "3"});
  CHECK(result.code == exit_not_found);
  CHECK(result.err == "astra: app 'ocr' has no revision 3; there are 4 to 7\n");
  CHECK(run({"app", "rollback", "ocr", "--to", "x"}).code == exit_usage);
}

TEST_CASE_FIXTURE(command_fixture, "app plan shows each replica and exits 10 when there are changes, 0 when not") {
  auto path = file("ocr.toml", ocr_file);
  answer("POST /v1/apps/ocr/plan", 200, R"({"name":"ocr","index":"3-a-b-c","changes":true,"change":"replicas 1 -> 3",
    "replicas":[{"index":0,"action":"keep","from":"n1","to":"n1"},{"index":1,"action":"create","to":"n2"},
                {"index":2,"action":"create","unplaced":true,"reason":"0 of 2 nodes fit"}]})");
  auto result = run({"app", "plan", path.c_str()});
  CHECK(result.code == exit_plan_changes);
  CHECK(result.out
        == "app ocr: replicas 1 -> 3\n  2 to create, 1 stays; 1 of them without a place\n\n"
           "REPLICA  ACTION  FROM  TO        REASON\n"
           "      0  keep    n1    n1\n"
           "      1  create        n2\n"
           "      2  create        no place  0 of 2 nodes fit\n\n"
           "to apply exactly this: astra app apply "
               + path + " --plan 3-a-b-c\n");
  CHECK(contains(*calls.back().body, R"("replicas":2)"));
  answer("POST /v1/apps/ocr/plan", 200, R"({"name":"ocr","index":"3-a-b-c","changes":false,"change":"unchanged"})");
  result = run({"app", "plan", path.c_str()});
  CHECK(result.code == exit_ok);
  CHECK(result.out == "app ocr: unchanged\n  no replicas\n");
  CHECK(run({"app", "plan", "nowhere.toml"}).code == exit_bad_config);
}

TEST_CASE_FIXTURE(command_fixture, "app apply --plan hands the index on and exits 6 when the plan does not hold") {
  auto path = file("ocr.toml", ocr_file);
  answer("GET /v1/apps/ocr", 404, error_body("unknown_app", "no app 'ocr'"));
  answer("PUT /v1/apps/ocr?plan=3-a-b-c", 409, error_body("conflict", "the nodes have changed"));
  auto result = run({"app", "apply", path.c_str(), "--plan", "3-a-b-c"});
  CHECK(result.code == exit_conflict);
  CHECK(result.err == "astra: the nodes have changed\n");
}

TEST_CASE_FIXTURE(command_fixture, "why asks for the app or the node that it is told, and refuses what is neither") {
  answer("GET /v1/apps/ocr", 200, R"({"name":"ocr","replicas":1,"reason":"1 not placed"})");
  answer("GET /v1/nodes/n1", 200, R"({"name":"n1","state":"online"})");
  CHECK(run({"why", "app/ocr"}).out == "ocr: 1 not placed\n");
  CHECK(run({"why", "replica/ocr/4"}).out == "ocr has no replica 4: it has 1, from 0\n");
  CHECK(run({"why", "node/n1"}).out == "n1: online\n");
  for (auto wrong : {"ocr", "app/", "replica/ocr", "replica/ocr/x", "pod/a"}) {
    auto refused = run({"why", wrong});
    CHECK(refused.code == exit_usage);
    CHECK(contains(refused.err, "write app/NAME, replica/APP/INDEX or node/NAME"));
  }
}
