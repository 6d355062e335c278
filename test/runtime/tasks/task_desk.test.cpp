#include "runtime/tasks/task_desk.hpp"

#include "messages/errc.hpp"
#include "messages/router_protocol.hpp"
#include "runtime/tasks/task_memory.hpp"
#include "test/runtime/gateway/recorded_exchange.hpp"
#include "test/support/actor_fixture.hpp"

#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace astra;
using namespace std::chrono_literals;
using nlohmann::json;
using test::recorded_exchange;
using exchange_ptr = std::shared_ptr<recorded_exchange>;

namespace {

using fake_router = router_actor::extend<caf::result<void>(route_result)>;

struct fixture : test::actor_fixture {
  fixture() : world(process("127.0.0.1:1")) {
    auto made = std::make_unique<task_memory>();
    store = made.get();
    setup.gateway = "gw";
    setup.keeper = std::make_shared<task_keeper>(std::move(made), task_keeper::mode::by_hand);
  }

  void start() {
    desk = own(spawn_task_desk(sys, world, setup));
    settle();
  }

  /// Everything that can happen now, the store's part included.
  void settle() {
    do
      run();
    while (setup.keeper->step());
    run();
  }

  void pass(caf::timespan time) {
    advance(time);
    settle();
  }

  void open(const std::string& app) {
    router = own(sys.spawn([this](fake_router::pointer self) -> fake_router::behavior_type {
      return {
          [](const view_delta&) {},
          [this, self](const route_request& request) {
            calls.push_back({request, self->make_response_promise<route_result>()});
            return calls.back().promise;
          },
          [this](const route_cancel& what) {
            cancelled.push_back(what.request_id);
            route_result result;
            result.outcome = route_outcome::cancelled;
            for (auto& call : calls)
              if (call.request.request_id == what.request_id)
                call.promise.deliver(result);
          },
          [](report_atom) { return router_table{}; },
          [](report_atom, std::uint32_t) { return router_picks{}; },
          [this](const route_result& answer) {
            calls.front().promise.deliver(answer);
            calls.pop_front();
          },
      };
    }));
    tell(app, caf::actor_cast<caf::strong_actor_ptr>(router));
  }

  void tell(const std::string& app, const caf::strong_actor_ptr& who) {
    caf::anon_send(desk, app, who);
    settle();
  }

  exchange_ptr send(std::string method, std::string target, std::string body = {}, http_headers headers = {}) {
    http_request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = std::make_shared<const std::string>(std::move(body));
    request.headers = std::move(headers);
    auto exchange = std::make_shared<recorded_exchange>(std::move(request));
    caf::anon_send(desk, http_exchange_ptr{exchange});
    run();
    return exchange;
  }

  exchange_ptr call(std::string method, std::string target, std::string body = {}, http_headers headers = {}) {
    auto exchange = send(std::move(method), std::move(target), std::move(body), std::move(headers));
    settle();
    return exchange;
  }

  exchange_ptr submit(std::string body = "page", http_headers headers = {}) {
    return call("POST", "/v1/apps/ocr/tasks", std::move(body), std::move(headers));
  }

  std::string id_of(const exchange_ptr& exchange) { return exchange->body()["id"]; }

  json task(const std::string& id) {
    auto exchange = call("GET", "/v1/tasks/" + id);
    REQUIRE(exchange->answers.size() == 1);
    REQUIRE(exchange->answers[0].status == 200);
    return exchange->body();
  }

  std::string state(const std::string& id) { return task(id)["state"]; }

  void answer(route_outcome outcome, std::string body_or_reason = {}) {
    REQUIRE_FALSE(calls.empty());
    route_result result;
    result.outcome = outcome;
    result.node = "n1";
    result.starts = outcome == route_outcome::saturated || outcome == route_outcome::unavailable ? 0 : 1;
    if (outcome == route_outcome::ok) {
      result.body = std::move(body_or_reason);
      result.content_type = "text/html";
    } else {
      result.reason = std::move(body_or_reason);
    }
    caf::anon_send(router, std::move(result));
    settle();
  }

