#include "runtime/gateway/gateway_actor.hpp"

#include "messages/node_protocol.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/scheduler_protocol.hpp"
#include "runtime/http/client_info.hpp"
#include "runtime/tasks/task_memory.hpp"
#include "test/runtime/gateway/recorded_exchange.hpp"
#include "test/support/actor_fixture.hpp"

#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <deque>

using namespace astra;
using namespace std::chrono_literals;
using nlohmann::json;
using test::recorded_exchange;
using exchange_ptr = std::shared_ptr<recorded_exchange>;

namespace {

/// A router that answers its oldest request with what a test tells it.  Promises belong to their actor, so a test
/// cannot deliver them itself.
using fake_router = router_actor::extend<caf::result<void>(route_result)>;

/// What the fake routers of one test were told, in order.
struct router_log {
  struct call {
    std::string app;
    route_request request;
    caf::typed_response_promise<route_result> promise;
    fake_router owner;
  };
  std::deque<call> calls;
  std::vector<std::string> cancelled;
  std::map<std::string, int> started;
  std::map<std::string, router_actor> last;
};

struct fixture : test::actor_fixture {
  fixture() : world(process("127.0.0.1:1")) {
    view = own(sys.spawn([this](view_source::pointer self) -> view_source::behavior_type {
      return {
          [this, self](const subscribe& wish) {
            subscriber = caf::actor_cast<view_subscriber>(self->current_sender());
            subscriptions.push_back(*wish);
            return subscribe_ack{};
          },
      };
    }));
    gateway_setup setup;
    setup.name = "gw";
    setup.version = "0.1.0";
    setup.view = view;
    setup.start_router = [this](const std::string& app) { return start_router(app); };
    gateway = own(spawn_gateway_actor(sys, world, std::move(setup)));
    run();
  }

  router_actor start_router(const std::string& app) {
    ++routers.started[app];
    auto result = own(sys.spawn([this, app](fake_router::pointer self) -> fake_router::behavior_type {
      return {
          [](const view_delta&) {},
          [this, self, app](const route_request& request) {
            routers.calls.push_back({app, request, self->make_response_promise<route_result>(), self});
            return routers.calls.back().promise;
          },
          [this](const route_cancel& what) {
            routers.cancelled.push_back(what.request_id);
            route_result cancelled;
            cancelled.outcome = route_outcome::cancelled;
            for (auto& call : routers.calls)
              if (call.request.request_id == what.request_id)
                call.promise.deliver(cancelled);
          },
          [app](report_atom) {
            router_table table;
            table.app = app;
            return table;
          },
          [app](report_atom, std::uint32_t count) {
            router_picks picks;
            picks.app = app;
            picks.formula = "flat";
            picks.order = "scan";
            picks.picks.assign(count, "n1");
            return picks;
          },
          [this](const route_result& answer) {
            routers.calls.front().promise.deliver(answer);
            routers.calls.pop_front();
          },
      };
    }));
    routers.last[app] = result;
    return result;
  }

  pb::ViewDelta delta(std::uint64_t base, std::uint64_t version) {
    pb::ViewDelta result;
    result.set_origin(make_resource_id("r1").value());
    result.set_origin_name("r1");
    result.set_epoch(1);
    result.set_base(base);
    result.set_version(version);
    return result;
  }

  static void add_app(pb::ViewDelta& delta, const std::string& name, const std::string& scheduler,
                      std::uint64_t version = 1) {
    auto& app = *delta.add_apps();
    app.mutable_spec()->set_name(name);
    app.mutable_spec()->set_request_timeout_ms(10000);
    app.set_epoch(1);
    app.set_version(version);
    app.set_scheduler(make_scheduler_id(scheduler).value());
  }

  static void add_scheduler(pb::ViewDelta& delta, const std::string& name, pb::Liveness state = pb::LIVENESS_ONLINE) {
    auto& row = *delta.add_schedulers();
    row.set_scheduler(make_scheduler_id(name).value());
    row.set_name(name);
    row.set_address(name + ":1");
    row.set_incarnation(1);
    row.set_liveness(state);
    row.set_reason(state == pb::LIVENESS_ONLINE ? "" : "silent for 3 s");
  }

  void show(pb::ViewDelta what) {
    caf::anon_send(gateway, view_delta{std::move(what)});
    run();
  }

  /// Apps ocr (scheduler s1) and echo (s2), node n1.
  void show_cluster() {
    auto what = delta(0, 5);
    add_app(what, "ocr", "s1");
    add_app(what, "echo", "s2");
    add_scheduler(what, "s1");
    add_scheduler(what, "s2");
    auto& node = *what.add_nodes();
    node.set_node(make_node_id("n1").value());
    node.set_incarnation(1);
    node.set_liveness(pb::LIVENESS_ONLINE);
    node.mutable_profile()->set_name("n1");
    node.mutable_profile()->set_address("n1:1");
    auto& replica = *node.mutable_profile()->add_replicas();
    replica.set_app("ocr");
    replica.set_index(3);
    replica.set_state(pb::REPLICA_READY);
    show(std::move(what));
  }

  exchange_ptr call(std::string method, std::string target, std::string body = {}, http_headers headers = {}) {
    http_request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = std::make_shared<const std::string>(std::move(body));
    request.headers = std::move(headers);
    put_client_info(request.headers, client);
    auto exchange = std::make_shared<recorded_exchange>(std::move(request));
    caf::anon_send(gateway, http_exchange_ptr{exchange});
    run();
    return exchange;
  }

  exchange_ptr invoke(const std::string& app, http_headers headers = {}) {
    return call("POST", "/v1/apps/" + app + "/invoke", "work", std::move(headers));
  }

  void answer_route(route_result result) {
    REQUIRE_FALSE(routers.calls.empty());
    caf::anon_send(routers.calls.front().owner, std::move(result));
    run();
  }

