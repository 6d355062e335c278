#include "runtime/tasks/task_desk.hpp"

#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/router_protocol.hpp"
#include "messages/text.hpp"
#include "runtime/gateway/json.hpp"
#include "runtime/gateway/replies.hpp"
#include "runtime/gateway/routes.hpp"
#include "runtime/tasks/task_json.hpp"
#include "runtime/tasks/task_request.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_clock.hpp>
#include <caf/disposable.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/label_view.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace astra {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr auto retry_soon = milliseconds{1000};
constexpr std::size_t swept_at_once = 500;
/// Reasons are for people, and each is written with its task.
constexpr std::size_t reason_bytes_max = 1000;
constexpr std::size_t stderr_bytes_max = 4096;
/// Requests that came before the store was read.
constexpr std::size_t held_max = 1024;

/// As whose requests tasks go: many of them leave room for those who wait for an answer.
constexpr auto tasks_client = "astra.tasks";

std::string bounded(std::string text, std::size_t bytes_max) {
  return shorten(to_utf8(std::move(text)), bytes_max);
}

class task_desk_state {
public:
  static constexpr const char* name = "astra.gateway.tasks";

  task_desk_state(task_desk_actor::pointer self, platform& world, task_desk_setup setup)
    : self_(self), setup_(std::move(setup)), keeper_(setup_.keeper), book_(setup_.limits),
      wall_start_(world.wall_time()), clock_start_(self->clock().now()) {}

  ~task_desk_state() {
    keeper_->attach(nullptr);
    for (auto& exchange : held_)
      exchange->answer(refusal(503, "unavailable", "this gateway has stopped"));
    for (auto& [number, who] : waiters_)
      if (!who.stream)
        who.exchange->answer(refusal(503, "unavailable", "this gateway has stopped; the task goes on when it is back"));
  }

  task_desk_actor::behavior_type make_behavior() {
    keeper_->attach([address = self_->address()] {
      if (auto desk = caf::actor_cast<caf::actor>(address))
        caf::anon_send(desk, refresh_atom_v);
    });
    load();
    sweep();
    stay_alive();
    return {
        [this](http_exchange_ptr& exchange) { on_request(std::move(exchange)); },
        [this](const std::string& app, const caf::strong_actor_ptr& router) { on_router(app, router); },
        [this](refresh_atom) { on_done(); },
        [this](refresh_atom, std::uint64_t waiter) { on_taken(waiter); },
        [this](deadline_atom, std::uint64_t waiter) { forget_waiter(waiter); },
        [this](stop_atom) { return begin_drain(); },
    };
  }

private:
  enum class wish { state, result, events, cancelled };

  struct waiter {
    http_exchange_ptr exchange;
    task_number task = 0;
    wish what = wish::state;
    caf::disposable timer;
    /// Of one that follows.
    http_stream_ptr stream;
    /// Its client has not taken the last event yet; what happens meanwhile is told as what it has come to.
    bool full = false;
    bool news = false;
  };

  using attempt_number = task_book::attempt_number;

  // -- time ----------------------------------------------------------------------------------------------------------

  task_time now() const { return wall_start_ + duration_cast<milliseconds>(self_->clock().now() - clock_start_); }

  // -- the store -----------------------------------------------------------------------------------------------------

  void load() {
    auto found = std::make_shared<std::vector<task_record>>();
    keeper_->read(
        [found](task_store& store) {
          auto tasks = store.unfinished();
          if (!tasks)
            return std::move(tasks.error());
          *found = std::move(*tasks);
          return caf::error{};
        },
        [this, found](const caf::error& failed) {
          if (failed) {
            unreadable_ = error_text(failed);
            spdlog::error("tasks.load_failed reason=\"{}\" retry_ms={}", unreadable_, setup_.store_retry_max.count());
            answer_held();
            self_->run_delayed(setup_.store_retry_max, [this] { load(); });
            return;
          }
          for (auto& task : *found)
            book_.add(std::move(task), now());
          if (!found->empty())
            spdlog::info("tasks.load unfinished={}", found->size());
          unreadable_.clear();
          loaded_ = true;
          answer_held();
          pump();
        });
  }

  void answer_held() {
    for (auto& exchange : std::exchange(held_, {}))
      on_request(std::move(exchange));
  }

