#include "test/runtime/cli/command_fixture.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <algorithm>

using namespace astra;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string apps =
    R"({"apps":[{"name":"a","kind":"actor","replicas":2,"ready":1},{"name":"b","replicas":1,"ready":1}]})";
const std::string app_a =
    R"({"name":"a","replicas":2,"ready":1,"spec":{"name":"a","replicas":2},"replicas_detail":[)"
    R"({"index":0,"state":"ready","node":"n1","restarts":3},{"index":1,"state":"planned","node":"",)"
    R"("restarts":0,"reason":"no place"}]})";
const std::string app_b = R"({"name":"b","replicas":1,"ready":1,"spec":{"name":"b","replicas":1},"replicas_detail":[)"
                          R"({"index":0,"state":"ready","node":"n2","restarts":0}]})";

struct shell_fixture : command_fixture {
  shell_fixture() {
    answer("GET /v1/apps", 200, apps);
    answer("GET /v1/apps/a", 200, app_a);
    answer("GET /v1/apps/b", 200, app_b);
  }
};

} // namespace

TEST_CASE_FIXTURE(shell_fixture, "ps lists the replicas of all apps, and pipelines work on them") {
  auto all = run({"shell", "-c", "ps | select app, index, state, node, restarts, reason"});
  CHECK(all.err == "");
  CHECK(all.out
        == "APP  INDEX  STATE    NODE  RESTARTS  REASON\n"
           "a        0  ready    n1           3\n"
           "a        1  planned               0  no place\n"
           "b        0  ready    n2           0\n");
  CHECK(run({"shell", "-c", "ps | where state != ready | count"}).out == "1\n");
  CHECK(run({"shell", "-o", "ndjson", "-c", "ps b | select node"}).out == "{\"node\":\"n2\"}\n");
}

TEST_CASE_FIXTURE(shell_fixture, "a command is a verb: it prints the same, and its JSON is its result") {
  auto alone = run({"app", "list"});
  auto inside = run({"shell", "-c", "app list", "-c", "$1 | where ready == 1 | count"});
  CHECK(inside.out == alone.out + "2\n");
  CHECK(run({"shell", "-c", "app list | sort -name | limit 1 | select name"}).out == "NAME\nb\n");
  CHECK(run({"shell", "-o", "json", "-c", "app list"}).out == run({"app", "list", "-o", "json"}).out);
  auto wrong = run({"shell", "-c", "app lst"});
  CHECK(wrong.code == 3);
  CHECK(contains(wrong.err, "-c:1: unknown command 'app lst'; did you mean 'list'?"));
}

TEST_CASE_FIXTURE(shell_fixture, "a shell that may only read refuses every change before it is sent") {
  for (auto words : {"kill a", "app delete a", "scale a 3", "spawn counter name=new", "drain n1", "node drain n1",
                     "model rm m@1", "app rollback a"}) {
    auto result = run({"shell", "-c", words});
    INFO(words);
    CHECK(result.code == 3);
    CHECK(contains(result.err, "the shell may only read; say ':rw REASON', or begin it with astra shell --rw REASON"));
  }
  for (auto& call : calls)
    CHECK(call.method == "GET");
}

TEST_CASE_FIXTURE(shell_fixture, "with a reason changes go out, and the reason with each") {
  answer("DELETE /v1/apps/a", 200, R"({"message":"deleted"})");
  answer("PUT /v1/apps/a", 200, R"({"message":"changed"})");
  auto result = run({"shell", "--rw", "ticket 4711", "-c", "scale a 5", "-c", "kill a"});
  CHECK(result.err == "");
  REQUIRE(result.code == exit_ok);
  auto& put = calls.at(1);
  CHECK(put.method == "PUT");
  CHECK(nlohmann::json::parse(*put.body)["replicas"] == 5);
  CHECK(put.headers == http_headers{{"Astra-Reason", "ticket 4711"}});
  CHECK(calls.back().headers == http_headers{{"Astra-Reason", "ticket 4711"}});
  CHECK(calls.front().headers.empty());
}

