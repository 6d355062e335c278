#include "actors/resource/resource.hpp"

#include "actors/mutant.hpp"
#include "actors/random.hpp"
#include "actors/resource/accusation_list.hpp"
#include "actors/resource/aggregated_members.hpp"
#include "actors/resource/claim_table.hpp"
#include "actors/resource/event_desk.hpp"
#include "actors/resource/hearing.hpp"
#include "actors/resource/lease.hpp"
#include "actors/resource/mass_loss.hpp"
#include "actors/resource/member_table.hpp"
#include "actors/resource/node_facts.hpp"
#include "actors/resource/node_pages.hpp"
#include "actors/resource/part_collector.hpp"
#include "actors/resource/quota_book.hpp"
#include "actors/resource/scheduler_table.hpp"
#include "actors/resource/shard_log.hpp"
#include "actors/resource/subscriber_watch.hpp"
#include "actors/resource/view_feed.hpp"
#include "actors/resource/view_keeper.hpp"
#include "actors/resource/view_report.hpp"
#include "messages/group.hpp"
#include "messages/node_protocol.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/string_view.hpp>
#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/gauge.hpp>
#include <caf/telemetry/label_view.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace astra {
namespace {

static_assert(std::string_view{main_group} == default_group);

using std::chrono::milliseconds;
using time_point = std::chrono::steady_clock::time_point;

constexpr milliseconds redial_min{100};
constexpr milliseconds redial_max{2000};
/// A node that others cannot reach has so long to answer its home.
constexpr milliseconds probe_patience{300};
/// Subscribers that a report names.
constexpr std::size_t reported_subscribers = 8;

struct resource_metrics {
  resource_metrics(caf::telemetry::metric_registry& registry, const std::string& name) {
    const std::initializer_list<caf::telemetry::label_view> labels{{"resource", name}};
    auto gauge = [&](caf::string_view what, caf::string_view help) {
      return registry.gauge_instance("astra.resource", what, labels, help);
    };
    auto counter = [&](caf::string_view what, caf::string_view help) {
      return registry.counter_instance("astra.resource", what, labels, help, "1", true);
    };
    view_age =
        registry.gauge_instance<double>("astra.resource", "view-age", labels,
                                        "Since the last delta of the shard whose last delta is the oldest.", "seconds");
    nodes = gauge("nodes", "Nodes at home here that are not offline.");
    subscribers = gauge("subscribers", "Processes that get view deltas from here.");
    behind = gauge("subscribers-behind", "Processes that miss deltas until they acknowledge what they got.");
    unread = gauge("unread-milliseconds", "How long what others sent may have been waiting to be read here.");
    heartbeats = counter("heartbeats", "Heartbeats of nodes that were recorded.");
    evicted = counter("nodes-evicted", "Nodes that went offline, for silence or with a goodbye.");
    diverged = counter("shards-diverged", "Shards of peers that were not what their origin said; should be 0.");
    deltas = counter("deltas", "Deltas of the own shard.");
    granted = counter("claims-granted", "Claims that a node confirmed.");
    refused = counter("claims-refused", "Claims that were answered with anything else.");
  }

  caf::telemetry::dbl_gauge* view_age;
  caf::telemetry::int_gauge* nodes;
  caf::telemetry::int_gauge* subscribers;
  caf::telemetry::int_gauge* behind;
  caf::telemetry::int_gauge* unread;
  caf::telemetry::int_counter* heartbeats;
  caf::telemetry::int_counter* evicted;
  caf::telemetry::int_counter* diverged;
  caf::telemetry::int_counter* deltas;
  caf::telemetry::int_counter* granted;
  caf::telemetry::int_counter* refused;
};

/// What a subscriber leaves out, for the log; empty: nothing.
std::string filter_text(const pb::ViewFilter& filter) {
  std::string result;
  for (auto& app : filter.apps())
    result += (result.empty() ? " apps=" : ",") + app;
  for (auto& label : filter.labels())
    result += " label=" + label.key() + "=" + label.value();
  return result;
}

/// Another Resource.
struct peer {
  std::string address;
  /// Null while there is no session.
  caf::strong_actor_ptr handle;
  /// None until it said so.
  resource_id id;
  std::string name;
  lease seen;
  /// It is this Resource itself.
  bool self = false;
  /// Has this Resource's name, and that was logged.
  bool namesake = false;
  /// Is of another group, and that was logged.
  bool stranger = false;
  bool dialing = false;
  /// A request for what was missed is under way.
  bool resyncing = false;
  part_collector parts;
  milliseconds backoff = redial_min;
  time_point next_dial;
  /// To be passed on with the next subscription.
  accusation_list accused;
};

class resource_state {
public:
  static constexpr const char* name = "astra.resource";

  resource_state(resource_actor::pointer self, platform* world, const resource_options& options)
    : self_(self), world_(*world), options_(options), id_(make_resource_id(options.name)),
      incarnation_(world->next_incarnation()), random_(world->seed("resource")),
      metrics_(self->system().metrics(), options.name),
      log_(id_, options.name, incarnation_.value(), options.suspect_after + options.sweep, options.group),
      events_(self, *world, id_, options.name, incarnation_.value(), options.events_kept),
      watch_(id_, incarnation_.value(), options.peer_timeout),
      members_(log_, {options.suspect_after, options.evict_after}, options.forget_after), hearing_(options.sweep),
      losses_(2 * options.evict_after),
      schedulers_(log_, {options.suspect_after, options.evict_after}, options.forget_after),
      claims_(options.claim_timeout), keeper_({options.orphan_grace, options.forget_after}),
      evidence_(keeper_.view(), id_),
      quotas_(id_, options.name, incarnation_.value(), options.quotas, self->clock().now()),
      subscribers_(self, keeper_, id_, {options.view_chunk_bytes, options.peer_timeout}) {
    for (auto& address : options_.peers)
      if (address != world_.address())
        peers_.emplace_back().address = address;
  }

  /// Runs before anybody hears of the actor's end, so it cannot withdraw a successor.
  ~resource_state() { world_.withdraw(resource_service); }