  void on_done() {
    for (auto& report : keeper_->take_done())
      report();
    pump();
  }

  void sweep() {
    drop_due();
    self_->run_delayed(setup_.sweep, [this] { sweep(); });
  }

  void drop_due() {
    if (std::exchange(sweeping_, true))
      return;
    auto dropped = std::make_shared<std::size_t>(0);
    keeper_->write(
        0,
        [dropped, when = now()](task_store& store) {
          auto count = store.drop_due(when, swept_at_once);
          if (!count)
            return std::move(count.error());
          *dropped = *count;
          return caf::error{};
        },
        [this, dropped](const caf::error& failed) {
          sweeping_ = false;
          if (failed)
            spdlog::warn("tasks.sweep_failed reason=\"{}\"", error_text(failed));
          else if (*dropped == swept_at_once) // More than may stand in the way of others at a time.
            drop_due();
        });
  }

  // -- requests ------------------------------------------------------------------------------------------------------

  void answer(const http_exchange_ptr& exchange, http_response response) {
    auto& request = exchange->request();
    spdlog::debug("gateway.request method={} target=\"{}\" status={}", request.method, request.target, response.status);
    exchange->answer(std::move(response));
  }

  void on_request(http_exchange_ptr exchange) {
    if (!unreadable_.empty())
      return answer(exchange, with_retry_after(refusal(503, "unavailable",
                                                       "the tasks of this gateway cannot be read: " + unreadable_),
                                               retry_soon));
    if (!loaded_) {
      if (held_.size() >= held_max)
        return answer(exchange,
                      with_retry_after(refusal(503, "unavailable", "this gateway still reads its tasks"), retry_soon));
      held_.push_back(std::move(exchange));
      return;
    }
    auto& request = exchange->request();
    auto route = find_route(request.method, request.target);
    switch (route.what) {
    case gateway_route::submit_task:
      return submit(exchange, route.name);
    case gateway_route::tasks:
      return list(exchange);
    case gateway_route::task:
      return show(exchange, route.name, wish::state);
    case gateway_route::task_result:
      return show(exchange, route.name, wish::result);
    case gateway_route::task_events:
      return show(exchange, route.name, wish::events);
    case gateway_route::cancel_task:
      return cancel(exchange, route.name);
    default:
      return answer(exchange, refusal(404, "unknown_route", "there is nothing at this path"));
    }
  }

  std::string id_of(task_number number) const {
    return to_string(task_id{setup_.gateway, number, task_word(keeper_->secret(), number)});
  }

  // -- taking tasks in -----------------------------------------------------------------------------------------------

