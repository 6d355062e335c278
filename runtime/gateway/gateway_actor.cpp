#include "runtime/gateway/gateway_actor.hpp"

#include "actors/resource/cluster_view.hpp"
#include "actors/resource/node_facts.hpp"
#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/node_protocol.hpp"
#include "messages/scheduler_protocol.hpp"
#include "messages/text.hpp"
#include "runtime/gateway/access.hpp"
#include "runtime/gateway/event_stream.hpp"
#include "runtime/gateway/invoke_request.hpp"
#include "runtime/gateway/join_desk.hpp"
#include "runtime/gateway/json.hpp"
#include "runtime/gateway/model_desk.hpp"
#include "runtime/gateway/model_wish.hpp"
#include "runtime/gateway/node_listing.hpp"
#include "runtime/gateway/quota_summary.hpp"
#include "runtime/gateway/quota_waits.hpp"
#include "runtime/gateway/replies.hpp"
#include "runtime/gateway/resource_link.hpp"
#include "runtime/gateway/routes.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_clock.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <ctime>
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
using time_point = cluster_view::time_point;

constexpr auto retry_soon = milliseconds{1000};

/// Machines that get a certificate at the same time.
constexpr int at_desk_max = 4;

/// Listings and event streams at the same time.
constexpr std::size_t readers_max = 256;

class gateway_state {
public:
  static constexpr const char* name = "astra.gateway";

  gateway_state(gateway_actor::pointer self, platform& world, gateway_setup setup)
    : self_(self), world_(world), setup_(std::move(setup)), dialer_(world.dialer()),
      id_prefix_(to_hex(world.seed("gateway.request_id")).substr(0, 8)), started_(self->clock().now()) {}

  ~gateway_state() {
    for (auto& [id, flight] : flights_)
      flight.exchange->answer(refusal(503, "unavailable", "this gateway has stopped"));
    for (auto& [app, slot] : routers_)
      if (slot.router)
        caf::anon_send_exit(slot.router, caf::exit_reason::user_shutdown);
    for (auto& reader : readers_)
      caf::anon_send_exit(reader, caf::exit_reason::user_shutdown);
    if (tasks_)
      caf::anon_send_exit(tasks_, caf::exit_reason::user_shutdown);
  }

  gateway_actor::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    start_tasks();
    renew();
    return {
        [this](const view_delta& delta) { on_delta(*delta); },
        [this](http_exchange_ptr& exchange) { on_request(std::move(exchange)); },
        [this](const route_cancel& cancel) { on_client_gone(cancel); },
        [this](stop_atom) { return begin_drain(); },
    };
  }

