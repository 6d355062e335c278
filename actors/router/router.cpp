#include "actors/router/router.hpp"

#include "actors/mutant.hpp"
#include "actors/random.hpp"
#include "actors/resource/accusation_list.hpp"
#include "actors/resource/cluster_view.hpp"
#include "actors/router/dispatch.hpp"
#include "actors/router/fair_queue.hpp"
#include "actors/router/node_pool.hpp"
#include "actors/router/outlier_detector.hpp"
#include "actors/router/retry_budget.hpp"
#include "actors/router/router_metrics.hpp"
#include "config/naming.hpp"
#include "messages/node_protocol.hpp"

#include <caf/actor_cast.hpp>
#include <caf/disposable.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cassert>
#include <map>
#include <set>
#include <vector>

namespace astra {
namespace {

using std::chrono::milliseconds;
using time_point = std::chrono::steady_clock::time_point;

/// How often the subscription to the view is renewed.
constexpr milliseconds renew_interval{1000};
/// Parked requests try again after this, and when a slot is known to be free.
constexpr milliseconds retry_interval{50};
/// Parked requests that try again at the same time.
constexpr std::size_t retry_batch = 4;
/// For clients, when no node gave an estimate.
constexpr milliseconds retry_after_default{1000};
/// Until a scheduler has announced the app.
constexpr milliseconds request_timeout_unknown{60000};
constexpr std::uint32_t queue_limit_unknown = 100;
/// A request that nodes took and could not start this often is answered.
constexpr std::uint32_t not_started_max = 8;

/// @pre the options are valid.
pool_reach reach_of(const router_options& options) {
  pool_reach result;
  for (auto& label : options.near)
    result.near.push_back(split_taint(label));
  result.near_tries = std::max(1U, options.tries / 2);
  if (!options.share.empty())
    result.share = *parse_router_share(options.share);
  return result;
}

route_result make_result(route_outcome outcome, std::string reason) {
  route_result result;
  result.outcome = outcome;
  result.reason = std::move(reason);
  return result;
}

std::string in_ms(milliseconds duration) {
  return std::to_string(duration.count()) + " ms";
}

/// The one owner of the promise of an answer.  Whatever becomes of the request, exactly one is delivered: this object
/// is the only way to it, and it answers when it is destroyed without.
class owed_answer {
public:
  using promise = caf::typed_response_promise<route_result>;

  explicit owed_answer(promise to) : promise_(std::move(to)) {}
  owed_answer(owed_answer&&) = default;
  owed_answer& operator=(owed_answer&&) = delete;

  ~owed_answer() { deliver(make_result(route_outcome::unavailable, "the router stopped")); }

  /// Does nothing when an answer was delivered already.
  void deliver(route_result result) {
    if (promise_.pending())
      promise_.deliver(std::move(result));
  }

private:
  promise promise_;
};

class router_state {
public:
  static constexpr const char* name = "astra.router";

  router_state(router_actor::pointer self, platform& world, const router_options& options, std::string app,
               view_source view)
    : self_(self), world_(world), options_(options), app_(std::move(app)), source_(std::move(view)),
      // A router that is started again in the same process must not repeat attempts of the one before it.
      attempts_(world.seed("router.attempt/" + app_) ^ world.next_incarnation().value()),
      pool_(app_, options.ejection, random_source{world.seed("router.phase/" + app_)}, {.refresh = options.refresh},
            options.slow_start, reach_of(options)),
      outliers_({options.outlier_errors, options.outlier_latency, options.outlier_ejection}),
      budget_(options.retry_budget, options.retry_budget_min), metrics_(self->system().metrics(), app_) {}

  router_actor::behavior_type make_behavior() {
    self_->set_down_handler([this](caf::down_msg& down) { on_session_down(down); });
    self_->set_exit_handler([this](caf::exit_msg& exit) { stop(std::move(exit.reason)); });
    renew_subscription();
    schedule_refresh();
    return {
        [this](const view_delta& delta) { on_delta(*delta); },
        [this](route_request& what) { return on_request(std::move(what)); },
        [this](const route_cancel& what) { on_cancel(what.request_id); },
        [this](report_atom) { return report(); },
        [this](report_atom, std::uint32_t count) { return preview(count); },
    };
  }

private:
  /// Grows with every request.
  using request_key = std::uint64_t;

  /// Second starts are no requests, and have keys of their own.
  static constexpr request_key first_hedge = 1ULL << 63;

  struct pending {
    dispatch way;
    route_request what;
    owed_answer reply;
    milliseconds timeout;
    caf::disposable deadline_timer;
    time_point came;
    /// Of a request of known size.
    node_pool::sized_walk walk;
    /// Holds one of the app's `queue_limit` places.
    bool has_place = false;
    bool was_parked = false;
    /// While parked for want of a replica: when to give up.
    time_point give_up = time_point::max();
    /// Of the node it is at.
    std::string node_name;
    /// How often a node took it and could not start it, and why the last time.
    std::uint32_t not_started = 0;
    std::string not_started_reason;
    /// The request whose work this is a second start of; 0: none.
    request_key leader = 0;
    /// The second start of this one's work; 0: none.
    request_key hedge = 0;
    /// Of the attempt under way.
    time_point started;
    caf::disposable hedge_timer;
    /// Its work was lost while its hedge goes on: why.
    std::string lost;
  };

