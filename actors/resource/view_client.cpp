#include "actors/resource/view_client.hpp"

#include "actors/mutant.hpp"
#include "actors/random.hpp"
#include "actors/rendezvous.hpp"
#include "actors/resource/lease.hpp"
#include "actors/resource/part_collector.hpp"
#include "actors/resource/subscriber_list.hpp"
#include "actors/resource/view_keeper.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra {
namespace {

using std::chrono::milliseconds;
using time_point = std::chrono::steady_clock::time_point;

constexpr milliseconds backoff_min{50};
constexpr milliseconds backoff_max{2000};
/// Cadence of looking at the clock.
constexpr milliseconds check{100};

/// A view_source to its process, a view_subscriber to its Resource.
using view_client_actor = view_source::extend_with<view_subscriber>;

class view_client_state {
public:
  static constexpr const char* name = "astra.view-client";

  view_client_state(view_client_actor::pointer self, platform* world, const view_client_options& options)
    : self_(self), world_(*world), options_(options), order_(rendezvous_order(options.name, options.resources)),
      random_(world->seed("view-client")), keeper_({options.orphan_grace, options.forget_after}),
      subscribers_(self, keeper_) {}

  view_client_actor::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    last_check_ = now();
    dial();
    self_->run_delayed(check, [this] { look_around(); });
    return {
        [this](const subscribe& request) { return on_subscribe(*request); },
        [this](const view_delta& delta) { on_delta(*delta); },
    };
  }

private:
  time_point now() const { return self_->clock().now(); }

  // -- the Resource ------------------------------------------------------------

  void dial() {
    if (order_.empty() || dialing_)
      return;
    dialing_ = true;
    auto& address = order_[choice_];
    self_->request(world_.dialer(), options_.silence, dial_atom_v, address, std::string{resource_service})
        .then(
            [this](const caf::strong_actor_ptr& handle) {
              dialing_ = false;
              if (!handle) {
                try_next("nothing is published there");
                return;
              }
              source_ = handle;
              seen_.renew(now());
              self_->monitor(handle);
              // What came through another Resource may contain rows which that one added: the new one would never
              // mention them, so everything is asked for anew.  With a filter that is the rule, and what is held
              // tells the new one how far it must have come.
              subscribe_with(options_.apps.empty() ? std::vector<pb::ShardVersion>{} : keeper_.view().versions(), true);
            },
            [this](const caf::error& reason) {
              dialing_ = false;
              try_next(error_text(reason));
            });
  }

  /// Leaves the present Resource for the next.  All of them are tried at once; only after a whole round of failures
  /// is there a pause.
  void try_next(const std::string& reason) {
    if (source_ && MUTANT(dead_resource_kept))
      return;
    // While all Resources are down, one line is enough.
    auto level = std::exchange(lost_, true) ? spdlog::level::debug : spdlog::level::warn;
    spdlog::log(level, "view_client.leave resource={} reason=\"{}\"", order_[choice_], reason);
    if (source_)
      self_->demonitor(caf::actor_cast<caf::actor_addr>(source_));
    source_ = nullptr;
    resyncing_ = false;
    parts_.clear();
    choice_ = (choice_ + 1) % order_.size();
    if (++failures_ < order_.size()) {
      dial();
      return;
    }
    failures_ = 0;
    auto half = static_cast<std::uint64_t>(backoff_.count() / 2);
    next_dial_ = now() + milliseconds{half + random_.below(half)};
    backoff_ = std::min(backoff_ * 2, backoff_max);
  }

  /// Renews the subscription; with `resync` what was missed is sent again.
  void renew(bool resync) { subscribe_with(keeper_.view().versions(), resync); }

  void subscribe_with(const std::vector<pb::ShardVersion>& held, bool resync) {
    last_renewal_ = now();
    resyncing_ = resyncing_ || resync;
    if (resync)
      parts_.clear();
    pb::Subscribe request;
    request.set_scope(pb::Subscribe::ALL_SHARDS);
    request.set_subscriber(options_.name);
    request.set_resync(resync);
    request.set_takes_parts(true);
    request.set_takes_shapes(true);
    for (auto& app : options_.apps)
      request.mutable_filter()->add_apps(app);
    for (auto& have : held)
      *request.add_have() = have;
    self_->request(caf::actor_cast<view_source>(source_), options_.silence, subscribe{std::move(request)})
        .then(
            [this, asked = source_](const subscribe_ack& ack) {
              if (source_ == asked)
                on_ack(*ack);
            },
            [this, asked = source_](const caf::error& reason) {
              if (source_ == asked)
                try_next("no answer to a subscription: " + error_text(reason));
            });
  }

  void on_ack(const pb::SubscribeAck& ack) {
    seen_.renew(now());
    failures_ = 0;
    backoff_ = backoff_min;
    if (std::exchange(lost_, false) || source_name_ != ack.resource_name())
      spdlog::info("view_client.join resource={} address={}", ack.resource_name(), order_[choice_]);
    source_id_ = resource_id{ack.resource()};
    source_name_ = ack.resource_name();
    // Of a shard that this Resource does not have nobody will speak any more.
    spoken_for_.clear();
    for (auto& shard : ack.shards())
      spoken_for_.insert(resource_id{shard.origin()});
    std::vector<resource_id> silent;
    for (auto& [origin, shard] : keeper_.view().shards())
      if (spoken_for_.count(origin) == 0 && !MUTANT(unspoken_shard_kept))
        silent.push_back(origin);
    view_changes changes;
    for (auto origin : silent)
      if (auto edit = keeper_.lose(origin, now(), changes))
        subscribers_.send(std::move(*edit), now());
  }