TEST_CASE_FIXTURE(shell_fixture, "spawn makes an app that no other one is, with the rules of app files") {
  answer("PUT /v1/apps/counter", 200, R"({"message":"created"})");
  answer("PUT /v1/apps/counter-2", 200, R"({"message":"created"})");
  auto made = run({"shell", "--rw", "x", "-c", "spawn counter init=40 replicas=3 cpu=0.5 as c", "-c", "spawn counter",
                   "-c", "$c.app"});
  CHECK(made.err == "");
  CHECK(contains(made.out, "counter-2"));
  CHECK(made.out.ends_with("counter\n"));
  auto spec = nlohmann::json::parse(*calls.at(1).body);
  CHECK(spec["replicas"] == 3);
  CHECK(spec["per_replica"]["cpu_milli"] == 500);
  CHECK(spec["actor"]["type"] == "counter");
  CHECK(contains(run({"shell", "--rw", "x", "-c", "spawn counter name=a"}).err, "there is an app 'a' already"));
  CHECK(contains(run({"shell", "--rw", "x", "-c", "spawn conter"}).err, "no actor 'conter'; did you mean 'counter'?"));
  CHECK(contains(run({"shell", "--rw", "x", "-c", "spawn echo cpu=none"}).err, "resources.cpu"));
}

TEST_CASE_FIXTURE(shell_fixture, "ask sends a text or fields and tells who answered") {
  answer("POST /v1/apps/a/invoke", 200, "42", {{"Astra-Node", "n1"}, {"Astra-Replica", "0"}});
  auto result = run({"shell", "-c", "ask a 2", "-c", "expect $ == 42", "-c", "ask a lang=eng dpi=300"});
  CHECK(result.code == exit_ok);
  CHECK(result.out == "42\n42\n");
  CHECK(contains(result.err, ", n1, replica 0)"));
  CHECK(*calls[0].body == "2");
  CHECK(calls[0].content_type == "text/plain");
  CHECK(*calls[1].body == R"({"lang":"eng","dpi":300})");
  CHECK(calls[1].content_type == "application/json");
  CHECK(contains(run({"shell", "-c", "ask a text lang=eng"}).err, "either a text or KEY=VALUE fields"));
}

TEST_CASE_FIXTURE(shell_fixture, "ask sends a message that the app's actor has, and help tells which there are") {
  answer("GET /v1/apps/c", 200,
         R"({"name":"c","replicas":1,"ready":1,"spec":{"name":"c","actor":{"type":"counter"}}})");
  answer("POST /v1/apps/c/invoke", 200, "42");
  auto result =
      run({"shell", "-c", "ask @c add amount=2", "-c", "expect $ == 42", "-c", "ask @c get", "-c", "ask @c 7"});
  REQUIRE(result.code == exit_ok);
  std::vector<std::string> bodies;
  for (auto& call : calls)
    if (call.method == "POST")
      bodies.push_back(*call.body);
  CHECK(bodies == std::vector<std::string>{R"({"add":{"amount":2}})", R"({"get":{}})", "7"});
  auto misspelt = run({"shell", "-c", "ask @c add amout=2"});
  CHECK(misspelt.code == 3);
  CHECK(contains(misspelt.err, "add has no field 'amout'; did you mean 'amount'?"));
  auto help = run({"shell", "-c", "help @c"});
  CHECK(help.err == "");
  CHECK(contains(help.out, "counter: Adds up what it is sent.\n"));
  CHECK(contains(
      help.out,
      "    add [amount=1] -> int64\n      Adds and tells the sum.\n      amount: int64, default 1: how much\n"));
  CHECK(run({"shell", "-c", "help counter"}).out == help.out);
  CHECK(contains(run({"shell", "-c", "help @b"}).err, "b is no app of an actor that answers"));
}