  struct session {
    std::string address;
    /// Null while it is being dialled.
    request_sink node;
    /// Tells the answer to this dial from one to an earlier one.
    std::uint64_t dial = 0;
    /// Who asks for a slot as soon as it is there.
    std::vector<std::pair<request_key, attempt_id>> waiting;
  };

  // -- the view -------------------------------------------------------------------------------------------------------

  void renew_subscription() {
    subscribe_to_view(false);
    self_->run_delayed(renew_interval, [this] { renew_subscription(); });
  }

  void subscribe_to_view(bool resync) {
    pb::Subscribe body;
    body.set_scope(pb::Subscribe::ALL_SHARDS);
    body.set_subscriber("router/" + app_);
    // The app's own nodes are few among many; records and schedulers come in any case.
    body.mutable_filter()->add_apps(app_);
    body.set_resync(resync);
    for (auto& version : view_.versions())
      *body.add_have() = version;
    accused_.tell(body, now());
    self_->request(source_, renew_interval, subscribe{std::move(body)})
        .then([](const subscribe_ack&) {},
              [this](const caf::error& why) {
                // The view stays as it was, and the next renewal is never far.
                spdlog::debug("router.subscribe_failed app={} reason=\"{}\"", app_, error_text(why));
              });
  }

  void on_delta(const pb::ViewDelta& delta) {
    view_changes changes;
    switch (view_.apply(delta, now(), changes)) {
    case cluster_view::apply_outcome::applied:
      break;
    case cluster_view::apply_outcome::gap:
      subscribe_to_view(true);
      return;
    case cluster_view::apply_outcome::stale:
      return;
    }
    if (std::ranges::find(changes.apps, app_) != changes.apps.end())
      on_app_changed();
    if (pool_.set_serving(serving_clusters()))
      for (auto& [node, entry] : view_.nodes())
        if (std::ranges::find(changes.nodes, node) == changes.nodes.end())
          changes.nodes.push_back(node);
    auto was_empty = pool_.empty(now());
    std::vector<node_id> lost;
    for (auto node : changes.nodes) {
      auto entry = view_.find(node);
      auto known = pool_.find(node);
      auto life = known != nullptr ? std::optional{known->life} : std::nullopt;
      if (entry == nullptr)
        pool_.forget(node);
      else if (pool_.observe(entry->row, view_.load(*entry), view_.last_word(*entry)))
        lost.push_back(node);
      known = pool_.find(node);
      if (life && (known == nullptr || known->life != *life))
        outliers_.forget(node);
    }
    // Who speaks of its load is alive.
    if (!delta.loads().empty())
      for (auto node : pool_.held())
        take_load(node);
    auto left = pool_.settle(now());
    for (auto node : lost)
      on_node_offline(node, "node " + name_of(node) + " was lost: " + pool_.out_reason(node));
    leave(left);
    for (auto node : changes.nodes)
      if (sessions_.contains(node) && pool_.find(node) == nullptr && requests_at(node).empty())
        drop_session(node);
    if (was_empty && !pool_.empty(now()))
      unpark(retry_batch);
  }

  std::set<std::uint64_t> serving_clusters() const {
    std::set<std::uint64_t> result;
    for (auto& cluster : record_.clusters())
      if (cluster.state() == pb::CLUSTER_SERVING || cluster.state() == pb::CLUSTER_DEGRADED)
        result.insert(cluster.cluster());
    return result;
  }

  void take_load(node_id node) {
    if (auto entry = view_.find(node))
      pool_.observe_load(node, view_.load(*entry), view_.last_word(*entry));
  }

  /// A record that vanishes without having been marked as deleting is kept: its scheduler moves or restarts, and the
  /// replicas work on.
  void on_app_changed() {
    auto entry = view_.find_app(app_);
    announced_ = entry != nullptr;
    if (entry == nullptr)
      return;
    record_ = entry->record;
    pool_.use(record_.spec().weight());
    if (!record_.deleting())
      return;
    for (auto key : queue_.all_parked())
      answer(key, unavailable());
  }

  route_result unavailable() const {
    auto result = make_result(route_outcome::unavailable, {});
    if (record_.deleting()) {
      result.reason = "app '" + app_ + "' is being deleted";
      return result;
    }
    result.retry_after = retry_after_default;
    result.reason = "no replica of app '" + app_ + "' is ready";
    if (!announced_)
      result.reason += ": no scheduler announces it";
    else if (!record_.reason().empty())
      result.reason += ": " + record_.reason();
    return result;
  }

  // -- requests in and answers out ------------------------------------------------------------------------------------

  owed_answer::promise on_request(route_request what) {
    auto promise = self_->make_response_promise<route_result>();
    ++taken_;
    auto key = taken_;
    auto timeout = request_timeout_unknown;
    if (record_.spec().request_timeout_ms() > 0)
      timeout = milliseconds{record_.spec().request_timeout_ms()};
    if (what.deadline.count() > 0)
      timeout = std::min(timeout, std::chrono::ceil<milliseconds>(what.deadline));
    dispatch way{now() + timeout, record_.spec().idempotent(), options_.tries};
    auto timer = self_->run_delayed(timeout, [this, key] { on_deadline(key); });
    pending taken{std::move(way), std::move(what), owed_answer{promise}, timeout, std::move(timer)};
    taken.walk = {taken.what.size, options_.tries, {}};
    taken.came = now();
    requests_.emplace(key, std::move(taken));
    if (record_.deleting())
      answer(key, unavailable());
    else if (queue_.parked() > 0 || pool_.empty(now()))
      park(key); // nobody overtakes those who wait
    else
      walk(key);
    return promise;
  }

