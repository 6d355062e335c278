#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace astra;
using namespace std::chrono_literals;
using test::command_fixture;

namespace {

const std::string id = "gw.1.0123456789abcdef";

std::string task(const std::string& state, const std::string& more = "") {
  return R"({"id":")" + id + R"(","app":"ocr","state":")" + state + R"(","priority":5,"attempts":2,"failures":1,)"
         + R"("node":"n1","body_bytes":4,"created":"2026-11-27T10:00:00.123Z","deadline":"2026-11-28T10:00:00.123Z")"
         + more + "}";
}

std::string refusal(const std::string& code, const std::string& message) {
  return R"({"error":{"code":")" + code + R"(","message":")" + message + R"("}})";
}

std::string header(const http_call& call, const std::string& name) {
  for (auto& [key, value] : call.headers)
    if (key == name)
      return value;
  return "";
}

} // namespace

TEST_CASE_FIXTURE(command_fixture, "a submitted task prints its id, and its options are the request's headers") {
  answer("POST /v1/apps/ocr/tasks", 202, task("queued"));
  auto plain = run({"task", "submit", "ocr"}, "page");
  CHECK(plain.code == 0);
  CHECK(plain.out == id + "\n");
  CHECK(*calls.back().body == "page");
  CHECK(calls.back().content_type == "application/octet-stream");
  CHECK(calls.back().headers.empty());
  auto page = file("page.png", "pixels");
  auto full = run({"task", "submit", "ocr", page.c_str(), "--key", "page-17", "--priority", "9", "--deadline", "2h",
                   "--keep", "10m", "--content-type", "image/png"});
  CHECK(full.code == 0);
  CHECK(*calls.back().body == "pixels");
  CHECK(calls.back().content_type == "image/png");
  CHECK(header(calls.back(), "Idempotency-Key") == "page-17");
  CHECK(header(calls.back(), "Astra-Priority") == "9");
  CHECK(header(calls.back(), "Astra-Deadline") == "2h");
  CHECK(header(calls.back(), "Astra-Keep") == "10m");
  auto as_json = run({"task", "submit", "ocr", "-o", "json"}, "page");
  CHECK(nlohmann::json::parse(as_json.out)["id"] == id);
}

TEST_CASE_FIXTURE(command_fixture, "what is wrong with the options of a task is said before anything is sent") {
  CHECK(run({"task", "submit", "ocr", "--priority", "10"}, "x").code == exit_usage);
  CHECK(run({"task", "submit", "ocr", "--deadline", "soon"}, "x").code == exit_usage);
  CHECK(run({"task", "submit"}).code == exit_usage);
  auto state = run({"task", "list", "--state", "don"});
  CHECK(state.code == exit_usage);
  CHECK(state.err.find("did you mean 'done'?") != std::string::npos);
  CHECK(run({"task", "show"}).code == exit_usage);
  CHECK(calls.empty());
}

TEST_CASE_FIXTURE(command_fixture, "--wait ends with the result of a task that is done") {
  answer("POST /v1/apps/ocr/tasks", 202, task("queued"));
  answer("GET /v1/tasks/" + id + "?wait=30s", 200, task("running"));
  on_sleep = [&] { answer("GET /v1/tasks/" + id + "?wait=30s", 200, task("done")); };
  answers["GET /v1/tasks/" + id + "/result"] = {200, std::string("\0text", 5), "text/plain", {}};
  auto result = run({"task", "submit", "ocr", "--wait"}, "page");
  CHECK(result.code == 0);
  CHECK(result.out == std::string("\0text", 5));
  CHECK(result.err == "task " + id + "\n");
}

TEST_CASE_FIXTURE(command_fixture, "--wait goes on over a gateway that is gone for a while, and not for ever") {
  answer("POST /v1/apps/ocr/tasks", 202, task("queued"));
  int sleeps = 0;
  on_sleep = [&] {
    if (++sleeps == 10)
      answer("GET /v1/tasks/" + id + "?wait=30s", 200, task("failed", R"(,"reason":"the app failed 3 times")"));
  };
  auto result = run({"task", "submit", "ocr", "--wait"}, "page");
  CHECK(result.code == exit_failed);
  CHECK(result.err.find("is failed: the app failed 3 times") != std::string::npos);
  answers.erase("GET /v1/tasks/" + id + "?wait=30s");
  sleeps = 1000;
  auto gone = run({"task", "submit", "ocr", "--wait"}, "page");
  CHECK(gone.code == exit_unreachable);
  CHECK(gone.err.find("cannot reach the gateway") != std::string::npos);
}