  struct route_call {
    route_request request;
    caf::typed_response_promise<route_result> promise;
  };
  test::fake_platform& world;
  task_memory* store;
  task_desk_setup setup;
  task_desk_actor desk;
  fake_router router;
  std::deque<route_call> calls;
  std::vector<std::string> cancelled;
};

struct ready : fixture {
  ready() {
    start();
    open("ocr");
  }
};

std::vector<std::string> events_of(const std::string& text) {
  std::vector<std::string> result;
  for (auto at = text.find("event: "); at != std::string::npos; at = text.find("event: ", at + 1))
    result.push_back(text.substr(at + 7, text.find('\n', at) - at - 7));
  return result;
}

} // namespace

TEST_CASE_FIXTURE(ready, "a task is accepted when it is in the store, not before, and is done with the app's bytes") {
  auto posted = send("POST", "/v1/apps/ocr/tasks", "page", {{"content-type", "image/png"}});
  CHECK(posted->answers.empty());
  CHECK(calls.empty());
  settle();
  REQUIRE(posted->answers.size() == 1);
  CHECK(posted->answers[0].status == 202);
  auto id = id_of(posted);
  CHECK(posted->body()["state"] == "queued");
  CHECK(posted->header("Location") == "/v1/tasks/" + id);
  REQUIRE(calls.size() == 1);
  CHECK(*calls[0].request.body == "page");
  CHECK(calls[0].request.content_type == "image/png");
  CHECK(state(id) == "running");
  auto early = call("GET", "/v1/tasks/" + id + "/result");
  CHECK(early->answers.at(0).status == 404);
  CHECK(early->code() == "not_finished");
  answer(route_outcome::ok, "<p>text</p>");
  auto done = task(id);
  CHECK(done["state"] == "done");
  CHECK(done["attempts"] == 1);
  CHECK(done["node"] == "n1");
  CHECK(done["result_bytes"] == 11);
  auto result = call("GET", "/v1/tasks/" + id + "/result");
  CHECK(result->answers.at(0).status == 200);
  CHECK(result->answers.at(0).body == "<p>text</p>");
  CHECK(result->answers.at(0).content_type == "text/html");
}

TEST_CASE_FIXTURE(ready, "many tasks that come at once are in one transaction") {
  auto before = store->commits;
  std::vector<exchange_ptr> posted;
  for (int i = 0; i < 100; ++i)
    posted.push_back(send("POST", "/v1/apps/ocr/tasks", "page"));
  run();
  setup.keeper->step();
  run();
  CHECK(store->commits == before + 1);
  for (auto& one : posted)
    CHECK(one->answers.at(0).status == 202);
}

TEST_CASE_FIXTURE(
    ready, "the same key is the same task, before, while and after it is worked on; another body is a conflict") {
  const http_headers key = {{"idempotency-key", "page-17"}};
  auto first = send("POST", "/v1/apps/ocr/tasks", "page", key);
  auto at_once = send("POST", "/v1/apps/ocr/tasks", "page", key);
  settle();
  auto id = id_of(first);
  CHECK(first->answers.at(0).status == 202);
  CHECK(at_once->answers.at(0).status == 200);
  CHECK(id_of(at_once) == id);
  CHECK(calls.size() == 1);
  CHECK(id_of(submit("page", key)) == id);
  auto other = submit("another page", key);
  CHECK(other->answers.at(0).status == 409);
  CHECK(other->message().find("another body") != std::string::npos);
  CHECK(other->message().find(id) != std::string::npos);
  answer(route_outcome::ok, "text");
  auto after = submit("page", key);
  CHECK(after->answers.at(0).status == 200);
  CHECK(after->body()["state"] == "done");
  CHECK(calls.empty());
  tell("echo", caf::actor_cast<caf::strong_actor_ptr>(router));
  CHECK(call("POST", "/v1/apps/echo/tasks", "page", key)->answers.at(0).status == 202);
}