  void on_deadline(request_key key) {
    auto found = requests_.find(key);
    if (found == requests_.end())
      return;
    auto& request = found->second;
    auto limit = in_ms(request.timeout);
    count_patience(request);
    auto running = request.way.where() == dispatch::phase::running || !request.lost.empty();
    if (!running && MUTANT(deadline_of_waiting_ignored))
      return;
    withdraw(request, "deadline of " + limit + " passed");
    auto reason = running ? "not finished within " + limit : "no slot was free within " + limit;
    if (!running && request.not_started > 0)
      reason = "not started within " + limit + ": " + request.not_started_reason;
    answer(key, make_result(route_outcome::timed_out, std::move(reason)));
  }

  void on_cancel(const std::string& request_id) {
    std::vector<request_key> matching;
    for (auto& [key, request] : requests_)
      if (request.what.request_id == request_id && request.leader == 0)
        matching.push_back(key);
    for (auto key : matching) {
      withdraw(requests_.at(key), "its client is gone");
      answer(key, make_result(route_outcome::cancelled, "its client took it back"));
    }
  }

  void stop(caf::error reason) {
    while (!requests_.empty()) { // hedges come last, and go with their leaders
      withdraw(requests_.begin()->second, "its router is stopping");
      answer(requests_.begin()->first, make_result(route_outcome::unavailable, "the router is stopping"));
    }
    self_->quit(std::move(reason));
  }

  /// Ends a request.  The only place that does.
  void answer(request_key key, route_result result) {
    if (requests_.at(key).leader != 0)
      return end_hedge(key, std::move(result));
    auto entry = requests_.extract(key);
    auto& request = entry.mapped();
    if (request.hedge != 0) {
      auto hedge = requests_.extract(request.hedge);
      if (!MUTANT(second_start_goes_on))
        withdraw(hedge.mapped(), "the other start of this work has ended");
      result.tries += hedge.mapped().way.tries();
      result.starts += hedge.mapped().way.starts();
    }
    if (!MUTANT(queue_place_leaked))
      give_place_back(key, request, false);
    request.deadline_timer.dispose();
    request.hedge_timer.dispose();
    if (result.node.empty())
      result.node = request.node_name;
    result.tries += request.way.tries();
    result.starts += request.way.starts();
    if (result.outcome != route_outcome::ok)
      spdlog::debug("router.answer app={} request={} outcome={} node={} tries={} starts={} reason=\"{}\"", app_,
                    request.what.request_id, to_string(result.outcome), result.node, result.tries, result.starts,
                    result.reason);
    ++answered_;
    metrics_.answered(result.outcome, now() - request.came);
    request.reply.deliver(std::move(result));
  }

  // -- second starts of work that takes long --------------------------------------------------------------------------

  /// Hedged requests (Dean and Barroso, "The Tail at Scale", CACM 2013): idempotent work that has not ended after a
  /// while is started a second time elsewhere, if a node has a slot for it now, and the first answer counts.
  void hedge_later(request_key key, pending& request) {
    auto& spec = record_.spec();
    if (spec.hedge_after_ms() == 0 || !spec.idempotent() || request.leader != 0 || request.hedge != 0)
      return;
    request.hedge_timer.dispose();
    request.hedge_timer = self_->run_delayed(milliseconds{spec.hedge_after_ms()},
                                             [this, key, attempt = request.way.attempt()] { hedge(key, attempt); });
  }

  void hedge(request_key key, attempt_id attempt) {
    auto request = current(key, attempt);
    // First starts go first, and work that was started often is not made more of.
    if (request == nullptr || request->way.where() != dispatch::phase::running || record_.deleting()
        || queue_.parked() > 0 || request->way.starts() + 1 >= dispatch::starts_max)
      return;
    request->hedge = first_hedge + ++hedged_;
    pending second{dispatch{request->way.deadline(), true, options_.tries},
                   request->what,
                   owed_answer{owed_answer::promise{}},
                   request->timeout,
                   {}};
    second.leader = key;
    walk(requests_.emplace(request->hedge, std::move(second)).first->first);
  }

  /// A second start is over, with an answer or without.
  void end_hedge(request_key key, route_result result) {
    auto entry = requests_.extract(key);
    auto& second = entry.mapped();
    auto leader = second.leader;
    auto& first = requests_.at(leader);
    first.hedge = 0;
    if (result.outcome == route_outcome::ok || result.outcome == route_outcome::app_failed) {
      count_patience(first);
      withdraw(first, "the other start of this work has ended");
      result.node = second.node_name;
      result.tries = second.way.tries();
      result.starts = second.way.starts();
      return answer(leader, std::move(result));
    }
    first.way.add_starts(second.way.starts());
    if (first.lost.empty())
      return;
    auto why = std::exchange(first.lost, {});
    if (first.way.starts() > 0)
      on_work_lost(leader, why);
    else
      walk(leader);
  }

  /// The leader's attempt came to nothing while its hedge goes on: that one decides.
  /// @returns false when there is none.
  bool leave_it_to_hedge(pending& request, const std::string& why) {
    if (request.hedge == 0)
      return false;
    request.lost = why;
    request.way.park();
    return true;
  }