private:
  struct flight {
    http_exchange_ptr exchange;
    std::string app;
    /// What the client calls the request.
    std::string client_id;
    time_point begun;
  };

  struct router_slot {
    /// Null while the restart is pending.
    router_actor router;
    time_point born;
    milliseconds backoff{0};
    /// Since when the app is missing in the view.
    std::optional<time_point> missing_since;
  };

  time_point now() const { return self_->clock().now(); }

  // -- the view ------------------------------------------------------------------------------------------------------

  void renew() {
    subscribe_to_view(false);
    end_orphans();
    self_->run_delayed(setup_.renew, [this] { renew(); });
  }

  void subscribe_to_view(bool resync) {
    pb::Subscribe wish;
    wish.set_scope(pb::Subscribe::ALL_SHARDS);
    wish.set_subscriber(setup_.name);
    wish.set_resync(resync);
    for (auto& version : view_.versions())
      *wish.add_have() = version;
    self_->request(setup_.view, setup_.renew, subscribe{std::move(wish)})
        .then([](const subscribe_ack&) {},
              [](const caf::error& reason) {
                spdlog::debug("gateway.subscribe_failed reason=\"{}\"",
                              error_text(reason)); // The next renewal repeats it.
              });
  }

  void on_delta(const pb::ViewDelta& delta) {
    view_changes changes;
    if (view_.apply(delta, now(), changes) == cluster_view::apply_outcome::gap) {
      subscribe_to_view(true);
      return;
    }
    for (auto& app : changes.apps) {
      follow_app(app);
      waits_.note(app, view_.find_app(app), now());
    }
  }

  // -- routers -------------------------------------------------------------------------------------------------------

  void follow_app(const std::string& app) {
    if (!serves(app))
      return;
    auto entry = view_.find_app(app);
    auto slot = routers_.find(app);
    if (entry != nullptr) {
      if (slot == routers_.end())
        start_router(app);
      else
        slot->second.missing_since.reset();
      was_deleted_[app] = entry->record.deleting();
    } else if (slot != routers_.end()) {
      auto deleted = was_deleted_[app];
      slot->second.missing_since = deleted ? now() - setup_.app_grace : now();
      end_orphans();
    }
  }

  bool serves(const std::string& app) const {
    return setup_.apps.empty() || std::binary_search(setup_.apps.begin(), setup_.apps.end(), app);
  }

  void start_router(const std::string& app) {
    auto& slot = routers_[app];
    slot.router = setup_.start_router(app);
    slot.born = now();
    self_->monitor(slot.router);
    tell_tasks(app, slot.router);
  }

  void end_orphans() {
    for (auto slot = routers_.begin(); slot != routers_.end();) {
      auto& [app, entry] = *slot;
      auto over = entry.missing_since && now() - *entry.missing_since >= setup_.app_grace;
      if (!over || has_flights(app)) {
        ++slot;
        continue;
      }
      spdlog::info("gateway.router_end app={} reason=\"the app is gone\"", app);
      if (entry.router) {
        self_->demonitor(entry.router);
        self_->send_exit(entry.router, caf::exit_reason::user_shutdown);
      }
      tell_tasks(app, {});
      was_deleted_.erase(app);
      slot = routers_.erase(slot);
    }
  }

  bool has_flights(const std::string& app) const {
    return std::any_of(flights_.begin(), flights_.end(), [&](auto& entry) { return entry.second.app == app; });
  }

  void on_down(const caf::down_msg& down) {
    if (std::erase_if(readers_, [&](auto& reader) { return reader == down.source; }) > 0)
      return;
    if (tasks_ && tasks_ == down.source)
      return on_tasks_down(down.reason);
    auto slot = std::find_if(routers_.begin(), routers_.end(),
                             [&](auto& entry) { return entry.second.router && entry.second.router == down.source; });
    if (slot == routers_.end())
      return;
    auto& [app, entry] = *slot;
    entry.router = nullptr;
    tell_tasks(app, {});
    auto lived = now() - entry.born;
    entry.backoff = lived > setup_.restart_max ? setup_.restart_min
                                               : std::clamp(entry.backoff * 2, setup_.restart_min, setup_.restart_max);
    spdlog::error("gateway.router_died app={} reason=\"{}\" restart_ms={}", app, error_text(down.reason),
                  entry.backoff.count());
    self_->run_delayed(entry.backoff, [this, app = app] {
      auto again = routers_.find(app);
      if (again != routers_.end() && !again->second.router)
        start_router(app);
    });
    std::vector<std::string> ids;
    for (auto& [id, flight] : flights_)
      if (flight.app == app)
        ids.push_back(id);
    for (auto& id : ids)
      finish(id, with_retry_after(
                     refusal(503, "lost", "the router of the app failed; whether the request was worked on is unknown"),
                     retry_soon));
  }

  // -- tasks ---------------------------------------------------------------------------------------------------------

  void start_tasks() {
    if (!setup_.start_tasks || draining_)
      return;
    tasks_ = setup_.start_tasks();
    self_->monitor(tasks_);
    for (auto& [app, slot] : routers_)
      if (slot.router)
        tell_tasks(app, slot.router);
  }

  void tell_tasks(const std::string& app, const router_actor& router) {
    if (tasks_)
      self_->send(tasks_, app, caf::actor_cast<caf::strong_actor_ptr>(router));
  }

  /// What it took is in its store: the next one goes on with it.
  void on_tasks_down(const caf::error& reason) {
    tasks_ = nullptr;
    spdlog::error("gateway.tasks_died reason=\"{}\" restart_ms={}", error_text(reason), setup_.restart_max.count());
    tasks_drained_ = true;
    tell_drained();
    self_->run_delayed(setup_.restart_max, [this] { start_tasks(); });
  }

  void pass_to_tasks(http_exchange_ptr exchange, const route_match& route) {
    if (!setup_.start_tasks)
      return answer(exchange, refusal(501, "unavailable", setup_.no_tasks));
    if (!tasks_)
      return answer(exchange,
                    with_retry_after(refusal(503, "unavailable", "what keeps the tasks failed and is being restarted"),
                                     retry_soon));
    if (route.what == gateway_route::submit_task && !takes_requests(route.name))
      return answer(exchange, unknown_app(route.name));
    self_->send(tasks_, std::move(exchange));
  }

  // -- requests ------------------------------------------------------------------------------------------------------

  void on_request(http_exchange_ptr exchange) {
    auto& request = exchange->request();
    auto route = find_route(request.method, request.target);
    auto client = client_info_of(request);
    if (auto verb = audit_verb(route.what); !verb.empty())
      exchange = audited(std::move(exchange), client, verb,
                         route.what == gateway_route::join    ? "-"
                         : route.what == gateway_route::renew ? name_of(client)
                                                              : route.name);
    if (auto refused = refuse_access(client, needed_for(route.what), setup_.anonymous_invoke))
      return answer(exchange, refusal(refused->status, refused->code, refused->message));
    switch (route.what) {
    case gateway_route::unknown:
      return answer(exchange, refusal(404, "unknown_route", "there is nothing at this path"));
    case gateway_route::wrong_method: {
      auto response = refusal(405, "wrong_method", "this path takes " + route.allow);
      response.headers.emplace_back("Allow", route.allow);
      return answer(exchange, std::move(response));
    }
    case gateway_route::livez:
      return answer(exchange, reply(200, health_json("alive", "")));
    case gateway_route::readyz:
      return answer(exchange, readiness());
    case gateway_route::metrics: // Answered by whoever has the HTTP server, which knows the process (gateway.cpp).
      return answer(exchange, refusal(404, "unknown_route", "metrics are served by the process, not by its actors"));
    case gateway_route::status:
      return show_status(exchange);
    case gateway_route::quotas:
      return show_quotas(exchange);
    case gateway_route::nodes:
      return list_nodes(exchange);
    case gateway_route::events:
      return tell_events(exchange);
    case gateway_route::node: {
      with_node(exchange, route.name,
                [this, exchange](const pb::NodeFacts& node) { answer(exchange, reply(200, node_line(node))); });
      return;
    }
    case gateway_route::drain_node:
      return drain_node(exchange, route.name);
    case gateway_route::apps:
      return answer(exchange, reply(200, apps_json(view_)));
    case gateway_route::app:
      return describe(exchange, route.name);
    case gateway_route::apply_app:
      return apply(exchange, route.name);
    case gateway_route::delete_app:
      return remove(exchange, route.name);
    case gateway_route::app_history:
      return show_history(exchange, route.name);
    case gateway_route::app_claims:
      return show_claims(exchange, route.name);
    case gateway_route::rollback_app:
      return roll_back(exchange, route.name);
    case gateway_route::plan_app:
      return plan(exchange, route.name);
    case gateway_route::invoke:
      return invoke(std::move(exchange), route.name);
    case gateway_route::submit_task:
    case gateway_route::tasks:
    case gateway_route::task:
    case gateway_route::task_result:
    case gateway_route::task_events:
    case gateway_route::cancel_task:
      return pass_to_tasks(std::move(exchange), route);
    case gateway_route::router:
      return ask_router(exchange, route.name, router_table_json, report_atom_v);
    case gateway_route::router_picks:
      return show_picks(exchange, route.name);
    case gateway_route::models:
    case gateway_route::model:
    case gateway_route::publish_model:
    case gateway_route::fetch_model:
    case gateway_route::verify_model:
    case gateway_route::pin_model:
    case gateway_route::delete_model:
    case gateway_route::model_jobs:
    case gateway_route::model_job:
    case gateway_route::model_nodes:
    case gateway_route::model_limit:
    case gateway_route::limit_models:
      return serve_models(exchange, route);
    case gateway_route::join:
    case gateway_route::renew:
      return hand_out(std::move(exchange), route.what);
    }
  }

  /// At the desk, on a thread of its own: it waits for a disk.
  void hand_out(http_exchange_ptr exchange, gateway_route what) {
    if (!setup_.desk)
      return answer(exchange, refusal(404, "unknown_route",
                                      "this gateway hands out no certificates; gateway.ca_dir of its file says where "
                                      "the authority is"));
    if (*at_desk_ >= at_desk_max)
      return answer(exchange, with_retry_after(refusal(503, "unavailable", "too many machines join at the same time"),
                                               retry_soon));
    ++*at_desk_;
    self_->spawn<caf::detached>([exchange = std::move(exchange), desk = setup_.desk, busy = at_desk_, what] {
      auto& request = exchange->request();
      auto now = static_cast<std::int64_t>(std::time(nullptr));
      exchange->answer(what == gateway_route::join ? desk->join(request, now)
                                                   : desk->renew(request, client_info_of(request), now));
      --*busy;
    });
  }

  void answer(const http_exchange_ptr& exchange, http_response response) {
    auto& request = exchange->request();
    spdlog::debug("gateway.request method={} target=\"{}\" status={}", request.method, request.target, response.status);
    exchange->answer(std::move(response));
  }

  http_response readiness() const {
    if (draining_)
      return reply(503, health_json("draining", "this gateway is shutting down"));
    if (view_.shards().empty())
      return reply(503, health_json("waiting", "no Resource has answered yet: the cluster is unknown"));
    return reply(200, health_json("ready", ""));
  }

  http_response unknown_app(const std::string& app) const {
    if (view_.shards().empty())
      return with_retry_after(
          refusal(503, "unavailable", "no Resource has answered this gateway yet: it knows no apps"), retry_soon);
    std::vector<std::string> names;
    for (auto& [known, entry] : view_.apps())
      if (!entry.record.deleting())
        names.push_back(known);
    if (view_.find_app(app) != nullptr && !serves(app))
      return refusal(404, "unknown_app",
                     fmt::format("gateway '{}' takes no requests for app '{}': gateway.apps of its file names {}; ask "
                                 "another gateway, or add it there",
                                 setup_.name, app, fmt::join(setup_.apps, ", ")));
    if (auto entry = view_.find_app(app); entry != nullptr && entry->record.deleting())
      return refusal(404, "unknown_app", fmt::format("app '{}' is being deleted", app));
    return refusal(404, "unknown_app", not_found("app", app, names));
  }

  static std::string not_found(std::string_view kind, const std::string& name, const std::vector<std::string>& known) {
    auto meant = closest(name, known);
    return fmt::format("no {} '{}'{}", kind, name, meant ? fmt::format("; did you mean '{}'?", *meant) : "");
  }

  // -- invoke --------------------------------------------------------------------------------------------------------

  void invoke(http_exchange_ptr exchange, const std::string& app) {
    auto& request = exchange->request();
    auto reading = read_invoke(request);
    if (auto wrong = std::get_if<std::string>(&reading))
      return answer(exchange, refusal(400, "invalid_argument", *wrong));
    auto& wish = std::get<route_request>(reading);
    auto client_id = wish.request_id;
    // Two clients may choose the same id; ours stays unique, and logs of routers and nodes show both.
    auto id = fmt::format("{}/{}", client_id.empty() ? id_prefix_ : client_id, ++last_request_);
    if (client_id.empty())
      client_id = id;
    wish.request_id = id;
    if (draining_)
      return answer(exchange, with_retry_after(refusal(503, "draining", "this gateway is shutting down"), retry_soon));
    if (!takes_requests(app))
      return answer(exchange, unknown_app(app));
    auto slot = routers_.find(app);
    auto entry = view_.find_app(app);
    if (!slot->second.router)
      return answer(exchange, with_retry_after(refusal(503, "unavailable", "the router of the app is being restarted"),
                                               retry_soon));
    auto patience = setup_.answer_grace + patience_for(entry, wish.deadline);
    exchange->on_gone([addr = self_->address(), id] {
      if (auto gateway = caf::actor_cast<caf::actor>(addr))
        caf::anon_send(gateway, route_cancel{id});
    });
    flights_.emplace(id, flight{std::move(exchange), app, std::move(client_id), now()});
    self_->request(slot->second.router, patience, std::move(wish))
        .then([this, id](route_result& result) { finish(id, std::move(result)); },
              [this, id](const caf::error& reason) {
                auto late = reason == caf::sec::request_timeout;
                finish(id, refusal(late ? 504 : 503, late ? "timed_out" : "lost",
                                   fmt::format("the router of the app gave no answer ({}); whether the request was "
                                               "worked on is unknown",
                                               error_text(reason))));
              });
  }

  bool takes_requests(const std::string& app) {
    auto entry = view_.find_app(app);
    return routers_.contains(app) && !(entry == nullptr ? was_deleted_[app] : entry->record.deleting());
  }

  static caf::timespan patience_for(const app_entry* entry, caf::timespan wished) {
    // An app that is just missing in the view still has its router, which knows the app's own limit.
    constexpr auto longest = caf::timespan{std::chrono::hours{1}};
    auto own = entry != nullptr ? caf::timespan{milliseconds{entry->record.spec().request_timeout_ms()}} : longest;
    return wished > caf::timespan{0} ? std::min(own, wished) : own;
  }

  void finish(const std::string& id, route_result result) {
    auto flight = flights_.find(id);
    if (flight != flights_.end())
      finish(id, to_response(result), &result);
  }

  void finish(const std::string& id, http_response response, const route_result* result = nullptr) {
    auto entry = flights_.extract(id);
    if (entry.empty())
      return;
    auto& flight = entry.mapped();
    auto level = response.status >= 500 ? spdlog::level::info : spdlog::level::debug;
    spdlog::log(level, "gateway.request id={} app={} status={} ms={} node={} tries={}", id, flight.app, response.status,
                duration_cast<milliseconds>(now() - flight.begun).count(),
                result != nullptr && !result->node.empty() ? result->node : "-", result != nullptr ? result->tries : 0);
    response.headers.emplace_back("Astra-Request-Id", flight.client_id);
    flight.exchange->answer(std::move(response));
    tell_drained();
  }

  void tell_drained() {
    if (!draining_ || !flights_.empty() || !tasks_drained_)
      return;
    for (auto& waiter : drained_)
      waiter.deliver();
    drained_.clear();
  }

  static http_response to_response(route_result& result) {
    auto response = http_response{};
    switch (result.outcome) {
    case route_outcome::ok:
      response.body = std::move(result.body);
      response.content_type = result.content_type.empty() ? "application/octet-stream" : result.content_type;
      break;
    case route_outcome::app_failed:
      response = reply(502, app_failure_json(result.reason, result.code, result.stderr_tail));
      break;
    case route_outcome::timed_out:
      response = refusal(504, "timed_out", result.reason);
      break;
    case route_outcome::saturated:
      response = with_retry_after(refusal(429, "saturated", result.reason), result.retry_after);
      break;
    case route_outcome::unavailable:
      response = refusal(503, "unavailable", result.reason);
      break;
    case route_outcome::lost:
      response = refusal(503, "lost", result.reason);
      break;
    // Nobody reads it; 499 is what nginx logs for a client that left.
    case route_outcome::cancelled:
      response = refusal(499, "cancelled", result.reason);
      break;
    }
    if (result.retry_after > caf::timespan{0} && response.status == 503)
      response = with_retry_after(std::move(response), result.retry_after);
    if (!result.node.empty()) {
      response.headers.emplace_back("Astra-Node", result.node);
      response.headers.emplace_back("Astra-Replica", std::to_string(result.replica));
      auto service_ms = std::chrono::duration<double, std::milli>(result.service_time).count();
      response.headers.emplace_back("Astra-Service-Ms", fmt::format("{:.1f}", service_ms));
    }
    response.headers.emplace_back("Astra-Tries", std::to_string(result.tries));
    response.headers.emplace_back("Astra-Starts", std::to_string(result.starts));
    return response;
  }

  void on_client_gone(const route_cancel& cancel) {
    auto flight = flights_.find(cancel.request_id);
    if (flight == flights_.end())
      return;
    auto slot = routers_.find(flight->second.app);
    if (slot != routers_.end() && slot->second.router)
      self_->send(slot->second.router, cancel); // Which answers the request as cancelled.
  }

  caf::result<void> begin_drain() {
    draining_ = true;
    for (auto& reader : readers_) // A listing goes on to its end; what has none is told to.
      caf::anon_send(reader, stop_atom_v);
    tasks_drained_ = !tasks_;
    if (tasks_)
      self_->request(tasks_, caf::infinite, stop_atom_v)
          .then([this] { on_tasks_drained(); }, [this](const caf::error&) { on_tasks_drained(); });
    if (flights_.empty() && tasks_drained_)
      return caf::unit;
    drained_.push_back(self_->make_response_promise<void>());
    return drained_.back();
  }

  void on_tasks_drained() {
    tasks_drained_ = true;
    tell_drained();
  }

  // -- other processes -----------------------------------------------------------------------------------------------

  /// Dials a service and asks it; exactly one of the two functions is called, unless the gateway ends first.
  template <class Handle, class Reply, class Message, class OnReply, class OnError>
  void ask(const std::string& address, const std::string& service, Message message, OnReply on_reply,
           OnError on_error) {
    self_->request(dialer_, setup_.dial_timeout, dial_atom_v, address, service)
        .then(
            [this, message = std::move(message), on_reply, on_error](const caf::strong_actor_ptr& peer) mutable {
              auto handle = caf::actor_cast<Handle>(peer);
              if (!handle)
                return on_error(caf::make_error(errc::unreachable));
              self_->request(handle, setup_.control_timeout, std::move(message))
                  .then([on_reply](const Reply& reply) { on_reply(reply); },
                        [on_error](const caf::error& reason) { on_error(reason); });
            },
            [on_error](const caf::error& reason) { on_error(reason); });
  }

  resource_links links(milliseconds answer_timeout) const { return {dialer_, setup_.dial_timeout, answer_timeout}; }

  /// Has a reader of its own answer, which this gateway ends when it ends itself.
  void add_reader(caf::actor reader) {
    self_->monitor(reader);
    readers_.push_back(std::move(reader));
  }

  /// Each holds a page or two: many at a time would be memory that somebody else decides about.
  bool has_room(const http_exchange_ptr& exchange) {
    if (readers_.size() < readers_max)
      return true;
    answer(exchange, with_retry_after(refusal(503, "unavailable",
                                              fmt::format("{} listings and event streams are open, which is the most "
                                                          "this gateway serves at a time",
                                                          readers_.size())),
                                      retry_soon));
    return false;
  }

  void list_nodes(const http_exchange_ptr& exchange) {
    auto wish = read_node_listing(exchange->request().target);
    if (auto wrong = std::get_if<std::string>(&wish))
      return answer(exchange, refusal(400, "invalid_argument", *wrong));
    if (has_room(exchange))
      add_reader(spawn_node_listing(self_, links(setup_.control_timeout), setup_.groups,
                                    std::move(std::get<node_listing_request>(wish)), exchange));
  }

  void tell_events(const http_exchange_ptr& exchange) {
    auto wish = read_event_request(exchange->request().target);
    if (auto wrong = std::get_if<std::string>(&wish))
      return answer(exchange, refusal(400, "invalid_argument", *wrong));
    auto& request = std::get<event_request>(wish);
    if (draining_ && request.follow)
      return answer(exchange, refusal(503, "draining", "this gateway is shutting down"));
    if (has_room(exchange))
      add_reader(spawn_event_stream(self_, links(setup_.control_timeout), setup_.resources, std::move(request),
                                    world_.wall_time(), exchange));
  }

  void serve_models(const http_exchange_ptr& exchange, const route_match& route) {
    auto reading = read_model_wish(route, exchange->request());
    if (auto wrong = std::get_if<std::string>(&reading))
      return answer(exchange, refusal(400, "invalid_argument", *wrong));
    if (!has_room(exchange))
      return;
    auto& wish = std::get<model_wish>(reading);
    // Who follows a job asks often: no need to trouble the trackers each time.
    for (auto& job : wish.jobs)
      if (auto node = view_.find(make_node_id(job.node)); node != nullptr && node->name() == job.node)
        job.process = facts_of(view_, *node, now()).address();
    model_desk_setup setup{links(setup_.control_timeout), setup_.resources, setup_.report_timeout, origin_of(exchange),
                           world_.wall_time()};
    add_reader(spawn_model_desk(self_, std::move(setup), std::move(wish), exchange));
  }

  /// Answers with what this gateway knows and what every Resource says of itself.
  void show_status(const http_exchange_ptr& exchange) {
    poll_resources([this, exchange](const resource_answers& answers, const std::vector<quota_row>& quotas) {
      gateway_info info{setup_.name, setup_.version, duration_cast<milliseconds>(now() - started_),
                        !setup_.narrow_view};
      answer(exchange, reply(200, status_json(view_, info, answers, now(), quotas)));
    });
  }

  void show_quotas(const http_exchange_ptr& exchange) {
    poll_resources([this, exchange](const resource_answers& answers, const std::vector<quota_row>& quotas) {
      if (answers.reports.empty())
        return answer(exchange,
                      with_retry_after(refusal(503, "unavailable", "no Resource answers" + why(answers)), retry_soon));
      answer(exchange, reply(200, quotas_json(quotas, answers)));
    });
  }

  static std::string why(const resource_answers& answers) {
    std::string text;
    for (auto& [address, reason] : answers.silent)
      text += fmt::format("{} {}: {}", text.empty() ? ":" : ";", address, reason);
    return text;
  }

  using on_answers = std::function<void(const resource_answers&, const std::vector<quota_row>&)>;

  /// Asks every Resource what it says of itself, and goes on when all have answered or the time for it is over.
  void poll_resources(on_answers then) {
    struct poll {
      resource_answers answers;
      std::map<std::string, bool> open;
      /// Of those that answered, by address.
      std::map<std::string, std::string> groups;
      bool over = false;
    };
    auto asked = std::make_shared<poll>();
    auto finish = [this, asked, then = std::move(then)] {
      if (std::exchange(asked->over, true))
        return;
      for (auto& [address, waits] : asked->open)
        if (waits)
          asked->answers.silent.emplace_back(address,
                                             fmt::format("no answer within {} ms", setup_.report_timeout.count()));
      std::sort(asked->answers.reports.begin(), asked->answers.reports.end(),
                [](auto& a, auto& b) { return a.name() < b.name(); });
      std::sort(asked->answers.silent.begin(), asked->answers.silent.end());
      then(asked->answers, quotas_in(asked->answers, asked->groups));
    };
    if (setup_.resources.empty())
      return finish();
    auto one_done = [asked, finish](const std::string& address) {
      asked->open[address] = false;
      if (std::none_of(asked->open.begin(), asked->open.end(), [](auto& entry) { return entry.second; }))
        finish();
    };
    for (auto& address : setup_.resources)
      asked->open[address] = true;
    for (auto& address : setup_.resources)
      ask_resource<resource_report>(
          self_, links(setup_.report_timeout), address, report_query{}, milliseconds{0},
          [asked, one_done, address](const pb::ResourceReport& report) {
            if (!asked->over) {
              asked->groups[address] = report.group();
              asked->answers.reports.push_back(report);
            }
            one_done(address);
          },
          [asked, one_done, address](const caf::error& reason) {
            if (!asked->over)
              asked->answers.silent.emplace_back(address, error_text(reason));
            one_done(address);
          });
    self_->run_delayed(setup_.report_timeout, finish);
  }

  /// @param groups of the Resources that answered, by address.
  std::vector<quota_row> quotas_in(const resource_answers& answers,
                                   const std::map<std::string, std::string>& groups) const {
    quota_witnesses from{answers.reports, {}, {}};
    for (auto& addresses : setup_.groups)
      for (auto& address : addresses)
        if (auto group = groups.find(address); group != groups.end())
          from.configured[group->second] = addresses.size();
    for (auto& [id, shard] : view_.shards()) {
      auto name = resource_name(view_, id);
      auto reported = std::any_of(answers.reports.begin(), answers.reports.end(),
                                  [&](auto& report) { return report.name() == name; });
      if (!reported)
        from.silent[shard.group].push_back(std::move(name));
    }
    return summarise_quotas(from, waits_.waiting(now()));
  }

  /// Calls `then` with what is known of a node, by its name or its id; answers when there is none.
  template <class Then>
  void with_node(const http_exchange_ptr& exchange, const std::string& wanted, Then then) {
    // An id follows from its name; only one that is written in digits, or misspelt, has to be looked for.
    auto node = view_.find(make_node_id(wanted));
    if (node == nullptr || node->name() != wanted) {
      auto any = std::find_if(view_.nodes().begin(), view_.nodes().end(), [&](auto& entry) {
        return entry.second.name() == wanted || to_string(entry.first) == wanted;
      });
      node = any == view_.nodes().end() ? nullptr : &any->second;
    }
    if (node != nullptr)
      return then(facts_of(view_, *node, now()));
    if (setup_.narrow_view)
      return ask_for_node(exchange, wanted, std::move(then), setup_.groups, false);
    std::vector<std::string> names;
    for (auto& [id, entry] : view_.nodes())
      names.push_back(entry.name());
    answer(exchange, refusal(404, "unknown_node", not_found("node", wanted, names)));
  }

  /// Of a node that holds nothing of the apps served here only the Resources know.
  template <class Then>
  void ask_for_node(const http_exchange_ptr& exchange, const std::string& wanted, Then then,
                    std::vector<std::vector<std::string>> groups, bool answered) {
    // One of each group is to answer.
    std::erase_if(groups, [](auto& group) { return group.empty(); });
    if (groups.empty() && answered)
      return answer(exchange, refusal(404, "unknown_node", not_found("node", wanted, {})));
    if (groups.empty())
      return answer(exchange, with_retry_after(refusal(503, "unavailable",
                                                       fmt::format("node '{}' holds nothing of the apps that this "
                                                                   "gateway follows, and no Resource answers",
                                                                   wanted)),
                                               retry_soon));
    pb::NodeQuery query;
    query.set_limit_nodes(1);
    query.set_where(filter_for_node(wanted));
    auto address = groups.front().front();
    groups.front().erase(groups.front().begin());
    ask_resource<node_page>(
        self_, links(setup_.control_timeout), address, node_query{std::move(query)}, milliseconds{0},
        [this, exchange, wanted, then, groups](const pb::NodePage& page) mutable {
          if (page.nodes_size() > 0)
            return then(page.nodes(0));
          groups.erase(groups.begin());
          ask_for_node(exchange, wanted, std::move(then), std::move(groups), true);
        },
        [this, exchange, wanted, then, groups, answered](const caf::error& reason) mutable {
          spdlog::debug("gateway.ask_node node=\"{}\" reason=\"{}\"", wanted, error_text(reason));
          ask_for_node(exchange, wanted, std::move(then), std::move(groups), answered);
        });
  }

  static std::string filter_for_node(const std::string& wanted) {
    std::string text = "\"";
    for (auto c : wanted) {
      if (c == '"' || c == '\\')
        text += '\\';
      text += c;
    }
    text += '"';
    return fmt::format("name == {} or id == {}", text, text);
  }

  void drain_node(const http_exchange_ptr& exchange, const std::string& wanted) {
    with_node(exchange, wanted,
              [this, exchange, wanted](const pb::NodeFacts& node) { drain_node(exchange, wanted, node); });
  }

  void drain_node(const http_exchange_ptr& exchange, const std::string& wanted, const pb::NodeFacts& node) {
    auto& address = node.address();
    if (node.liveness() == pb::LIVENESS_OFFLINE)
      return answer(exchange,
                    refusal(503, "unreachable", fmt::format("node '{}' is offline: {}", wanted, node.reason())));
    pb::Drain wish;
    wish.set_reason(
        fmt::format("asked for by {} at gateway {}", name_of(client_info_of(exchange->request())), setup_.name));
    spdlog::info("gateway.drain_node node={} address={}", node.name(), address);
    ask<node_actor, drain_reply>(
        address, node_service(node.name()), drain{std::move(wish)},
        [this, exchange](const drain_reply& result) { answer(exchange, reply(200, drain_json(*result))); },
        [this, exchange, wanted, address](const caf::error& reason) {
          answer(exchange,
                 refusal(503, "unreachable",
                         fmt::format("node '{}' at {} does not answer: {}", wanted, address, error_text(reason))));
        });
  }

  template <class Report, class... Question>
  void ask_router(const http_exchange_ptr& exchange, const std::string& app, std::string (*render)(const Report&),
                  Question... question) {
    auto slot = routers_.find(app);
    if (slot == routers_.end())
      return answer(exchange, unknown_app(app));
    if (!slot->second.router)
      return answer(exchange, with_retry_after(refusal(503, "unavailable", "the router of the app is being restarted"),
                                               retry_soon));
    self_->request(slot->second.router, setup_.control_timeout, question...)
        .then([this, exchange, render](const Report& report) { answer(exchange, reply(200, render(report))); },
              [this, exchange](const caf::error& reason) {
                answer(exchange, refusal(503, "unavailable", "the router gives no report: " + error_text(reason)));
              });
  }

  void show_picks(const http_exchange_ptr& exchange, const std::string& app) {
    constexpr std::uint64_t most = 10'000;
    std::uint64_t count = 20;
    if (!read_numbers(exchange, {{"n", &count}}) || count > most)
      return answer(exchange, refusal(400, "invalid_argument",
                                      fmt::format("n must be a number of picks from 1 to {}, such as n=20", most)));
    ask_router(exchange, app, router_picks_json, report_atom_v, static_cast<std::uint32_t>(count));
  }

  /// Positive numbers of the query; those that it does not name stay.
  /// @returns false when it says something else.
  static bool read_numbers(const http_exchange_ptr& exchange,
                           std::initializer_list<std::pair<const char*, std::uint64_t*>> wanted) {
    auto parameters = find_query(exchange->request().target);
    if (!parameters)
      return false;
    for (auto& [key, value] : wanted) {
      auto found = parameters->find(key);
      if (found == parameters->end())
        continue;
      auto& text = found->second;
      auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
      if (error != std::errc{} || end != text.data() + text.size() || *value == 0)
        return false;
    }
    return true;
  }

  void describe(const http_exchange_ptr& exchange, const std::string& app) {
    auto entry = view_.find_app(app);
    if (entry == nullptr)
      return answer(exchange, unknown_app(app));
    auto record = entry->record;
    auto scheduler = view_.find_scheduler(scheduler_id{record.scheduler()});
    auto from_view = [this, exchange, record](const std::string& why) {
      auto note = "from the nodes' own reports, because the app's scheduler does not answer: " + why;
      if (setup_.narrow_view && !serves(record.spec().name()))
        note = "without its replicas: the app's scheduler does not answer (" + why
               + "), and this gateway does not follow the app's nodes";
      answer(exchange, reply(200, app_json(view_, record, replicas_in_view(record.spec().name()), note)));
    };
    if (scheduler == nullptr)
      return from_view("it is not in the view");
    pb::DescribeApp wish;
    wish.set_app(app);
    ask<apps_actor, app_detail>(
        scheduler->row.address(), apps_service, describe_app{std::move(wish)},
        [this, exchange, from_view](const app_detail& detail) {
          if (!detail->found())
            return from_view("it does not know the app");
          std::vector<pb::ReplicaStatus> replicas(detail->replicas().begin(), detail->replicas().end());
          answer(exchange, reply(200, app_json(view_, detail->record(), replicas, "",
                                               detail->has_placement() ? &detail->placement() : nullptr)));
        },
        [from_view](const caf::error& reason) { from_view(error_text(reason)); });
  }

  std::vector<pb::ReplicaStatus> replicas_in_view(const std::string& app) const {
    std::vector<pb::ReplicaStatus> result;
    view_index::list(view_.index().apps(), app).each([&](node_id id) {
      auto& node = *view_.find(id);
      for (auto& replica : node.row.shape().replicas())
        if (replica.app() == app) {
          result.push_back(replica);
          result.back().set_node(id.value());
          result.back().set_node_name(node.name());
        }
    });
    std::stable_sort(result.begin(), result.end(), [](auto& a, auto& b) { return a.index() < b.index(); });
    return result;
  }

  void apply(const http_exchange_ptr& exchange, const std::string& app) {
    auto parameters = find_query(exchange->request().target);
    if (!parameters)
      return answer(exchange, refusal(400, "invalid_argument", "the query of the path has a broken escape"));
    auto spec = read_spec(exchange, app);
    if (!spec)
      return;
    std::string why;
    auto scheduler = scheduler_for(app, why);
    pb::ApplyApp wish;
    *wish.mutable_spec() = std::move(*spec);
    wish.set_origin(origin_of(exchange));
    wish.set_plan_index((*parameters)["plan"]);
    control(exchange, scheduler, why, "apply", app, apply_app{std::move(wish)});
  }

  /// The app in a request's body.  Nothing when it has problems, which are answered then.
  std::optional<pb::AppSpec> read_spec(const http_exchange_ptr& exchange, const std::string& app) {
    auto& request = exchange->request();
    auto type = request.header("content-type");
    type = type.substr(0, type.find_first_of("; "));
    app_reading reading;
    if (type == "application/json")
      reading = read_app_json(*request.body, app);
    else if (type == "application/toml")
      reading = read_app_toml(*request.body, app);
    else {
      answer(exchange, refusal(415, "invalid_argument", "Content-Type must be application/json or application/toml"));
      return std::nullopt;
    }
    if (!reading.spec) {
      auto& first = reading.problems.front();
      auto message = fmt::format("{}{}{}", first.key, first.key.empty() ? "" : ": ", first.message);
      if (reading.problems.size() > 1)
        message += fmt::format(" (and {} more)", reading.problems.size() - 1);
      answer(exchange, reply(400, problems_json(message, reading.problems)));
    }
    return std::move(reading.spec);
  }

  const pb::SchedulerRow* scheduler_for(const std::string& app, std::string& why) const {
    return view_.find_app(app) != nullptr ? scheduler_to_change(app, why) : scheduler_for_new_app(why);
  }

  void plan(const http_exchange_ptr& exchange, const std::string& app) {
    auto spec = read_spec(exchange, app);
    if (!spec)
      return;
    std::string why;
    auto scheduler = scheduler_for(app, why);
    if (scheduler == nullptr)
      return answer(exchange, with_retry_after(refusal(503, "unavailable", why), retry_soon));
    pb::DescribeApp question;
    question.set_app(app);
    *question.mutable_plan()->mutable_spec() = std::move(*spec);
    ask<apps_actor, app_detail>(
        scheduler->address(), apps_service, describe_app{std::move(question)},
        [this, exchange, app, scheduler = scheduler->name()](const app_detail& detail) {
          if (!detail->has_plan())
            return answer(exchange, refusal(501, "unavailable",
                                            fmt::format("scheduler '{}' is of an earlier version and makes no plans",
                                                        scheduler)));
          if (auto& refused = detail->plan().refused(); detail->plan().has_refused())
            return answer(exchange, refusal(status_of_refusal(refused.code()), refused.code(), refused.message()));
          answer(exchange, reply(200, app_plan_json(app, detail->plan())));
        },
        silent_scheduler(exchange, *scheduler));
  }

  /// Answers that a scheduler does not, to a question.
  std::function<void(const caf::error&)> silent_scheduler(const http_exchange_ptr& exchange,
                                                          const pb::SchedulerRow& scheduler) {
    return [this, exchange, name = scheduler.name(), address = scheduler.address()](const caf::error& reason) {
      answer(exchange, with_retry_after(refusal(503, "unavailable",
                                                fmt::format("scheduler '{}' at {} does not answer: {}", name, address,
                                                            error_text(reason))),
                                        retry_soon));
    };
  }

  void show_claims(const http_exchange_ptr& exchange, const std::string& app) {
    std::uint64_t from = 0;
    std::uint64_t limit = 100;
    if (!read_numbers(exchange, {{"from", &from}, {"limit", &limit}}) || limit > 1000)
      return answer(exchange, refusal(400, "invalid_argument",
                                      "from must be the number of a record and limit one up to 1000, such as "
                                      "from=1&limit=100"));
    if (view_.find_app(app) == nullptr)
      return answer(exchange, unknown_app(app));
    std::string why;
    auto scheduler = scheduler_to_change(app, why);
    if (scheduler == nullptr)
      return answer(exchange, with_retry_after(refusal(503, "unavailable", why), retry_soon));
    pb::DescribeApp question;
    question.set_app(app);
    question.mutable_claims()->set_from(from);
    question.mutable_claims()->set_limit(static_cast<std::uint32_t>(limit));
    ask<apps_actor, app_detail>(
        scheduler->address(), apps_service, describe_app{std::move(question)},
        [this, exchange, app, name = scheduler->name()](const app_detail& detail) {
          if (!detail->has_claims())
            return answer(exchange,
                          refusal(501, "unavailable",
                                  fmt::format("scheduler '{}' keeps no claim log (scheduler.claim_log = 0, or "
                                              "an earlier version)",
                                              name)));
          answer(exchange, reply(200, app_claims_json(app, name, detail->claims())));
        },
        silent_scheduler(exchange, *scheduler));
  }

  void show_history(const http_exchange_ptr& exchange, const std::string& app) {
    with_history(exchange, app,
                 [this, exchange, app](const pb::SchedulerRow& scheduler, const pb::AppHistory& history) {
                   std::string note;
                   if (history.revisions().empty())
                     note = fmt::format("its scheduler process '{}' keeps no revisions of it: it is as its app file "
                                        "has it, or was taken over from another process",
                                        scheduler.name());
                   answer(exchange, reply(200, app_history_json(app, history, note)));
                 });
  }

  void roll_back(const http_exchange_ptr& exchange, const std::string& app) {
    std::uint64_t to = 0;
    if (!read_numbers(exchange, {{"to", &to}}))
      return answer(exchange, refusal(400, "invalid_argument", "to must be the number of a revision, such as to=3"));
    with_history(exchange, app, [this, exchange, app, to](const pb::SchedulerRow& scheduler, const pb::AppHistory&) {
      pb::ApplyApp wish;
      wish.mutable_rollback()->set_app(app);
      wish.mutable_rollback()->set_to(to);
      wish.set_origin(origin_of(exchange));
      control(exchange, &scheduler, {}, "rollback", app, apply_app{std::move(wish)});
    });
  }

  using on_history = std::function<void(const pb::SchedulerRow&, const pb::AppHistory&)>;

  /// Calls `then` with the revisions of an app and the scheduler process that keeps them; answers when there is none.
  /// Of an app that is gone any process may keep them.
  void with_history(const http_exchange_ptr& exchange, const std::string& app, on_history then) {
    std::vector<pb::SchedulerRow> keepers;
    if (view_.find_app(app) != nullptr) {
      std::string why;
      auto scheduler = scheduler_to_change(app, why);
      if (scheduler == nullptr)
        return answer(exchange, with_retry_after(refusal(503, "unavailable", why), retry_soon));
      keepers.push_back(*scheduler);
    } else {
      for (auto& [id, entry] : view_.schedulers())
        if (entry.row.liveness() == pb::LIVENESS_ONLINE)
          keepers.push_back(entry.row);
      if (keepers.empty())
        return answer(exchange, unknown_app(app));
    }
    ask_for_history(exchange, app, std::move(keepers), std::move(then));
  }

  /// Asks the keepers one after the other, the last one first.
  void ask_for_history(const http_exchange_ptr& exchange, const std::string& app, std::vector<pb::SchedulerRow> keepers,
                       on_history then) {
    auto keeper = std::move(keepers.back());
    keepers.pop_back();
    auto address = keeper.address();
    auto silent = silent_scheduler(exchange, keeper);
    pb::DescribeApp question;
    question.set_app(app);
    question.set_history(true);
    ask<apps_actor, app_detail>(
        address, apps_service, describe_app{std::move(question)},
        [this, exchange, app, keepers, then, keeper](const app_detail& detail) {
          auto known = view_.find_app(app) != nullptr;
          if (known || !detail->history().revisions().empty())
            return then(keeper, detail->history());
          if (keepers.empty())
            return answer(exchange, unknown_app(app));
          ask_for_history(exchange, app, keepers, then);
        },
        [this, exchange, app, keepers, then, silent](const caf::error& reason) {
          if (keepers.empty())
            return silent(reason);
          ask_for_history(exchange, app, keepers, then);
        });
  }

  /// Who asks, for the scheduler's own audit line.
  std::string origin_of(const http_exchange_ptr& exchange) const {
    auto client = client_info_of(exchange->request());
    return fmt::format("{} ({}) at gateway {}", name_of(client), client.from, setup_.name);
  }

  void remove(const http_exchange_ptr& exchange, const std::string& app) {
    if (view_.find_app(app) == nullptr)
      return answer(exchange, unknown_app(app));
    std::string why;
    auto scheduler = scheduler_to_change(app, why);
    pb::DeleteApp wish;
    wish.set_app(app);
    wish.set_origin(origin_of(exchange));
    control(exchange, scheduler, why, "delete", app, delete_app{std::move(wish)});
  }

  template <class Message>
  void control(const http_exchange_ptr& exchange, const pb::SchedulerRow* scheduler, const std::string& why,
               std::string_view verb, const std::string& app, Message message) {
    if (scheduler == nullptr)
      return answer(exchange, with_retry_after(refusal(503, "unavailable", why), retry_soon));
    spdlog::info("gateway.{} app={} scheduler={} address={}", verb, app, scheduler->name(), scheduler->address());
    ask<apps_actor, control_reply>(
        scheduler->address(), apps_service, std::move(message),
        [this, exchange](const control_reply& result) {
          answer(exchange, result->ok()
                               ? reply(200, message_json(result->message()))
                               : refusal(status_of_refusal(result->code()), result->code(), result->message()));
        },
        [this, exchange, verb, scheduler = scheduler->name(),
         address = scheduler->address()](const caf::error& reason) {
          answer(exchange,
                 with_retry_after(refusal(503, "unavailable",
                                          fmt::format("scheduler '{}' at {} does not answer: {}; whether the {} "
                                                      "took effect is unknown, it may be repeated",
                                                      scheduler, address, error_text(reason), verb)),
                                  retry_soon));
        });
  }

  /// The scheduler process of an existing app or, when that one is gone, any other: it takes the app over.  Null, with
  /// the reason in `why`, when there is none.
  const pb::SchedulerRow* scheduler_to_change(const std::string& app, std::string& why) const {
    scheduler_id id{view_.find_app(app)->record.scheduler()};
    auto entry = view_.find_scheduler(id);
    if (entry != nullptr && entry->row.liveness() != pb::LIVENESS_OFFLINE)
      return &entry->row;
    std::string why_no_other;
    auto other = scheduler_for_new_app(why_no_other);
    if (other == nullptr)
      why = entry == nullptr ? fmt::format("app '{}' belongs to scheduler {}, which is not in the view; {}", app,
                                           to_string(id), why_no_other)
                             : fmt::format("app '{}' belongs to scheduler '{}', which is offline: {}; {}", app,
                                           entry->row.name(), entry->row.reason(), why_no_other);
    return other;
  }

  /// The online scheduler process with the fewest apps, the first by id of equals.
  const pb::SchedulerRow* scheduler_for_new_app(std::string& why) const {
    std::map<scheduler_id, std::size_t> load;
    for (auto& [app, entry] : view_.apps())
      ++load[scheduler_id{entry.record.scheduler()}];
    const pb::SchedulerRow* best = nullptr;
    std::size_t fewest = 0;
    for (auto& [id, entry] : view_.schedulers()) {
      if (entry.row.liveness() != pb::LIVENESS_ONLINE)
        continue;
      if (best == nullptr || load[id] < fewest) {
        best = &entry.row;
        fewest = load[id];
      }
    }
    if (best == nullptr)
      why = fmt::format("no scheduler process is online ({} known); start one with the role \"scheduler\"",
                        view_.schedulers().size());
    return best;
  }

  gateway_actor::pointer self_;
  platform& world_;
  const gateway_setup setup_;
  const dialer_actor dialer_;
  const std::string id_prefix_;
  const time_point started_;
  cluster_view view_;
  quota_waits waits_;
  std::map<std::string, router_slot> routers_;
  /// Of the apps that have a router: whether the last record said so.
  std::map<std::string, bool> was_deleted_;
  std::map<std::string, flight> flights_;
  /// Null: there is none, or it is being restarted.
  task_desk_actor tasks_;
  bool tasks_drained_ = false;
  std::uint64_t last_request_ = 0;
  /// Listings and event streams under way.
  std::vector<caf::actor> readers_;
  std::shared_ptr<std::atomic<int>> at_desk_ = std::make_shared<std::atomic<int>>(0);
  bool draining_ = false;
  std::vector<caf::typed_response_promise<void>> drained_;
};

} // namespace

gateway_actor spawn_gateway_actor(caf::actor_system& sys, platform& world, gateway_setup setup) {
  return sys.spawn<gateway_actor::stateful_impl<gateway_state>>(std::ref(world), std::move(setup));
}

} // namespace astra
