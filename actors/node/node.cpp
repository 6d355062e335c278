#include "actors/node/node.hpp"

#include "actors/mutant.hpp"
#include "actors/node/content_paths.hpp"
#include "actors/node/drain_state.hpp"
#include "actors/node/home_link.hpp"
#include "actors/node/load_meter.hpp"
#include "actors/node/profile_fit.hpp"
#include "actors/node/replica_runner.hpp"
#include "actors/node/replica_set.hpp"
#include "actors/node/request_desk.hpp"
#include "actors/random.hpp"
#include "config/naming.hpp"
#include "messages/profile_limits.hpp"
#include "messages/replica_state.hpp"

#include <caf/actor_cast.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace astra {
namespace {

using std::chrono::milliseconds;

/// Between asking and killing, at most: when one replica stops, and when the whole node does.
constexpr milliseconds release_grace_max{60000};
constexpr milliseconds stop_grace_max{3000};

/// A replica that is not gone this long after it should be is given up: when one replica stops, and when the whole
/// node does.
constexpr milliseconds release_patience{5000};
constexpr milliseconds stop_patience{1000};

/// Members of clusters keep a node that shall stop for this long: their successors are to be there first.
constexpr milliseconds handover_max{20000};
/// Between two looks at what members of clusters wait for.
constexpr milliseconds member_look_interval{250};

/// Between two looks at contents that a replica waits for, and at those that it has.
constexpr milliseconds content_look_interval{500};
constexpr milliseconds content_hold_interval{15'000};
constexpr milliseconds content_answer_timeout{5000};
/// Between two looks at what is ready on this node; a profile names so many of them, 8 bytes each.
constexpr milliseconds store_look_interval{2000};
constexpr std::size_t contents_told_max = 512;

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

/// What a profile says before anything else: who, which life, which version.
constexpr std::size_t profile_header_bytes = 64;

class node_state : private replica_host {
public:
  static constexpr const char* name = "astra.node";

  node_state(node_actor::pointer self, platform& world, const node_options& options, const app_registry& apps,
             std::function<content_source()> contents)
    : self_(self), world_(world), options_(options), registry_(apps), id_(make_node_id(options.name)),
      incarnation_(world.next_incarnation()), last_process_(incarnation_.value() << 24),
      random_(world.seed("node/" + options.name)), contents_(std::move(contents)),
      meter_(options.cpu_milli / 1000.0, world.machine().sample(), now()),
      replicas_(id_, incarnation_, capacity_of(options), options.labels),
      desk_(self, options_, replicas_, runners_, meter_, [this] { on_work_ended(); }),
      home_(self, world, options_, id_, incarnation_,
            {[this](pb::Heartbeat& beat) { describe(beat); }, [this](pb::NodeProfile& profile) { describe(profile); },
             [this](const std::string& resource) { on_fenced(resource); }}) {}

  ~node_state() override {
    world_.withdraw(node_service(options_.name));
    runners_.clear();
    desk_.answer_all("the node ended");
    for (auto& promise : stop_promises_)
      promise.deliver();
  }

  node_actor::behavior_type make_behavior() {
    self_->set_down_handler([this](caf::down_msg& event) { on_down(event); });
    pb::NodeProfile empty;
    describe(empty);
    auto taken = empty.ByteSizeLong() + profile_header_bytes;
    replicas_.limit_profile(home_link::profile_bytes_max - std::min(taken, home_link::profile_bytes_max));
    world_.publish(node_service(options_.name), caf::actor_cast<caf::strong_actor_ptr>(self_));
    home_.start();
    if (contents_)
      look_at_store();
    return {
        [this](const reserve& request) { return desk_.on_reserve(*request); },
        [this](invoke& request) { return desk_.on_invoke(*request); },
        [this](const cancel& request) { desk_.on_cancel(*request); },
        [this](const claim_batch& batch) { return on_claims(*batch); },
        [this](const release_batch& batch) { on_releases(*batch); },
        [this](const prefetch_batch& batch) { on_prefetch(*batch); },
        [this](const process_exited& event) { on_process_exited(event); },
        [this](const drain& request) { return on_drain(*request); },
        [this](stop_atom, caf::timespan limit) { return on_stop(limit); },
    };
  }

private:
  replica::time_point now() const { return self_->clock().now(); }

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
      if (decision.fresh && decision.preempted.empty())
        begin(claim_token{claim.token()});
      else if (decision.fresh)
        preempt(decision.preempted, batch.spec());
      *reply->add_results() = std::move(result);
    }
    if (!fit(*reply, edge_body_max))
      spdlog::error("node.answer_too_large node={} claims={} reason=\"its scheduler claims too many replicas at once\"",
                    options_.name, batch.claims_size());
    return reply;
  }