  /// Tells the node that the attempt is over, so that it frees the slot or stops the work.
  void withdraw(const pending& request, std::string reason) {
    if (request.way.where() == dispatch::phase::parked || MUTANT(withdrawn_without_a_word))
      return;
    auto open = sessions_.find(request.way.node());
    if (open == sessions_.end() || !open->second.node)
      return;
    pb::Cancel body;
    body.set_attempt(request.way.attempt().value());
    body.set_reason(std::move(reason));
    self_->send(open->second.node, cancel{std::move(body)});
  }

  // -- from node to node ----------------------------------------------------------------------------------------------

  void walk(request_key key) {
    auto& request = requests_.at(key);
    auto pick = [this, &request](std::span<const node_id> asked) {
      if (request.leader != 0) {
        std::vector<node_id> passed_over{asked.begin(), asked.end()};
        passed_over.push_back(requests_.at(request.leader).way.node());
        return pool_.pick(passed_over, asked.size(), now());
      }
      // Where its home and the next ones are full, it must not wait for them in the way of others.
      if (!request.what.affinity.empty() && !request.was_parked)
        return pool_.pick_by_key(request.what.affinity, asked, now());
      if (request.what.size > 0.0)
        return pool_.pick(request.walk, asked, now());
      return pool_.pick(asked, now());
    };
    for (;;) {
      auto step = request.way.next(pick);
      if (request.leader != 0 && step.what != dispatch::step::kind::ask)
        return answer(key, make_result(route_outcome::unavailable, "no slot is free")); // others wait there
      switch (step.what) {
      case dispatch::step::kind::ask:
        request.way.ask(step.node, next_attempt());
        reserve_slot(key, request);
        return;
      case dispatch::step::kind::queue:
        if (!pool_.in_rotation(step.node))
          continue; // it made its offer before it left
        if (!take_place(key, request))
          return answer(key, saturated());
        request.way.queue(step.node, next_attempt());
        reserve_slot(key, request);
        return;
      case dispatch::step::kind::park:
        return park(key);
      }
    }
  }

  void park(request_key key) {
    auto& request = requests_.at(key);
    if (!take_place(key, request))
      return answer(key, saturated());
    request.way.park();
    request.was_parked = true;
    request.node_name.clear();
    request.give_up = pool_.empty(now()) ? now() + options_.no_replica_wait : time_point::max();
    queue_.park(request.what.client, key);
    schedule_retry();
  }

  /// Lets the first `count` parked requests try again: there is reason to believe that something has changed.
  void unpark(std::size_t count) {
    queue_.begin_round();
    unpark_more(count);
  }

  /// Goes on behind the last one, so that those who failed again since then do not go round and round.
  void unpark_more(std::size_t count) {
    for (; count > 0; --count) {
      auto next = queue_.next();
      if (!next)
        return;
      walk(*next);
    }
  }

  void schedule_retry() {
    if (retry_scheduled_ || MUTANT(parked_never_retried))
      return;
    retry_scheduled_ = true;
    self_->run_delayed(retry_interval, [this] {
      retry_scheduled_ = false;
      retry();
    });
  }

  void retry() {
    if (!pool_.empty(now())) {
      unpark(retry_batch);
    } else {
      for (auto key : queue_.all_parked()) {
        auto& request = requests_.at(key);
        if (request.give_up == time_point::max())
          request.give_up = now() + options_.no_replica_wait;
        else if (request.give_up <= now())
          answer(key, unavailable());
      }
    }
    if (queue_.parked() > 0)
      schedule_retry();
  }

  /// Work that was started once is not sent away for want of a place, and whoever has few waiting is not kept out by
  /// one who has many.
  bool take_place(request_key key, pending& request) {
    if (request.has_place)
      return true;
    auto limit = record_.has_spec() ? record_.spec().queue_limit() : queue_limit_unknown;
    auto& client = request.what.client;
    if (queue_.places() >= limit && request.way.starts() == 0 && !MUTANT(queue_limit_ignored)) {
      auto other = queue_.to_give_way(client, [this](request_key waiting) {
        auto found = requests_.find(waiting);
        if (found == requests_.end())
          return false;
        auto& way = found->second.way;
        return way.starts() == 0 && (way.where() == dispatch::phase::parked || way.where() == dispatch::phase::queued);
      });
      if (!other)
        return false;
      auto result = saturated();
      result.reason += ", more of them of its client than of others: it gave its place to a client with fewer";
      withdraw(requests_.at(*other), "it gave its place to another client's request");
      answer(*other, std::move(result));
    }
    request.has_place = true;
    queue_.take_place(client, key);
    show_waiting();
    return true;
  }

  void give_place_back(request_key key, pending& request, bool served) {
    if (!std::exchange(request.has_place, false))
      return;
    queue_.give_back(request.what.client, key, served);
    show_waiting();
  }

  void show_waiting() { metrics_.waiting->value(static_cast<std::int64_t>(queue_.places())); }

  route_result saturated() {
    auto result =
        make_result(route_outcome::saturated, "all slots of app '" + app_ + "' are taken and "
                                                  + std::to_string(queue_.places()) + " requests wait for one already");
    auto eta = pool_.best_eta(now());
    result.retry_after = eta > milliseconds{0} ? eta : retry_after_default;
    return result;
  }

