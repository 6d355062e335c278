#include "actors/node/request_desk.hpp"

#include "actors/mutant.hpp"
#include "messages/text.hpp"

#include <caf/actor.hpp>
#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace astra {
namespace {

using std::chrono::milliseconds;

/// Work that has not ended this long after its limit is given up.
constexpr milliseconds overdue_after{1000};

/// Limit of work whose app states none.
constexpr milliseconds work_limit_default{60000};

/// Time for one request: what is left of its deadline, at most what the app allows.
milliseconds work_limit(const pb::AppSpec& spec, std::uint64_t deadline_ms) {
  auto limit = spec.request_timeout_ms() > 0 ? bounded_ms(spec.request_timeout_ms()) : work_limit_default;
  return deadline_ms > 0 ? std::min(limit, bounded_ms(deadline_ms)) : limit;
}

template <class Reply, class Outcome>
Reply refusal(std::uint64_t attempt, Outcome outcome, std::string reason) {
  Reply reply;
  reply->set_attempt(attempt);
  reply->set_outcome(outcome);
  reply->set_reason(std::move(reason));
  return reply;
}

} // namespace

request_desk::request_desk(node_actor::pointer self, const node_options& options, const replica_set& replicas,
                           const runner_map& runners, load_meter& meter, std::function<void()> ended)
  : self_(self), options_(options), replicas_(replicas), runners_(runners), meter_(meter), ended_(std::move(ended)) {}

request_desk::time_point request_desk::now() const {
  return self_->clock().now();
}

// -- slots --------------------------------------------------------------------

caf::result<reserve_reply> request_desk::on_reserve(const pb::Reserve& request) {
  attempt_id attempt{request.attempt()};
  auto app = apps_.find(request.app());
  if (app == apps_.end() && drain_reason_)
    return refusal<reserve_reply>(request.attempt(), pb::RESERVE_DRAINING, "the node is draining: " + *drain_reason_);
  if (app == apps_.end())
    return refusal<reserve_reply>(request.attempt(), pb::RESERVE_NO_REPLICA, replicas_.why_none_ready(request.app()));
  if (waiting_.count(attempt) != 0)
    return refusal<reserve_reply>(request.attempt(), pb::RESERVE_BUSY, "the attempt waits already");
  auto promise = self_->make_response_promise<reserve_reply>();
  watch(promise.source());
  waiting_.emplace(attempt, reservation{request.app(), promise});
  app->second.reserve(attempt, bounded_ms(request.may_wait_ms()), now());
  settle();
  return promise;
}

void request_desk::settle() {
  std::optional<time_point> next;
  for (auto& [app_name, app] : apps_) {
    for (auto& answer : app.take_answers())
      deliver(app_name, app, answer);
    if (auto expiry = app.next_expiry(); expiry && (!next || *expiry < *next))
      next = expiry;
  }
  if (next == sweep_at_)
    return;
  sweep_.dispose();
  sweep_at_ = next;
  if (next)
    sweep_ = self_->run_scheduled(*next, [this] { sweep(); });
}

void request_desk::sweep() {
  sweep_at_.reset();
  for (auto& entry : apps_)
    entry.second.expire(now());
  settle();
  ended_();
}

void request_desk::deliver(const std::string& app_name, const admission& app, const admission::answer& answer) {
  auto found = waiting_.find(answer.attempt);
  if (found == waiting_.end())
    return;
  auto reason = answer.reason;
  if (answer.outcome == pb::RESERVE_NO_REPLICA)
    reason = replicas_.why_none_ready(app_name);
  else if (answer.outcome == pb::RESERVE_DRAINING && drain_reason_)
    reason += ": " + *drain_reason_;
  auto reply = refusal<reserve_reply>(answer.attempt.value(), answer.outcome, std::move(reason));
  reply->set_running(app.running());
  reply->set_queued(app.queued());
  reply->set_slots(app.slots());
  reply->set_eta_ms(static_cast<std::uint64_t>(app.eta().count()));
  if (answer.outcome == pb::RESERVE_GRANTED)
    reply->set_hold_ms(static_cast<std::uint64_t>(options_.slot_hold.count()));
  auto promise = std::move(found->second.promise);
  waiting_.erase(found);
  promise.deliver(std::move(reply));
}

