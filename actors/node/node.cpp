#include "actors/node/node.hpp"

#include "actors/node/admission.hpp"
#include "actors/node/drain_state.hpp"
#include "actors/node/home_link.hpp"
#include "actors/node/load_meter.hpp"
#include "actors/node/replica_runner.hpp"
#include "actors/node/replica_set.hpp"
#include "actors/random.hpp"

#include <caf/actor_addr.hpp>
#include <caf/actor_cast.hpp>
#include <caf/disposable.hpp>
#include <caf/exit_reason.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cassert>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra {
namespace {

using std::chrono::milliseconds;
using time_point = admission::time_point;

/// A replica that must stop has at most this between asking and killing when the whole node stops.
constexpr milliseconds stop_grace_max{3000};
/// The same when only the replica stops.
constexpr milliseconds release_grace_max{60000};
/// A replica that is not gone this long after it should be is given up.
constexpr milliseconds stop_patience{5000};
/// Work that has not ended this long after its limit is given up.
constexpr milliseconds overdue_after{1000};
/// Limit of work whose request and app state none.
constexpr milliseconds work_limit_default{60000};
/// Longer times in messages are cut to this, so that no sum of times overflows.
constexpr milliseconds time_max = std::chrono::hours{24 * 365};

milliseconds limited_ms(std::uint64_t value) {
  return milliseconds{static_cast<std::int64_t>(std::min(value, static_cast<std::uint64_t>(time_max.count())))};
}

/// What apps may use of the node.
pb::Resources capacity_of(const node_options& options) {
  pb::Resources result;
  result.set_cpu_milli(options.cpu_milli);
  result.set_memory_bytes(options.memory_bytes);
  std::map<std::string, std::uint32_t> counts;
  for (auto& accelerator : options.accelerators)
    counts[accelerator.kind] += accelerator.count;
  for (auto& [kind, count] : counts) {
    auto& entry = *result.add_accelerators();
    entry.set_kind(kind);
    entry.set_count(count);
  }
  return result;
}

class node_state : private replica_host {
public:
  static constexpr const char* name = "astra.node";

  node_state(node_actor::pointer self, platform& world, const node_options& options, const app_registry& apps)
    : self_(self), world_(world), options_(options), registry_(apps), id_(make_node_id(options.name)),
      incarnation_(world.next_incarnation()), next_process_(incarnation_.value() << 24),
      random_(world.seed("node/" + options.name)), meter_(options.cpu_milli / 1000.0, world.machine().sample(), now()),
      replicas_(id_, incarnation_, capacity_of(options), options.labels),
      home_(self, world, options_, id_, incarnation_,
            {[this](pb::Heartbeat& beat) { describe(beat); }, [this](pb::NodeProfile& profile) { describe(profile); },
             [this](const std::string& resource) { on_fenced(resource); }}) {}

  ~node_state() override {
    world_.withdraw(node_service(options_.name));
    runners_.clear();
    answer_all("the node ended");
  }

  node_actor::behavior_type make_behavior() {
    self_->set_down_handler([this](caf::down_msg& event) { on_down(event); });
    world_.publish(node_service(options_.name), caf::actor_cast<caf::strong_actor_ptr>(self_));
    home_.start();
    return {
        [this](const reserve& request) { return on_reserve(*request); },
        [this](invoke& request) { return on_invoke(*request); },
        [this](const cancel& request) { on_cancel(*request); },
        [this](const claim_batch& batch) { return on_claims(*batch); },
        [this](const release_batch& batch) { on_releases(*batch); },
        [this](const process_exited& event) { on_process_exited(event); },
        [this](const drain& request) { return on_drain(*request); },
        [this](stop_atom, caf::timespan limit) { return on_stop(limit); },
    };
  }

private:
  struct waiting_reserve {
    std::string app;
    caf::typed_response_promise<reserve_reply> promise;
  };

  struct running_work {
    std::string app;
    claim_token replica;
    std::uint32_t replica_index = 0;
    time_point started;
    /// More than one when the network delivered the request twice.
    std::vector<caf::typed_response_promise<invoke_reply>> promises;
    caf::disposable overdue;
  };

  time_point now() const { return self_->clock().now(); }

  // -- claims and releases ---------------------------------------------------