  attempt_id next_attempt() {
    auto value = attempts_.next();
    return attempt_id{value != 0 ? value : attempts_.next()};
  }

  // -- a slot ---------------------------------------------------------------------------------------------------------

  /// Sends the reservation that the request's way calls for, as soon as there is a session with the node.
  void reserve_slot(request_key key, pending& request) {
    auto node = request.way.node();
    auto member = pool_.find(node);
    request.node_name = member != nullptr ? member->name : to_string(node);
    auto open = sessions_.find(node);
    if (open != sessions_.end() && open->second.node)
      return send_reserve(key, request, open->second.node);
    if (open == sessions_.end())
      open = dial(node, member != nullptr ? member->address : std::string{}, request.node_name);
    open->second.waiting.emplace_back(key, request.way.attempt());
  }

  void send_reserve(request_key key, const pending& request, const request_sink& node) {
    auto attempt = request.way.attempt();
    pb::Reserve body;
    body.set_app(app_);
    body.set_attempt(attempt.value());
    auto patience = options_.admission_timeout;
    if (request.way.where() == dispatch::phase::queued) {
      body.set_may_wait_ms(time_left(request));
      patience += milliseconds{body.may_wait_ms()};
    }
    self_->request(node, patience, reserve{std::move(body)})
        .then([this, key, attempt](const reserve_reply& reply) { on_reserve_reply(key, attempt, *reply); },
              [this, key, attempt](const caf::error& why) { on_reserve_failed(key, attempt, why); });
  }

  void on_reserve_reply(request_key key, attempt_id attempt, const pb::ReserveReply& reply) {
    auto request = current(key, attempt);
    if (request == nullptr)
      return; // it was withdrawn, and the node was told
    auto node = request->way.node();
    auto eta = milliseconds{std::min<std::uint64_t>(reply.eta_ms(), 24UL * 3600 * 1000)};
    pool_.set_eta(node, eta);
    switch (reply.outcome()) {
    case pb::RESERVE_GRANTED:
      start_work(key, *request);
      return;
    case pb::RESERVE_BUSY:
      if (request->way.where() == dispatch::phase::asking)
        request->way.offered(eta);
      walk(key);
      return;
    case pb::RESERVE_DRAINING:
    case pb::RESERVE_NO_REPLICA: {
      auto draining = reply.outcome() == pb::RESERVE_DRAINING;
      auto reason = reply.reason().empty() ? draining ? "it drains" : "it has no ready replica" : reply.reason();
      if (request->way.where() == dispatch::phase::queued)
        request->way.new_walk();
      pool_.refuse(node, "refuses work: " + reason, now());
      move_on(key);
      return;
    }
    default:
      walk(key);
      return;
    }
  }

  void on_reserve_failed(request_key key, attempt_id attempt, const caf::error& why) {
    auto request = current(key, attempt);
    if (request == nullptr)
      return;
    auto node = request->way.node();
    auto reason = why == caf::sec::request_timeout
                      ? "no answer to a request for a slot within " + in_ms(options_.admission_timeout)
                      : "a request for a slot failed: " + error_text(why);
    withdraw(*request, "given up: " + reason);
    if (request->way.where() == dispatch::phase::queued)
      request->way.new_walk();
    eject(node, reason);
    move_on(key);
  }

  /// Takes a request away from the node that it failed at, then all others that wait for a slot of a node that is out
  /// of rotation because of that.
  void move_on(request_key key) {
    auto left = pool_.settle(now());
    walk(key);
    leave(left);
  }

  /// Nothing waits any longer for a slot at these nodes.
  void leave(const std::vector<node_id>& nodes) {
    for (auto node : nodes) {
      for (auto key : requests_at(node)) {
        auto request = still_at(key, node);
        if (request == nullptr || request->way.where() == dispatch::phase::running)
          continue;
        withdraw(*request, "its node is out of rotation");
        walk_elsewhere(key, *request);
      }
    }
  }

  void eject(node_id node, const std::string& reason) {
    auto member = pool_.find(node);
    if (member != nullptr && member->held.empty()) {
      spdlog::info("router.eject app={} node={} reason=\"{}\"", app_, member->name, reason);
      if (member->cannot_serve.empty() && member->suspected.empty())
        accuse(node, member->life, reason);
    }
    pool_.eject(node, reason, now());
  }

  /// Its home asks the node, so that other routers need not find out by themselves.
  void accuse(node_id node, incarnation life, std::string reason) {
    pb::Accusation what;
    what.set_node(node.value());
    what.set_incarnation(life.value());
    what.set_reason(std::move(reason));
    accused_.add(std::move(what));
    pass_accusations();
  }

  void pass_accusations() {
    if (accused_.wait(now()) == milliseconds{0})
      subscribe_to_view(false);
    if (auto wait = accused_.begin_to_wait(now()))
      self_->run_delayed(*wait, [this] {
        accused_.waited();
        pass_accusations();
      });
  }

  // -- the work -------------------------------------------------------------------------------------------------------