  /// Publishes an apps actor at `scheduler` that records what it gets and answers with `reply`.
  void serve_apps(const std::string& scheduler) {
    auto actor = own(sys.spawn([this, scheduler](apps_actor::pointer) -> apps_actor::behavior_type {
      return {
          [this, scheduler](const apply_app& what) {
            applied.emplace_back(scheduler, *what);
            return reply;
          },
          [this, scheduler](const delete_app& what) {
            deleted.emplace_back(scheduler, what->app());
            return reply;
          },
          [this, scheduler](const describe_app& what) {
            described.emplace_back(scheduler, *what);
            return detail;
          },
      };
    }));
    network.services[{scheduler + ":1", apps_service}] = caf::actor_cast<caf::strong_actor_ptr>(actor);
  }

  test::fake_platform& world;
  view_source view;
  view_subscriber subscriber;
  std::vector<pb::Subscribe> subscriptions;
  router_log routers;
  /// Who sends the requests.
  http_client_info client{http_door::plain, "127.0.0.1:1", {}, {}};
  gateway_actor gateway;
  control_reply reply;
  app_detail detail;
  std::vector<std::pair<std::string, pb::ApplyApp>> applied;
  std::vector<std::pair<std::string, std::string>> deleted;
  std::vector<std::pair<std::string, pb::DescribeApp>> described;
};

route_result outcome(route_outcome what, std::string reason = {}) {
  route_result result;
  result.outcome = what;
  result.reason = std::move(reason);
  return result;
}

const std::string good_app = R"({"replicas": 1, "concurrency": 1, "request_timeout_ms": "1000",
  "per_replica": {"cpu_milli": 500, "memory_bytes": "67108864"}, "queue_limit": 10,
  "restart": {"backoff_min_ms": "100", "backoff_max_ms": "1000", "healthy_after_ms": "1000", "budget": 5,
              "budget_window_ms": "60000"},
  "per_request": {"command": ["cat"], "output_limit_bytes": "1000000"}})";
const http_headers as_json = {{"content-type", "application/json; charset=utf-8"}};

} // namespace

TEST_CASE_FIXTURE(fixture, "the gateway is alive at once, ready with the first shard, and not when draining") {
  CHECK(call("GET", "/livez")->answers.at(0).status == 200);
  auto before = call("GET", "/readyz");
  CHECK(before->answers.at(0).status == 503);
  CHECK(before->body()["reason"] != "");
  CHECK(invoke("ocr")->answers.at(0).status == 503); // Not 404: who knows.
  show_cluster();
  CHECK(call("GET", "/readyz")->answers.at(0).status == 200);
  caf::anon_send(gateway, stop_atom_v);
  run();
  CHECK(call("GET", "/readyz")->answers.at(0).status == 503);
  auto refused = invoke("ocr");
  CHECK(refused->answers.at(0).status == 503);
  CHECK(refused->code() == "draining");
  CHECK(refused->header("Retry-After") == "1");
  CHECK(call("GET", "/livez")->answers.at(0).status == 200);
}

TEST_CASE_FIXTURE(fixture, "the subscription is renewed every second with what is known, and at once after a gap") {
  REQUIRE(subscriptions.size() == 1);
  CHECK(subscriptions[0].have_size() == 0);
  show_cluster();
  advance(1s);
  REQUIRE(subscriptions.size() == 2);
  REQUIRE(subscriptions[1].have_size() == 1);
  CHECK(subscriptions[1].have(0).version() == 5);
  show(delta(8, 9));
  REQUIRE(subscriptions.size() == 3);
  CHECK(subscriptions[2].resync());
}

TEST_CASE_FIXTURE(fixture, "a client's content type that is not UTF-8 is made so before it travels") {
  show_cluster();
  invoke("ocr", {{"content-type", "text/\xff"}});
  REQUIRE(routers.calls.size() == 1);
  CHECK(routers.calls[0].request.content_type == "text/\uFFFD");
}

TEST_CASE_FIXTURE(fixture, "an invoke goes to its app's router and comes back with where it ran") {
  show_cluster();
  auto exchange = invoke("ocr", {{"content-type", "image/png"}, {"astra-timeout", "1500ms"}});
  REQUIRE(routers.calls.size() == 1);
  auto& request = routers.calls[0].request;
  CHECK(routers.calls[0].app == "ocr");
  CHECK(*request.body == "work");
  CHECK(request.content_type == "image/png");
  CHECK(request.deadline == 1500ms);
  auto id = request.request_id;
  CHECK(exchange->answers.empty());
  auto result = outcome(route_outcome::ok);
  result.body = "text";
  result.content_type = "text/plain";
  result.node = "n1";
  result.replica = 3;
  result.tries = 2;
  result.starts = 1;
  result.service_time = 12500us;
  answer_route(result);
  REQUIRE(exchange->answers.size() == 1);
  CHECK(exchange->answers[0].status == 200);
  CHECK(exchange->answers[0].body == "text");
  CHECK(exchange->answers[0].content_type == "text/plain");
  CHECK(exchange->header("Astra-Request-Id") == id);
  CHECK(exchange->header("Astra-Node") == "n1");
  CHECK(exchange->header("Astra-Replica") == "3");
  CHECK(exchange->header("Astra-Tries") == "2");
  CHECK(exchange->header("Astra-Starts") == "1");
  CHECK(exchange->header("Astra-Service-Ms") == "12.5");
}