TEST_CASE_FIXTURE(command_fixture, "--wait with a time ends with 5 when the task has not ended by then") {
  answer("POST /v1/apps/ocr/tasks", 202, task("queued"));
  for (auto wait : {"2s", "1500ms", "1s", "500ms"})
    answer("GET /v1/tasks/" + id + "?wait=" + wait, 200, task("running"));
  auto result = run({"task", "submit", "ocr", "--wait", "2s"}, "page");
  CHECK(result.code == exit_unreachable);
  CHECK(result.err.find("is still running after 2s") != std::string::npos);
}

TEST_CASE_FIXTURE(command_fixture, "each way in which there is no result has its exit code and the gateway's words") {
  struct expectation {
    std::uint16_t status;
    std::string code;
    int exit;
  };
  for (auto& expected : std::vector<expectation>{{404, "not_finished", exit_unreachable},
                                                 {409, "failed", exit_failed},
                                                 {409, "cancelled", exit_failed},
                                                 {409, "expired", exit_unreachable},
                                                 {410, "dropped", exit_not_found},
                                                 {404, "unknown_task", exit_not_found},
                                                 {421, "other_gateway", exit_not_found},
                                                 {503, "unavailable", exit_unreachable}}) {
    answer("GET /v1/tasks/" + id + "/result", expected.status, refusal(expected.code, "the reason"));
    auto result = run({"task", "result", id.c_str()});
    INFO(expected.code);
    CHECK(result.code == expected.exit);
    CHECK(result.err == "astra: the reason\n");
    CHECK(result.out.empty());
  }
}

TEST_CASE_FIXTURE(command_fixture, "a result goes to a file as it is") {
  answers["GET /v1/tasks/" + id + "/result"] = {200, "bytes", "text/plain", {}};
  auto path = file("out", "");
  CHECK(run({"task", "result", id.c_str(), "-f", path.c_str()}).code == 0);
  std::ifstream in{path};
  CHECK(std::string{std::istreambuf_iterator<char>{in}, {}} == "bytes");
  auto nowhere = run({"task", "result", id.c_str(), "-f", "/nonexistent/out"});
  CHECK(nowhere.code == exit_failed);
  CHECK(nowhere.err.find("cannot write /nonexistent/out") != std::string::npos);
}

TEST_CASE_FIXTURE(command_fixture, "tasks are shown with what people need, and as JSON whole") {
  answer("GET /v1/tasks?limit=2&app=ocr&state=failed", 200,
         R"({"tasks":[)" + task("failed", R"(,"reason":"why")") + "]}");
  auto list = run({"task", "list", "--app", "ocr", "--state", "failed", "--limit", "2"});
  CHECK(list.code == 0);
  CHECK(list.out
        == "ID                     APP  STATE   PRIO  TRIES  CREATED (UTC)        NODE  REASON\n"
           "gw.1.0123456789abcdef  ocr  failed     5      2  2026-11-27 10:00:00  n1    why\n");
  answer("GET /v1/tasks?limit=100", 200, R"({"tasks":[]})");
  CHECK(run({"task", "list"}).out == "no tasks\n");
  answer("GET /v1/tasks/" + id, 200, task("failed", R"(,"reason":"why","stderr":"one\ntwo")"));
  auto shown = run({"task", "show", id.c_str()});
  CHECK(shown.out.find("task gw.1.0123456789abcdef   failed\n") == 0);
  CHECK(shown.out.find("attempts     2, 1 of them failed by the app\n") != std::string::npos);
  CHECK(shown.out.find("  | one\n  | two\n") != std::string::npos);
  CHECK(nlohmann::json::parse(run({"task", "show", id.c_str(), "-o", "json"}).out)["state"] == "failed");
}

TEST_CASE_FIXTURE(command_fixture,
                  "a task is cancelled by its id; one that has ended is a conflict, and dropped on demand") {
  answer("DELETE /v1/tasks/" + id, 200, task("cancelled"));
  CHECK(run({"task", "cancel", id.c_str()}).out == "task " + id + ": cancelled\n");
  answer("DELETE /v1/tasks/" + id, 409, refusal("conflict", "it has ended as done"));
  CHECK(run({"task", "cancel", id.c_str()}).code == exit_conflict);
  answer("DELETE /v1/tasks/" + id + "?drop=1", 200, task("done"));
  CHECK(run({"task", "cancel", id.c_str(), "--drop"}).out == "task " + id + ": done, dropped\n");
}