TEST_CASE_FIXTURE(ready, "a disk that is full takes no tasks, says so, and loses none") {
  auto id = id_of(submit());
  store->broken = caf::make_error(errc::io_failed, "no space left on device; free some");
  auto refused = submit();
  CHECK(refused->answers.at(0).status == 507);
  CHECK(refused->message() == "the task was not taken: no space left on device; free some");
  answer(route_outcome::ok, "text");
  // Nobody is told an end that the next crash would take back.
  auto waiting = task(id);
  CHECK(waiting["state"] == "running");
  CHECK(std::string{waiting["reason"]}.find("cannot be stored yet: no space left") != std::string::npos);
  auto poll = call("GET", "/v1/tasks/" + id + "?wait=1m");
  CHECK(poll->answers.empty());
  pass(3s);
  CHECK(poll->answers.empty());
  store->broken = {};
  pass(10s);
  CHECK(poll->body()["state"] == "done");
  CHECK(call("GET", "/v1/tasks/" + id + "/result")->answers.at(0).body == "text");
  CHECK(submit()->answers.at(0).status == 202);
  // A task that cannot be marked as begun is not begun.
  CHECK(calls.size() == 1);
}

TEST_CASE_FIXTURE(ready, "of one batch what does not fit is refused, and what fits is taken") {
  store->room_bytes = 100;
  auto large = send("POST", "/v1/apps/ocr/tasks", std::string(200, 'x'));
  auto small = send("POST", "/v1/apps/ocr/tasks", "page");
  settle();
  CHECK(large->answers.at(0).status == 507);
  CHECK(small->answers.at(0).status == 202);
  CHECK(calls.size() == 1);
}

TEST_CASE_FIXTURE(ready, "losses are tried again, and the app's own third failure ends a task with its words") {
  auto id = id_of(submit());
  answer(route_outcome::lost, "node n1 was lost");
  auto waiting = task(id);
  CHECK(waiting["state"] == "queued");
  CHECK(waiting["reason"] == "node n1 was lost");
  CHECK(waiting.contains("next_try"));
  for (int i = 0; i < 3; ++i) {
    pass(10s);
    answer(route_outcome::app_failed, "exit code 3");
  }
  auto failed = task(id);
  CHECK(failed["state"] == "failed");
  CHECK(failed["attempts"] == 4);
  CHECK(failed["failures"] == 3);
  CHECK(failed["reason"] == "the app failed 3 times, at last: exit code 3");
  auto result = call("GET", "/v1/tasks/" + id + "/result");
  CHECK(result->answers.at(0).status == 409);
  CHECK(result->code() == "failed");
  pass(1min);
  CHECK(calls.empty());
}

TEST_CASE_FIXTURE(ready, "a cancelled task is taken back from its router, and stays cancelled") {
  auto id = id_of(submit());
  auto gone = send("DELETE", "/v1/tasks/" + id);
  CHECK(gone->answers.empty()); // not before it is stored
  settle();
  CHECK(gone->answers.at(0).status == 200);
  CHECK(gone->body()["state"] == "cancelled");
  REQUIRE(cancelled.size() == 1);
  CHECK(cancelled[0] == calls[0].request.request_id);
  calls.clear();
  auto result = call("GET", "/v1/tasks/" + id + "/result");
  CHECK(result->answers.at(0).status == 409);
  CHECK(result->code() == "cancelled");
  auto again = call("DELETE", "/v1/tasks/" + id);
  CHECK(again->answers.at(0).status == 409);
  CHECK(again->message().find("?drop=1") != std::string::npos);
  CHECK(call("DELETE", "/v1/tasks/" + id + "?drop=1")->answers.at(0).status == 200);
  CHECK(call("GET", "/v1/tasks/" + id)->answers.at(0).status == 410);
}

TEST_CASE_FIXTURE(ready, "a task that waits is cancelled without anybody else hearing of it") {
  tell("ocr", nullptr);
  auto id = id_of(submit());
  CHECK(task(id)["reason"] == "app 'ocr' is not known to gateway 'gw' now");
  CHECK(call("DELETE", "/v1/tasks/" + id)->body()["state"] == "cancelled");
  open("ocr");
  CHECK(calls.empty());
  CHECK(cancelled.empty());
}