  void submit(const http_exchange_ptr& exchange, const std::string& app) {
    auto& request = exchange->request();
    auto read = read_task(request, app, now(), setup_.limits.keep);
    if (auto wrong = std::get_if<std::string>(&read))
      return answer(exchange, refusal(400, "invalid_argument", *wrong));
    if (draining_)
      return answer(exchange, with_retry_after(refusal(503, "draining", "this gateway is shutting down"), retry_soon));
    auto& task = std::get<task_record>(read);
    auto bytes = task.body_bytes;
    std::optional<http_response> refused;
    auto usage = keeper_->usage();
    if (usage.bytes + intake_bytes_ + bytes > setup_.limits.store_bytes_max)
      refused = refusal(507, "store_full",
                        fmt::format("the tasks of gateway '{}' take {} of {}, and this one has {}; wait until results "
                                    "that are kept are dropped, drop some with DELETE /v1/tasks/ID?drop=1, ask for a "
                                    "shorter Astra-Keep, or use another gateway",
                                    setup_.gateway, format_size(usage.bytes),
                                    format_size(setup_.limits.store_bytes_max), format_size(bytes)));
    else if (intake_bytes_ > 0 && intake_bytes_ + bytes > setup_.intake_bytes_max)
      refused = with_retry_after(refusal(503, "unavailable",
                                         fmt::format("{} of tasks wait for the disk of gateway '{}'; try again",
                                                     format_size(intake_bytes_), setup_.gateway)),
                                 retry_soon);
    else if (!book_.take_place(app))
      refused = with_retry_after(
          refusal(429, "saturated",
                  fmt::format("{} tasks of app '{}' have not ended, which is the most that gateway '{}' takes; wait "
                              "for some to end, cancel some, give the app more replicas, or use another gateway",
                              book_.unfinished(app), app, setup_.gateway)),
          retry_soon);
    if (refused && task.key.empty())
      return answer(exchange, std::move(*refused));
    auto found = std::make_shared<std::optional<task_store::added>>();
    auto body = request.body;
    if (!task.key.empty())
      task.body_hash = task_body_hash(task.content_type, *body);
    auto report = [this, exchange, found, refused, app, bytes, wished = task](const caf::error& failed) {
      if (!refused) {
        book_.give_place_back(app);
        intake_bytes_ -= bytes;
      }
      if (failed)
        return answer(exchange, refusal(507, "store_failed", "the task was not taken: " + error_text(failed)));
      if (!*found)
        return answer(exchange, *refused);
      taken(exchange, **found, wished);
    };
    // One that was taken already is answered with what it is, however full it is here.
    if (refused) {
      keeper_->read(
          [found, app, key = task.key](task_store& store) {
            auto same = store.by_key(app, key);
            if (!same)
              return std::move(same.error());
            if (*same)
              *found = task_store::added{std::move(**same), false};
            return caf::error{};
          },
          std::move(report));
      return;
    }
    intake_bytes_ += bytes;
    keeper_->write(
        bytes,
        [found, body, wished = task](task_store& store) {
          auto added = store.add(wished, *body);
          if (!added)
            return std::move(added.error());
          *found = std::move(*added);
          return caf::error{};
        },
        std::move(report));
  }

  void taken(const http_exchange_ptr& exchange, const task_store::added& made, const task_record& wished) {
    auto& task = made.task;
    if (!made.fresh
        && (task.body_hash != wished.body_hash || task.body_bytes != wished.body_bytes
            || task.content_type != wished.content_type))
      return answer(exchange,
                    refusal(409, "conflict",
                            fmt::format("app '{}' has a task with the Idempotency-Key '{}' and another body or content "
                                        "type, {}; use another key for another task",
                                        task.app, task.key, id_of(task.number))));
    if (made.fresh) {
      book_.add(task, now());
      count("accepted", {{"app", task.app}}, "Tasks that were stored and answered 202.");
    }
    auto known = book_.find(task.number);
    auto response = reply(made.fresh ? 202 : 200, json_of(known != nullptr ? *known : task));
    response.headers.emplace_back("Location", "/v1/tasks/" + id_of(task.number));
    answer(exchange, std::move(response));
  }

  // -- work ----------------------------------------------------------------------------------------------------------

  void on_router(const std::string& app, const caf::strong_actor_ptr& router) {
    if (router)
      routers_[app] = caf::actor_cast<router_actor>(router);
    else
      routers_.erase(app);
    book_.set_open(app, router != nullptr);
    pump();
  }

  /// Ends what is too late, starts what may be started, and comes back when there is more to do.
  void pump() {
    if (!loaded_)
      return;
    for (auto& [number, attempt] : book_.expire(now()))
      end_early(number, attempt);
    if (!draining_)
      for (auto& order : book_.start(now()))
        fetch(order.number, order.attempt);
    finish_drain();
    wake_.dispose();
    auto next = book_.next_time(now());
    if (!next)
      return;
    wake_ = self_->run_delayed(std::clamp<milliseconds>(*next - now(), milliseconds{1}, std::chrono::hours{1}),
                               [this] { pump(); });
  }

  /// A body is in memory from here to the end of its attempt.
  void fetch(task_number number, attempt_number attempt) {
    auto body = std::make_shared<std::optional<std::string>>();
    keeper_->write(
        0,
        [body, task = *book_.find(number)](task_store& store) {
          if (auto failed = store.update(task))
            return failed;
          auto bytes = store.body(task.number);
          if (!bytes)
            return std::move(bytes.error());
          *body = std::move(*bytes);
          return caf::error{};
        },
        [this, body, number, attempt](const caf::error& failed) {
          if (failed || !*body) {
            auto why = failed ? error_text(failed) : std::string{"its body is not in the store"};
            if (book_.attempt_of(number) == attempt)
              spdlog::warn("tasks.fetch_failed task={} reason=\"{}\"", number, why);
            book_.put_back(attempt, bounded("it cannot be read: " + why, reason_bytes_max), now());
            notify(number);
            return;
          }
          send_to_router(number, attempt, std::make_shared<const std::string>(std::move(**body)));
        });
    notify(number);
  }