  resource_actor::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    world_.publish(resource_service, caf::actor_cast<caf::strong_actor_ptr>(self_));
    events_.started();
    started_ = last_sweep_ = last_sent_ = last_renewal_ = now();
    auto beginning = log_.beginning();
    view_changes changes;
    keeper_.accept(beginning, now(), changes);
    dial_peers();
    self_->run_delayed(options_.sweep, [this] { sweep(); });
    return {
        [this](const subscribe& request) { return on_subscribe(*request); },
        [this](const heartbeat& beat) { return on_heartbeat(*beat); },
        [this](const profile_update& update) { return on_profile(*update); },
        [this](const beat_batch& batch) { return on_beat_batch(*batch); },
        [this](const scheduler_beat& beat) { return on_scheduler_beat(*beat); },
        [this](const claim_batch& batch) { return on_claims(*batch); },
        [this](const release_batch& batch) { on_release(*batch); },
        [this](const prefetch_batch& batch) { on_prefetch(*batch); },
        [this](const view_delta& delta) { on_peer_delta(*delta); },
        [this](const event_query& query) { return events_.answer(*query); },
        [this](const node_query& query) { return node_page{list_nodes(keeper_.view(), *query, now())}; },
        [this](const report_query&) { return on_report(); },
    };
  }

private:
  time_point now() const { return self_->clock().now(); }

  // -- membership --------------------------------------------------------------

  caf::result<heartbeat_ack> on_heartbeat(const pb::Heartbeat& beat) {
    auto ack = record(beat);
    arm();
    return heartbeat_ack{std::move(ack)};
  }

  /// A whole beat of a node, which is reached through whoever sent it.
  pb::HeartbeatAck record(const pb::Heartbeat& beat) {
    node_id node{beat.node()};
    auto ack = acknowledgement();
    auto elsewhere = keeper_.view().find(node);
    if (elsewhere && elsewhere->origin != id_) {
      // It has moved on meanwhile, and this beat was long on its way; or this is its forerunner.
      auto& row = elsewhere->row;
      ack.set_fenced(row.incarnation() > beat.incarnation());
      if (std::tuple{row.incarnation(), row.home_epoch()} > std::tuple{beat.incarnation(), beat.home_epoch()}
          && !MUTANT(moved_node_taken_back))
        return ack;
    }
    auto verdict = members_.record(beat, now());
    ack.set_fenced(verdict.fenced);
    ack.set_profile_version(verdict.profile_version);
    if (verdict.accepted) {
      metrics_.heartbeats->inc();
      if (elsewhere && elsewhere->origin != id_)
        events_.arrived(beat, *elsewhere, resource_name(elsewhere->origin));
      know_node(node, self_->current_sender());
      if (verdict.fresh && claims_.drop(node))
        members_.hold(node, claims_.held(node));
      if (verdict.change)
        report(*verdict.change);
    } else if (verdict.fenced) {
      spdlog::warn("resource.fence node={} incarnation={} newer={}", node_name(node), beat.incarnation(),
                   members_.find(node)->incarnation());
      events_.fenced(node, node_name(node), beat.incarnation(), members_.find(node)->incarnation());
    }
    return ack;
  }