  claim_reply on_claims(const pb::ClaimBatch& batch) {
    claim_reply reply;
    for (auto& claim : batch.claims()) {
      auto decision = replicas_.claim(batch, claim, now());
      auto& result = decision.result;
      if (result.outcome() == pb::CLAIM_FENCED)
        reply->set_newer_epoch(replicas_.newest_epoch(batch.spec().name()));
      spdlog::info("node.claim node={} app={} replica={} token={} outcome={} reason=\"{}\"", options_.name,
                   batch.spec().name(), claim.replica_index(), to_hex(claim.token()),
                   pb::ClaimOutcome_Name(result.outcome()), result.reason());
      if (decision.fresh)
        begin(claim_token{claim.token()});
      *reply->add_results() = std::move(result);
    }
    return reply;
  }

  void begin(claim_token token) {
    auto& what = *replicas_.find(token);
    home_.profile_changed();
    auto runner = make_runner(*this, registry_, what);
    if (!runner) {
      replica_failed(token, "the app's spec names no kind that this node knows");
      return;
    }
    runners_[token] = runner;
    runner->start();
  }

  void on_releases(const pb::ReleaseBatch& batch) {
    for (auto& release : batch.releases()) {
      auto known = replicas_.release(release);
      spdlog::info("node.release node={} app={} replica={} token={} known={} reason=\"{}\"", options_.name,
                   release.app(), release.replica_index(), to_hex(release.token()), known, release.reason());
      if (!known)
        continue;
      claim_token token{release.token()};
      auto reason = release.reason().empty() ? "released by its scheduler" : release.reason();
      set_state(token, pb::REPLICA_DRAINING, reason);
      close(token);
      auto grace = limited_ms(release.grace_ms());
      if (grace.count() == 0 || work_of(token) == 0)
        stop_replica(token, release_grace_max, reason);
      else
        self_->run_delayed(grace, [this, token, reason] { stop_replica(token, release_grace_max, reason); });
    }
  }

  /// Takes a replica out of admission; what it works on goes on.
  void close(claim_token token) {
    if (auto what = replicas_.find(token))
      if (auto app = apps_.find(what->spec->name()); app != apps_.end()) {
        app->second.close(token, now());
        settle();
      }
  }

  std::uint32_t work_of(claim_token token) const {
    return static_cast<std::uint32_t>(std::count_if(running_.begin(), running_.end(),
                                                    [token](auto& entry) { return entry.second.replica == token; }));
  }

  void stop_replica(claim_token token, milliseconds grace, const std::string& reason) {
    if (!replicas_.find(token) || !stopping_.insert(token).second)
      return;
    close(token);
    auto runner = runners_.find(token);
    if (runner == runners_.end()) {
      replica_stopped(token);
      return;
    }
    auto patience = grace + stop_patience;
    self_->run_delayed(patience, [this, token] {
      if (stopping_.count(token) == 0)
        return;
      spdlog::error("node.replica_stuck node={} token={} reason=\"not gone after its grace, given up\"", options_.name,
                    to_hex(token.value()));
      replica_stopped(token);
    });
    auto keep_alive = runner->second;
    keep_alive->stop(grace, reason);
  }

  // -- what runners tell -----------------------------------------------------

  node_actor::pointer self() override { return self_; }

  platform& world() override { return world_; }

  process_key new_process(claim_token token) override {
    process_key key{++next_process_};
    processes_[key] = token;
    return key;
  }

  void replica_warming(claim_token token, std::string reason) override {
    if (auto what = replicas_.find(token); what && what->state == pb::REPLICA_STARTING)
      set_state(token, pb::REPLICA_WARMING, std::move(reason));
  }

  void replica_ready(claim_token token) override {
    auto what = replicas_.find(token);
    if (!what || (what->state != pb::REPLICA_STARTING && what->state != pb::REPLICA_WARMING))
      return;
    set_state(token, pb::REPLICA_READY, "");
    auto app = apps_.try_emplace(what->spec->name(), admission_limits()).first;
    if (drain_.draining())
      app->second.drain();
    app->second.open(token, what->concurrency(), now());
    settle();
  }