  std::string request_id(task_number number, attempt_number attempt) const {
    return fmt::format("task/{}/{}/{}", setup_.gateway, number, attempt);
  }

  void send_to_router(task_number number, attempt_number attempt, std::shared_ptr<const std::string> body) {
    auto task = book_.find(number);
    // It may have been cancelled meanwhile.
    if (task == nullptr || book_.attempt_of(number) != attempt)
      return book_.put_back(attempt, {}, now());
    auto router = routers_.find(task->app);
    if (router == routers_.end())
      return book_.put_back(attempt, "its app has no router at this gateway", now());
    route_request request;
    request.body = std::move(body);
    request.content_type = task->content_type;
    request.request_id = request_id(number, attempt);
    request.client = tasks_client;
    request.deadline = std::max(task->deadline - now(), milliseconds{1});
    auto patience = caf::timespan{request.deadline} + caf::timespan{setup_.answer_grace};
    auto begun = now();
    at_router_.emplace(attempt, task->app);
    self_->request(router->second, patience, std::move(request))
        .then([this, number, attempt, begun](route_result& result) { on_result(number, attempt, begun, result); },
              [this, number, attempt, begun](const caf::error& reason) {
                route_result result;
                result.outcome = route_outcome::lost;
                result.reason = fmt::format("the router of the app gave no answer: {}", error_text(reason));
                on_result(number, attempt, begun, result);
              });
  }

  void on_result(task_number number, attempt_number attempt, task_time begun, route_result& result) {
    at_router_.erase(attempt);
    task_attempt_end how;
    how.outcome = result.outcome;
    how.reason = bounded(result.reason.empty() ? to_string(result.outcome) : result.reason, reason_bytes_max);
    how.node = result.node;
    how.code = result.code;
    how.stderr_tail = bounded(result.stderr_tail, stderr_bytes_max);
    how.starts = result.starts;
    how.waited = now() - begun - duration_cast<milliseconds>(result.service_time);
    how.retry_after = duration_cast<milliseconds>(result.retry_after);
    switch (book_.finish(attempt, how, now())) {
    case task_book::verdict::ended: {
      auto bytes = std::make_shared<const std::string>(result.outcome == route_outcome::ok ? std::move(result.body)
                                                                                           : std::string{});
      if (result.outcome == route_outcome::ok)
        book_.set_result(number, to_utf8(std::move(result.content_type)), bytes->size());
      else
        spdlog::info("tasks.end task={} app={} state={} attempts={} reason=\"{}\"", number, book_.find(number)->app,
                     to_string(book_.find(number)->state), book_.find(number)->attempts, how.reason);
      store_end(number, std::move(bytes), setup_.store_retry_min);
      break;
    }
    case task_book::verdict::again:
      count("attempts-repeated", {{"app", book_.find(number)->app}},
            "Attempts after which a task waits for another one.");
      spdlog::debug("tasks.retry task={} outcome={} reason=\"{}\"", number, to_string(result.outcome), how.reason);
      keeper_->write(
          0, [task = *book_.find(number)](task_store& store) { return store.update(task); },
          [](const caf::error& failed) {
            // The next one says more.
            if (failed)
              spdlog::debug("tasks.update_failed reason=\"{}\"", error_text(failed));
          });
      notify(number);
      break;
    case task_book::verdict::ignored:
      break;
    }
    pump();
  }

  void end_early(task_number number, attempt_number attempt) {
    if (attempt != 0)
      take_back(number, attempt);
    store_end(number, std::make_shared<const std::string>(), setup_.store_retry_min);
  }

  void take_back(task_number number, attempt_number attempt) {
    auto app = at_router_.find(attempt);
    auto router = app == at_router_.end() ? routers_.end() : routers_.find(app->second);
    if (router != routers_.end())
      self_->send(router->second, route_cancel{request_id(number, attempt)});
  }