TEST_CASE_FIXTURE(ready, "a deadline ends a task in progress and takes it back from its router") {
  auto id = id_of(submit("page", {{"astra-deadline", "10s"}}));
  REQUIRE(calls.size() == 1);
  CHECK(calls[0].request.deadline == 10s);
  auto poll = call("GET", "/v1/tasks/" + id + "/result?wait=1m");
  pass(9s);
  CHECK(poll->answers.empty());
  pass(1s);
  CHECK(poll->answers.at(0).status == 409);
  CHECK(poll->code() == "expired");
  CHECK(cancelled.size() == 1);
}

TEST_CASE_FIXTURE(ready, "who waits is answered with the end, or with the state when the wait is over") {
  auto id = id_of(submit());
  auto slow = call("GET", "/v1/tasks/" + id + "?wait=2s");
  auto patient = call("GET", "/v1/tasks/" + id + "?wait=30s");
  auto result = call("GET", "/v1/tasks/" + id + "/result?wait=30s");
  pass(2s);
  CHECK(slow->body()["state"] == "running");
  CHECK(patient->answers.empty());
  answer(route_outcome::ok, "text");
  CHECK(patient->body()["state"] == "done");
  CHECK(result->answers.at(0).body == "text");
  CHECK(call("GET", "/v1/tasks/" + id + "?wait=30s")->body()["state"] == "done");
}

TEST_CASE_FIXTURE(ready,
                  "who follows gets each state as an event, a slow client what it has come to, and then the end") {
  tell("ocr", nullptr);
  auto id = id_of(submit());
  auto follower = call("GET", "/v1/tasks/" + id + "/events");
  CHECK(follower->answers.at(0).content_type == "text/event-stream");
  CHECK(events_of(follower->stream->text) == std::vector<std::string>{"queued"});
  follower->stream->take();
  open("ocr");
  CHECK(events_of(follower->stream->text) == std::vector<std::string>{"queued", "running"});
  answer(route_outcome::lost, "node n1 was lost");
  pass(1s);
  CHECK(events_of(follower->stream->text).size() == 2);
  follower->stream->take();
  settle();
  CHECK(events_of(follower->stream->text).back() == "running");
  CHECK(follower->stream->text.find("\"attempts\":2") != std::string::npos);
  answer(route_outcome::ok, "text");
  CHECK(events_of(follower->stream->text).back() == "done");
  CHECK(follower->stream->ended);
  auto late = call("GET", "/v1/tasks/" + id + "/events");
  CHECK(events_of(late->stream->text) == std::vector<std::string>{"done"});
  CHECK(late->stream->ended);
}

TEST_CASE_FIXTURE(ready, "a follower that leaves is forgotten, and one that stays hears that the gateway lives") {
  auto id = id_of(submit());
  auto gone = call("GET", "/v1/tasks/" + id + "/events");
  auto stays = call("GET", "/v1/tasks/" + id + "/events");
  gone->gone();
  stays->stream->take();
  settle();
  auto before = gone->stream->text;
  pass(3s);
  CHECK(stays->stream->text.find(": still there\n\n") != std::string::npos);
  answer(route_outcome::ok, "text");
  CHECK(gone->stream->text == before);
  CHECK(stays->stream->ended);
}

TEST_CASE_FIXTURE(ready, "the next life goes on with every task that had not ended") {
  auto in_progress = id_of(submit("one"));
  auto done = id_of(submit("two"));
  auto waiting = id_of(submit("three"));
  CHECK(calls.size() == 2);
  std::swap(calls[0], calls[1]);
  answer(route_outcome::ok, "second");
  kill(desk);
  calls.clear();
  start();
  CHECK(state(done) == "done");
  CHECK(task(in_progress)["reason"].get<std::string>().find("not known to gateway") != std::string::npos);
  open("ocr");
  REQUIRE(calls.size() == 2);
  CHECK(*calls[0].request.body == "one");
  CHECK(*calls[1].request.body == "three");
  answer(route_outcome::ok, "first");
  answer(route_outcome::ok, "third");
  CHECK(call("GET", "/v1/tasks/" + in_progress + "/result")->answers.at(0).body == "first");
  CHECK(call("GET", "/v1/tasks/" + done + "/result")->answers.at(0).body == "second");
  CHECK(call("GET", "/v1/tasks/" + waiting + "/result")->answers.at(0).body == "third");
  CHECK(task(in_progress)["attempts"] == 2);
}