  void start_work(request_key key, pending& request) {
    auto open = sessions_.find(request.way.node());
    assert(open != sessions_.end() && open->second.node); // requests leave with their session
    if (request.leader != 0) {
      if (!budget_.take(now())) {
        withdraw(request, "the app's retry budget is spent");
        return answer(key, make_result(route_outcome::unavailable, "the app's retry budget is spent"));
      }
      ++hedges_started_;
      metrics_.hedges->inc();
      request.way.start();
    } else {
      give_place_back(key, request, true);
      if (request.way.start())
        budget_.count_start(now());
      hedge_later(key, request);
    }
    request.started = now();
    auto attempt = request.way.attempt();
    pb::Invoke body;
    body.set_app(app_);
    body.set_attempt(attempt.value());
    body.set_deadline_ms(time_left(request));
    if (request.what.body)
      body.set_body(*request.what.body);
    body.set_content_type(request.what.content_type);
    body.set_request_id(request.what.request_id);
    auto patience = milliseconds{body.deadline_ms()} + options_.admission_timeout;
    self_->request(open->second.node, patience, invoke{std::move(body)})
        .then([this, key, attempt](invoke_reply& reply) { on_invoke_reply(key, attempt, *reply); },
              [this, key, attempt](const caf::error& why) { on_invoke_failed(key, attempt, why); });
    unpark_more(1); // where one got a slot there may be more
  }

  void on_invoke_reply(request_key key, attempt_id attempt, pb::InvokeReply& reply) {
    auto request = current(key, attempt);
    if (request == nullptr)
      return;
    auto node = request->way.node();
    auto who = cause_of(*request);
    switch (reply.outcome()) {
    case pb::INVOKE_OK:
      count_served(*request, std::chrono::microseconds{reply.service_us()});
      answer(key, finished(route_outcome::ok, reply));
      break;
    case pb::INVOKE_APP_FAILED: {
      auto reason = reply.reason();
      // The client's fault is not the node's.
      auto counts = reply.code() < 400 || reply.code() > 499;
      answer(key, finished(route_outcome::app_failed, reply));
      if (counts)
        count_failed(node, reason, who);
      break;
    }
    case pb::INVOKE_MEMORY_EXCEEDED:
    case pb::INVOKE_OUTPUT_EXCEEDED:
      answer(key, finished(route_outcome::app_failed, reply));
      break;
    case pb::INVOKE_TIMED_OUT:
      count_patience(*request);
      answer(key, finished(route_outcome::timed_out, reply));
      break;
    case pb::INVOKE_NOT_STARTED: {
      request->way.not_started();
      auto reason =
          "at node " + request->node_name + ": " + (reply.reason().empty() ? "it was not started" : reply.reason());
      request->not_started_reason = reason;
      if (!leave_it_to_hedge(*request, reason))
        start_elsewhere(key, *request);
      count_failed(node, reason, {});
      return; // no slot was freed by work that ended
    }
    default: {
      auto reason = reply.reason().empty() ? "the replica was lost" : reply.reason();
      on_work_lost(key, "at node " + request->node_name + ": " + reason);
      // All that it worked on ends with a replica, and that counts once.
      count_failed(node, reason, "the end of a replica");
      break;
    }
    }
    unpark(1);
  }

  void start_elsewhere(request_key key, pending& request) {
    if (++request.not_started < not_started_max)
      return walk(key);
    auto result = make_result(route_outcome::unavailable, "not started at " + std::to_string(not_started_max)
                                                              + " tries, at last " + request.not_started_reason);
    result.retry_after = retry_after_default;
    answer(key, std::move(result));
  }

  /// On the client's side.
  static std::string cause_of(const pending& request) {
    auto& what = request.what;
    return what.client.empty() && what.affinity.empty() ? std::string{} : what.client + "\n" + what.affinity;
  }

  void count_served(const pending& request, std::chrono::microseconds service_time) {
    auto node = request.way.node();
    pool_.count_served(node);
    if (pool_.find(node) != nullptr)
      outliers_.served(node, now());
    count_time(request, service_time);
  }

  void count_time(const pending& request, std::chrono::microseconds time) {
    auto& what = request.what;
    auto member = pool_.find(request.way.node());
    // What is always sent to the same node tells nothing of it in comparison with others.
    if (member == nullptr || !what.affinity.empty())
      return;
    if (what.size > 0.0)
      time = std::chrono::round<std::chrono::microseconds>(time / what.size);
    outliers_.took(request.way.node(), time, node_pool::hardware_of_slot(*member));
  }

  /// Somebody lost patience with work that is under way: at least so long it takes there.
  void count_patience(const pending& request) {
    if (request.way.where() == dispatch::phase::running)
      count_time(request, std::chrono::duration_cast<std::chrono::microseconds>(now() - request.started));
  }

  void count_failed(node_id node, const std::string& reason, const std::string& who) {
    if (pool_.find(node) == nullptr)
      return;
    if (auto bad = outliers_.failed(node, reason, who, pool_.nodes_in_rotation(), now()))
      expel(*bad);
  }

  /// A node that answers, and answers badly.
  void expel(const outlier_detector::ejection& what) {
    spdlog::warn("router.expel app={} node={} ms={} reason=\"{}\"", app_, name_of(what.node), what.length.count(),
                 what.reason);
    metrics_.expelled->inc();
    pool_.expel(what.node, what.reason, what.length, now());
    leave(pool_.settle(now()));
  }

