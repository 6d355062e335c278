#include "actors/aggregator/aggregator.hpp"

#include "actors/aggregator/beat_batcher.hpp"
#include "actors/mutant.hpp"
#include "actors/node/home_selector.hpp"
#include "config/naming.hpp"

#include <caf/actor_cast.hpp>
#include <caf/sec.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/telemetry/counter.hpp>
#include <caf/telemetry/gauge.hpp>
#include <caf/telemetry/label_view.hpp>
#include <caf/telemetry/metric_registry.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace astra {
namespace {

using std::chrono::milliseconds;
using time_point = std::chrono::steady_clock::time_point;

/// What cannot wait for the tick leaves in this time, together with what comes meanwhile.
constexpr milliseconds urgent_pause{20};
/// Batches that the home has not answered; more beats wait for the next one, as bits.
constexpr std::size_t batches_under_way_max = 4;
/// A node that has not beaten for so many intervals is at home elsewhere or dead.
constexpr int forget_after_beats = 10;

struct aggregator_metrics {
  aggregator_metrics(caf::telemetry::metric_registry& registry, const std::string& name) {
    const std::initializer_list<caf::telemetry::label_view> labels{{"aggregator", name}};
    nodes = registry.gauge_instance("astra.aggregator", "nodes", labels, "Nodes whose beats go through here.");
    beats = registry.counter_instance("astra.aggregator", "heartbeats", labels, "Heartbeats that were taken in.", "1",
                                      true);
    batches = registry.counter_instance("astra.aggregator", "batches", labels, "Batches to the Resource.", "1", true);
    rehomed = registry.counter_instance("astra.aggregator", "rehomed", labels,
                                        "Times that another Resource became the home.", "1", true);
  }

  caf::telemetry::int_gauge* nodes;
  caf::telemetry::int_counter* beats;
  caf::telemetry::int_counter* batches;
  caf::telemetry::int_counter* rehomed;
};

class aggregator_state {
public:
  static constexpr const char* name = "astra.aggregator";

  aggregator_state(aggregator_actor::pointer self, platform* world, const aggregator_options& options,
                   std::vector<std::string> nodes)
    : self_(self), world_(*world), options_(options), nodes_(std::move(nodes)),
      metrics_(self->system().metrics(), options.name),
      selector_(options.name, options.resources, options.home_silence, self->clock().now()) {}

  ~aggregator_state() { world_.withdraw(aggregator_service); }

  aggregator_actor::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    world_.publish(aggregator_service, caf::actor_cast<caf::strong_actor_ptr>(self_));
    dial();
    self_->run_delayed(options_.tick, [this] { tick(); });
    return {
        [this](const heartbeat& beat) { return on_heartbeat(*beat); },
        [this](const profile_update& update) { return on_profile(update); },
        [this](const claim_batch& batch) { return on_claims(batch); },
        [this](const release_batch& batch) { on_release(*batch); },
        [this](const prefetch_batch& batch) { on_prefetch(*batch); },
    };
  }

private:
  using ack_promise = caf::typed_response_promise<heartbeat_ack>;

  struct waiting_beat {
    ack_promise promise;
    time_point since;
  };

  struct held_profile {
    profile_update update;
    ack_promise promise;
  };

  time_point now() const { return self_->clock().now(); }

  // -- nodes -------------------------------------------------------------------

  caf::result<heartbeat_ack> on_heartbeat(const pb::Heartbeat& beat) {
    node_id node{beat.node()};
    if (!nodes_.empty() && !beat.name().empty() && !matches_any(nodes_, beat.name())) {
      if (foreign_.insert(node).second)
        spdlog::warn("aggregator.foreign aggregator={} node={} reason=\"its certificate does not name this node, which "
                     "is sent on; see --nodes of astra ca issue\"",
                     options_.name, beat.name());
      return caf::make_error(errc::unreachable, options_.name + " does not speak for this node");
    }
    auto verdict = batcher_.take(beat, now());
    if (verdict.nameless)
      return caf::make_error(errc::unreachable, "this aggregator does not know the node; it may have restarted");
    metrics_.beats->inc();
    if (!verdict.fenced)
      know(node, self_->current_sender());
    if (beat.leaving() && home_)
      flush();
    else if (verdict.urgent)
      hurry();
    auto promise = self_->make_response_promise<heartbeat_ack>();
    answer(promise, verdict.fenced, verdict.profile_version);
    return promise;
  }

  /// Nobody is told that it was heard while the home has not said that it is there.
  void answer(ack_promise promise, bool fenced, std::uint64_t profile_version) {
    if (!joined_ && !fenced && !MUTANT(aggregator_answers_alone)) {
      waiting_.push_back({std::move(promise), now()});
      return;
    }
    pb::HeartbeatAck ack;
    ack.set_resource(resource_.value());
    ack.set_resource_incarnation(resource_incarnation_);
    ack.set_fenced(fenced);
    ack.set_profile_version(profile_version);
    promise.deliver(heartbeat_ack{std::move(ack)});
  }