  /// Nothing has ended for anybody before that is on disk; and a result is kept in memory until it is.
  void store_end(task_number number, std::shared_ptr<const std::string> result, milliseconds retry) {
    auto task = *book_.find(number);
    auto size = result->size();
    keeper_->write(
        size, [task, result](task_store& store) { return store.end(task, *result); },
        [this, number, result, retry, task](const caf::error& failed) {
          if (!failed) {
            unstored_.erase(number);
            book_.stored(number);
            count("ended", {{"app", task.app}, {"state", to_string(task.state)}}, "Tasks that have ended, by how.");
            tell_end(task);
            return;
          }
          auto text = error_text(failed);
          unstored_[number] = bounded(text, reason_bytes_max);
          spdlog::error("tasks.store_failed task={} state={} retry_ms={} reason=\"{}\"", number, to_string(task.state),
                        retry.count(), text);
          self_->run_delayed(retry, [this, number, result, retry] {
            store_end(number, result, std::min(retry * 2, setup_.store_retry_max));
          });
        });
  }

  void count(caf::string_view what, std::initializer_list<caf::telemetry::label_view> labels, caf::string_view help) {
    self_->system().metrics().counter_instance("astra.tasks", what, labels, help, "1", true)->inc();
  }

  // -- telling -------------------------------------------------------------------------------------------------------

  /// As clients see it: nothing has ended that is not on disk.
  task_record seen(const task_record& task) const {
    if (!has_ended(task.state) || book_.find(task.number) == nullptr)
      return task;
    auto result = task;
    auto failed = unstored_.find(task.number);
    result.state = task.state == task_state::done ? task_state::running : task_state::queued;
    result.reason = failed == unstored_.end() ? fmt::format("it is being stored as {}", to_string(task.state))
                                              : fmt::format("it has ended as {}, which cannot be stored yet: {}",
                                                            to_string(task.state), failed->second);
    return result;
  }

  std::string json_of(const task_record& task) const {
    return task_json(with_cause(seen(task)), id_of(task.number), next_try_of(task));
  }

  std::string event_of(const task_record& task) const {
    return task_event(with_cause(seen(task)), id_of(task.number), next_try_of(task));
  }

  task_time next_try_of(const task_record& task) const {
    auto next = task.state == task_state::queued ? book_.next_try(task.number) : task_time{0};
    return next > now() ? next : task_time{0};
  }

  /// What no task itself knows.
  task_record with_cause(task_record task) const {
    if (task.state == task_state::queued && !book_.is_open(task.app)) {
      auto cause = fmt::format("app '{}' is not known to gateway '{}' now", task.app, setup_.gateway);
      task.reason = task.reason.empty() ? cause : cause + "; before that: " + task.reason;
    }
    return task;
  }

  /// The number in an id of ours; answers what is not.
  std::optional<task_number> number_in(const http_exchange_ptr& exchange, const std::string& text) {
    auto id = parse_task_id(text);
    if (!id) {
      answer(exchange, refusal(404, "unknown_task",
                               fmt::format("'{}' is not the id of a task; one looks like {}", printable(text, 128),
                                           "gateway-1.42.9f8e7d6c5b4a3921")));
      return std::nullopt;
    }
    if (id->word == task_word(keeper_->secret(), id->number))
      return id->number;
    if (id->gateway == setup_.gateway)
      answer(exchange, refusal(404, "unknown_task",
                               fmt::format("gateway '{}' has no task {}: it never had one of this id, or its state_dir "
                                           "was made anew since",
                                           setup_.gateway, text)));
    else
      answer(exchange, refusal(421, "other_gateway",
                               fmt::format("task {} is at gateway '{}', and this is '{}'; ask that one", text,
                                           id->gateway, setup_.gateway)));
    return std::nullopt;
  }

  http_response not_there(task_number number) const {
    auto id = id_of(number);
    if (number <= keeper_->usage().last)
      return refusal(410, "dropped",
                     fmt::format("task {} was dropped: the time that it was to be kept after its end is over, or "
                                 "somebody dropped it",
                                 id));
    return refusal(404, "unknown_task", fmt::format("there is no task {}", id));
  }