  /// Makes room for a replica of `app`, which is taken in and starts when the last one has gone.
  void preempt(const std::vector<claim_token>& victims, const pb::AppSpec& app) {
    home_.profile_changed();
    for (auto token : victims) {
      auto victim = replicas_.find(token);
      // What is to go already goes as it was told.
      if (!victim || victim->state == pb::REPLICA_DRAINING || stopping_.count(token) != 0)
        continue;
      auto notice = preempt_notice_of(*victim->spec);
      auto reason = fmt::format("preempted by app {} (priority {} over {}), notice {:g} s", app.name(), app.priority(),
                                victim->spec->priority(), std::chrono::duration<double>(notice).count());
      spdlog::info("node.preempt node={} app={} replica={} token={} reason=\"{}\"", options_.name, victim->spec->name(),
                   victim->index, to_hex(token.value()), reason);
      drain_replica(token, MUTANT(preempted_without_notice) ? milliseconds{0} : notice, reason);
    }
  }

  /// Starts what has waited for replicas that are gone.
  void start_waiting() {
    if (drain_.draining())
      return;
    for (auto token : replicas_.startable())
      if (auto what = replicas_.find(token); what && what->state == pb::REPLICA_CLAIMED) {
        set_state(token, pb::REPLICA_STARTING, "what it waited for has gone, about to start");
        begin(token);
      }
  }

  void begin(claim_token token) {
    home_.profile_changed();
    if (replicas_.find(token)->spec->contents_size() > 0)
      look_at_contents(token);
    else
      begin(token, *replicas_.find(token));
  }

  void begin(claim_token token, const replica& what) {
    auto runner = make_runner(*this, registry_, what);
    if (!runner) {
      replica_failed(token, "the app's spec names no kind that this node knows");
      return;
    }
    runners_[token] = runner;
    if (replicas_.find(token)->member && !std::exchange(looks_at_members_, true))
      look_at_members_later();
    runner->start();
  }

  static bool waits_for_start(const replica& what) {
    return what.state == pb::REPLICA_STARTING || what.state == pb::REPLICA_FETCHING;
  }

  // -- contents that replicas need ---------------------------------------------

  /// What the keeper of contents said at one look.
  struct content_look {
    std::size_t open = 0;
    content_paths paths;
    std::string waits_for;
    std::string failed;
  };

  /// Asks for all contents of a replica: it starts when they are there, and holds them as long as it is here.
  void look_at_contents(claim_token token) {
    auto what = replicas_.find(token);
    if (!what)
      return;
    if (!contents_)
      return replica_failed(token, "the app needs contents, and this node keeps none (store.enabled = false)");
    auto keeper = contents_();
    if (!keeper)
      return look_again(token, "the keeper of contents is being started");
    auto look = std::make_shared<content_look>();
    look->open = static_cast<std::size_t>(what->spec->contents_size());
    auto one_done = [this, token, look] {
      if (--look->open == 0)
        on_contents(token, *look);
    };
    for (auto& content : what->spec->contents())
      self_
          ->request(keeper, caf::timespan{content_answer_timeout},
                    hold_content{token, content, what->spec->stream_content()})
          .then(
              [look, one_done, content](const content_status& status) {
                // Who reads while the files come is told so only when it asked for that.
                if (status.now == content_status::phase::ready || status.now == content_status::phase::streams)
                  look->paths[content.substr(0, content.find('@'))] = {status.path, status.url};
                else if (status.now == content_status::phase::failed)
                  look->failed = status.reason;
                else
                  look->waits_for += (look->waits_for.empty() ? "" : "; ") + status.reason;
                one_done();
              },
              [look, one_done](const caf::error& reason) {
                look->waits_for = "the keeper of contents does not answer: " + error_text(reason);
                one_done();
              });
  }