  void replica_crashed(claim_token token, std::string reason) override {
    if (!out_of_rotation(token))
      return;
    auto what = replicas_.find(token);
    auto delay = replicas_.crashed(token, reason, now(), random_);
    spdlog::warn("node.replica_crash node={} app={} replica={} state=\"{}\" reason=\"{}\"", options_.name,
                 what->spec->name(), what->index, replica_state_text(what->state), what->reason);
    home_.profile_changed();
    if (!delay)
      return;
    self_->run_delayed(*delay, [this, token] {
      auto ended = replicas_.find(token);
      if (!ended || ended->state != pb::REPLICA_BACKING_OFF || drain_.draining())
        return;
      set_state(token, pb::REPLICA_STARTING, "starts again, " + ended->reason);
      auto runner = runners_.at(token);
      runner->start();
    });
  }

  void replica_failed(claim_token token, std::string reason) override {
    if (!out_of_rotation(token))
      return;
    auto what = replicas_.find(token);
    spdlog::warn("node.replica_failed node={} app={} replica={} reason=\"{}\"", options_.name, what->spec->name(),
                 what->index, reason);
    set_state(token, pb::REPLICA_FAILED, std::move(reason));
  }

  void replica_stopped(claim_token token) override {
    if (!out_of_rotation(token))
      return;
    forget(token);
  }

  /// Nothing more is sent to this replica.
  /// @returns whether the replica is still wanted; one that ended while it drains is forgotten.
  bool out_of_rotation(claim_token token) {
    auto what = replicas_.find(token);
    if (!what)
      return false;
    if (auto app = apps_.find(what->spec->name()); app != apps_.end()) {
      app->second.remove(token, now());
      settle();
    }
    if (what->state != pb::REPLICA_DRAINING && stopping_.count(token) == 0)
      return true;
    forget(token);
    return false;
  }

  void forget(claim_token token) {
    spdlog::info("node.replica_gone node={} token={}", options_.name, to_hex(token.value()));
    std::erase_if(processes_, [token](auto& entry) { return entry.second == token; });
    stopping_.erase(token);
    replicas_.erase(token);
    retire_runner(token);
    home_.profile_changed();
    check_drain();
  }

  /// A runner may be at work in this very moment: it is destroyed later.
  void retire_runner(claim_token token) {
    auto found = runners_.find(token);
    if (found == runners_.end())
      return;
    self_->run_delayed(milliseconds{0}, [runner = std::move(found->second)]() mutable { runner.reset(); });
    runners_.erase(found);
  }

  void set_state(claim_token token, pb::ReplicaState state, std::string reason) {
    replicas_.set_state(token, state, std::move(reason), now());
    home_.profile_changed();
  }

  void on_process_exited(const process_exited& event) {
    auto found = processes_.find(event.key);
    if (found == processes_.end())
      return;
    auto token = found->second;
    processes_.erase(found);
    if (auto runner = runners_.find(token); runner != runners_.end()) {
      auto keep_alive = runner->second;
      keep_alive->on_exited(event);
    }
  }

  void on_down(const caf::down_msg& event) {
    if (clients_.erase(event.source) > 0) {
      on_client_lost(event.source);
      return;
    }
    auto runners = runners_;
    for (auto& entry : runners)
      entry.second->on_down(event);
  }

  // -- requests --------------------------------------------------------------

  admission::limits admission_limits() const { return {options_.queue_per_slot, options_.slot_hold}; }

  caf::result<reserve_reply> on_reserve(const pb::Reserve& request) {
    attempt_id attempt{request.attempt()};
    auto app = apps_.find(request.app());
    if (drain_.draining() && app == apps_.end())
      return refusal(request, pb::RESERVE_DRAINING, "the node is draining: " + drain_.reason());
    if (app == apps_.end())
      return refusal(request, pb::RESERVE_NO_REPLICA, replicas_.why_none_ready(request.app()));
    if (waiting_.count(attempt) != 0)
      return refusal(request, pb::RESERVE_BUSY, "the attempt waits already");
    auto promise = self_->make_response_promise<reserve_reply>();
    watch(promise.source());
    waiting_.emplace(attempt, waiting_reserve{request.app(), promise});
    app->second.reserve(attempt, limited_ms(request.may_wait_ms()), now());
    settle();
    return promise;
  }