  void show(const http_exchange_ptr& exchange, const std::string& text, wish what) {
    auto number = number_in(exchange, text);
    if (!number)
      return;
    auto question = read_task_question(exchange->request().target);
    if (auto wrong = std::get_if<std::string>(&question))
      return answer(exchange, refusal(400, "invalid_argument", *wrong));
    auto wait = std::get<task_question>(question).wait;
    auto task = book_.find(*number);
    if (task == nullptr)
      return show_ended(exchange, *number, what);
    if (what == wish::events || (wait > milliseconds{0} && !draining_))
      return wait_for(exchange, *number, what, wait);
    tell_unfinished(exchange, *task, what);
  }

  void tell_unfinished(const http_exchange_ptr& exchange, const task_record& task, wish what) {
    if (what == wish::result)
      return answer(exchange, with_retry_after(refusal(404, "not_finished",
                                                       fmt::format("task {} is {}{}; ask again later, or wait for it "
                                                                   "with ?wait=30s",
                                                                   id_of(task.number), to_string(seen(task).state),
                                                                   because(with_cause(seen(task)).reason))),
                                               retry_soon));
    answer(exchange, reply(200, json_of(task)));
  }

  static std::string because(const std::string& reason) { return reason.empty() ? reason : " (" + reason + ")"; }

  /// Of one that has ended, or is not there.
  void show_ended(const http_exchange_ptr& exchange, task_number number, wish what) {
    auto task = std::make_shared<std::optional<task_record>>();
    auto bytes = std::make_shared<std::optional<std::string>>();
    keeper_->read(
        [task, bytes, number, what](task_store& store) {
          auto found = store.find(number);
          if (!found)
            return std::move(found.error());
          *task = std::move(*found);
          if (what != wish::result || !*task || (*task)->state != task_state::done)
            return caf::error{};
          auto result = store.result(number);
          if (!result)
            return std::move(result.error());
          *bytes = std::move(*result);
          return caf::error{};
        },
        [this, exchange, task, bytes, number, what](const caf::error& failed) {
          if (failed)
            return answer(exchange, refusal(500, "io_failed", error_text(failed)));
          if (!*task)
            return answer(exchange, not_there(number));
          tell_ended(exchange, **task, what, std::move(*bytes));
        });
  }

  void tell_ended(const http_exchange_ptr& exchange, const task_record& task, wish what,
                  std::optional<std::string> bytes) {
    if (what == wish::events) {
      http_response head;
      head.content_type = "text/event-stream";
      head.headers.emplace_back("Cache-Control", "no-store");
      if (auto stream = exchange->begin(std::move(head))) {
        stream->write(event_of(task), nullptr);
        stream->end();
      }
      return;
    }
    if (what != wish::result)
      return answer(exchange, reply(200, json_of(task)));
    if (task.state != task_state::done)
      return answer(exchange, refusal(409, to_string(task.state),
                                      fmt::format("task {} has no result: it is {}{}", id_of(task.number),
                                                  to_string(task.state), because(task.reason))));
    if (!bytes)
      return answer(exchange, refusal(500, "io_failed", "the result is not in the store"));
    http_response response;
    response.body = std::move(*bytes);
    response.content_type = task.result_type.empty() ? "application/octet-stream" : task.result_type;
    response.headers.emplace_back("Astra-Node", task.node);
    response.headers.emplace_back("Astra-Attempts", std::to_string(task.attempts));
    answer(exchange, std::move(response));
  }

  void list(const http_exchange_ptr& exchange) {
    auto query = read_task_query(exchange->request().target);
    if (auto wrong = std::get_if<std::string>(&query))
      return answer(exchange, refusal(400, "invalid_argument", *wrong));
    auto found = std::make_shared<std::vector<task_record>>();
    auto limit = std::get<task_query>(query).limit;
    keeper_->read(
        [found, query = std::get<task_query>(query)](task_store& store) mutable {
          // One more tells whether there are more.
          ++query.limit;
          auto tasks = store.list(query);
          if (!tasks)
            return std::move(tasks.error());
          *found = std::move(*tasks);
          return caf::error{};
        },
        [this, exchange, found, limit](const caf::error& failed) {
          if (failed)
            return answer(exchange, refusal(500, "io_failed", error_text(failed)));
          auto more = found->size() > limit;
          if (more)
            found->pop_back();
          std::vector<std::pair<std::string, task_record>> tasks;
          for (auto& task : *found)
            tasks.emplace_back(id_of(task.number), with_cause(std::move(task)));
          answer(exchange, reply(200, tasks_json(tasks, more)));
        });
  }