TEST_CASE_FIXTURE(shell_fixture,
                  "a message to an app that is not there, or whose actor does not answer, fails with the reason") {
  answer("GET /v1/apps/t", 404, R"({"error":{"code":"unknown_app","message":"no app 't'"}})");
  for (auto words : {"ask @t add amount=2", "send @t add amount=2"})
    CHECK(contains(run({"shell", "-c", words}).err, "no app 't'"));
  answer("GET /v1/apps/t", 200,
         R"({"name":"t","replicas":1,"ready":0,"spec":{"name":"t","actor":{"type":"tally","library":"/t.so"}}})");
  answer("POST /v1/apps/t/invoke", 503, R"({"error":{"code":"unreachable","message":"no replica is ready"}})");
  for (auto words : {"ask @t add amount=2", "send @t add amount=2"})
    CHECK(contains(run({"shell", "-c", words}).err, "no replica is ready"));
  // Texts are sent all the same, and the actor is not asked for its messages each time.
  calls.clear();
  environment.fetch = [this, usual = environment.fetch](const http_call& call) -> caf::expected<http_answer> {
    auto answer = usual(call);
    if (answer && call.body && *call.body == "hello") {
      answer->status = 200;
      answer->body = "5";
    }
    return answer;
  };
  CHECK(run({"shell", "-c", "ask @t hello", "-c", "ask @t hello"}).code == exit_ok);
  CHECK(std::count_if(calls.begin(), calls.end(), [](auto& call) { return call.method == "POST"; }) == 3);
}

TEST_CASE_FIXTURE(shell_fixture, "info of an actor with one replica shows its mailbox, state and last messages") {
  answer("GET /v1/apps/c", 200,
         R"({"name":"c","replicas":1,"ready":1,"spec":{"name":"c","actor":{"type":"counter"}}})");
  answer("POST /v1/apps/c/invoke", 200,
         R"({"actor":"counter","mailbox":2,"handled":9,"failed":1,"state":{"value":42},"last":[)"
         R"({"message":"add","at_ms":1500.0,"took_ms":0.25,"result":"ok"},)"
         R"({"message":"","at_ms":1600.0,"took_ms":0.5,"result":"error","reason":"no integer"}]})");
  auto result = run({"shell", "-c", "info @c"});
  CHECK(result.err == "");
  CHECK(contains(result.out, "mailbox 2, handled 9, failed 1\n  value = 42\n"
                             "MESSAGE       AT     TOOK  RESULT\n"
                             "add      1.500 s  0.25 ms  ok\n"
                             "(text)   1.600 s   0.5 ms  error: no integer\n"));
  CHECK(run({"shell", "-c", "info @c as i", "-c", "$i.actor.mailbox"}).out.ends_with("\n2\n"));
}

TEST_CASE_FIXTURE(shell_fixture, "spawn takes the library of an actor, also by the name that it was published under") {
  answer("PUT /v1/apps/tally", 200, R"({"message":"created"})");
  answer(
      "GET /v1/models", 200,
      R"({"models":[{"name":"tally-actor","version":1,"newest":false},{"name":"tally-actor","version":2,"newest":true}]})");
  for (auto words : {"spawn tally init=40", "spawn tally init=40 library=tally-actor@2"}) {
    calls.clear();
    auto result = run({"shell", "--rw", "x", "-c", words});
    INFO(words);
    CHECK(result.err == "");
    REQUIRE(result.code == exit_ok);
    auto spec = nlohmann::json::parse(*calls.back().body);
    CHECK(spec["actor"]["type"] == "tally");
    CHECK(spec["actor"]["library"] == "{content.tally-actor}");
    CHECK(spec["actor"]["args"] == nlohmann::json::array({"init=40"}));
    CHECK(spec["contents"] == nlohmann::json::array({"tally-actor@2"}));
  }
  CHECK(contains(run({"shell", "--rw", "x", "-c", "spawn tall"}).err, "no actor 'tall'"));
}