TEST_CASE_FIXTURE(fixture, "each outcome of a route has its status, code and reason") {
  show_cluster();
  struct row {
    route_outcome what;
    int status;
    const char* code;
  };
  const row rows[] = {
      {route_outcome::app_failed, 502, "app_failed"},
      {route_outcome::timed_out, 504, "timed_out"},
      {route_outcome::saturated, 429, "saturated"},
      {route_outcome::unavailable, 503, "unavailable"},
      {route_outcome::lost, 503, "lost"},
  };
  for (auto& row : rows) {
    CAPTURE(row.code);
    auto exchange = invoke("ocr");
    auto result = outcome(row.what, "why it is so");
    result.code = 7;
    result.stderr_tail = "trace";
    answer_route(result);
    CHECK(exchange->answers.at(0).status == row.status);
    CHECK(exchange->code() == row.code);
    CHECK(exchange->message() == "why it is so");
    CHECK(exchange->header("Retry-After") == (row.status == 429 ? "1" : ""));
    if (row.what == route_outcome::app_failed) {
      CHECK(exchange->body()["error"]["exit_code"] == 7);
      CHECK(exchange->body()["error"]["stderr"] == "trace");
    }
  }
  for (auto what : {route_outcome::saturated, route_outcome::unavailable}) {
    auto exchange = invoke("ocr");
    auto result = outcome(what);
    result.retry_after = 1200ms;
    answer_route(result);
    CHECK(exchange->header("Retry-After") == "2");
  }
}

TEST_CASE_FIXTURE(fixture, "an unknown app is 404 and names the one that was probably meant") {
  show_cluster();
  for (auto& exchange : {invoke("ocrr"), call("GET", "/v1/apps/ocrr"), call("DELETE", "/v1/apps/ocrr"),
                         call("GET", "/v1/routers/ocrr")}) {
    CHECK(exchange->answers.at(0).status == 404);
    CHECK(exchange->code() == "unknown_app");
    CHECK(exchange->message() == "no app 'ocrr'; did you mean 'ocr'?");
  }
  CHECK(invoke("quite-different")->message() == "no app 'quite-different'");
}

TEST_CASE_FIXTURE(fixture, "headers of an invoke that make no sense are 400 before anything is routed") {
  show_cluster();
  for (auto value : {"2", "soon", "-1s", "0s", "1e99s"}) {
    CAPTURE(value);
    CHECK(invoke("ocr", {{"astra-timeout", value}})->answers.at(0).status == 400);
  }
  CHECK(invoke("ocr", {{"astra-request-id", "with space"}})->answers.at(0).status == 400);
  CHECK(invoke("ocr", {{"astra-request-id", std::string(129, 'x')}})->answers.at(0).status == 400);
  CHECK(routers.calls.empty());
}

TEST_CASE_FIXTURE(fixture, "two clients with the same request id do not meet in the router") {
  show_cluster();
  auto first = invoke("ocr", {{"astra-request-id", "same"}});
  auto second = invoke("ocr", {{"astra-request-id", "same"}});
  CHECK(routers.calls.at(0).request.request_id != routers.calls.at(1).request.request_id);
  second->gone();
  run();
  CHECK(routers.cancelled == std::vector{routers.calls.at(1).request.request_id});
  CHECK(first->answers.empty());
  answer_route(outcome(route_outcome::ok));
  CHECK(first->answers.at(0).status == 200);
  CHECK(first->header("Astra-Request-Id") == "same");
}

TEST_CASE_FIXTURE(fixture, "a client that goes away cancels its request, one that has its answer does not") {
  show_cluster();
  auto exchange = invoke("ocr");
  exchange->gone();
  run();
  CHECK(routers.cancelled.size() == 1);
  CHECK(exchange->answers.size() == 1);
  routers.calls.clear();
  auto answered = invoke("ocr");
  answer_route(outcome(route_outcome::ok));
  answered->gone();
  run();
  CHECK(routers.cancelled.size() == 1);
}

TEST_CASE_FIXTURE(fixture, "a router that dies answers its requests once, with 503, and is back after 100 ms") {
  show_cluster();
  auto lost = invoke("ocr");
  auto other = invoke("echo");
  kill(routers.last["ocr"]);
  REQUIRE(lost->answers.size() == 1);
  CHECK(lost->answers[0].status == 503);
  CHECK(lost->code() == "lost");
  CHECK(other->answers.empty());
  auto meanwhile = invoke("ocr");
  CHECK(meanwhile->answers.at(0).status == 503);
  CHECK(meanwhile->header("Retry-After") == "1");
  advance(100ms);
  CHECK(routers.started["ocr"] == 2);
  routers.calls.pop_front(); // The dead one's.
  answer_route(outcome(route_outcome::ok));
  CHECK(other->answers.at(0).status == 200);
  auto again = invoke("ocr");
  answer_route(outcome(route_outcome::ok));
  CHECK(again->answers.at(0).status == 200);
  advance(60s);
  CHECK(lost->answers.size() == 1);
}

TEST_CASE_FIXTURE(fixture, "a router that dies again and again is restarted ever more slowly, up to 5 s") {
  show_cluster();
  std::vector<caf::timespan> pauses;
  for (auto i = 0; i < 8; ++i) {
    auto started = routers.started["ocr"];
    kill(routers.last["ocr"]);
    auto begin = now();
    while (routers.started["ocr"] == started)
      advance(100ms);
    pauses.push_back(now() - begin);
  }
  CHECK(pauses == std::vector<caf::timespan>{100ms, 200ms, 400ms, 800ms, 1600ms, 3200ms, 5s, 5s});
  advance(10s);
  auto started = routers.started["ocr"];
  kill(routers.last["ocr"]);
  advance(100ms);
  CHECK(routers.started["ocr"] == started + 1);
}

TEST_CASE_FIXTURE(fixture, "a router that never answers is answered for 5 s after the deadline") {
  show_cluster();
  auto exchange = invoke("ocr", {{"astra-timeout", "2s"}});
  advance(6900ms);
  CHECK(exchange->answers.empty());
  advance(200ms);
  REQUIRE(exchange->answers.size() == 1);
  CHECK(exchange->answers[0].status == 504);
}