  caf::result<heartbeat_ack> on_profile(const profile_update& update) {
    node_id node{update->profile().node()};
    auto promise = self_->make_response_promise<heartbeat_ack>();
    auto& held = profiles_[node];
    if (held.promise.pending())
      held.promise.deliver(caf::make_error(caf::sec::request_timeout));
    held = {update, promise};
    send_profiles();
    return promise;
  }

  /// The home takes a profile only of a node that it knows.
  void send_profiles() {
    if (!home_)
      return;
    for (auto next = profiles_.begin(); next != profiles_.end();) {
      auto node = next->first;
      if (!batcher_.told(node)) {
        ++next;
        continue;
      }
      auto held = std::move(next->second);
      next = profiles_.erase(next);
      self_->request(home_, caf::timespan{options_.heartbeat}, std::move(held.update))
          .then(
              [this, node, promise = held.promise](const heartbeat_ack& ack) mutable {
                batcher_.profile_acknowledged(node, *ack);
                promise.deliver(ack);
              },
              [promise = held.promise](const caf::error&) mutable {
                // To the node this is silence: it sends the profile again, here or elsewhere.
                promise.deliver(caf::make_error(caf::sec::request_timeout));
              });
    }
  }

  void know(node_id node, const caf::strong_actor_ptr& handle) {
    auto& known = handles_[node];
    if (!handle || known == handle)
      return;
    if (known)
      forget_handle(known);
    known = handle;
    nodes_by_handle_[caf::actor_cast<caf::actor_addr>(handle)] = node;
    self_->monitor(handle);
  }

  void forget_handle(const caf::strong_actor_ptr& handle) {
    auto address = caf::actor_cast<caf::actor_addr>(handle);
    nodes_by_handle_.erase(address);
    self_->demonitor(address);
  }

  void on_down(const caf::down_msg& down) {
    if (home_ && home_.address() == down.source) {
      lose_home("the connection closed");
      return;
    }
    auto found = nodes_by_handle_.find(down.source);
    if (found == nodes_by_handle_.end())
      return;
    auto node = found->second;
    nodes_by_handle_.erase(found);
    handles_.erase(node);
    if (batcher_.closed(node))
      hurry();
  }

  // -- the home ----------------------------------------------------------------

  void dial() {
    if (dialing_)
      return;
    dialing_ = true;
    auto epoch = selector_.epoch();
    self_
        ->request(world_.dialer(), caf::timespan{options_.home_silence}, dial_atom_v, selector_.home(),
                  std::string{resource_service})
        .then(
            [this, epoch](const caf::strong_actor_ptr& found) {
              if (epoch != selector_.epoch())
                return;
              dialing_ = false;
              home_ = caf::actor_cast<aggregate_sink>(found);
              self_->monitor(home_);
              flush();
            },
            [this, epoch](const caf::error& reason) {
              if (epoch == selector_.epoch())
                lose_home(error_text(reason));
            });
  }

  void tick() {
    self_->run_delayed(options_.tick, [this] { tick(); });
    auto home = selector_.home();
    if (selector_.check_silence(now()))
      moved(home, "silent for " + std::to_string(options_.home_silence.count()) + " ms");
    batcher_.forget(now() - forget_after_beats * options_.heartbeat);
    drop_waiting();
    metrics_.nodes->value(static_cast<std::int64_t>(batcher_.size()));
    if (home_)
      flush();
    else
      dial();
  }

  /// Whoever waits for that long has given up, and knows it as silence.
  void drop_waiting() {
    for (auto& beat : waiting_)
      if (now() - beat.since >= options_.heartbeat)
        beat.promise.deliver(caf::make_error(caf::sec::request_timeout));
    std::erase_if(waiting_, [](auto& beat) { return !beat.promise.pending(); });
  }

  void hurry() {
    if (std::exchange(hurrying_, true))
      return;
    self_->run_delayed(urgent_pause, [this] {
      hurrying_ = false;
      if (home_ && batcher_.urgent())
        flush();
    });
  }