  void look_again(claim_token token, const std::string& waits_for) {
    auto what = replicas_.find(token);
    if (what && waits_for_start(*what) && (what->state != pb::REPLICA_FETCHING || what->reason != waits_for))
      set_state(token, pb::REPLICA_FETCHING, waits_for);
    self_->run_delayed(content_look_interval, [this, token] { look_at_contents(token); });
  }

  void on_contents(claim_token token, const content_look& look) {
    auto what = replicas_.find(token);
    if (!what)
      return release_contents_of(token);
    auto has_begun = runners_.count(token) != 0;
    auto starts = waits_for_start(*what) && !has_begun;
    if (starts && !look.failed.empty())
      return replica_failed(token, look.failed);
    if (starts && look.waits_for.empty()) {
      if (what->state == pb::REPLICA_FETCHING)
        set_state(token, pb::REPLICA_STARTING, "has its contents, about to start");
      auto ready = *what;
      ready.spec = with_contents(*what->spec, look.paths);
      begin(token, ready);
    } else if (starts) {
      return look_again(token, look.waits_for);
    }
    self_->run_delayed(content_hold_interval, [this, token] { look_at_contents(token); });
  }

  /// What is ready here schedulers may know, for apps that need it.
  void look_at_store() {
    self_->run_delayed(store_look_interval, [this] { look_at_store(); });
    auto keeper = contents_();
    if (!keeper)
      return;
    // Those that came and went since the last look count, too.
    auto answered = desk_.done() + desk_.failed();
    auto worked_on = desk_.running() + static_cast<std::uint32_t>(answered - std::exchange(answered_, answered));
    self_->request(keeper, caf::timespan{content_answer_timeout}, report_atom_v, worked_on)
        .then(
            [this](const held_contents& held) {
              std::vector<std::uint64_t> hashes;
              for (auto& name : held.names)
                hashes.push_back(name_hash(name));
              std::sort(hashes.begin(), hashes.end());
              if (hashes.size() > contents_told_max)
                hashes.resize(contents_told_max);
              if (hashes == held_)
                return;
              held_ = std::move(hashes);
              home_.profile_changed();
            },
            [](const caf::error&) {}); // It is asked again.
  }

  void on_prefetch(const pb::PrefetchBatch& batch) {
    if (batch.epoch() < replicas_.newest_epoch(batch.app()) || drain_.draining())
      return;
    if (auto keeper = contents_ ? contents_() : content_source{})
      self_->send(keeper, prefetch_contents{batch.app(), {batch.contents().begin(), batch.contents().end()}});
  }

  void release_contents_of(claim_token token) {
    if (auto keeper = contents_ ? contents_() : content_source{})
      self_->send(keeper, release_contents{token});
  }

  // -- members of clusters -----------------------------------------------------

  void look_at_members_later() {
    self_->run_delayed(member_look_interval, [this] { look_at_members(); });
  }

  /// Stops heads that nobody may know of any more: elsewhere their clusters are replaced.
  void look_at_members() {
    auto silence = now() - home_.heard();
    auto any = false;
    for (auto token : replicas_.tokens()) {
      auto what = replicas_.find(token);
      if (!what || !what->member)
        continue;
      any = true;
      // A shorter one would end with a Resource that hangs, before another one could be heard.
      auto lease = bounded_ms(what->spec->federation().head_lease_ms());
      if (lease.count() > 0)
        lease = std::max<milliseconds>(lease, options_.home_silence + 2 * options_.heartbeat);
      if (what->head() && lease.count() > 0 && silence >= lease) {
        auto reason = "no Resource was heard from for " + std::to_string(lease.count()) + " ms";
        if (killed_.count(token) == 0)
          spdlog::warn("node.head_lease node={} app={} replica={} token={} reason=\"{}\"", options_.name,
                       what->spec->name(), what->index, to_hex(token.value()), reason);
        stop_replica(token, reason, true);
      }
    }
    looks_at_members_ = any;
    if (any)
      look_at_members_later();
    check_drain();
  }

  /// Members that wait for their successors elsewhere.
  bool hands_over() {
    if (!home_.joined() || now() - drain_began_ >= handover_max)
      return false;
    auto tokens = replicas_.tokens();
    return std::any_of(tokens.begin(), tokens.end(), [this](auto token) { return replicas_.find(token)->member; });
  }