TEST_CASE_FIXTURE(fixture, "the end of the gateway answers what is under way and ends its routers") {
  show_cluster();
  auto exchange = invoke("ocr");
  auto router = routers.last["ocr"];
  caf::scoped_actor self{sys};
  self->monitor(router);
  caf::anon_send_exit(gateway, caf::exit_reason::user_shutdown);
  run();
  REQUIRE(exchange->answers.size() == 1);
  CHECK(exchange->answers[0].status == 503);
  CHECK(self->has_next_message());
}

TEST_CASE_FIXTURE(fixture, "a drain is complete when the last request is answered") {
  show_cluster();
  auto exchange = invoke("ocr");
  caf::scoped_actor self{sys};
  auto drained = self->request(gateway, caf::infinite, stop_atom_v);
  run();
  CHECK_FALSE(self->has_next_message());
  answer_route(outcome(route_outcome::ok));
  CHECK(exchange->answers.at(0).status == 200);
  REQUIRE(self->has_next_message());
  drained.receive([] {}, [](caf::error& reason) { FAIL(to_string(reason)); });
}

TEST_CASE_FIXTURE(fixture, "an app that was deleted is unknown at once; one that only vanished keeps its router 10 s") {
  show_cluster();
  auto vanished = delta(5, 6);
  vanished.add_removed_apps("ocr");
  show(std::move(vanished));
  auto meanwhile = invoke("ocr");
  CHECK(meanwhile->answers.empty());
  advance(9s);
  auto back = delta(6, 7);
  add_app(back, "ocr", "s1");
  show(std::move(back));
  advance(20s);
  CHECK(routers.started["ocr"] == 1);
  answer_route(outcome(route_outcome::ok));

  auto deleting = delta(7, 8);
  add_app(deleting, "ocr", "s1", 2);
  deleting.mutable_apps(0)->set_deleting(true);
  show(std::move(deleting));
  CHECK(invoke("ocr")->answers.at(0).status == 404);
  auto removed = delta(8, 9);
  removed.add_removed_apps("ocr");
  caf::scoped_actor self{sys};
  self->monitor(routers.last["ocr"]);
  show(std::move(removed));
  CHECK(self->has_next_message());
  CHECK(invoke("ocr")->answers.at(0).status == 404);

  auto echo_gone = delta(9, 10);
  echo_gone.add_removed_apps("echo");
  show(std::move(echo_gone));
  advance(11s);
  CHECK(invoke("echo")->answers.at(0).status == 404);
}

TEST_CASE_FIXTURE(fixture, "an apply of a known app goes to its own scheduler") {
  show_cluster();
  serve_apps("s1");
  serve_apps("s2");
  reply->set_ok(true);
  reply->set_message("changed: replicas 1 -> 2");
  auto exchange = call("PUT", "/v1/apps/echo", good_app, as_json);
  CAPTURE(exchange->answers.at(0).body);
  CHECK(exchange->answers.at(0).status == 200);
  CHECK(exchange->body() == json{{"message", "changed: replicas 1 -> 2"}});
  REQUIRE(applied.size() == 1);
  CHECK(applied[0].first == "s2");
  CHECK(applied[0].second.spec().name() == "echo");
}

TEST_CASE_FIXTURE(fixture, "an apply and a delete of an app whose scheduler is gone go to another that is online") {
  show_cluster();
  serve_apps("s2");
  reply->set_ok(true);
  auto offline = delta(5, 6);
  add_scheduler(offline, "s1", pb::LIVENESS_OFFLINE);
  show(std::move(offline));
  CHECK(call("PUT", "/v1/apps/ocr", good_app, as_json)->answers.at(0).status == 200);
  auto gone = delta(6, 7);
  gone.add_removed_schedulers(make_scheduler_id("s1").value());
  show(std::move(gone));
  CHECK(call("DELETE", "/v1/apps/ocr")->answers.at(0).status == 200);
  REQUIRE(applied.size() == 1);
  CHECK(applied[0].first == "s2");
  REQUIRE(deleted.size() == 1);
  CHECK(deleted[0].first == "s2");
}

TEST_CASE_FIXTURE(fixture, "a new app goes to the online scheduler with the fewest apps") {
  show_cluster();
  auto more = delta(5, 6);
  add_scheduler(more, "s3");
  add_scheduler(more, "s4", pb::LIVENESS_OFFLINE);
  show(std::move(more));
  for (auto name : {"s1", "s2", "s3", "s4"})
    serve_apps(name);
  reply->set_ok(true);
  CHECK(call("PUT", "/v1/apps/new", good_app, as_json)->answers.at(0).status == 200);
  REQUIRE(applied.size() == 1);
  CHECK(applied[0].first == "s3");
}

TEST_CASE_FIXTURE(fixture, "a scheduler's refusal keeps its code and gets the fitting status") {
  show_cluster();
  serve_apps("s1");
  const std::pair<const char*, int> rows[] = {
      {"invalid_argument", 400}, {"unknown_app", 404}, {"conflict", 409},          {"fenced", 409},
      {"draining", 503},         {"io_failed", 500},   {"of another version", 500}};
  for (auto& [code, status] : rows) {
    reply->set_code(code);
    reply->set_message("because");
    auto exchange = call("DELETE", "/v1/apps/ocr");
    CHECK(exchange->answers.at(0).status == status);
    CHECK(exchange->code() == code);
    CHECK(exchange->message() == "because");
  }
  CHECK(deleted.size() == std::size(rows));
}

TEST_CASE_FIXTURE(fixture, "apply and delete without a scheduler to ask are 503 with the reason") {
  show_cluster();
  auto cut_off = call("DELETE", "/v1/apps/ocr");
  CHECK(cut_off->answers.at(0).status == 503);
  CHECK(cut_off->message().find("scheduler 's1' at s1:1") != std::string::npos);
  auto offline = delta(5, 6);
  add_scheduler(offline, "s1", pb::LIVENESS_OFFLINE);
  add_scheduler(offline, "s2", pb::LIVENESS_OFFLINE);
  show(std::move(offline));
  CHECK(call("DELETE", "/v1/apps/ocr")->message()
        == "app 'ocr' belongs to scheduler 's1', which is offline: silent for 3 s; no scheduler process is online (2 "
           "known); start one with the role \"scheduler\"");
  CHECK(call("PUT", "/v1/apps/new", good_app, as_json)
            ->message()
            .starts_with("no scheduler process is online (2 known)"));
  auto gone = delta(6, 7);
  gone.add_removed_schedulers(make_scheduler_id("s1").value());
  show(std::move(gone));
  CHECK(call("DELETE", "/v1/apps/ocr")->answers.at(0).status == 503);
}