  void flush() {
    if (under_way_ >= batches_under_way_max)
      return;
    beat_batch batch{batcher_.flush()};
    batch->set_tick_ms(static_cast<std::uint32_t>(options_.tick.count()));
    batch->set_aggregator(options_.name);
    ++under_way_;
    metrics_.batches->inc();
    auto epoch = selector_.epoch();
    self_->request(home_, caf::timespan{options_.home_silence}, std::move(batch))
        .then(
            [this, epoch](const beat_batch_ack& ack) {
              if (epoch == selector_.epoch())
                on_ack(*ack);
            },
            [this, epoch](const caf::error& reason) {
              if (epoch != selector_.epoch())
                return;
              --under_way_;
              // A late answer is silence, which is counted.
              if (reason != caf::sec::request_timeout)
                lose_home(error_text(reason));
            });
    send_profiles();
    if (batcher_.urgent())
      hurry();
  }

  void on_ack(const pb::BeatBatchAck& ack) {
    --under_way_;
    selector_.on_ack(now());
    resource_ = resource_id{ack.resource()};
    resource_incarnation_ = ack.resource_incarnation();
    batcher_.take(ack);
    if (!std::exchange(joined_, true))
      spdlog::info("aggregator.join aggregator={} home={} nodes={}", options_.name, selector_.home(), batcher_.size());
    for (auto& beat : std::exchange(waiting_, {}))
      answer(std::move(beat.promise), false, 0);
    if (batcher_.urgent())
      hurry();
  }

  void lose_home(const std::string& reason) {
    auto home = selector_.home();
    auto at_once = selector_.on_error(now());
    moved(home, reason);
    if (at_once)
      dial();
  }

  void moved(const std::string& from, const std::string& reason) {
    auto level = joined_ || !warned_ ? spdlog::level::warn : spdlog::level::debug;
    warned_ = true;
    spdlog::log(level, "aggregator.rehome aggregator={} nodes={} from={} to={} reason=\"{}\"", options_.name,
                batcher_.size(), from, selector_.home(), reason);
    metrics_.rehomed->inc();
    if (home_)
      self_->demonitor(home_.address());
    home_ = nullptr;
    dialing_ = joined_ = false;
    under_way_ = 0;
    batcher_.rehomed();
  }

  // -- what the home asks of nodes ---------------------------------------------

  caf::result<claim_reply> on_claims(const claim_batch& batch) {
    // A Resource asks one node at a time.
    node_id node{batch->claims_size() > 0 ? batch->claims(0).node() : batch->node()};
    auto handle = handles_.find(node);
    if (handle == handles_.end())
      return caf::make_error(errc::unreachable, "the connection to the node is closed");
    auto promise = self_->make_response_promise<claim_reply>();
    self_->request(caf::actor_cast<placement_sink>(handle->second), options_.claim_timeout, batch)
        .then([promise](const claim_reply& reply) mutable { promise.deliver(reply); },
              [promise](const caf::error& reason) mutable { promise.deliver(reason); });
    return promise;
  }

  void on_release(const pb::ReleaseBatch& batch) {
    std::map<node_id, pb::ReleaseBatch> by_node;
    for (auto& release : batch.releases())
      *by_node[node_id{release.node()}].add_releases() = release;
    for (auto& [node, part] : by_node)
      if (auto handle = handles_.find(node); handle != handles_.end())
        self_->send(caf::actor_cast<placement_sink>(handle->second), release_batch{std::move(part)});
  }

  void on_prefetch(const pb::PrefetchBatch& batch) {
    auto part = batch;
    part.clear_nodes();
    for (auto node : batch.nodes())
      if (auto handle = handles_.find(node_id{node}); handle != handles_.end())
        self_->send(caf::actor_cast<placement_sink>(handle->second), prefetch_batch{part_for(part, node)});
  }

  aggregator_actor::pointer self_;
  platform& world_;
  aggregator_options options_;
  std::vector<std::string> nodes_;
  /// Nodes that were sent on, which was told once.
  std::set<node_id> foreign_;
  aggregator_metrics metrics_;
  home_selector selector_;
  beat_batcher batcher_;
  /// Empty while no session is there.
  aggregate_sink home_;
  bool dialing_ = false;
  /// The home answered since it was chosen.
  bool joined_ = false;
  bool warned_ = false;
  bool hurrying_ = false;
  std::size_t under_way_ = 0;
  resource_id resource_;
  std::uint64_t resource_incarnation_ = 0;
  /// Beats that are answered when the home is there.
  std::vector<waiting_beat> waiting_;
  /// Profiles of nodes that the home does not know yet.
  std::map<node_id, held_profile> profiles_;
  /// For look-ups only, as the next.
  std::unordered_map<node_id, caf::strong_actor_ptr> handles_;
  std::unordered_map<caf::actor_addr, node_id> nodes_by_handle_;
};

} // namespace

aggregator_actor spawn_aggregator(caf::actor_system& sys, platform& world, const aggregator_options& options,
                                  std::vector<std::string> nodes) {
  return sys.spawn<aggregator_actor::stateful_impl<aggregator_state>>(&world, options, std::move(nodes));
}

} // namespace astra