TEST_CASE_FIXTURE(fixture, "what is asked before the store is read is answered after") {
  desk = own(spawn_task_desk(sys, world, setup));
  auto early = send("POST", "/v1/apps/ocr/tasks", "page");
  CHECK(early->answers.empty());
  settle();
  CHECK(early->answers.at(0).status == 202);
}

TEST_CASE_FIXTURE(ready, "a task of another gateway is named as such, an id that never was or is no more as that") {
  auto id = id_of(submit());
  auto other = to_string(task_id{"gw-2", 1, task_word("its secret", 1)});
  auto foreign = call("GET", "/v1/tasks/" + other);
  CHECK(foreign->answers.at(0).status == 421);
  CHECK(foreign->message().find("gateway 'gw-2', and this is 'gw'; ask that one") != std::string::npos);
  auto guessed = call("GET", "/v1/tasks/gw.1.0123456789abcdef");
  CHECK(guessed->answers.at(0).status == 404);
  CHECK(guessed->code() == "unknown_task");
  CHECK(call("GET", "/v1/tasks/nonsense")->answers.at(0).status == 404);
  auto future = to_string(task_id{"gw", 99, task_word(setup.keeper->secret(), 99)});
  CHECK(call("GET", "/v1/tasks/" + future)->answers.at(0).status == 404);
  // An id goes with its store, whatever the gateway is called.
  kill(desk);
  setup.gateway = "renamed";
  start();
  CHECK(state(id) == "queued");
}

TEST_CASE_FIXTURE(ready, "a task is dropped with its result when its time is over, and its id says so") {
  auto id = id_of(submit("page", {{"astra-keep", "1m"}, {"idempotency-key", "k"}}));
  answer(route_outcome::ok, "text");
  pass(50s);
  CHECK(state(id) == "done");
  pass(20s);
  pass(5s); // the next sweep
  auto gone = call("GET", "/v1/tasks/" + id + "/result");
  CHECK(gone->answers.at(0).status == 410);
  CHECK(gone->code() == "dropped");
  CHECK(submit("another", {{"idempotency-key", "k"}})->answers.at(0).status == 202);
}

TEST_CASE_FIXTURE(fixture,
                  "more unfinished tasks than allowed are refused with the cure, one that was taken is known") {
  setup.limits.unfinished_per_app_max = 2;
  start();
  const http_headers key = {{"idempotency-key", "k"}};
  auto first = submit("page", key);
  CHECK(submit()->answers.at(0).status == 202);
  auto refused = submit();
  CHECK(refused->answers.at(0).status == 429);
  CHECK(refused->code() == "saturated");
  CHECK(refused->header("Retry-After") == "1");
  CHECK(refused->message().find("2 tasks of app 'ocr' have not ended") == 0);
  auto again = submit("page", key);
  CHECK(again->answers.at(0).status == 200);
  CHECK(id_of(again) == id_of(first));
  CHECK(submit("page", {{"idempotency-key", "new"}})->answers.at(0).status == 429);
  CHECK(call("POST", "/v1/apps/echo/tasks", "page")->answers.at(0).status == 202);
  call("DELETE", "/v1/tasks/" + id_of(first));
  CHECK(submit()->answers.at(0).status == 202);
}

TEST_CASE_FIXTURE(fixture, "a store that is full refuses with what is in it and the cure") {
  setup.limits.store_bytes_max = 1000;
  start();
  CHECK(submit(std::string(900, 'x'))->answers.at(0).status == 202);
  auto refused = submit(std::string(200, 'x'));
  CHECK(refused->answers.at(0).status == 507);
  CHECK(refused->code() == "store_full");
  CHECK(refused->message().find("Astra-Keep") != std::string::npos);
  CHECK(submit(std::string(50, 'x'))->answers.at(0).status == 202);
}