  caf::result<beat_batch_ack> on_beat_batch(const pb::BeatBatch& batch) {
    auto sender = self_->current_sender();
    if (!sender)
      return caf::make_error(errc::invalid_argument, "a batch needs a sender");
    auto address = caf::actor_cast<caf::actor_addr>(sender);
    auto [found, fresh] = aggregators_.try_emplace(address);
    auto& from = found->second;
    if (fresh) {
      from.name = batch.aggregator();
      self_->monitor(sender);
      spdlog::info("resource.aggregator aggregator={}", from.name);
    }
    from.seen.renew(now());
    from.silence = std::max(milliseconds{4 * std::uint64_t{std::min(batch.tick_ms(), 60'000U)}}, options_.heartbeat);
    pb::BeatBatchAck ack;
    ack.set_resource(id_.value());
    ack.set_resource_incarnation(incarnation_.value());
    for (auto& member : batch.members()) {
      if (member.slot() == 0 || member.slot() > aggregated_members::slots_max)
        continue;
      auto& beat = member.beat();
      node_id node{beat.node()};
      auto word = record(beat);
      auto& told = *ack.add_words();
      told.set_slot(member.slot());
      told.set_profile_version(word.profile_version());
      told.set_fenced(word.fenced());
      auto row = members_.find(node);
      // Not when a newer life of it is at home here: that one speaks for itself.
      if (row && row->incarnation() == beat.incarnation() && row->home_epoch() == beat.home_epoch())
        from.members.introduce(member.slot(), {node, log_.slot(node), beat.incarnation(), beat.home_epoch()});
    }
    auto outcome = from.members.hear(batch, members_, log_, now());
    metrics_.heartbeats->inc(static_cast<std::int64_t>(outcome.heard));
    for (auto slot : outcome.unknown)
      ack.add_unknown(slot);
    for (auto& change : outcome.changes)
      report(change);
    arm();
    return beat_batch_ack{std::move(ack)};
  }

  /// Its nodes turn to another home, which takes them a moment that must not count as their silence.
  void lose_aggregator(const caf::actor_addr& address, const std::string& reason) {
    auto gone = aggregators_.extract(address);
    auto& aggregator = gone.mapped();
    auto members = aggregator.members.all(log_);
    spdlog::warn("resource.aggregator_lost aggregator={} nodes={} reason=\"{}\"", aggregator.name, members.size(),
                 reason);
    self_->demonitor(address);
    for (auto& who : members) {
      if (!MUTANT(aggregator_takes_its_nodes_along))
        members_.wait_longer(who.row, now());
      auto handle = node_handles_.find(who.node);
      if (handle == node_handles_.end() || handle->second != address)
        continue;
      node_handles_.erase(handle);
      fail_forwards(who.node, "the connection to its aggregator closed");
    }
  }

  caf::result<heartbeat_ack> on_profile(const pb::ProfileUpdate& update) {
    node_id node{update.profile().node()};
    auto row = members_.find(node);
    auto joins = row && !row->has_profile();
    auto verdict = members_.record(update, now());
    if (verdict.accepted && joins) {
      spdlog::info("resource.join node={} address={} incarnation={}", update.profile().name(),
                   update.profile().address(), update.profile().incarnation());
      events_.joined(update.profile());
    }
    if (verdict.accepted && claims_.settle(node, update.profile()))
      members_.hold(node, claims_.held(node));
    auto ack = acknowledgement();
    ack.set_fenced(verdict.fenced);
    ack.set_profile_version(verdict.profile_version);
    arm();
    return heartbeat_ack{std::move(ack)};
  }

  caf::result<heartbeat_ack> on_scheduler_beat(const pb::SchedulerBeat& beat) {
    scheduler_id scheduler{beat.scheduler()};
    auto ack = acknowledgement();
    auto elsewhere = keeper_.view().find_scheduler(scheduler);
    if (elsewhere && elsewhere->origin != id_ && elsewhere->row.incarnation() > beat.incarnation()) {
      ack.set_fenced(true);
      return heartbeat_ack{std::move(ack)};
    }
    auto verdict = schedulers_.record(without_taken_apps(beat, keeper_.view()), now());
    ack.set_fenced(verdict.fenced);
    auto sender = self_->current_sender();
    if (verdict.accepted && sender && scheduler_handles_[scheduler] != sender) {
      forget_scheduler(scheduler);
      scheduler_handles_[scheduler] = sender;
      self_->monitor(sender);
    }
    arm();
    return heartbeat_ack{std::move(ack)};
  }

  pb::HeartbeatAck acknowledgement() const {
    pb::HeartbeatAck ack;
    ack.set_resource(id_.value());
    ack.set_resource_incarnation(incarnation_.value());
    return ack;
  }

  /// Remembers through whom the node is reached.
  void know_node(node_id node, const caf::strong_actor_ptr& handle) {
    auto& known = node_handles_[node];
    if (!handle || known == handle)
      return;
    if (known)
      forget_handle(known);
    known = handle;
    auto address = caf::actor_cast<caf::actor_addr>(handle);
    if (aggregators_.count(address) != 0)
      return; // watched once, for all of its nodes
    nodes_by_handle_[address] = node;
    self_->monitor(handle);
  }

  void forget_node(node_id node) {
    auto found = node_handles_.find(node);
    if (found == node_handles_.end())
      return;
    forget_handle(found->second);
    node_handles_.erase(found);
  }

  void forget_handle(const caf::strong_actor_ptr& handle) {
    auto address = caf::actor_cast<caf::actor_addr>(handle);
    if (aggregators_.count(address) != 0)
      return;
    nodes_by_handle_.erase(address);
    self_->demonitor(address);
  }

  void forget_scheduler(scheduler_id scheduler) {
    auto found = scheduler_handles_.find(scheduler);
    if (found == scheduler_handles_.end())
      return;
    if (found->second)
      self_->demonitor(caf::actor_cast<caf::actor_addr>(found->second));
    scheduler_handles_.erase(found);
  }

  /// Nodes that others report with a later home are theirs now.
  /// @returns false when there are none.
  bool drop_moved(const view_changes& changes) {
    auto moved = false;
    for (auto node : changes.nodes) {
      // First what says no of nearly all: a peer's nodes are seldom known here.
      auto own = members_.find(node);
      auto shown = own ? keeper_.view().find(node) : nullptr;
      if (!own || !shown || shown->origin == id_
          || std::tuple{own->incarnation(), own->home_epoch()}
                 >= std::tuple{shown->row.incarnation(), shown->row.home_epoch()}
          || MUTANT(moved_node_kept))
        continue;
      spdlog::info("resource.moved node={} to={}", node_name(node), resource_name(shown->origin));
      claims_.drop(node);
      members_.moved_away(node);
      forget_node(node);
      moved = true;
    }
    return moved;
  }

  /// A scheduler process that fell silent here and speaks elsewhere, or started anew there, is theirs now.
  void drop_moved_schedulers() {
    for (auto& [scheduler, shown] : keeper_.view().schedulers()) {
      auto own = log_.find(scheduler);
      if (!own || shown.origin == id_)
        continue;
      auto later = shown.row.incarnation() > own->incarnation();
      auto answers_there = shown.row.incarnation() == own->incarnation() && own->liveness() != pb::LIVENESS_ONLINE
                           && shown.row.liveness() == pb::LIVENESS_ONLINE;
      if (!later && !answers_there)
        continue;
      spdlog::info("resource.moved scheduler={} to={}", own->name(), resource_name(shown.origin));
      schedulers_.moved_away(scheduler);
      forget_scheduler(scheduler);
    }
  }

  void report(const transition& change) {
    auto after = change.after;
    if (after == pb::LIVENESS_OFFLINE) {
      metrics_.evicted->inc();
      claims_.drop(change.node);
      members_.hold(change.node, {});
    }
    events_.changed(change, node_name(change.node));
    if (change.before == pb::LIVENESS_UNKNOWN && after == pb::LIVENESS_ONLINE)
      return; // its first profile is the join that operators see, by name
    const char* event = after == pb::LIVENESS_OFFLINE    ? "offline"
                        : after == pb::LIVENESS_SUSPECT  ? "suspect"
                        : after == pb::LIVENESS_DRAINING ? "draining"
                                                         : "online";
    spdlog::info("resource.{} node={} reason=\"{}\"", event, node_name(change.node), change.reason);
  }

  void on_down(const caf::down_msg& down) {
    if (aggregators_.count(down.source) != 0)
      lose_aggregator(down.source, "the connection closed");
    if (auto found = nodes_by_handle_.find(down.source); found != nodes_by_handle_.end()) {
      auto node = found->second;
      nodes_by_handle_.erase(found);
      node_handles_.erase(node);
      if (auto change = members_.connection_closed(node, now()))
        report(*change);
      fail_forwards(node, "the connection to the node closed");
    }
    for (auto entry = scheduler_handles_.begin(); entry != scheduler_handles_.end();) {
      if (entry->second == down.source) {
        schedulers_.connection_closed(entry->first, now());
        entry = scheduler_handles_.erase(entry);
      } else {
        ++entry;
      }
    }
    if (auto subscriber = subscribers_.remove(down.source); !subscriber.empty())
      spdlog::info("resource.unsubscribe subscriber={} reason=\"connection closed\"", subscriber);
    for (auto& other : peers_)
      if (other.handle == down.source)
        lose_peer(other, "connection closed");
    arm();
  }

  /// Everything that waits for time to pass.
  void sweep() {
    self_->run_delayed(options_.sweep, [this] { sweep(); });
    auto late = std::chrono::nanoseconds{now() - last_sweep_ - options_.sweep};
    last_sweep_ = now();
    if (late > options_.sweep && !MUTANT(observer_sleep_not_forgiven)) {
      // Whoever did not listen distrusts itself first.
      spdlog::warn("resource.late late_ms={}", std::chrono::duration_cast<milliseconds>(late).count());
      members_.extend_leases(late, now());
      schedulers_.extend_leases(late, now());
      subscribers_.extend_leases(late, now());
      keeper_.extend_grace(late, now());
      for (auto& other : peers_)
        other.seen.extend(late, now());
      for (auto& [address, aggregator] : aggregators_)
        aggregator.seen.extend(late, now());
    }
    auto listened = listen();
    sweep_aggregators(listened);
    if (losses_doubted(listened))
      members_.extend_leases(options_.sweep, now());
    for (auto& change : members_.sweep(listened))
      report(change);
    std::erase_if(probed_, [this](auto& entry) { return now() - entry.second >= options_.heartbeat; });
    for (auto node : members_.take_forgotten())
      forget_node(node);
    schedulers_.sweep(listened);
    drop_moved_schedulers();
    for (auto node : claims_.expire(now()))
      members_.hold(node, claims_.held(node));
    for (auto& subscriber : subscribers_.drop_silent(options_.peer_timeout, listened))
      spdlog::info("resource.unsubscribe subscriber={} reason=\"no renewal for {} ms\"", subscriber,
                   options_.peer_timeout.count());
    sweep_peers(listened);
    view_changes changes;
    for (auto& edit : keeper_.expire(listened, changes)) {
      spdlog::info("resource.orphans origin={} offline={} removed={}", edit.origin_name(), edit.nodes_size(),
                   edit.removed_nodes_size());
      events_.orphaned(edit, keeper_.view());
      subscribers_.send(std::move(edit), now());
    }
    if (now() - last_sent_ >= options_.heartbeat) {
      auto still_here = log_.keep_alive();
      take_in(still_here);
      subscribers_.send(std::move(still_here), now());
    }
    metrics_.view_age->value(oldest_shard_s());
    metrics_.nodes->value(static_cast<std::int64_t>(members_.alive()));
    metrics_.subscribers->value(static_cast<std::int64_t>(subscribers_.size()));
    metrics_.behind->value(static_cast<std::int64_t>(subscribers_.behind()));
    arm();
  }

  void sweep_aggregators(time_point listened) {
    // By name: addresses have no order that is the same in every run.
    std::map<std::string, caf::actor_addr> silent;
    for (auto& [address, aggregator] : aggregators_)
      if (aggregator.seen.silence(listened) >= aggregator.silence)
        silent[aggregator.name] = address;
    for (auto& [name, address] : silent)
      lose_aggregator(address, "silent for " + std::to_string(aggregators_[address].silence.count()) + " ms");
  }

  /// Many nodes are silent at once, and so are the peers: it may be this Resource that hears nothing.
  bool losses_doubted(time_point listened) {
    auto due = members_.due_to_evict(listened);
    std::size_t known = 0;
    std::size_t answering = 0;
    for (auto& other : peers_) {
      if (!other.id || other.self)
        continue;
      ++known;
      if (other.handle && other.seen.silence(now()) < 2 * options_.heartbeat)
        ++answering;
    }
    auto doubted = losses_.doubted(due, members_.alive(), known, answering, now()) && !MUTANT(deaf_resource_evicts);
    if (doubted && !std::exchange(doubting_, true))
      spdlog::warn("resource.doubt silent={} of={} peers_heard={} reason=\"so many at once: this Resource may hear "
                   "nobody, and waits for a peer to say otherwise\"",
                   due, members_.alive(), answering);
    else if (!doubted)
      doubting_ = false;
    return doubted;
  }

  /// The moment as of which silence counts.
  time_point listen() {
    auto unread = world_.unread();
    auto was_deaf = hearing_.deaf();
    auto result = hearing_.listened_until(now(), unread);
    auto unread_ms = std::chrono::duration_cast<milliseconds>(unread).count();
    metrics_.unread->value(unread_ms);
    if (hearing_.deaf() && !was_deaf)
      spdlog::warn("resource.deaf unread_ms={} reason=\"this machine is short of CPU time: what nodes send waits, and "
                   "silence counts only as far as it was read\"",
                   unread_ms);
    else if (!hearing_.deaf() && was_deaf)
      spdlog::info("resource.hears unread_ms={}", unread_ms);
    return MUTANT(unread_beats_count_as_silence) ? now() : result;
  }

  /// Somebody cannot reach nodes.  Their home asks them, once for all who complain, and all routers learn what comes of
  /// it.
  void on_accused(const pb::Subscribe& request) {
    auto passed_on = request.scope() == pb::Subscribe::OWN_SHARD;
    auto count = std::min<int>(request.accusations_size(), accusation_list::most);
    for (auto i = 0; i < count; ++i) {
      auto& what = request.accusations(i);
      node_id node{what.node()};
      if (auto row = members_.find(node)) {
        probe(what, *row, passed_on ? "" : request.subscriber());
      } else if (auto shown = keeper_.view().find(node); shown && !passed_on) {
        auto told = what;
        told.set_reason(request.subscriber() + ": " + what.reason());
        for (auto& other : peers_)
          if (other.handle && other.id == shown->origin)
            other.accused.add(told);
      }
    }
    for (std::size_t i = 0; i < peers_.size(); ++i)
      accuse(i);
  }

  void accuse(std::size_t i) {
    auto& other = peers_[i];
    if (!other.handle)
      return other.accused.clear();
    if (other.accused.wait(now()) == milliseconds{0})
      renew_at(other, false);
    if (auto wait = other.accused.begin_to_wait(now()))
      self_->run_delayed(*wait, [this, i] {
        peers_[i].accused.waited();
        accuse(i);
      });
  }

  /// @param accuser Empty: the reason says who it is.
  void probe(const pb::Accusation& what, const node_row& row, const std::string& accuser) {
    node_id node{what.node()};
    auto handle = node_handles_.find(node);
    auto& last = probed_[node];
    if (row.incarnation() != what.incarnation() || row.liveness() != pb::LIVENESS_ONLINE
        || handle == node_handles_.end() || (last != time_point{} && now() - last < options_.heartbeat)
        || MUTANT(accusation_ignored))
      return;
    last = now();
    auto reason = accusation_list::clean((accuser.empty() ? "" : accuser + ": ") + what.reason());
    // An aggregator has other things to do, too.
    auto patience =
        aggregators_.count(caf::actor_cast<caf::actor_addr>(handle->second)) != 0 ? 2 * probe_patience : probe_patience;
    spdlog::info("resource.probe node={} reason=\"{}\"", node_name(node), reason);
    pb::ClaimBatch question;
    question.set_node(node.value());
    self_->request(caf::actor_cast<placement_sink>(handle->second), patience, claim_batch{std::move(question)})
        .then([](const claim_reply&) {},
              [this, node, patience, reason = std::move(reason), asked = now()](const caf::error& why) {
                // A connection that ends tells so itself.
                if (why == caf::sec::request_timeout)
                  on_probe_unanswered(node, asked, patience, reason);
              });
  }

  void on_probe_unanswered(node_id node, time_point asked, milliseconds patience, const std::string& why) {
    // Whoever was late itself, or has much to read, may have the answer before it.
    if (now() - asked > patience + options_.sweep || world_.unread() > patience / 3)
      return;
    auto reason =
        "cannot be reached by " + why + ", nor did it answer within " + std::to_string(patience.count()) + " ms";
    if (auto change = members_.accused(node, asked, std::move(reason), now()))
      report(*change);
    arm();
  }

  // -- the view ----------------------------------------------------------------

  caf::result<subscribe_ack> on_subscribe(const pb::Subscribe& request) {
    auto who = self_->current_sender();
    if (!who)
      return caf::make_error(errc::invalid_argument, "a subscription needs a sender");
    if (subscribers_.renew(who, request, now()))
      spdlog::info("resource.subscribe subscriber={} resync={}{}", request.subscriber(), request.resync(),
                   filter_text(request.filter()));
    watch_.renewed(request, now());
    on_accused(request);
    pb::SubscribeAck ack;
    if (request.scope() == pb::Subscribe::OWN_SHARD)
      quotas_.answer(make_resource_id(request.subscriber()), request, evidence_, now(), ack);
    ack.set_resource(id_.value());
    ack.set_resource_name(options_.name);
    ack.set_resource_incarnation(incarnation_.value());
    ack.set_group(group_on_wire(options_.group));
    for (auto& [origin, shard] : keeper_.view().shards()) {
      if (request.scope() == pb::Subscribe::OWN_SHARD && origin != id_)
        continue;
      auto& version = *ack.add_shards();
      version.set_origin(origin.value());
      version.set_epoch(shard.epoch);
      version.set_version(shard.version);
    }
    return subscribe_ack{std::move(ack)};
  }

  resource_report on_report() {
    pb::ResourceReport report;
    report.set_resource(id_.value());
    report.set_name(options_.name);
    report.set_group(options_.group);
    report.set_incarnation(incarnation_.value());
    report.set_uptime_ms(
        static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(now() - started_).count()));
    report_shards(keeper_.view(), now(), report);
    for (auto& [node, row] : keeper_.view().rows(id_)->nodes)
      if (auto shown = keeper_.view().find(node); shown != nullptr && shown->origin == id_)
        add_to(*report.mutable_at_home(), keeper_.view(), *shown);
    report.set_subscribers(subscribers_.size());
    for (auto& one : watch_.slowest(reported_subscribers, now()))
      *report.add_slowest() = std::move(one);
    report.set_last_event(events_.last());
    for (auto& quota : quotas_.report(evidence_, now()))
      *report.add_quotas() = std::move(quota);
    return resource_report{std::move(report)};
  }

  /// Sees to it that what waits in the log leaves within its tick; nothing ticks while nothing changes.
  void arm() {
    const std::array<milliseconds, stream_count> ticks{options_.liveness_tick, options_.claims_tick,
                                                       options_.load_tick};
    for (std::size_t i = 0; i < stream_count; ++i) {
      auto which = static_cast<stream>(i);
      if (armed_[i] || !log_.pending(which))
        continue;
      armed_[i] = true;
      // What one delta has no room for follows as soon as subscribers had time to take that.
      auto wait = std::exchange(cut_[i], false) ? options_.liveness_tick : ticks[i];
      self_->run_delayed(wait, [this, i, which] {
        armed_[i] = false;
        if (auto delta = next_version(which))
          subscribers_.send(std::move(*delta), now());
        arm();
      });
    }
  }

  double oldest_shard_s() const {
    auto oldest = now();
    for (auto& [origin, shard] : keeper_.view().shards())
      oldest = std::min(oldest, shard.last_delta);
    return std::chrono::duration<double>(now() - oldest).count();
  }

  /// The next version, which is in the view from now on and still to be sent.
  std::optional<pb::ViewDelta> next_version(stream which) {
    auto delta = log_.flush(which, now(), view_feed::rows_bytes(options_.view_chunk_bytes));
    if (!delta)
      return std::nullopt;
    cut_[static_cast<std::size_t>(which)] = log_.pending(which);
    take_in(*delta);
    return delta;
  }

  /// Takes a delta of the own shard into the view, and tells in it what the shard holds then.
  void take_in(pb::ViewDelta& delta) {
    last_sent_ = now();
    watch_.published(delta.version(), now());
    metrics_.deltas->inc();
    view_changes changes;
    keeper_.accept(delta, now(), changes);
    auto holds = keeper_.view().digest(id_);
    delta.mutable_digest()->set_rows(holds.rows);
    delta.mutable_digest()->set_hash(holds.hash);
  }

  // -- peers -------------------------------------------------------------------

  void dial_peers() {
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      auto& other = peers_[i];
      if (other.self || other.handle || other.dialing || other.next_dial > now()
          || (other.id && MUTANT(lost_peer_not_dialled)))
        continue;
      other.dialing = true;
      self_->request(world_.dialer(), options_.peer_timeout, dial_atom_v, other.address, std::string{resource_service})
          .then([this, i](const caf::strong_actor_ptr& handle) { on_dialed(peers_[i], handle); },
                [this, i](const caf::error& reason) {
                  peers_[i].dialing = false;
                  back_off(peers_[i]);
                  spdlog::debug("resource.dial peer={} error=\"{}\"", peers_[i].address, error_text(reason));
                });
    }
  }

  void on_dialed(peer& other, const caf::strong_actor_ptr& handle) {
    other.dialing = false;
    if (!handle) {
      back_off(other);
      return;
    }
    if (handle == self_->ctrl()) {
      other.self = true;
      return;
    }
    other.handle = handle;
    other.parts.clear();
    other.namesake = false;
    other.stranger = false;
    other.seen.renew(now());
    self_->monitor(handle);
    renew_at(other, true);
  }

  /// Subscribes to a peer's shard, or renews that.
  void renew_at(peer& other, bool resync) {
    pb::Subscribe request;
    request.set_scope(pb::Subscribe::OWN_SHARD);
    request.set_subscriber(options_.name);
    request.set_resync(resync);
    request.set_takes_parts(true);
    request.set_takes_shapes(true);
    other.resyncing = other.resyncing || resync;
    if (resync)
      other.parts.clear();
    for (auto& have : keeper_.view().versions())
      if (resource_id{have.origin()} == other.id)
        *request.add_have() = have;
    other.accused.tell(request, now());
    auto asked = std::pair{quotas_.ask(other.id, now(), request), now()};
    auto i = static_cast<std::size_t>(&other - peers_.data());
    self_->request(caf::actor_cast<view_source>(other.handle), options_.peer_timeout, subscribe{std::move(request)})
        .then(
            [this, i, handle = other.handle, asked](const subscribe_ack& ack) {
              on_peer_ack(peers_[i], handle, *ack);
              if (peers_[i].handle == handle && peers_[i].id == resource_id{ack->resource()})
                quotas_.take(peers_[i].id, asked.first, asked.second, *ack, now());
            },
            [this, i, handle = other.handle](const caf::error& reason) {
              if (peers_[i].handle == handle)
                lose_peer(peers_[i], "no answer to a subscription: " + error_text(reason));
            });
  }

  void on_peer_ack(peer& other, const caf::strong_actor_ptr& handle, const pb::SubscribeAck& ack) {
    if (other.handle != handle)
      return;
    other.seen.renew(now());
    other.backoff = redial_min;
    if (resource_id{ack.resource()} == id_) {
      if (!std::exchange(other.namesake, true))
        spdlog::error("resource.peer address={} reason=\"another Resource is named {} too; names must differ\"",
                      other.address, options_.name);
      return;
    }
    if (group_from_wire(ack.group()) != options_.group) {
      if (!std::exchange(other.stranger, true))
        spdlog::error("resource.peer address={} reason=\"Resource {} is of the group {}, this one of {}: they share no "
                      "view\" cure=\"list only Resources of one group under resources\"",
                      other.address, ack.resource_name(), group_from_wire(ack.group()), options_.group);
      return;
    }
    if (!other.id)
      spdlog::info("resource.peer peer={} address={}", ack.resource_name(), other.address);
    other.id = resource_id{ack.resource()};
    other.name = ack.resource_name();
    events_.peer_found(other.id, other.name, other.address);
  }

  void on_peer_delta(const pb::ViewDelta& received) {
    auto sender = self_->current_sender();
    auto from =
        std::find_if(peers_.begin(), peers_.end(), [&](auto& other) { return other.handle && other.handle == sender; });
    resource_id origin{received.origin()};
    if (from == peers_.end() || origin == id_ || group_from_wire(received.origin_group()) != options_.group)
      return;
    from->seen.renew(now());
    from->id = origin;
    std::vector<pb::ViewDelta> ready;
    switch (from->parts.add(received, ready)) {
    case part_collector::outcome::partial:
      from->resyncing = false;
      break;
    case part_collector::outcome::gap:
      on_gap(*from, received);
      break;
    case part_collector::outcome::whole:
      for (auto& delta : ready)
        on_whole(*from, delta);
      break;
    }
    arm();
  }

  void on_whole(peer& from, pb::ViewDelta& delta) {
    view_changes changes;
    switch (keeper_.accept(delta, now(), changes)) {
    case cluster_view::apply_outcome::applied: {
      from.resyncing = false;
      // What moved leaves the own shard at once: whoever catches up would still be told of it.  But that it came to
      // another one is told first.
      std::optional<pb::ViewDelta> without_moved;
      if (drop_moved(changes))
        without_moved = next_version(stream::liveness);
      auto in_step = keeper_.in_step(delta);
      if (!in_step)
        on_divergence(from, delta);
      subscribers_.send(std::move(delta), now());
      if (without_moved)
        subscribers_.send(std::move(*without_moved), now());
      break;
    }
    case cluster_view::apply_outcome::gap:
      on_gap(from, delta);
      break;
    case cluster_view::apply_outcome::stale:
      break;
    }
  }

  void on_gap(peer& from, const pb::ViewDelta& received) {
    if (from.resyncing || MUTANT(peer_resync_not_asked))
      return;
    spdlog::info("resource.gap peer={} base={} version={} part={}", received.origin_name(), received.base(),
                 received.version(), received.part());
    renew_at(from, true);
  }

  /// Something was lost that no version tells of: it is a mistake, here or there.  The whole shard cures it.
  void on_divergence(peer& from, const pb::ViewDelta& delta) {
    metrics_.diverged->inc();
    auto here = keeper_.view().digest(resource_id{delta.origin()});
    spdlog::error("resource.diverged peer={} version={} rows={} expected={} cure=\"the shard is asked for anew\"",
                  delta.origin_name(), delta.version(), here.rows, delta.digest().rows());
    renew_at(from, true);
  }

  void sweep_peers(time_point listened) {
    for (auto& other : peers_)
      if (other.handle && other.seen.silence(listened) >= options_.peer_timeout)
        lose_peer(other, silence_text(other.seen.silence(listened)));
    if (now() - last_renewal_ >= options_.heartbeat) {
      last_renewal_ = now();
      for (auto& other : peers_) {
        // A resync that brought nothing within an interval is asked for again.
        if (other.handle)
          renew_at(other, std::exchange(other.resyncing, false));
      }
    }
    dial_peers();
    sweep_quotas();
  }

  void sweep_quotas() {
    give_back_quotas();
    if (quotas_.none())
      return;
    std::map<resource_id, std::string> heard;
    std::set<resource_id> known;
    std::size_t unknown = 0;
    for (auto& other : peers_) {
      if (other.self || other.namesake || other.stranger)
        continue;
      if (!other.id)
        ++unknown;
      else
        known.insert(other.id);
      if (other.id && other.handle)
        heard[other.id] = other.name;
    }
    quotas_.set_mesh(std::move(heard), 1 + known.size() + unknown);
    quotas_.tick(evidence_, now());
    for (auto& other : peers_)
      if (other.handle && other.id && quotas_.urgent(other.id, now()))
        renew_at(other, false);
  }

  void lose_peer(peer& other, const std::string& reason) {
    spdlog::warn("resource.peer_lost peer={} reason=\"{}\"", other.name.empty() ? other.address : other.name, reason);
    self_->demonitor(caf::actor_cast<caf::actor_addr>(other.handle));
    auto handle = std::exchange(other.handle, nullptr);
    other.resyncing = false;
    other.accused.clear();
    back_off(other);
    auto reached_otherwise =
        std::any_of(peers_.begin(), peers_.end(), [&](auto& twin) { return twin.handle && twin.id == other.id; });
    if (!other.id || reached_otherwise || MUTANT(lost_peer_rows_kept))
      return;
    events_.peer_lost(other.id, other.name, reason);
    view_changes changes;
    if (auto edit = keeper_.lose(other.id, now(), changes))
      subscribers_.send(std::move(*edit), now());
  }

  void back_off(peer& other) {
    // Between half and the whole of it, so that Resources that lost each other do not dial in step.
    auto wait = other.backoff / 2 + milliseconds{random_.below(static_cast<std::uint64_t>(other.backoff.count() / 2))};
    other.next_dial = now() + wait;
    other.backoff = std::min(other.backoff * 2, redial_max);
  }

  // -- claims ------------------------------------------------------------------

  /// A batch whose claims are not all answered.
  struct round {
    caf::typed_response_promise<claim_reply> promise;
    pb::ClaimReply reply;
    std::size_t open = 0;
  };

  /// The part of a batch that one node is asked about.
  struct forward {
    node_id node;
    pb::ClaimBatch batch;
    std::shared_ptr<round> part_of;
  };

  caf::result<claim_reply> on_claims(const pb::ClaimBatch& batch) {
    auto whole = std::make_shared<round>();
    whole->promise = self_->make_response_promise<claim_reply>();
    // A scheduler that was frozen while another one took its app over has claimed nothing here yet.
    auto shown = keeper_.view().find_app(batch.spec().name());
    auto newer = shown && shown->record.epoch() > batch.epoch()
                     ? shown->record.epoch()
                     : claims_.fence(batch.spec().name(), batch.epoch(), now());
    whole->reply.set_newer_epoch(newer);
    std::map<node_id, pb::ClaimBatch> by_node;
    std::set<node_id> changed;
    // A gang that its business's quota has no room for holds no places either.
    std::string over_quota;
    if (batch.hold_ms() > 0 && batch.has_gang())
      over_quota = quotas_.gang_misfit(batch.spec(), evidence_, now());
    for (auto& claim : batch.claims()) {
      node_id node{claim.node()};
      auto holds = claims_.size();
      auto result = newer != 0 ? fenced(claim, newer) : arbitrate(batch, claim, over_quota);
      // One that is refused may lose what it held.
      if (result.outcome() == pb::CLAIM_HELD || claims_.size() < holds)
        changed.insert(node);
      if (result.outcome() == pb::CLAIM_HELD) {
        *whole->reply.add_results() = std::move(result);
        continue;
      }
      if (result.outcome() != pb::CLAIM_CONFIRMED) {
        metrics_.refused->inc();
        *whole->reply.add_results() = std::move(result);
        continue;
      }
      auto [part, fresh] = by_node.try_emplace(node);
      if (fresh) {
        part->second.set_epoch(batch.epoch());
        part->second.set_scheduler(batch.scheduler());
        *part->second.mutable_spec() = batch.spec();
        part->second.set_spec_hash(batch.spec_hash());
      }
      *part->second.add_claims() = claim;
    }
    for (auto node : changed)
      members_.hold(node, claims_.held(node));
    whole->open = by_node.size();
    for (auto& [node, part] : by_node) {
      members_.hold(node, claims_.held(node));
      ask_node(node, std::move(part), whole);
    }
    if (whole->open == 0 && whole->promise.pending())
      whole->promise.deliver(claim_reply{std::move(whole->reply)});
    arm();
    return whole->promise;
  }

  static pb::ClaimResult fenced(const pb::Claim& claim, std::uint64_t newer) {
    pb::ClaimResult result;
    result.set_sequence(claim.sequence());
    result.set_token(claim.token());
    result.set_outcome(pb::CLAIM_FENCED);
    result.set_reason("epoch " + std::to_string(newer) + " of this app's scheduler has spoken");
    return result;
  }

  /// @param over_quota Why the business's quota has no room for the whole gang; empty: it has, or this is none.
  pb::ClaimResult arbitrate(const pb::ClaimBatch& batch, const pb::Claim& claim, const std::string& over_quota) {
    node_id node{claim.node()};
    auto row = members_.find(node);
    auto elsewhere = keeper_.view().find(node);
    auto result = claims_.arbitrate(batch, claim, row, now(), [&]() -> claim_table::refusal {
      if (node_handles_.count(node) == 0)
        return {pb::CLAIM_NODE_GONE, "the connection to the node is closed"};
      if (!over_quota.empty())
        return {pb::CLAIM_OVER_QUOTA, over_quota};
      give_back_quotas();
      return {pb::CLAIM_OVER_QUOTA, quotas_.claim(batch.spec(), claim, evidence_, now())};
    });
    if (!row && elsewhere && elsewhere->origin != id_) {
      result.set_outcome(pb::CLAIM_NOT_HOME);
      result.set_reason("its home is " + resource_name(elsewhere->origin));
      *result.mutable_row() = elsewhere->row.to_pb();
    }
    return result;
  }

  /// What was reserved and no node was asked about takes nothing of a quota any more.
  void give_back_quotas() {
    for (auto token : claims_.take_unused())
      quotas_.refused(token);
  }

  void ask_node(node_id node, pb::ClaimBatch part, const std::shared_ptr<round>& whole) {
    auto id = ++last_forward_;
    auto& asked = forwards_[id] = {node, std::move(part), whole};
    self_
        ->request(caf::actor_cast<placement_sink>(node_handles_.at(node)), options_.claim_timeout,
                  claim_batch{asked.batch})
        .then([this, id](const claim_reply& reply) { finish(id, *reply, "the node's answer does not mention it"); },
              [this, id](const caf::error& reason) {
                finish(id, {},
                       reason == caf::sec::request_timeout
                           ? "the node did not answer within " + std::to_string(options_.claim_timeout.count()) + " ms"
                           : "the node cannot be asked: " + error_text(reason));
              });
  }

  /// Takes a node's word, or the lack of it, into the round.
  void finish(std::uint64_t id, const pb::ClaimReply& word, const std::string& why_none) {
    auto found = forwards_.find(id);
    if (found == forwards_.end())
      return;
    auto asked = std::move(found->second);
    forwards_.erase(found);
    auto& whole = *asked.part_of;
    if (word.newer_epoch() > whole.reply.newer_epoch())
      whole.reply.set_newer_epoch(word.newer_epoch());
    if (word.newer_epoch() != 0)
      claims_.fence(asked.batch.spec().name(), word.newer_epoch(), now());
    for (auto& claim : asked.batch.claims()) {
      claim_token token{claim.token()};
      auto& result = *whole.reply.add_results();
      auto told = std::find_if(word.results().begin(), word.results().end(),
                               [&](auto& entry) { return entry.token() == claim.token(); });
      if (told != word.results().end()) {
        result = *told;
      } else {
        result.set_token(claim.token());
        result.set_outcome(pb::CLAIM_TIMED_OUT);
        result.set_reason(why_none);
      }
      result.set_sequence(claim.sequence());
      if (result.outcome() == pb::CLAIM_CONFIRMED) {
        metrics_.granted->inc();
        claims_.confirmed(token, now());
        continue;
      }
      metrics_.refused->inc();
      spdlog::debug("resource.claim node={} app={} outcome={} reason=\"{}\"", node_name(asked.node),
                    asked.batch.spec().name(), pb::ClaimOutcome_Name(result.outcome()), result.reason());
      claims_.release(token);
      // One that did not answer may run it.
      if (result.outcome() != pb::CLAIM_TIMED_OUT)
        quotas_.refused(token);
      if (auto row = members_.find(asked.node))
        *result.mutable_row() = row->to_pb();
    }
    members_.hold(asked.node, claims_.held(asked.node));
    if (--whole.open == 0 && whole.promise.pending() && !MUTANT(claim_round_unanswered)) {
      refresh_rows(whole.reply);
      whole.promise.deliver(claim_reply{std::move(whole.reply)});
    }
    arm();
  }

  /// The slowest node of a batch may have taken long: whoever asked has seen since how the others are, and an older row
  /// would hide that until the next change.
  void refresh_rows(pb::ClaimReply& reply) {
    for (auto& result : *reply.mutable_results()) {
      if (!result.has_row())
        continue;
      node_id node{result.row().node()};
      auto elsewhere = keeper_.view().find(node);
      if (auto row = members_.find(node))
        *result.mutable_row() = row->to_pb();
      else if (elsewhere)
        *result.mutable_row() = elsewhere->row.to_pb();
      else
        result.clear_row();
    }
  }

  void fail_forwards(node_id node, const std::string& reason) {
    std::vector<std::uint64_t> lost;
    for (auto& [id, asked] : forwards_)
      if (asked.node == node)
        lost.push_back(id);
    for (auto id : lost)
      finish(id, {}, reason);
  }

  void on_release(const pb::ReleaseBatch& batch) {
    std::map<node_id, pb::ReleaseBatch> by_node;
    for (auto& release : batch.releases()) {
      if (auto node = claims_.release(claim_token{release.token()}))
        members_.hold(node, claims_.held(node));
      *by_node[node_id{release.node()}].add_releases() = release;
    }
    for (auto& [node, part] : by_node) {
      auto handle = node_handles_.find(node);
      if (handle != node_handles_.end())
        self_->send(caf::actor_cast<placement_sink>(handle->second), release_batch{std::move(part)});
      else
        spdlog::info("resource.release node={} releases={} reason=\"no connection to the node; to be repeated\"",
                     node_name(node), part.releases_size());
    }
    arm();
  }

  /// Who is not connected is told with the next one.
  void on_prefetch(const pb::PrefetchBatch& batch) {
    auto part = batch;
    part.clear_nodes();
    for (auto node : batch.nodes())
      if (auto handle = node_handles_.find(node_id{node}); handle != node_handles_.end())
        self_->send(caf::actor_cast<placement_sink>(handle->second), prefetch_batch{part_for(part, node)});
  }

  // -- names for logs ----------------------------------------------------------

  std::string node_name(node_id node) const {
    auto row = members_.find(node);
    if (row && !row->name().empty())
      return row->name();
    auto shown = keeper_.view().find(node);
    return shown && !shown->name().empty() ? shown->name() : to_string(node);
  }

  std::string resource_name(resource_id origin) const {
    auto shard = keeper_.view().shards().find(origin);
    return shard == keeper_.view().shards().end() ? to_string(origin) : shard->second.name;
  }

  resource_actor::pointer self_;
  platform& world_;
  resource_options options_;
  resource_id id_;
  incarnation incarnation_;
  random_source random_;
  resource_metrics metrics_;
  shard_log log_;
  event_desk events_;
  subscriber_watch watch_;
  member_table members_;
  hearing hearing_;
  mass_loss losses_;
  bool doubting_ = false;
  scheduler_table schedulers_;
  claim_table claims_;
  /// All shards, the own one included as far as it is published.
  view_keeper keeper_;
  view_evidence evidence_;
  quota_book quotas_;
  view_feed subscribers_;
  std::vector<peer> peers_;
  /// For look-ups only, as the next.
  std::unordered_map<node_id, caf::strong_actor_ptr> node_handles_;
  /// For look-ups only: its order depends on the run.
  std::unordered_map<caf::actor_addr, node_id> nodes_by_handle_;
  struct aggregator {
    std::string name;
    lease seen;
    /// It is lost when nothing came for so long.
    milliseconds silence{0};
    aggregated_members members;
  };
  std::map<caf::actor_addr, aggregator> aggregators_;
  std::map<scheduler_id, caf::strong_actor_ptr> scheduler_handles_;
  /// When nodes that were accused were asked last.
  std::map<node_id, time_point> probed_;
  std::map<std::uint64_t, forward> forwards_;
  std::uint64_t last_forward_ = 0;
  std::array<bool, stream_count> armed_{};
  /// The last delta of the stream had no room for all that waited.
  std::array<bool, stream_count> cut_{};
  time_point started_;
  time_point last_sweep_;
  time_point last_sent_;
  time_point last_renewal_;
};

} // namespace

resource_actor spawn_resource(caf::actor_system& sys, platform& world, const resource_options& options) {
  return sys.spawn<resource_actor::stateful_impl<resource_state>>(&world, options);
}

} // namespace astra