  void on_releases(const pb::ReleaseBatch& batch) {
    for (auto& release : batch.releases()) {
      auto known = replicas_.release(release);
      claim_token token{release.token()};
      auto grace = bounded_ms(release.grace_ms());
      if (known && grace.count() == 0 && replicas_.find(token)->member) {
        if (killed_.count(token) == 0) {
          spdlog::info("node.release node={} app={} replica={} token={} known={} reason=\"{}\"", options_.name,
                       release.app(), release.replica_index(), to_hex(release.token()), known, release.reason());
          set_state(token, pb::REPLICA_DRAINING, release.reason());
          stop_replica(token, release.reason(), true);
        }
        continue;
      }
      if (known && replicas_.find(token)->state == pb::REPLICA_DRAINING) {
        // A release is repeated until its replica is gone; the first one counts.
        if (grace.count() == 0 || desk_.running(token) == 0)
          stop_replica(token, std::string{replicas_.find(token)->reason});
        continue;
      }
      spdlog::info("node.release node={} app={} replica={} token={} known={} reason=\"{}\"", options_.name,
                   release.app(), release.replica_index(), to_hex(release.token()), known, release.reason());
      if (!known)
        continue;
      auto reason = release.reason().empty() ? "released by its scheduler" : release.reason();
      drain_replica(token, grace, reason);
    }
  }

  /// A replica takes no more work and ends when it has none, or after `grace`.
  void drain_replica(claim_token token, milliseconds grace, const std::string& reason) {
    set_state(token, pb::REPLICA_DRAINING, reason);
    if (!MUTANT(released_replica_takes_work))
      desk_.close(*replicas_.find(token));
    if (grace.count() == 0 || desk_.running(token) == 0 || MUTANT(release_kills_work))
      stop_replica(token, reason);
    else
      self_->run_delayed(grace, [this, token, reason] { stop_replica(token, reason); });
  }

  /// Ends a replica, whatever it works on.
  /// @param at_once without asking it.
  void stop_replica(claim_token token, const std::string& reason, bool at_once = false) {
    // A replica that stops at its leisure is told again when the whole node stops.
    if (!replicas_.find(token) || (!stopping_.insert(token).second && !stops_all_ && !at_once))
      return;
    if (at_once && !killed_.insert(token).second)
      return;
    desk_.close(*replicas_.find(token));
    auto grace = at_once ? milliseconds{0} : stops_all_ ? stop_grace_max : release_grace_max;
    self_->run_delayed(grace + (stops_all_ ? stop_patience : release_patience), [this, token] { on_stuck(token); });
    if (auto found = runners_.find(token); found != runners_.end()) {
      auto runner = found->second;
      runner->stop(grace, reason);
    } else {
      replica_stopped(token);
    }
  }

  void on_stuck(claim_token token) {
    if (stopping_.count(token) == 0)
      return;
    spdlog::error("node.replica_stuck node={} token={} reason=\"not gone after its grace, given up\"", options_.name,
                  to_hex(token.value()));
    desk_.give_up(token, "the replica was stopped and could not be ended");
    replica_stopped(token);
  }

  // -- what runners tell -----------------------------------------------------

  node_actor::pointer self() override { return self_; }

  platform& world() override { return world_; }

  process_key new_process(claim_token token) override {
    process_key key{++last_process_};
    processes_[key] = token;
    return key;
  }

  void replica_located(claim_token token, std::string host, std::vector<pb::NamedPort> ports) override {
    replicas_.set_location(token, std::move(host), std::move(ports));
    home_.profile_changed();
  }

  void replica_warming(claim_token token, std::string reason) override {
    auto what = replicas_.find(token);
    if (!what || (what->state != pb::REPLICA_STARTING && what->state != pb::REPLICA_READY))
      return;
    if (what->state == pb::REPLICA_READY)
      spdlog::warn("node.replica_unready node={} app={} replica={} token={} reason=\"{}\"", options_.name,
                   what->spec->name(), what->index, to_hex(token.value()), reason);
    desk_.close(*what);
    set_state(token, pb::REPLICA_WARMING, std::move(reason));
  }

  void replica_ready(claim_token token) override {
    auto what = replicas_.find(token);
    if (!what || (what->state != pb::REPLICA_STARTING && what->state != pb::REPLICA_WARMING))
      return;
    spdlog::info("node.replica_ready node={} app={} replica={} token={}", options_.name, what->spec->name(),
                 what->index, to_hex(token.value()));
    set_state(token, pb::REPLICA_READY, "");
    if (what->takes_requests())
      desk_.open(*what);
  }