// -- work ---------------------------------------------------------------------

caf::result<invoke_reply> request_desk::on_invoke(pb::Invoke& request) {
  attempt_id attempt{request.attempt()};
  auto promise = self_->make_response_promise<invoke_reply>();
  if (auto twice = running_.find(attempt); twice != running_.end()) {
    twice->second.promises.push_back(promise);
    return promise;
  }
  auto app = apps_.find(request.app());
  auto token = app == apps_.end() ? std::nullopt : app->second.use(attempt, now());
  settle();
  if (!token) {
    promise.deliver(refusal<invoke_reply>(request.attempt(), pb::INVOKE_NOT_STARTED,
                                          "the slot is not held any more; a granted slot is held for "
                                              + std::to_string(options_.slot_hold.count()) + " ms"));
    return promise;
  }
  watch(promise.source());
  auto& what = *replicas_.find(*token);
  auto limit = work_limit(*what.spec, request.deadline_ms());
  auto& entry = running_[attempt];
  entry.app = request.app();
  entry.replica = *token;
  entry.replica_index = what.index;
  entry.started = now();
  entry.promises.push_back(promise);
  entry.overdue = self_->run_delayed(limit + overdue_after, [this, attempt] { on_overdue(attempt); });
  meter_.set_running(running(), now());
  auto runner = runners_.at(*token);
  auto body = std::make_shared<const std::string>(std::move(*request.mutable_body()));
  runner->invoke({attempt, std::move(body), request.content_type(), limit});
  return promise;
}

void request_desk::on_done(attempt_id attempt, pb::InvokeReply result) {
  auto found = running_.find(attempt);
  if (found == running_.end())
    return;
  auto work = std::move(found->second);
  running_.erase(found);
  work.overdue.dispose();
  meter_.set_running(running(), now());
  ++(result.outcome() == pb::INVOKE_OK ? done_ : failed_);
  auto& app = apps_.at(work.app);
  auto completed = result.outcome() == pb::INVOKE_OK || result.outcome() == pb::INVOKE_APP_FAILED;
  app.finish(attempt, completed, now());
  // The words of an app may be any bytes.
  result.set_reason(to_utf8(std::move(*result.mutable_reason())));
  result.set_stderr_tail(to_utf8(std::move(*result.mutable_stderr_tail())));
  result.set_content_type(to_utf8(std::move(*result.mutable_content_type())));
  result.set_attempt(attempt.value());
  result.set_replica_index(work.replica_index);
  auto service = std::chrono::duration_cast<std::chrono::microseconds>(now() - work.started);
  result.set_service_us(static_cast<std::uint64_t>(service.count()));
  result.set_running(app.running());
  result.set_queued(app.queued());
  result.set_slots(app.slots());
  for (auto& promise : work.promises)
    promise.deliver(invoke_reply{result});
  settle();
  if (!MUTANT(end_of_work_unnoticed))
    ended_();
}

void request_desk::on_overdue(attempt_id attempt) {
  auto found = running_.find(attempt);
  if (found == running_.end())
    return;
  spdlog::error("node.overdue node={} app={} attempt={}", options_.name, found->second.app, to_hex(attempt.value()));
  cancel_work(found->second, attempt, "the deadline passed");
  pb::InvokeReply result;
  result.set_outcome(pb::INVOKE_TIMED_OUT);
  result.set_reason("the deadline passed, and the work could not be stopped");
  on_done(attempt, std::move(result));
}

void request_desk::give_up(claim_token token, const std::string& reason) {
  std::vector<attempt_id> left;
  for (auto& [attempt, work] : running_)
    if (work.replica == token)
      left.push_back(attempt);
  for (auto attempt : left) {
    pb::InvokeReply result;
    result.set_outcome(pb::INVOKE_REPLICA_LOST);
    result.set_reason(reason);
    on_done(attempt, std::move(result));
  }
}

// -- second thoughts ----------------------------------------------------------

void request_desk::on_cancel(const pb::Cancel& request) {
  take_back(attempt_id{request.attempt()}, request.reason().empty() ? "cancelled" : request.reason());
}