  static route_result finished(route_outcome outcome, pb::InvokeReply& reply) {
    auto result = make_result(outcome, reply.reason());
    result.body = std::move(*reply.mutable_body());
    result.content_type = reply.content_type();
    result.code = reply.code();
    result.stderr_tail = reply.stderr_tail();
    result.replica = reply.replica_index();
    result.service_time = std::chrono::microseconds{reply.service_us()};
    return result;
  }

  void on_invoke_failed(request_key key, attempt_id attempt, const caf::error& why) {
    auto request = current(key, attempt);
    if (request == nullptr)
      return;
    auto reason = "node " + request->node_name + " was lost: " + error_text(why);
    eject(request->way.node(), reason);
    auto left = pool_.settle(now());
    on_work_lost(key, reason);
    leave(left);
  }

  /// The work was started, and nobody will say how it ended.
  void on_work_lost(request_key key, const std::string& why) {
    auto& request = requests_.at(key);
    if (request.leader != 0)
      return answer(key, make_result(route_outcome::lost, why));
    request.hedge_timer.dispose();
    if (leave_it_to_hedge(request, why))
      return;
    std::string verdict;
    switch (request.way.lost(budget_, now())) {
    case dispatch::verdict::again:
      spdlog::info("router.retry app={} request={} starts={} reason=\"{}\"", app_, request.what.request_id,
                   request.way.starts(), why);
      ++retried_;
      metrics_.retries->inc();
      request.way.new_walk();
      walk(key);
      return;
    case dispatch::verdict::not_idempotent:
      verdict = "the app is not declared idempotent";
      break;
    case dispatch::verdict::too_often:
      verdict = "it was lost " + std::to_string(request.way.starts()) + " times";
      break;
    case dispatch::verdict::budget_spent:
      verdict = "the app's retry budget is spent";
      break;
    }
    answer(key, make_result(route_outcome::lost, why + "; not started again: " + verdict));
  }

  // -- sessions with nodes --------------------------------------------------------------------------------------------

  using session_map = std::map<node_id, session>;

  session_map::iterator dial(node_id node, std::string address, const std::string& node_name) {
    auto number = ++dials_;
    auto open = sessions_.emplace(node, session{address, {}, number, {}}).first;
    self_->request(world_.dialer(), options_.admission_timeout, dial_atom_v, address, node_service(node_name))
        .then([this, node, number](const caf::strong_actor_ptr& peer) { on_dialled(node, number, peer); },
              [this, node, number](const caf::error& why) { on_dial_failed(node, number, why); });
    return open;
  }

  void on_dialled(node_id node, std::uint64_t number, const caf::strong_actor_ptr& peer) {
    if (!peer)
      return on_dial_failed(node, number, caf::make_error(errc::unknown_name, "nobody is published there"));
    auto open = sessions_.find(node);
    if (open == sessions_.end() || open->second.dial != number)
      return;
    open->second.node = caf::actor_cast<request_sink>(peer);
    self_->monitor(open->second.node);
    auto sink = open->second.node;
    for (auto& [key, attempt] : std::exchange(open->second.waiting, {}))
      if (auto request = current(key, attempt))
        send_reserve(key, *request, sink);
  }

  void on_dial_failed(node_id node, std::uint64_t number, const caf::error& why) {
    auto open = sessions_.find(node);
    if (open == sessions_.end() || open->second.dial != number)
      return;
    eject(node, "cannot be reached at " + open->second.address + ": " + error_text(why));
    on_node_lost(node, {});
  }

  void on_session_down(const caf::down_msg& down) {
    auto open = std::ranges::find_if(
        sessions_, [&](auto& entry) { return entry.second.node && entry.second.node.address() == down.source; });
    if (open == sessions_.end())
      return;
    auto node = open->first;
    auto reason = "session lost: " + error_text(down.reason);
    eject(node, reason);
    on_node_lost(node, "node " + name_of(node) + " was lost: " + reason);
  }

  /// The view says that the node is gone.  What waits there goes elsewhere at once.  What runs there gets a moment
  /// more: a node that said goodbye has answered everything, and the news of it, over another connection, may have
  /// overtaken the last answers.
  void on_node_offline(node_id node, const std::string& why) {
    auto left = pool_.settle(now());
    std::vector<request_key> waiting;
    std::vector<std::pair<request_key, attempt_id>> running;
    for (auto key : requests_at(node)) {
      auto& request = requests_.at(key);
      if (request.way.where() == dispatch::phase::running)
        running.emplace_back(key, request.way.attempt());
      else
        waiting.push_back(key);
    }
    for (auto key : waiting)
      withdraw(requests_.at(key), "its node was taken for lost");
    if (running.empty())
      drop_session(node);
    else
      self_->run_delayed(options_.admission_timeout, [this, node, why, running = std::move(running)] {
        for (auto [key, attempt] : running) {
          auto request = current(key, attempt);
          if (request == nullptr || request->way.where() != dispatch::phase::running)
            continue;
          withdraw(*request, "its node was taken for lost");
          on_work_lost(key, why);
        }
        if (requests_at(node).empty())
          drop_session(node);
      });
    for (auto key : waiting)
      if (auto request = still_at(key, node))
        walk_elsewhere(key, *request);
    leave(left);
  }