  void replica_crashed(claim_token token, std::string reason) override {
    auto what = still_wanted(token);
    if (!what)
      return;
    auto delay = replicas_.crashed(token, reason, now(), random_);
    spdlog::warn("node.replica_crash node={} app={} replica={} token={} state=\"{}\" reason=\"{}\"", options_.name,
                 what->spec->name(), what->index, to_hex(token.value()), replica_state_text(what->state), what->reason);
    home_.profile_changed();
    if (delay && !MUTANT(crashed_replica_not_restarted))
      self_->run_delayed(*delay, [this, token] { start_again(token); });
  }

  void start_again(claim_token token) {
    auto what = replicas_.find(token);
    if (!what || what->state != pb::REPLICA_BACKING_OFF || drain_.draining())
      return;
    set_state(token, pb::REPLICA_STARTING, "starts again after: " + what->reason);
    auto runner = runners_.at(token);
    runner->start();
  }

  void replica_failed(claim_token token, std::string reason) override {
    auto what = still_wanted(token);
    if (!what)
      return;
    spdlog::warn("node.replica_failed node={} app={} replica={} token={} reason=\"{}\"", options_.name,
                 what->spec->name(), what->index, to_hex(token.value()), reason);
    set_state(token, pb::REPLICA_FAILED, std::move(reason));
  }

  /// Takes a replica that ended out of rotation.
  /// @returns nullptr when it was to go anyway: then it is gone, or goes after its last work.
  const replica* still_wanted(claim_token token) {
    auto what = replicas_.find(token);
    // It is stopped when the rest of its work has ended.
    if (what && what->state == pb::REPLICA_DRAINING && stopping_.count(token) == 0 && desk_.running(token) > 0)
      return nullptr;
    if (what && (what->state == pb::REPLICA_DRAINING || stopping_.count(token) != 0)) {
      replica_stopped(token);
      return nullptr;
    }
    // Work that the rest of it still does keeps its slots when it starts again.
    if (what && MUTANT(work_forgotten_on_restart))
      desk_.remove(*what);
    else if (what && !MUTANT(crashed_replica_takes_work))
      desk_.close(*what);
    return what;
  }

  void replica_stopped(claim_token token) override {
    auto what = replicas_.find(token);
    if (!what)
      return;
    spdlog::info("node.replica_gone node={} app={} replica={} token={}", options_.name, what->spec->name(), what->index,
                 to_hex(token.value()));
    desk_.remove(*what);
    if (what->spec->contents_size() > 0)
      release_contents_of(token);
    std::erase_if(processes_, [token](auto& entry) { return entry.second == token; });
    stopping_.erase(token);
    killed_.erase(token);
    runners_.erase(token);
    replicas_.erase(token);
    if (!MUTANT(gone_replica_shown))
      home_.profile_changed();
    start_waiting();
    check_drain();
  }

  void work_done(attempt_id attempt, pb::InvokeReply result) override { desk_.on_done(attempt, std::move(result)); }

  void set_state(claim_token token, pb::ReplicaState state, std::string reason) {
    replicas_.set_state(token, state, std::move(reason), now());
    home_.profile_changed();
  }

  void on_process_exited(const process_exited& event) {
    auto process = processes_.find(event.key);
    if (process == processes_.end())
      return;
    auto found = runners_.find(process->second);
    processes_.erase(process);
    if (found == runners_.end())
      return;
    auto runner = found->second;
    runner->on_exited(event);
  }

  void on_down(const caf::down_msg& event) {
    if (home_.on_down(event.source) || desk_.on_down(event.source))
      return;
    auto runners = runners_;
    for (auto& entry : runners)
      entry.second->on_down(event);
  }

  // -- drain and end ---------------------------------------------------------

  drain_reply on_drain(const pb::Drain& request) {
    drain_reply reply;
    reply->set_running(desk_.running());
    reply->set_queued(desk_.queued());
    begin_drain(request.reason().empty() ? "asked by an operator" : request.reason());
    return reply;
  }