TEST_CASE_FIXTURE(shell_fixture, "send hands in a task and does not wait") {
  answer("POST /v1/apps/a/tasks", 202, R"({"id":"t.1","state":"queued"})");
  CHECK(run({"shell", "-c", "send a 2 as t", "-c", "$t.task"}).out.ends_with("t.1\n"));
}

TEST_CASE_FIXTURE(shell_fixture, "what is not for the shell is refused, and unknown verbs are guessed") {
  CHECK(contains(run({"shell", "-c", "dev"}).err, "'dev' is not for the shell"));
  CHECK(contains(run({"shell", "-c", "shell"}).err, "'shell' is not for the shell"));
  CHECK(contains(run({"shell", "-c", "spwn x"}).err, "no verb 'spwn'; did you mean 'spawn'?"));
  CHECK(run({"shell", "-c", "x", "-f", "y"}).code == exit_usage);
  CHECK(run({"shell", "-f", "/nowhere.astra"}).code == exit_failed);
}

TEST_CASE_FIXTURE(shell_fixture, "help knows the verbs and the commands") {
  auto all = run({"shell", "-c", "help"}).out;
  for (auto word : {"spawn", "ps ", ":mode", "node list", "app apply", "for i in"})
    CHECK(contains(all, word));
  CHECK(contains(run({"shell", "-c", "help spawn"}).out, "spawn TYPE|FILE.toml"));
  CHECK(contains(run({"shell", "-c", "help node list"}).out, "usage: astra node list"));
}

TEST_CASE_FIXTURE(command_fixture,
                  "contexts name clusters; --gateway and ASTRA_GATEWAY count more than the current one") {
  answer("GET /v1/status", 200, "{}");
  std::filesystem::create_directories(directory / "astra");
  variables["XDG_CONFIG_HOME"] = directory.string();
  CHECK(run({"status", "-o", "json"}).code == exit_ok);
  CHECK(calls.back().port == 9750);
  auto path = file("astra/contexts.toml",
                   "# mine\ncurrent = \"prod\" # now\n[contexts.prod]\ngateway = \"p:1\"\n[contexts.lab]\ngateway = "
                   "\"l:2\"\n");
  run({"status"});
  CHECK(calls.back().host == "p");
  run({"--context", "lab", "status"});
  CHECK(calls.back().host == "l");
  run({"status", "--gateway", "q:3"});
  CHECK(calls.back().host == "q");
  variables["ASTRA_GATEWAY"] = "e:4";
  run({"status"});
  CHECK(calls.back().host == "e");
  run({"status", "--context", "lab"});
  CHECK(calls.back().host == "l");
  variables.erase("ASTRA_GATEWAY");
  CHECK(run({"context", "list"}).out == "   NAME  GATEWAY\n   lab   l:2\n*  prod  p:1\n");
  CHECK(run({"context", "use", "lab"}).code == exit_ok);
  run({"status"});
  CHECK(calls.back().host == "l");
  std::ifstream in{path};
  CHECK(std::string{std::istreambuf_iterator<char>{in}, {}}.starts_with("# mine\ncurrent = \"lab\"\n[contexts.prod]"));
  CHECK(contains(run({"context", "show"}).out, "l:2"));
  auto unknown = run({"--context", "lap", "status"});
  CHECK(unknown.code == exit_usage);
  CHECK(contains(unknown.err, "--context: no context 'lap'; did you mean 'lab'?"));
  file("astra/contexts.toml", "[contexts.prod]\ngatway = \"p:1\"\n");
  CHECK(run({"version"}).code == exit_ok);
  auto broken = run({"context", "list"});
  CHECK(broken.code == exit_bad_config);
  CHECK(contains(broken.err, "contexts.toml:2:1: contexts.prod.gatway: unknown key; did you mean 'gateway'?"));
}