  reserve_reply refusal(const pb::Reserve& request, pb::ReserveOutcome outcome, std::string reason) const {
    reserve_reply reply;
    reply->set_attempt(request.attempt());
    reply->set_outcome(outcome);
    reply->set_reason(std::move(reason));
    return reply;
  }

  /// Sends the answers that admission has decided on, and sees to it that the next expiry is noticed.
  void settle() {
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

  void sweep() {
    sweep_at_.reset();
    for (auto& entry : apps_)
      entry.second.expire(now());
    settle();
    check_drain();
  }

  void deliver(const std::string& app_name, const admission& app, const admission::answer& answer) {
    auto found = waiting_.find(answer.attempt);
    if (found == waiting_.end())
      return;
    reserve_reply reply;
    reply->set_attempt(answer.attempt.value());
    reply->set_outcome(answer.outcome);
    reply->set_running(app.running());
    reply->set_queued(app.queued());
    reply->set_slots(app.slots());
    reply->set_eta_ms(static_cast<std::uint64_t>(app.eta().count()));
    auto granted = answer.outcome == pb::RESERVE_GRANTED;
    reply->set_hold_ms(granted ? static_cast<std::uint64_t>(options_.slot_hold.count()) : 0);
    reply->set_reason(answer.outcome == pb::RESERVE_NO_REPLICA ? replicas_.why_none_ready(app_name) : answer.reason);
    auto promise = std::move(found->second.promise);
    waiting_.erase(found);
    promise.deliver(std::move(reply));
  }

  caf::result<invoke_reply> on_invoke(pb::Invoke& request) {
    attempt_id attempt{request.attempt()};
    if (auto twice = running_.find(attempt); twice != running_.end()) {
      twice->second.promises.push_back(self_->make_response_promise<invoke_reply>());
      return twice->second.promises.back();
    }
    auto app = apps_.find(request.app());
    auto token = app == apps_.end() ? std::nullopt : app->second.use(attempt, now());
    settle();
    if (!token) {
      invoke_reply reply;
      reply->set_attempt(request.attempt());
      reply->set_outcome(pb::INVOKE_NOT_STARTED);
      reply->set_reason("the slot is not held any more; a granted slot is held for "
                        + std::to_string(options_.slot_hold.count()) + " ms");
      return reply;
    }
    auto& what = *replicas_.find(*token);
    auto limit = work_limit(*what.spec, request.deadline_ms());
    auto promise = self_->make_response_promise<invoke_reply>();
    watch(promise.source());
    auto& job = running_[attempt];
    job.app = request.app();
    job.replica = *token;
    job.replica_index = what.index;
    job.started = now();
    job.promises.push_back(promise);
    job.overdue = self_->run_delayed(limit + overdue_after, [this, attempt] { on_overdue(attempt); });
    meter_.set_running(static_cast<std::uint32_t>(running_.size()), now());
    auto runner = runners_.at(*token);
    runner->invoke({attempt, std::make_shared<const std::string>(std::move(*request.mutable_body())),
                    request.content_type(), limit});
    return promise;
  }

  static milliseconds work_limit(const pb::AppSpec& spec, std::uint64_t deadline_ms) {
    auto limit = spec.request_timeout_ms() > 0 ? limited_ms(spec.request_timeout_ms()) : work_limit_default;
    return deadline_ms > 0 ? std::min(limit, limited_ms(deadline_ms)) : limit;
  }

  void work_done(attempt_id attempt, pb::InvokeReply result) override {
    auto found = running_.find(attempt);
    if (found == running_.end())
      return;
    auto job = std::move(found->second);
    running_.erase(found);
    job.overdue.dispose();
    meter_.set_running(static_cast<std::uint32_t>(running_.size()), now());
    auto& app = apps_.at(job.app);
    auto completed = result.outcome() == pb::INVOKE_OK || result.outcome() == pb::INVOKE_APP_FAILED;
    app.finish(attempt, completed, now());
    ++(result.outcome() == pb::INVOKE_OK ? done_ : failed_);
    result.set_attempt(attempt.value());
    result.set_replica_index(job.replica_index);
    auto service = std::chrono::duration_cast<std::chrono::microseconds>(now() - job.started).count();
    result.set_service_us(static_cast<std::uint64_t>(service));
    result.set_running(app.running());
    result.set_queued(app.queued());
    result.set_slots(app.slots());
    for (auto& promise : job.promises)
      promise.deliver(invoke_reply{result});
    settle();
    if (auto what = replicas_.find(job.replica);
        what && what->state == pb::REPLICA_DRAINING && work_of(job.replica) == 0)
      stop_replica(job.replica, release_grace_max, what->reason);
    check_drain();
  }

  /// Neither the work nor its limit ended it.
  void on_overdue(attempt_id attempt) {
    auto found = running_.find(attempt);
    if (found == running_.end())
      return;
    spdlog::error("node.overdue node={} app={} attempt={}", options_.name, found->second.app, to_hex(attempt.value()));
    if (auto runner = runners_.find(found->second.replica); runner != runners_.end()) {
      auto keep_alive = runner->second;
      keep_alive->cancel(attempt, "the deadline passed");
    }
    pb::InvokeReply result;
    result.set_outcome(pb::INVOKE_TIMED_OUT);
    result.set_reason("the deadline passed, and the work could not be stopped");
    work_done(attempt, std::move(result));
  }

  void on_cancel(const pb::Cancel& request) { take_back(attempt_id{request.attempt()}, request.reason()); }

  void take_back(attempt_id attempt, const std::string& reason) {
    if (auto job = running_.find(attempt); job != running_.end()) {
      if (auto runner = runners_.find(job->second.replica); runner != runners_.end()) {
        auto keep_alive = runner->second;
        keep_alive->cancel(attempt, reason.empty() ? "cancelled" : reason);
      }
      return;
    }
    for (auto& entry : apps_)
      if (entry.second.cancel(attempt, now()))
        break;
    settle();
    check_drain();
  }

  /// Remembers who waits for answers: work for nobody is not worth a slot.
  void watch(const caf::strong_actor_ptr& client) {
    if (client && clients_.insert(client->address()).second)
      self_->monitor(caf::actor_cast<caf::actor>(client));
  }

  void on_client_lost(const caf::actor_addr& client) {
    auto came_from = [&client](auto& promise) { return promise.source() == client; };
    std::vector<attempt_id> orphans;
    for (auto& [attempt, reservation] : waiting_)
      if (came_from(reservation.promise))
        orphans.push_back(attempt);
    for (auto& [attempt, job] : running_)
      if (std::all_of(job.promises.begin(), job.promises.end(), came_from))
        orphans.push_back(attempt);
    for (auto attempt : orphans)
      take_back(attempt, "the client's router is gone");
  }

  // -- drain and end ---------------------------------------------------------

  drain_reply on_drain(const pb::Drain& request) {
    drain_reply reply;
    reply->set_running(static_cast<std::uint32_t>(running_.size()));
    reply->set_queued(queued());
    begin_drain(request.reason().empty() ? "asked by an operator" : request.reason());
    return reply;
  }

  caf::result<void> on_stop(caf::timespan limit) {
    auto promise = self_->make_response_promise<void>();
    stop_promises_.push_back(promise);
    begin_drain("the process stops");
    limit = std::clamp<caf::timespan>(limit, caf::timespan{0}, time_max);
    drain_.stop_by(now() + limit);
    self_->run_delayed(limit, [this] { check_drain(); });
    check_drain();
    return promise;
  }

  void begin_drain(const std::string& reason) {
    if (!drain_.begin(reason))
      return;
    spdlog::info("node.drain node={} running={} queued={} reason=\"{}\"", options_.name, running_.size(), queued(),
                 reason);
    replicas_.drain(reason);
    for (auto& entry : apps_)
      entry.second.drain();
    settle();
    home_.beat();
  }

  void check_drain() {
    auto idle =
        std::all_of(apps_.begin(), apps_.end(), [](auto& entry) { return entry.second.idle(); }) && running_.empty();
    auto late = drain_.out_of_time(now());
    if (drain_.leave(idle || late)) {
      spdlog::info("node.leave node={} unfinished={}", options_.name, running_.size());
      home_.leave([this] { stop_all(); });
    }
    if (stopped_all_ && replicas_.empty()) {
      for (auto& promise : std::exchange(stop_promises_, {}))
        promise.deliver();
    }
  }

  void stop_all() {
    stopped_all_ = true;
    for (auto token : replicas_.tokens())
      stop_replica(token, stop_grace_max, "the node stops: " + drain_.reason());
    check_drain();
  }

  void on_fenced(const std::string& resource) {
    auto reason = "Resource " + resource + " knows a newer incarnation of node '" + options_.name
                  + "'; is another process running under this name?";
    spdlog::error("node.fenced node={} incarnation={} reason=\"{}\"", options_.name, incarnation_.value(), reason);
    self_->quit(caf::make_error(errc::fenced, std::move(reason)));
  }

  /// Every promise is kept, also at the end.
  void answer_all(const std::string& reason) {
    for (auto& [attempt, reservation] : waiting_) {
      reserve_reply reply;
      reply->set_attempt(attempt.value());
      reply->set_outcome(pb::RESERVE_DRAINING);
      reply->set_reason(reason);
      reservation.promise.deliver(std::move(reply));
    }
    for (auto& [attempt, job] : running_) {
      invoke_reply reply;
      reply->set_attempt(attempt.value());
      reply->set_outcome(pb::INVOKE_REPLICA_LOST);
      reply->set_reason(reason);
      for (auto& promise : job.promises)
        promise.deliver(reply);
    }
    for (auto& promise : stop_promises_)
      promise.deliver();
  }

  // -- what the home is told -------------------------------------------------

  std::uint32_t queued() const {
    std::uint32_t result = 0;
    for (auto& entry : apps_)
      result += entry.second.queued();
    return result;
  }

  void describe(pb::Heartbeat& beat) {
    *beat.mutable_load() = meter_.report(world_.machine().sample(), now());
    beat.mutable_load()->set_queued(queued());
    beat.mutable_load()->set_requests_done(done_);
    beat.mutable_load()->set_requests_failed(failed_);
    beat.set_draining(drain_.draining());
  }

  void describe(pb::NodeProfile& profile) {
    profile.set_name(options_.name);
    profile.set_address(world_.address());
    *profile.mutable_capacity() = capacity_of(options_);
    for (auto& accelerator : options_.accelerators) {
      auto& entry = *profile.add_accelerators();
      entry.set_kind(accelerator.kind);
      entry.set_count(accelerator.count);
      entry.set_memory_bytes(accelerator.memory_bytes);
      entry.set_coefficient(accelerator.coefficient);
    }
    for (auto& [key, value] : options_.labels) {
      auto& entry = *profile.add_labels();
      entry.set_key(key);
      entry.set_value(value);
    }
    for (auto& status : replicas_.describe(now()))
      *profile.add_replicas() = std::move(status);
    profile.set_capacity_origin(options_.capacity_origin);
    profile.set_limits_backend(options_.limits_backend);
  }

  node_actor::pointer self_;
  platform& world_;
  const node_options options_;
  const app_registry& registry_;
  node_id id_;
  incarnation incarnation_;
  /// Keys must differ from those of an earlier incarnation at the same launcher.
  std::uint64_t next_process_;
  random_source random_;
  load_meter meter_;
  drain_state drain_;
  replica_set replicas_;
  std::map<claim_token, std::shared_ptr<replica_runner>> runners_;
  std::map<process_key, claim_token> processes_;
  /// Replicas whose runner was told to stop.
  std::set<claim_token> stopping_;
  /// By app name.
  std::map<std::string, admission> apps_;
  std::map<attempt_id, waiting_reserve> waiting_;
  std::map<attempt_id, running_work> running_;
  /// Monitored routers.
  std::set<caf::actor_addr> clients_;
  caf::disposable sweep_;
  std::optional<time_point> sweep_at_;
  std::vector<caf::typed_response_promise<void>> stop_promises_;
  bool stopped_all_ = false;
  std::uint64_t done_ = 0;
  std::uint64_t failed_ = 0;
  home_link home_;
};

} // namespace

node_actor spawn_node(caf::actor_system& sys, platform& world, const node_options& options, const app_registry& apps) {
  return sys.spawn<node_actor::stateful_impl<node_state>>(std::ref(world), options, std::cref(apps));
}

} // namespace astra