  caf::result<void> on_stop(caf::timespan limit) {
    auto promise = self_->make_response_promise<void>();
    stop_promises_.push_back(promise);
    begin_drain("the process stops");
    limit = std::clamp<caf::timespan>(limit, caf::timespan{0}, std::chrono::hours{24});
    drain_.stop_by(now() + limit);
    self_->run_delayed(limit, [this] { check_drain(); });
    check_drain();
    return promise;
  }

  void begin_drain(const std::string& reason) {
    if (!drain_.begin(reason))
      return;
    spdlog::info("node.drain node={} running={} queued={} reason=\"{}\"", options_.name, desk_.running(),
                 desk_.queued(), reason);
    drain_began_ = now();
    replicas_.drain(reason);
    desk_.drain(reason);
    home_.beat();
  }

  void on_work_ended() {
    for (auto token : replicas_.tokens()) {
      auto what = replicas_.find(token);
      if (what && what->state == pb::REPLICA_DRAINING && stopping_.count(token) == 0 && desk_.running(token) == 0)
        stop_replica(token, std::string{what->reason});
    }
    check_drain();
  }

  void check_drain() {
    // Without a successor elsewhere a head would take requests for ever, and lose those of its last moment.
    if (drain_.stopping() && now() - drain_began_ >= handover_max)
      desk_.close_heads();
    if (drain_.leave((desk_.idle() && !hands_over()) || drain_.out_of_time(now()) || MUTANT(node_leaves_with_work))) {
      spdlog::info("node.leave node={} unfinished={}", options_.name, desk_.running());
      desk_.close_heads();
      home_.leave([this] { stop_all(); });
    }
    if (stops_all_ && replicas_.empty())
      for (auto& promise : std::exchange(stop_promises_, {}))
        promise.deliver();
  }

  void stop_all() {
    stops_all_ = true;
    for (auto token : replicas_.tokens())
      stop_replica(token, "the node stops: " + drain_.reason());
    check_drain();
  }

  void on_fenced(const std::string& resource) {
    auto reason = "Resource " + resource + " knows a newer incarnation of node '" + options_.name
                  + "'; is another process running under this name?";
    spdlog::error("node.fenced node={} incarnation={} reason=\"{}\"", options_.name, incarnation_.value(), reason);
    self_->quit(caf::make_error(errc::fenced, std::move(reason)));
  }

  // -- what the home is told -------------------------------------------------

  void describe(pb::Heartbeat& beat) {
    auto& load = *beat.mutable_load();
    load = meter_.report(world_.machine().sample(), now());
    load.set_queued(desk_.queued());
    load.set_requests_done(desk_.done());
    load.set_requests_failed(desk_.failed());
    beat.set_draining(drain_.draining() && !MUTANT(drain_not_told));
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
    auto taints = options_.taints;
    std::sort(taints.begin(), taints.end());
    for (auto& taint : taints) {
      auto& entry = *profile.add_taints();
      std::tie(*entry.mutable_key(), *entry.mutable_value()) = split_taint(taint);
    }
    for (auto& status : replicas_.describe(now()))
      *profile.add_replicas() = std::move(status);
    for (auto hash : held_)
      profile.add_contents(hash);
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
  std::uint64_t last_process_;
  random_source random_;
  std::function<content_source()> contents_;
  /// Hashes of the names of what is ready, sorted.
  std::vector<std::uint64_t> held_;
  load_meter meter_;
  drain_state drain_;
  replica_set replicas_;
  runner_map runners_;
  std::map<process_key, claim_token> processes_;
  /// Replicas whose runner was told to stop.
  std::set<claim_token> stopping_;
  /// Those of them that were not asked.
  std::set<claim_token> killed_;
  request_desk desk_;
  /// Requests, at the last look at the store.
  std::uint64_t answered_ = 0;
  std::vector<caf::typed_response_promise<void>> stop_promises_;
  /// The node has said goodbye and ends its replicas.
  bool stops_all_ = false;
  replica::time_point drain_began_{};
  /// A look at members is due.
  bool looks_at_members_ = false;
  home_link home_;
};

} // namespace

node_actor spawn_node(caf::actor_system& sys, platform& world, const node_options& options, const app_registry& apps,
                      std::function<content_source()> contents) {
  return sys.spawn<node_actor::stateful_impl<node_state>>(std::ref(world), options, std::cref(apps),
                                                          std::move(contents));
}

} // namespace astra