TEST_CASE_FIXTURE(fixture, "a scheduler that takes an apply and falls silent is 503 after 5 s") {
  show_cluster();
  auto silent = own(sys.spawn([](apps_actor::pointer self) -> apps_actor::behavior_type {
    auto promises = std::make_shared<std::vector<caf::typed_response_promise<control_reply>>>();
    return {
        [self, promises](const apply_app&) {
          promises->push_back(self->make_response_promise<control_reply>());
          return promises->back();
        },
        [](const delete_app&) { return control_reply{}; },
        [](const describe_app&) { return app_detail{}; },
    };
  }));
  network.services[{"s1:1", apps_service}] = caf::actor_cast<caf::strong_actor_ptr>(silent);
  auto exchange = call("PUT", "/v1/apps/ocr", good_app, as_json);
  advance(4900ms);
  CHECK(exchange->answers.empty());
  advance(200ms);
  CHECK(exchange->answers.at(0).status == 503);
}

TEST_CASE_FIXTURE(fixture, "a broken app is 400 with its problems and asks nobody") {
  show_cluster();
  serve_apps("s1");
  auto json_text = call("PUT", "/v1/apps/ocr", R"({"replicaz": 2})", as_json);
  CHECK(json_text->answers.at(0).status == 400);
  CHECK(json_text->code() == "invalid_argument");
  CHECK(json_text->body()["error"]["problems"].size() == 1);
  auto toml = call("PUT", "/v1/apps/ocr", "nmae = \"ocr\"\n", {{"content-type", "application/toml"}});
  CHECK(toml->answers.at(0).status == 400);
  CHECK(toml->body()["error"]["problems"][0]["line"] == 1);
  CHECK(call("PUT", "/v1/apps/ocr", good_app)->answers.at(0).status == 415);
  CHECK(applied.empty());
}

TEST_CASE_FIXTURE(fixture, "an app is described by its scheduler, or from the view with a note when that is silent") {
  show_cluster();
  auto second_hand = call("GET", "/v1/apps/ocr");
  CHECK(second_hand->answers.at(0).status == 200);
  CHECK(second_hand->body()["note"].get<std::string>().find("does not answer") != std::string::npos);
  CHECK(second_hand->body()["replicas_detail"][0]["index"] == 3);
  CHECK(second_hand->body()["replicas_detail"][0]["node"] == "n1");

  serve_apps("s1");
  detail->set_found(true);
  detail->mutable_record()->mutable_spec()->set_name("ocr");
  detail->add_replicas()->set_index(8);
  auto first_hand = call("GET", "/v1/apps/ocr");
  CHECK_FALSE(first_hand->body().contains("note"));
  CHECK(first_hand->body()["replicas_detail"][0]["index"] == 8);
}

TEST_CASE_FIXTURE(fixture, "nodes are listed, shown by name or id, and drained through their own process") {
  show_cluster();
  // Nodes are listed by a Resource, and this gateway knows none.
  CHECK(call("GET", "/v1/nodes")->answers.at(0).status == 503);
  CHECK(call("GET", "/v1/nodes?wher=x")->message() == "no parameter 'wher'; did you mean 'where'?");
  CHECK(call("GET", "/v1/nodes?limit=0")->answers.at(0).status == 400);
  CHECK(call("GET", "/v1/events")->answers.at(0).status == 503);
  CHECK(call("GET", "/v1/events?since=10")->answers.at(0).status == 400);
  CHECK(call("GET", "/v1/events?last=99999")->answers.at(0).status == 400);
  CHECK(call("GET", "/v1/nodes/n1")->body()["name"] == "n1");
  CHECK(call("GET", "/v1/nodes/" + to_string(make_node_id("n1")))->body()["name"] == "n1");
  CHECK(call("GET", "/v1/nodes/n2")->message() == "no node 'n2'; did you mean 'n1'?");
  CHECK(call("POST", "/v1/nodes/n1/drain")->answers.at(0).status == 503);
  auto reasons = std::make_shared<std::vector<std::string>>();
  auto node = own(sys.spawn([reasons](node_actor::pointer) -> node_actor::behavior_type {
    return {
        [](const reserve&) { return reserve_reply{}; },
        [](const astra::invoke&) { return invoke_reply{}; },
        [](const cancel&) {},
        [](const claim_batch&) { return claim_reply{}; },
        [](const release_batch&) {},
        [](const prefetch_batch&) {},
        [](const process_exited&) {},
        [reasons](const drain& what) {
          reasons->push_back(what->reason());
          pb::DrainReply result;
          result.set_running(2);
          result.set_queued(1);
          return drain_reply{result};
        },
        [](stop_atom, caf::timespan) {},
    };
  }));
  network.services[{"n1:1", node_service("n1")}] = caf::actor_cast<caf::strong_actor_ptr>(node);
  auto drained = call("POST", "/v1/nodes/n1/drain");
  CHECK(drained->answers.at(0).status == 200);
  CHECK(drained->body() == json::parse(R"({"running": 2, "queued": 1})"));
  CHECK(reasons->size() == 1);
}

