#include "runtime/sim/sim_http.hpp"

#include "messages/errc.hpp"
#include "test/runtime/sim/process_fixture.hpp"

#include <doctest/doctest.h>

#include <optional>

using namespace astra;
using namespace astra::test;

namespace {

http_call post(std::uint16_t port, std::string body, caf::timespan timeout = 10s, std::uint64_t id = 0) {
  http_call what;
  what.host = "127.0.0.1";
  what.port = port;
  what.method = "POST";
  what.body = std::make_shared<const std::string>(std::move(body));
  what.content_type = "text/plain";
  what.timeout = timeout;
  what.id = id;
  return what;
}

/// What became of a call.
struct outcome {
  std::optional<caf::expected<http_answer>> result;

  bool over() const { return result.has_value(); }
  bool failed(errc code) const { return result && !*result && result->error() == code; }
  std::string body() const { return result && *result ? (*result)->body : std::string{}; }
};

/// Calls when it is told to.
using caller_actor = caf::typed_actor<caf::result<void>(http_call), caf::result<void>(http_abort)>;

caller_actor spawn_caller(caf::actor_system& sys, http_client_actor http, std::shared_ptr<outcome> told) {
  return sys.spawn([http, told](caller_actor::pointer self) -> caller_actor::behavior_type {
    return {
        [self, http, told](const http_call& what) {
          self->request(http, std::chrono::hours{1}, what)
              .then([told](const http_answer& answer) { told->result = answer; },
                    [told](const caf::error& reason) { told->result = reason; });
        },
        [self, http](const http_abort& what) { self->send(http, what); },
    };
  });
}

struct http_fixture : process_fixture {
  using process_fixture::process_fixture;

  std::shared_ptr<outcome> call(const http_call& what) {
    auto told = std::make_shared<outcome>();
    last_caller = own(spawn_caller(sys, http, told));
    caf::anon_send(last_caller, what);
    run();
    return told;
  }

  caller_actor last_caller;
};

struct crashing_fixture : http_fixture {
  crashing_fixture() : http_fixture(1.0, 0.0) {}
};

struct hanging_fixture : http_fixture {
  hanging_fixture() : http_fixture(0.0, 1.0) {}
};

} // namespace

TEST_CASE_FIXTURE(http_fixture, "a server echoes after its start-up and its service time, and nobody did before") {
  launch(server(8080));
  CHECK(call(post(8080, "early"))->failed(errc::unreachable));
  advance(10ms);
  auto first = call(post(8080, "first"));
  auto second = call(post(8080, "second"));
  auto elsewhere = call(post(8081, "nobody"));
  CHECK(elsewhere->failed(errc::unreachable));
  advance(89ms);
  CHECK_FALSE(first->over());
  advance(1ms);
  CHECK(first->body() == "first");
  CHECK(second->body() == "second");
  CHECK((*first->result)->status == 200);
  CHECK((*first->result)->content_type == "text/plain");
}

TEST_CASE_FIXTURE(http_fixture, "a call ends at its timeout, not later and not earlier") {
  launch(server(8080));
  advance(10ms);
  auto late = call(post(8080, "x", 50ms));
  advance(49ms);
  CHECK_FALSE(late->over());
  advance(1ms);
  CHECK(late->failed(errc::timed_out));
  CHECK(call(post(8080, "x", 0ms))->failed(errc::timed_out));
}

TEST_CASE_FIXTURE(http_fixture, "an abort ends the sender's own call only") {
  launch(server(8080));
  advance(10ms);
  auto first = call(post(8080, "first", 10s, 7));
  auto first_caller = last_caller;
  auto second = call(post(8080, "second", 10s, 7));
  caf::anon_send(last_caller, http_abort{8});
  caf::anon_send(last_caller, http_abort{7});
  run();
  CHECK(second->failed(errc::cancelled));
  CHECK_FALSE(first->over());
  advance(1s);
  CHECK(first->body() == "first");
  caf::anon_send(first_caller, http_abort{7});
  run();
}

TEST_CASE_FIXTURE(crashing_fixture, "a crash in mid-call fails it as io_failed, and the owner is told of the end") {
  launch(server(8080));
  advance(10ms);
  auto lost = call(post(8080, "x"));
  CHECK_FALSE(lost->over());
  advance(1s);
  CHECK(lost->failed(errc::io_failed));
  REQUIRE(log->ends.count(1) == 1);
  CHECK(log->ends.at(1).code != 0);
  CHECK(call(post(8080, "x"))->failed(errc::unreachable));
}

TEST_CASE_FIXTURE(hanging_fixture, "a request that hangs never answers, and health checks do") {
  launch(server(8080));
  advance(10ms);
  auto hung = call(post(8080, "x", 1min));
  auto health = post(8080, "");
  health.method = "GET";
  auto healthy = call(health);
  advance(59s);
  CHECK_FALSE(hung->over());
  REQUIRE(healthy->over());
  CHECK(*healthy->result);
  advance(1s);
  CHECK(hung->failed(errc::timed_out));
  CHECK(log->ends.empty());
}

TEST_CASE_FIXTURE(http_fixture, "calls end with the process that a kill ends, and with the launcher") {
  launch(server(8080, 1));
  launch(server(8081, 2));
  advance(10ms);
  auto first = call(post(8080, "x"));
  auto second = call(post(8081, "x"));
  kill_process_of(1);
  CHECK(first->failed(errc::io_failed));
  CHECK_FALSE(second->over());
  kill(launcher);
  CHECK(second->failed(errc::io_failed));
}

TEST_CASE_FIXTURE(http_fixture, "pending calls are cancelled when the client ends, and the servers go on") {
  launch(server(8080));
  advance(10ms);
  auto orphan = call(post(8080, "x"));
  caf::anon_send_exit(http, caf::exit_reason::user_shutdown);
  run();
  CHECK(orphan->failed(errc::cancelled));
  advance(1s);
  CHECK(processes->model.running().size() == 1);
}