  /// Nothing comes from this node any more: what waits there goes elsewhere, what runs there is failed over.
  void on_node_lost(node_id node, const std::string& why) {
    auto left = pool_.settle(now());
    auto affected = requests_at(node);
    for (auto key : affected)
      withdraw(requests_.at(key), "its node was taken for lost");
    if (!MUTANT(dead_session_kept))
      drop_session(node);
    for (auto key : affected) {
      auto request = still_at(key, node);
      if (request == nullptr)
        continue;
      if (request->way.where() == dispatch::phase::running)
        on_work_lost(key, why);
      else
        walk_elsewhere(key, *request);
    }
    leave(left);
  }

  /// Dials anew when it is needed again: a proxy never revives.
  void drop_session(node_id node) {
    auto open = sessions_.find(node);
    if (open == sessions_.end())
      return;
    if (open->second.node)
      self_->demonitor(open->second.node);
    sessions_.erase(open);
  }

  // -- helpers --------------------------------------------------------------------------------------------------------

  time_point now() const { return self_->clock().now(); }

  /// In ms, at least 1: the deadline timer takes care of the rest.
  std::uint64_t time_left(const pending& request) const {
    auto left = std::chrono::duration_cast<milliseconds>(request.way.deadline() - now()).count();
    return static_cast<std::uint64_t>(std::max<milliseconds::rep>(left, 1));
  }

  /// Null when the request is answered or tries elsewhere by now.
  pending* current(request_key key, attempt_id attempt) {
    auto found = requests_.find(key);
    if (found == requests_.end() || (found->second.way.attempt() != attempt && !MUTANT(former_attempt_counts)))
      return nullptr;
    return &found->second;
  }

  void walk_elsewhere(request_key key, pending& request) {
    if (request.way.where() == dispatch::phase::queued)
      request.way.new_walk();
    walk(key);
  }

  /// Null when the request is answered or elsewhere by now: one that moves may take others with it.
  pending* still_at(request_key key, node_id node) {
    auto found = requests_.find(key);
    auto there = found != requests_.end() && found->second.way.where() != dispatch::phase::parked
                 && found->second.way.node() == node;
    return there ? &found->second : nullptr;
  }

  std::vector<request_key> requests_at(node_id node) const {
    std::vector<request_key> result;
    for (auto& [key, request] : requests_)
      if (request.way.where() != dispatch::phase::parked && request.way.node() == node)
        result.push_back(key);
    return result;
  }

  std::string name_of(node_id node) const {
    auto member = pool_.find(node);
    return member != nullptr ? member->name : to_string(node);
  }

  void schedule_refresh() {
    self_->run_delayed(options_.refresh, [this] {
      for (auto& [node, member] : pool_.members())
        take_load(node);
      pool_.refresh(now());
      leave(pool_.settle(now()));
      for (auto& slow : outliers_.too_slow(pool_.nodes_in_rotation(), now()))
        expel(slow);
      schedule_refresh();
    });
  }

  router_table report() {
    leave(pool_.settle(now())); // what was held against nodes may be over
    std::map<node_id, std::uint32_t> in_flight;
    for (auto& [key, request] : requests_)
      if (request.way.where() == dispatch::phase::running)
        ++in_flight[request.way.node()];
    auto credits = pool_.credits();
    router_table table;
    table.app = app_;
    table.formula = pool_.formula();
    table.order = to_string(pool_.turns_by());
    table.requests = taken_;
    table.answered = answered_;
    table.waiting = static_cast<std::uint32_t>(queue_.places());
    table.retries = retried_;
    table.hedges = hedges_started_;
    for (auto& [node, member] : pool_.members()) {
      router_table_row row;
      row.node = node;
      row.name = member.name;
      row.address = member.address;
      row.weight = member.weight;
      row.terms = pool_.terms(member);
      if (auto credit = credits.find(node); credit != credits.end())
        row.credit = credit->second;
      row.slots = member.slots;
      row.in_flight = in_flight[node];
      row.picked = member.picked;
      row.served = member.served;
      row.out_reason = pool_.out_reason(node);
      row.near = member.rank == 0;
      table.rows.push_back(std::move(row));
    }
    return table;
  }

  router_picks preview(std::uint32_t count) {
    constexpr std::uint32_t most = 10'000;
    router_picks result;
    result.app = app_;
    result.formula = pool_.formula();
    result.picks = pool_.preview(std::min(count, most), now());
    result.order = to_string(pool_.turns_by());
    if (result.picks.empty())
      result.reason = unavailable().reason;
    return result;
  }

  router_actor::pointer self_;
  platform& world_;
  router_options options_;
  std::string app_;
  view_source source_;
  random_source attempts_;
  cluster_view view_;
  node_pool pool_;
  outlier_detector outliers_;
  retry_budget budget_;
  router_metrics metrics_;
  accusation_list accused_;
  /// The newest that a scheduler said of the app; empty until then.
  pb::AppRecord record_;
  bool announced_ = false;
  std::map<request_key, pending> requests_;
  /// Requests that hold a place: parked, queued at a node, or on a walk in between.
  fair_queue queue_;
  bool retry_scheduled_ = false;
  session_map sessions_;
  std::uint64_t dials_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t retried_ = 0;
  std::uint64_t hedged_ = 0;
  std::uint64_t hedges_started_ = 0;
};

} // namespace

router_actor spawn_router(caf::actor_system& sys, platform& world, const router_options& options, std::string app,
                          view_source view) {
  return sys.spawn<router_actor::stateful_impl<router_state>>(std::ref(world), options, std::move(app),
                                                              std::move(view));
}

} // namespace astra