TEST_CASE_FIXTURE(fixture, "a gateway of some apps routes to these alone and asks a Resource about nodes of others") {
  auto asked = std::make_shared<std::vector<std::string>>();
  auto desk = own(sys.spawn([asked](inspection_desk::pointer) -> inspection_desk::behavior_type {
    return {
        [](const event_query&) { return event_page{}; },
        [asked](const node_query& what) {
          asked->push_back(what->where());
          pb::NodePage page;
          if (what->where().find("n7") != std::string::npos) {
            page.add_nodes()->set_name("n7");
            page.mutable_nodes(0)->set_liveness(pb::LIVENESS_OFFLINE);
            page.mutable_nodes(0)->set_reason("no heartbeat for 3.0 s");
          }
          return node_page{page};
        },
        [](const report_query&) {
          pb::ResourceReport report;
          report.mutable_at_home()->set_online(40);
          report.mutable_at_home()->set_cpu_milli(160'000);
          return resource_report{report};
        },
    };
  }));
  network.services[{"r1:1", resource_service}] = caf::actor_cast<caf::strong_actor_ptr>(desk);
  gateway_setup setup;
  setup.name = "echo-gw";
  setup.view = view;
  setup.resources = {"r0:1", "r1:1"};
  setup.groups = {setup.resources};
  setup.start_router = [this](const std::string& app) { return start_router(app); };
  setup.apps = {"echo"};
  setup.narrow_view = true;
  gateway = own(spawn_gateway_actor(sys, world, std::move(setup)));
  run();
  show_cluster();
  CHECK(routers.started == std::map<std::string, int>{{"echo", 1}});
  auto refused = invoke("ocr");
  CHECK(refused->answers.at(0).status == 404);
  CHECK(refused->message()
        == "gateway 'echo-gw' takes no requests for app 'ocr': gateway.apps of its file names echo; ask another "
           "gateway, or add it there");
  // What is in its view it knows itself; r0 does not answer.
  CHECK(call("GET", "/v1/nodes/n1")->body()["name"] == "n1");
  CHECK(asked->empty());
  CHECK(call("GET", "/v1/nodes/n7")->body()["name"] == "n7");
  CHECK(asked->at(0) == "name == \"n7\" or id == \"n7\"");
  CHECK(call("GET", "/v1/nodes/n8")->answers.at(0).status == 404);
  CHECK(call("POST", "/v1/nodes/n7/drain")->message() == "node 'n7' is offline: no heartbeat for 3.0 s");
  auto status = call("GET", "/v1/status");
  CHECK(status->body()["nodes"]["online"] == 40);
  CHECK(status->body()["cores"]["total"] == 160.0);
}

TEST_CASE_FIXTURE(fixture, "quotas are what the Resources report, with the apps that wait and who does not answer") {
  auto desk = own(sys.spawn([](inspection_desk::pointer) -> inspection_desk::behavior_type {
    return {
        [](const event_query&) { return event_page{}; },
        [](const node_query&) { return node_page{}; },
        [](const report_query&) {
          pb::ResourceReport report;
          report.set_name("r1");
          report.set_group("main");
          report.add_shards()->set_name("r1");
          auto& quota = *report.add_quotas();
          quota.set_business("media");
          quota.mutable_limit()->set_cpu_milli(4000);
          quota.mutable_in_use()->set_cpu_milli(4000);
          return resource_report{report};
        },
    };
  }));
  network.services[{"r1:1", resource_service}] = caf::actor_cast<caf::strong_actor_ptr>(desk);
  gateway_setup setup;
  setup.name = "gw";
  setup.view = view;
  setup.resources = {"r0:1", "r1:1"};
  setup.groups = {setup.resources};
  setup.start_router = [this](const std::string& app) { return start_router(app); };
  gateway = own(spawn_gateway_actor(sys, world, std::move(setup)));
  run();
  auto what = delta(0, 1);
  add_app(what, "ocr", "s1");
  auto& app = *what.mutable_apps(0);
  app.mutable_spec()->set_business("media");
  app.set_pending(2);
  app.set_reason("2 not placed: quota of [[resource.quotas]]");
  show(std::move(what));
  advance(5s);
  auto body = call("GET", "/v1/quotas")->body();
  REQUIRE(body["quotas"].size() == 1);
  auto& quota = body["quotas"][0];
  CHECK(quota["business"] == "media");
  CHECK(quota["waiting"][0]["app"] == "ocr");
  CHECK(quota["waiting"][0]["for_ms"] == 5000);
  CHECK(quota["reason"].get<std::string>().find("r1 hears 1 of 2 Resources") != std::string::npos);
  CHECK(body["unreachable"][0]["address"] == "r0:1");
  CHECK(call("GET", "/v1/status")->body()["quotas"].size() == 1);

  network.services.erase({"r1:1", resource_service});
  auto nobody = call("GET", "/v1/quotas");
  CHECK(nobody->answers.at(0).status == 503);
  CHECK(nobody->message().find("no Resource answers: r0:1: ") == 0);
}

TEST_CASE_FIXTURE(fixture, "status, apps and routers are there; other paths and methods say what to do") {
  show_cluster();
  CHECK(call("GET", "/v1/status")->body()["cluster"]["gateway"] == "gw");
  CHECK(call("GET", "/v1/apps")->body()["apps"].size() == 2);
  CHECK(call("GET", "/v1/routers/ocr")->body()["app"] == "ocr");
  CHECK(call("GET", "/v1/routers/ocr/picks?n=3")->body()["picks"].size() == 3);
  CHECK(call("GET", "/v1/routers/ocr/picks")->body()["picks"].size() == 20);
  for (auto query : {"n=0", "n=10001", "n=x", "n=3x", "n=%zz"})
    CHECK(call("GET", std::string{"/v1/routers/ocr/picks?"} + query)->answers.at(0).status == 400);
  CHECK(call("GET", "/nowhere")->answers.at(0).status == 404);
  auto wrong = call("PATCH", "/v1/apps/ocr");
  CHECK(wrong->answers.at(0).status == 405);
  CHECK(wrong->header("Allow") == "GET, HEAD, PUT, DELETE");
}

TEST_CASE_FIXTURE(fixture, "over TLS each role may do what is its own, and a refusal names the role and the cure") {
  show_cluster();
  client.door = http_door::tls;
  auto as = [&](std::optional<peer_role> role) {
    client.identity.reset();
    if (role)
      client.identity = peer_identity{"prod", "somebody", {*role}, {}};
  };
  struct row {
    std::optional<peer_role> role;
    /// Statuses of a health check, a listing, a request to an unknown app and the deletion of one.
    std::array<int, 4> statuses;
  };
  const row rows[] = {
      {std::nullopt, {200, 401, 401, 401}},         {peer_role::node, {200, 403, 403, 403}},
      {peer_role::resource, {200, 403, 403, 403}},  {peer_role::scheduler, {200, 403, 403, 403}},
      {peer_role::gateway, {200, 403, 404, 403}},   {peer_role::viewer, {200, 200, 404, 403}},
      {peer_role::operator_, {200, 200, 404, 404}},
  };
  for (auto& [role, statuses] : rows) {
    as(role);
    CAPTURE((role ? to_string(*role) : "no certificate"));
    CHECK(call("GET", "/livez")->answers.at(0).status == statuses[0]);
    CHECK(call("GET", "/v1/apps")->answers.at(0).status == statuses[1]);
    CHECK(invoke("nothing")->answers.at(0).status == statuses[2]);
    CHECK(call("DELETE", "/v1/apps/nothing")->answers.at(0).status == statuses[3]);
  }
  as(peer_role::viewer);
  auto refused = call("POST", "/v1/nodes/n1/drain");
  CHECK(refused->code() == "forbidden");
  CHECK(refused->message()
        == "changing anything needs a certificate with the role operator, and 'somebody' has only viewer; have one "
           "issued with astra ca issue --role operator");
  as(std::nullopt);
  CHECK(call("GET", "/v1/status")->message().find("none was shown; name one with --cert and --key")
        != std::string::npos);
  client.door = http_door::none;
  CHECK(call("GET", "/v1/status")->answers.at(0).status == 401);
  CHECK(invoke("ocr")->answers.at(0).status == 401);
  CHECK(routers.calls.empty());
}

TEST_CASE_FIXTURE(fixture, "whoever may open the Unix socket may do everything") {
  show_cluster();
  client = {http_door::unix_socket, "uid=1000 pid=7", {}, {}};
  CHECK(call("GET", "/v1/apps")->answers.at(0).status == 200);
  CHECK(call("DELETE", "/v1/apps/nothing")->answers.at(0).status == 404);
}

TEST_CASE_FIXTURE(fixture, "a gateway without an authority hands out no certificates") {
  client.door = http_door::tls;
  for (auto path : {"/v1/join", "/v1/renew"}) {
    auto answer = call("POST", path, "{}");
    CHECK(answer->answers.at(0).status == 404);
    CHECK(answer->message().find("gateway.ca_dir") != std::string::npos);
  }
}

TEST_CASE_FIXTURE(fixture,
                  "the history of an app comes from its scheduler, that of one that is gone from whoever has it") {
  show_cluster();
  for (auto name : {"s1", "s2"})
    serve_apps(name);
  auto none = call("GET", "/v1/apps/ocr/history");
  CHECK(none->answers.at(0).status == 200);
  CHECK(none->body()["revisions"].empty());
  CHECK(none->body()["note"].get<std::string>().find("keeps no revisions") != std::string::npos);
  CHECK(call("GET", "/v1/apps/gone/history")->answers.at(0).status == 404);
  CHECK(described.size() == 3);
  for (auto number : {1, 2}) {
    auto& revision = *detail->mutable_history()->add_revisions();
    revision.set_number(number);
    revision.set_wall_ms(1'767'225'600'000);
    revision.set_origin("alice");
    revision.set_change("replicas 3 -> 5");
    revision.mutable_spec()->set_replicas(5);
  }
  auto shown = call("GET", "/v1/apps/gone/history");
  CHECK(shown->answers.at(0).status == 200);
  CHECK(described.size() == 4);
  CHECK(described.back().second.history());
  auto second = shown->body()["revisions"][1];
  CHECK(second["revision"] == 2);
  CHECK(second["when"] == "2026-01-01T00:00:00.000Z");
  CHECK(second["by"] == "alice");
  CHECK(second["change"] == "replicas 3 -> 5");
  CHECK(second["current"] == true);
  CHECK(second["spec"]["replicas"] == 5);
  CHECK(shown->body()["revisions"][0]["current"] == false);
}

TEST_CASE_FIXTURE(fixture, "a rollback goes to the scheduler that keeps the revisions, with the number and who asks") {
  show_cluster();
  serve_apps("s1");
  reply->set_ok(true);
  reply->set_message("rolled back");
  auto done = call("POST", "/v1/apps/ocr/rollback?to=3");
  CHECK(done->answers.at(0).status == 200);
  CHECK(done->body()["message"] == "rolled back");
  REQUIRE(applied.size() == 1);
  CHECK(applied[0].second.rollback().app() == "ocr");
  CHECK(applied[0].second.rollback().to() == 3);
  CHECK(applied[0].second.origin().find("at gateway gw") != std::string::npos);
  CHECK(call("POST", "/v1/apps/ocr/rollback")->answers.at(0).status == 200);
  CHECK(applied.at(1).second.rollback().to() == 0);
  for (auto wrong : {"to=0", "to=x", "to=-1", "to=", "to=%4"})
    CHECK(call("POST", std::string{"/v1/apps/ocr/rollback?"} + wrong)->answers.at(0).status == 400);
  CHECK(applied.size() == 2);
}

TEST_CASE_FIXTURE(fixture, "a plan is asked for with the spec of the body; a refusal keeps its code") {
  show_cluster();
  serve_apps("s1");
  CHECK(call("POST", "/v1/apps/ocr/plan", good_app, as_json)->answers.at(0).status == 501);
  auto& planned = *detail->mutable_plan();
  planned.set_index("3-a-b-c");
  planned.set_changes(true);
  planned.set_change("replicas 0 -> 1");
  auto& row = *planned.add_replicas();
  row.set_action(pb::PLAN_CREATE);
  row.set_to("n1");
  auto shown = call("POST", "/v1/apps/ocr/plan", good_app, as_json);
  CHECK(shown->answers.at(0).status == 200);
  CHECK(described.back().second.plan().spec().name() == "ocr");
  CHECK(shown->body()["index"] == "3-a-b-c");
  CHECK(shown->body()["changes"] == true);
  CHECK(shown->body()["replicas"][0]["action"] == "create");
  CHECK(shown->body()["replicas"][0]["to"] == "n1");
  planned.mutable_refused()->set_code("conflict");
  planned.mutable_refused()->set_message("because");
  auto refused = call("POST", "/v1/apps/ocr/plan", good_app, as_json);
  CHECK(refused->answers.at(0).status == 409);
  CHECK(refused->message() == "because");
  CHECK(call("POST", "/v1/apps/ocr/plan", "{", as_json)->answers.at(0).status == 400);
  CHECK(applied.empty());
  reply->set_ok(true);
  CHECK(call("PUT", "/v1/apps/ocr?plan=3-a-b-c", good_app, as_json)->answers.at(0).status == 200);
  CHECK(applied.at(0).second.plan_index() == "3-a-b-c");
}

namespace {

/// A gateway that keeps tasks.
struct task_fixture : fixture {
  task_fixture() {
    kill(gateway);
    keeper = std::make_shared<task_keeper>(std::make_unique<task_memory>(), task_keeper::mode::by_hand);
    gateway_setup setup;
    setup.name = "gw";
    setup.view = view;
    setup.start_router = [this](const std::string& app) { return start_router(app); };
    setup.start_tasks = [this] {
      ++desks;
      task_desk_setup desk;
      desk.gateway = "gw";
      desk.keeper = keeper;
      last_desk = own(spawn_task_desk(sys, world, std::move(desk)));
      return last_desk;
    };
    gateway = own(spawn_gateway_actor(sys, world, std::move(setup)));
    settle();
    show_cluster();
  }

  void settle() {
    do
      run();
    while (keeper->step());
    run();
  }

  exchange_ptr ask(std::string method, std::string target, std::string body = {}) {
    auto exchange = call(std::move(method), std::move(target), std::move(body));
    settle();
    return exchange;
  }

  std::shared_ptr<task_keeper> keeper;
  task_desk_actor last_desk;
  int desks = 0;
};

} // namespace

TEST_CASE_FIXTURE(task_fixture, "tasks go through the router of their app, as requests do") {
  auto posted = ask("POST", "/v1/apps/ocr/tasks", "page");
  REQUIRE(posted->answers.at(0).status == 202);
  std::string id = posted->body()["id"];
  REQUIRE(routers.calls.size() == 1);
  CHECK(routers.calls[0].app == "ocr");
  CHECK(*routers.calls[0].request.body == "page");
  auto good = outcome(route_outcome::ok);
  good.body = "text";
  answer_route(good);
  settle();
  CHECK(ask("GET", "/v1/tasks/" + id + "/result")->answers.at(0).body == "text");
}

TEST_CASE_FIXTURE(task_fixture, "a task for an app that is not there is refused as a request is") {
  auto refused = ask("POST", "/v1/apps/ocrr/tasks", "page");
  CHECK(refused->answers.at(0).status == 404);
  CHECK(refused->code() == "unknown_app");
  CHECK(refused->message().find("did you mean 'ocr'") != std::string::npos);
}

TEST_CASE_FIXTURE(task_fixture, "when a router dies its tasks wait for the next one") {
  std::string id = ask("POST", "/v1/apps/ocr/tasks", "page")->body()["id"];
  // Its promises die with it.
  routers.calls.clear();
  kill(routers.last["ocr"]);
  settle();
  CHECK(ask("GET", "/v1/tasks/" + id)->body()["state"] == "queued");
  advance(2s);
  settle();
  REQUIRE(routers.calls.size() == 1);
  answer_route(outcome(route_outcome::ok));
  settle();
  CHECK(ask("GET", "/v1/tasks/" + id)->body()["state"] == "done");
}

TEST_CASE_FIXTURE(task_fixture, "what keeps the tasks is started again when it dies, and goes on with them") {
  std::string id = ask("POST", "/v1/apps/ocr/tasks", "page")->body()["id"];
  kill(last_desk);
  auto meanwhile = ask("GET", "/v1/tasks/" + id);
  CHECK(meanwhile->answers.at(0).status == 503);
  routers.calls.clear();
  advance(5s);
  settle();
  CHECK(desks == 2);
  REQUIRE(routers.calls.size() == 1);
  answer_route(outcome(route_outcome::ok));
  settle();
  CHECK(ask("GET", "/v1/tasks/" + id)->body()["attempts"] == 2);
}

TEST_CASE_FIXTURE(task_fixture, "a drain waits for tasks in progress") {
  ask("POST", "/v1/apps/ocr/tasks", "page");
  caf::scoped_actor self{sys};
  auto stopping = self->request(gateway, caf::infinite, stop_atom_v);
  settle();
  CHECK_FALSE(self->has_next_message());
  answer_route(outcome(route_outcome::ok));
  settle();
  CHECK(self->has_next_message());
  stopping.receive([] {}, [](const caf::error&) { FAIL("the drain failed"); });
}

TEST_CASE_FIXTURE(fixture, "a gateway without a store says that it keeps no tasks") {
  show_cluster();
  auto refused = call("POST", "/v1/apps/ocr/tasks", "page");
  CHECK(refused->answers.at(0).status == 501);
  CHECK(refused->message() == "this gateway keeps no tasks; ask another one");
}