  // -- cancelling ----------------------------------------------------------------------------------------------------

  void cancel(const http_exchange_ptr& exchange, const std::string& text) {
    auto number = number_in(exchange, text);
    if (!number)
      return;
    auto question = read_task_question(exchange->request().target);
    if (auto wrong = std::get_if<std::string>(&question))
      return answer(exchange, refusal(400, "invalid_argument", *wrong));
    if (auto ending = book_.cancel(*number, now())) {
      spdlog::info("tasks.cancel task={} app={}", *number, book_.find(*number)->app);
      wait_for(exchange, *number, wish::cancelled, milliseconds{0});
      end_early(*number, ending->attempt);
      pump();
      return;
    }
    if (auto task = book_.find(*number))
      return answer(exchange, already_ended(*task));
    drop(exchange, *number, std::get<task_question>(question).drop);
  }

  http_response already_ended(const task_record& task) const {
    return refusal(409, "conflict",
                   fmt::format("task {} has ended as {}; to drop it and its result, DELETE it with ?drop=1 (astra "
                               "task cancel --drop)",
                               id_of(task.number), to_string(task.state)));
  }

  void drop(const http_exchange_ptr& exchange, task_number number, bool wanted) {
    auto task = std::make_shared<std::optional<task_record>>();
    keeper_->write(
        0,
        [task, number, wanted](task_store& store) {
          auto found = store.find(number);
          if (!found)
            return std::move(found.error());
          *task = std::move(*found);
          return *task && wanted ? store.drop(number) : caf::error{};
        },
        [this, exchange, task, number, wanted](const caf::error& failed) {
          if (failed)
            return answer(exchange, refusal(507, "store_failed", error_text(failed)));
          if (!*task)
            return answer(exchange, not_there(number));
          answer(exchange, wanted ? reply(200, json_of(**task)) : already_ended(**task));
        });
  }

  // -- clients that wait ---------------------------------------------------------------------------------------------

  void wait_for(const http_exchange_ptr& exchange, task_number task, wish what, milliseconds wait) {
    if (waiters_.size() >= setup_.waiting_max && what != wish::cancelled)
      return answer(exchange, with_retry_after(refusal(503, "unavailable",
                                                       fmt::format("{} clients wait for tasks, which is the most this "
                                                                   "gateway serves at a time",
                                                                   waiters_.size())),
                                               retry_soon));
    auto number = ++last_waiter_;
    auto& who = waiters_[number];
    who.exchange = exchange;
    who.task = task;
    who.what = what;
    waiting_for_.emplace(task, number);
    if (what != wish::cancelled)
      exchange->on_gone([address = self_->address(), number] {
        if (auto desk = caf::actor_cast<caf::actor>(address))
          caf::anon_send(desk, deadline_atom_v, number);
      });
    if (what == wish::events)
      return follow(number);
    if (wait > milliseconds{0})
      who.timer = self_->run_delayed(wait, [this, number] { give_up_waiting(number); });
  }

  void give_up_waiting(std::uint64_t number) {
    auto found = waiters_.find(number);
    if (found == waiters_.end())
      return;
    auto exchange = found->second.exchange;
    auto what = found->second.what;
    auto task = book_.find(found->second.task);
    forget_waiter(number);
    if (task != nullptr)
      tell_unfinished(exchange, *task, what);
  }

  void follow(std::uint64_t number) {
    auto& who = waiters_.at(number);
    http_response head;
    head.content_type = "text/event-stream";
    head.headers.emplace_back("Cache-Control", "no-store");
    who.stream = who.exchange->begin(std::move(head));
    if (!who.stream)
      return forget_waiter(number);
    if (auto task = book_.find(who.task))
      tell(number, who, event_of(*task));
  }

  void tell(std::uint64_t number, waiter& who, std::string event) {
    who.full = true;
    who.news = false;
    who.stream->write(std::move(event), [address = self_->address(), number] {
      if (auto desk = caf::actor_cast<caf::actor>(address))
        caf::anon_send(desk, refresh_atom_v, number);
    });
  }