TEST_CASE_FIXTURE(fixture, "bodies on their way to the store have a bound") {
  setup.intake_bytes_max = 1000;
  start();
  auto first = send("POST", "/v1/apps/ocr/tasks", std::string(900, 'x'));
  auto second = send("POST", "/v1/apps/ocr/tasks", std::string(900, 'x'));
  CHECK(second->answers.at(0).status == 503);
  settle();
  CHECK(first->answers.at(0).status == 202);
  CHECK(submit(std::string(900, 'x'))->answers.at(0).status == 202);
}

TEST_CASE_FIXTURE(fixture, "urgent tasks go first, and no more are in progress than the window has") {
  setup.limits.window_first = 1.0;
  setup.limits.window_max = 1.0;
  start();
  submit("low", {{"astra-priority", "1"}});
  submit("late", {{"astra-deadline", "2h"}});
  submit("soon", {{"astra-deadline", "1h"}});
  submit("high", {{"astra-priority", "9"}});
  open("ocr");
  std::string order;
  while (!calls.empty()) {
    CHECK(calls.size() == 1);
    order += *calls[0].request.body + " ";
    answer(route_outcome::ok);
  }
  CHECK(order == "high soon late low ");
}

TEST_CASE_FIXTURE(ready, "tasks are listed, the newest first, by app and by state") {
  auto done = id_of(submit());
  answer(route_outcome::ok, "text");
  tell("ocr", nullptr);
  auto waiting = id_of(submit());
  auto all = call("GET", "/v1/tasks")->body()["tasks"];
  REQUIRE(all.size() == 2);
  CHECK(all[0]["id"] == waiting);
  CHECK(all[1]["id"] == done);
  CHECK(call("GET", "/v1/tasks?state=done")->body()["tasks"].size() == 1);
  CHECK(call("GET", "/v1/tasks?app=echo")->body()["tasks"].empty());
  CHECK(call("GET", "/v1/tasks?state=lost")->answers.at(0).status == 400);
}

TEST_CASE_FIXTURE(ready,
                  "a gateway that drains starts nothing, finishes what is in progress and lets go of who waits") {
  tell("ocr", nullptr);
  auto waiting = id_of(submit("waits"));
  auto poll = call("GET", "/v1/tasks/" + waiting + "?wait=1m");
  auto follower = call("GET", "/v1/tasks/" + waiting + "/events");
  open("ocr");
  auto running = id_of(submit("page"));
  submit("third");
  CHECK(calls.size() == 2);
  std::optional<bool> drained;
  caf::scoped_actor self{sys};
  auto stopping = self->request(desk, caf::infinite, stop_atom_v);
  settle();
  CHECK_FALSE(self->has_next_message());
  CHECK(poll->answers.size() == 1);
  CHECK(follower->stream->ended);
  CHECK(submit()->answers.at(0).status == 503);
  answer(route_outcome::ok, "text");
  answer(route_outcome::ok, "text");
  CHECK(calls.empty());
  CHECK(state(running) == "done");
  CHECK(self->has_next_message());
  stopping.receive([&] { drained = true; }, [&](const caf::error&) { drained = false; });
  CHECK(drained == true);
}

TEST_CASE_FIXTURE(ready, "a router that dies takes no task with it") {
  auto id = id_of(submit());
  // Its promises die with it.
  calls.clear();
  kill(router);
  settle();
  CHECK(state(id) == "queued");
  open("ocr");
  pass(1s);
  REQUIRE(calls.size() == 1);
  answer(route_outcome::ok, "text");
  CHECK(state(id) == "done");
}

TEST_CASE_FIXTURE(fixture, "a desk whose store cannot be read says why, and goes on when it can") {
  struct unreadable : task_memory {
    caf::expected<std::vector<task_record>> unfinished() override {
      if (closed)
        return caf::make_error(errc::io_failed, "tasks.db: cannot read");
      return task_memory::unfinished();
    }
    bool closed = true;
  };
  auto made = std::make_unique<unreadable>();
  auto& gate = made->closed;
  setup.keeper = std::make_shared<task_keeper>(std::move(made), task_keeper::mode::by_hand);
  start();
  auto refused = submit();
  CHECK(refused->answers.at(0).status == 503);
  CHECK(refused->message().find("tasks.db: cannot read") != std::string::npos);
  gate = false;
  pass(30s);
  CHECK(submit()->answers.at(0).status == 202);
}