void request_desk::take_back(attempt_id attempt, const std::string& reason) {
  if (auto work = running_.find(attempt); work != running_.end()) {
    cancel_work(work->second, attempt, reason);
    return;
  }
  for (auto& entry : apps_)
    if (entry.second.cancel(attempt, now()))
      break;
  settle();
  ended_();
}

void request_desk::cancel_work(const job& work, attempt_id attempt, const std::string& reason) {
  auto found = runners_.find(work.replica);
  if (found == runners_.end())
    return;
  auto runner = found->second;
  runner->cancel(attempt, reason);
}

void request_desk::watch(const caf::strong_actor_ptr& client) {
  if (client && clients_.insert(client->address()).second)
    self_->monitor(caf::actor_cast<caf::actor>(client));
}

bool request_desk::on_down(const caf::actor_addr& source) {
  if (clients_.erase(source) == 0)
    return false;
  auto came_from = [&source](auto& promise) { return promise.source() == source; };
  std::vector<attempt_id> orphans;
  for (auto& [attempt, waiting] : waiting_)
    if (came_from(waiting.promise))
      orphans.push_back(attempt);
  for (auto& [attempt, work] : running_)
    if (std::all_of(work.promises.begin(), work.promises.end(), came_from))
      orphans.push_back(attempt);
  for (auto attempt : orphans)
    take_back(attempt, "the client's router is gone");
  return true;
}

// -- replicas come and go -----------------------------------------------------

void request_desk::open(const replica& ready) {
  auto app =
      apps_.try_emplace(ready.spec->name(), admission::limits{options_.queue_per_slot, options_.slot_hold}).first;
  if (drain_reason_ && !serves_on(app->first))
    app->second.drain();
  app->second.open(ready.token, ready.concurrency(), now());
  settle();
}

void request_desk::close(const replica& leaving) {
  auto app = apps_.find(leaving.spec->name());
  if (app == apps_.end())
    return;
  app->second.close(leaving.token, now());
  if (drain_reason_ && !serves_on(app->first))
    app->second.drain();
  settle();
}

void request_desk::remove(const replica& gone) {
  auto app = apps_.find(gone.spec->name());
  if (app == apps_.end())
    return;
  app->second.remove(gone.token, now());
  if (drain_reason_ && !serves_on(app->first))
    app->second.drain();
  settle();
}

void request_desk::drain(const std::string& reason) {
  drain_reason_ = reason;
  for (auto& [name, app] : apps_)
    if (!serves_on(name))
      app.drain();
  settle();
}

void request_desk::close_heads() {
  if (drain_reason_ && !std::exchange(heads_closed_, true))
    drain(*drain_reason_);
}

bool request_desk::serves_on(const std::string& app) const {
  if (heads_closed_)
    return false;
  auto tokens = replicas_.tokens();
  return std::any_of(tokens.begin(), tokens.end(), [&](auto token) {
    auto what = replicas_.find(token);
    return what->head() && what->state == pb::REPLICA_READY && what->spec->name() == app;
  });
}

void request_desk::answer_all(const std::string& reason) {
  for (auto& [attempt, waiting] : waiting_)
    waiting.promise.deliver(refusal<reserve_reply>(attempt.value(), pb::RESERVE_DRAINING, reason));
  for (auto& [attempt, work] : running_)
    for (auto& promise : work.promises)
      promise.deliver(refusal<invoke_reply>(attempt.value(), pb::INVOKE_REPLICA_LOST, reason));
  waiting_.clear();
  running_.clear();
}

// -- numbers ------------------------------------------------------------------

bool request_desk::idle() const {
  return running_.empty() && std::all_of(apps_.begin(), apps_.end(), [](auto& entry) { return entry.second.idle(); });
}

std::uint32_t request_desk::running(claim_token token) const {
  return static_cast<std::uint32_t>(
      std::count_if(running_.begin(), running_.end(), [token](auto& entry) { return entry.second.replica == token; }));
}

std::uint32_t request_desk::queued() const {
  std::uint32_t result = 0;
  for (auto& entry : apps_)
    result += entry.second.queued();
  return result;
}

milliseconds bounded_ms(std::uint64_t value) {
  constexpr milliseconds year = std::chrono::hours{24 * 365};
  return milliseconds{static_cast<std::int64_t>(std::min(value, static_cast<std::uint64_t>(year.count())))};
}

} // namespace astra