  void on_delta(const pb::ViewDelta& received) {
    if (!source_ || self_->current_sender() != source_)
      return;
    seen_.renew(now());
    std::vector<pb::ViewDelta> ready;
    switch (parts_.add(received, ready)) {
    case part_collector::outcome::partial:
      resyncing_ = false;
      break;
    case part_collector::outcome::gap:
      on_gap(received);
      break;
    case part_collector::outcome::whole:
      for (auto& delta : ready)
        on_whole(delta);
      break;
    }
  }

  void on_whole(pb::ViewDelta& delta) {
    view_changes changes;
    switch (keeper_.accept(delta, now(), changes)) {
    case cluster_view::apply_outcome::applied:
      resyncing_ = false;
      if (!keeper_.in_step(delta)) {
        spdlog::error("view_client.diverged origin={} version={} cure=\"the shard is asked for anew\"",
                      delta.origin_name(), delta.version());
        renew(true);
      }
      subscribers_.send(std::move(delta), now());
      break;
    case cluster_view::apply_outcome::gap:
      on_gap(delta);
      break;
    case cluster_view::apply_outcome::stale:
      break;
    }
  }

  void on_gap(const pb::ViewDelta& received) {
    if (resyncing_ || MUTANT(view_resync_not_asked))
      return;
    spdlog::info("view_client.gap origin={} base={} version={} part={}", received.origin_name(), received.base(),
                 received.version(), received.part());
    renew(true);
  }

  void on_down(const caf::down_msg& down) {
    subscribers_.remove(down.source);
    if (source_ && source_ == down.source)
      try_next("connection closed");
  }

  void look_around() {
    self_->run_delayed(check, [this] { look_around(); });
    auto passed = now() - last_check_;
    auto late = passed - check;
    last_check_ = now();
    // When this process slept, the silence was its own.
    if (late > check)
      seen_.extend(late, now());
    // And while no Resource says anything, nothing can prove that a node found another home: one that was dialled and
    // has not answered yet is none.
    auto deaf = !source_ || lost_;
    if (deaf && !MUTANT(grace_runs_while_deaf))
      keeper_.extend_grace(passed, now());
    else if (late > check)
      keeper_.extend_grace(late, now());
    if (source_ && seen_.silence(now()) >= options_.silence)
      try_next(silence_text(seen_.silence(now())));
    else if (source_ && now() - last_renewal_ >= options_.renew && !MUTANT(subscription_not_renewed))
      renew(std::exchange(resyncing_, false));
    else if (!source_ && now() >= next_dial_)
      dial();
    if (deaf && !MUTANT(grace_runs_while_deaf))
      return;
    view_changes changes;
    for (auto& edit : keeper_.expire(now(), changes))
      subscribers_.send(std::move(edit), now());
  }

  // -- the process -------------------------------------------------------------

  caf::result<subscribe_ack> on_subscribe(const pb::Subscribe& request) {
    auto who = self_->current_sender();
    if (!who)
      return caf::make_error(errc::invalid_argument, "a subscription needs a sender");
    subscribers_.renew(who, request, now());
    pb::SubscribeAck ack;
    ack.set_resource(source_id_.value());
    ack.set_resource_name(source_name_);
    for (auto& [origin, shard] : keeper_.view().shards()) {
      auto& version = *ack.add_shards();
      version.set_origin(origin.value());
      version.set_epoch(shard.epoch);
      version.set_version(shard.version);
    }
    // Nor is a view complete without what is still under way.
    for (auto origin : spoken_for_)
      if (keeper_.view().shards().count(origin) == 0)
        ack.add_shards()->set_origin(origin.value());
    return subscribe_ack{std::move(ack)};
  }

  view_client_actor::pointer self_;
  platform& world_;
  view_client_options options_;
  /// Addresses, best first.
  std::vector<std::string> order_;
  random_source random_;
  view_keeper keeper_;
  subscriber_list subscribers_;
  std::size_t choice_ = 0;
  /// Choices in a row that did not answer.
  std::size_t failures_ = 0;
  milliseconds backoff_ = backoff_min;
  time_point next_dial_;
  bool dialing_ = false;
  /// The Resource that is listened to; null while there is none.
  caf::strong_actor_ptr source_;
  resource_id source_id_;
  std::string source_name_;
  lease seen_;
  /// No Resource has acknowledged a subscription since the last one was left.
  bool lost_ = false;
  bool resyncing_ = false;
  part_collector parts_;
  /// Shards that the Resource has, as of its last acknowledgement.
  std::set<resource_id> spoken_for_;
  time_point last_renewal_;
  time_point last_check_;
};

} // namespace

view_source spawn_view_client(caf::actor_system& sys, platform& world, const view_client_options& options) {
  return sys.spawn<view_client_actor::stateful_impl<view_client_state>>(&world, options);
}

} // namespace astra