  void on_taken(std::uint64_t number) {
    auto found = waiters_.find(number);
    if (found == waiters_.end())
      return;
    auto& who = found->second;
    who.full = false;
    if (auto task = book_.find(who.task); task != nullptr && who.news)
      tell(number, who, event_of(*task));
  }

  std::vector<std::uint64_t> waiting_for(task_number task) const {
    std::vector<std::uint64_t> result;
    for (auto [at, end] = waiting_for_.equal_range(task); at != end; ++at)
      result.push_back(at->second);
    return result;
  }

  /// Something about the task is different.
  void notify(task_number number) {
    auto task = book_.find(number);
    if (task == nullptr)
      return;
    for (auto waiter : waiting_for(number)) {
      auto& who = waiters_.at(waiter);
      if (!who.stream)
        continue;
      if (who.full)
        who.news = true;
      else
        tell(waiter, who, event_of(*task));
    }
  }

  void tell_end(const task_record& task) {
    for (auto number : waiting_for(task.number)) {
      auto who = waiters_.at(number);
      forget_waiter(number);
      if (who.stream) {
        who.stream->write(event_of(task), nullptr);
        who.stream->end();
      } else if (who.what == wish::result) {
        show_ended(who.exchange, task.number, who.what);
      } else {
        answer(who.exchange, reply(200, json_of(task)));
      }
    }
  }

  void forget_waiter(std::uint64_t number) {
    auto entry = waiters_.extract(number);
    if (entry.empty())
      return;
    auto& who = entry.mapped();
    who.timer.dispose();
    for (auto [at, end] = waiting_for_.equal_range(who.task); at != end; ++at)
      if (at->second == number) {
        waiting_for_.erase(at);
        break;
      }
  }

  void stay_alive() {
    self_->run_delayed(setup_.keep_alive, [this] {
      for (auto& [number, who] : waiters_)
        if (who.stream && !who.full)
          who.stream->write(": still there\n\n", nullptr);
      stay_alive();
    });
  }

  // -- the end -------------------------------------------------------------------------------------------------------

  caf::result<void> begin_drain() {
    draining_ = true;
    std::vector<std::uint64_t> all;
    for (auto& [number, who] : waiters_)
      all.push_back(number);
    for (auto number : all) {
      auto who = waiters_.at(number);
      if (who.what == wish::cancelled)
        continue; // It is answered in a moment.
      if (who.stream) {
        forget_waiter(number);
        who.stream->write(": this gateway shuts down; the task goes on when it is back\n\n", nullptr);
        who.stream->end();
      } else {
        give_up_waiting(number);
      }
    }
    if (book_.in_progress() == 0)
      return caf::unit;
    drained_.push_back(self_->make_response_promise<void>());
    return drained_.back();
  }

  void finish_drain() {
    if (!draining_ || book_.in_progress() > 0)
      return;
    for (auto& waiter : drained_)
      waiter.deliver();
    drained_.clear();
  }

  task_desk_actor::pointer self_;
  const task_desk_setup setup_;
  const std::shared_ptr<task_keeper> keeper_;
  task_book book_;
  const task_time wall_start_;
  const caf::actor_clock::time_point clock_start_;
  std::map<std::string, router_actor> routers_;
  /// Attempts that a router has, with the app.
  std::map<attempt_number, std::string> at_router_;
  /// Ends that could not be stored yet, and why.
  std::map<task_number, std::string> unstored_;
  std::map<std::uint64_t, waiter> waiters_;
  std::multimap<task_number, std::uint64_t> waiting_for_;
  std::uint64_t last_waiter_ = 0;
  std::uint64_t intake_bytes_ = 0;
  /// Until the store was read.
  std::deque<http_exchange_ptr> held_;
  bool loaded_ = false;
  std::string unreadable_;
  bool sweeping_ = false;
  caf::disposable wake_;
  bool draining_ = false;
  std::vector<caf::typed_response_promise<void>> drained_;
};

} // namespace

task_desk_actor spawn_task_desk(caf::actor_system& sys, platform& world, task_desk_setup setup) {
  return sys.spawn<task_desk_actor::stateful_impl<task_desk_state>>(std::ref(world), std::move(setup));
}

} // namespace astra
