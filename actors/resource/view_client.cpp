#include "actors/resource/view_client.hpp"

#include "actors/mutant.hpp"
#include "actors/random.hpp"
#include "actors/rendezvous.hpp"
#include "actors/resource/accusation_list.hpp"
#include "actors/resource/lease.hpp"
#include "actors/resource/part_collector.hpp"
#include "actors/resource/subscriber_list.hpp"
#include "actors/resource/view_keeper.hpp"
#include "messages/group.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
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

/// The subscription at one Resource of a group.
struct view_link {
  /// As the file has it; empty: the home group, whose name its Resources know.
  std::string named;
  /// As its Resources say.
  std::optional<std::string> group;
  /// Addresses, best first.
  std::vector<std::string> order;
  std::size_t choice = 0;
  /// Choices in a row that did not answer.
  std::size_t failures = 0;
  milliseconds backoff = backoff_min;
  time_point next_dial;
  bool dialing = false;
  /// The Resource that is listened to; null while there is none.
  caf::strong_actor_ptr source;
  resource_id id;
  std::string name;
  lease seen;
  /// No Resource has acknowledged a subscription since the last one was left.
  bool lost = false;
  bool resyncing = false;
  part_collector parts;
  /// Shards that the Resource has, as of its last acknowledgement.
  std::set<resource_id> spoken_for;
  /// Shards that came from here.
  std::set<resource_id> origins;
  time_point last_renewal;
  /// To be passed on with the next renewal.
  accusation_list accused;
};

class view_client_state {
public:
  static constexpr const char* name = "astra.view-client";

  view_client_state(view_client_actor::pointer self, platform* world, const view_client_options& options)
    : self_(self), world_(*world), options_(options), random_(world->seed("view-client")),
      keeper_({options.orphan_grace, options.forget_after}), subscribers_(self, keeper_) {
    links_.emplace_back().order = rendezvous_order(options.name, options.resources);
    for (auto& group : options.groups) {
      auto& link = links_.emplace_back();
      link.named = group.name;
      link.order = rendezvous_order(options.name, group.resources);
    }
  }

  view_client_actor::behavior_type make_behavior() {
    self_->set_down_handler([this](const caf::down_msg& down) { on_down(down); });
    last_check_ = now();
    for (std::size_t i = 0; i < links_.size(); ++i)
      dial(i);
    self_->run_delayed(check, [this] { look_around(); });
    return {
        [this](const subscribe& request) { return on_subscribe(*request); },
        [this](const view_delta& delta) { on_delta(*delta); },
    };
  }

private:
  time_point now() const { return self_->clock().now(); }

  // -- the Resources -----------------------------------------------------------

  void dial(std::size_t i) {
    auto& link = links_[i];
    if (link.order.empty() || link.dialing)
      return;
    link.dialing = true;
    auto& address = link.order[link.choice];
    self_->request(world_.dialer(), options_.silence, dial_atom_v, address, std::string{resource_service})
        .then(
            [this, i](const caf::strong_actor_ptr& handle) {
              links_[i].dialing = false;
              on_dialed(i, handle);
            },
            [this, i](const caf::error& reason) {
              links_[i].dialing = false;
              try_next(i, error_text(reason));
            });
  }

  void on_dialed(std::size_t i, const caf::strong_actor_ptr& handle) {
    if (!handle) {
      try_next(i, "nothing is published there");
      return;
    }
    if (std::any_of(links_.begin(), links_.end(), [&](auto& other) { return other.source == handle; })) {
      try_next(i, "it is listened to for another group: a Resource is in one");
      return;
    }
    auto& link = links_[i];
    link.source = handle;
    link.seen.renew(now());
    self_->monitor(handle);
    // What came through another Resource may contain rows which that one added: the new one would never mention them,
    // so everything is asked for anew.  With a filter that is the rule, and what is held tells the new one how far it
    // must have come.
    subscribe_with(i, options_.apps.empty() ? std::vector<pb::ShardVersion>{} : held_of(link), true);
  }

  /// Leaves the present Resource for the next.  All of them are tried at once; only after a whole round of failures
  /// is there a pause.
  void try_next(std::size_t i, const std::string& reason) {
    auto& link = links_[i];
    if (link.source && MUTANT(dead_resource_kept))
      return;
    // While all Resources are down, one line is enough.
    auto level = std::exchange(link.lost, true) ? spdlog::level::debug : spdlog::level::warn;
    spdlog::log(level, "view_client.leave resource={} reason=\"{}\"", link.order[link.choice], reason);
    if (link.source)
      self_->demonitor(caf::actor_cast<caf::actor_addr>(link.source));
    link.source = nullptr;
    link.resyncing = false;
    link.parts.clear();
    link.choice = (link.choice + 1) % link.order.size();
    if (++link.failures < link.order.size()) {
      dial(i);
      return;
    }
    link.failures = 0;
    // All of them may have been given another group.
    if (link.named.empty())
      link.group.reset();
    auto half = static_cast<std::uint64_t>(link.backoff.count() / 2);
    link.next_dial = now() + milliseconds{half + random_.below(half)};
    link.backoff = std::min(link.backoff * 2, backoff_max);
  }

  /// What is held of the shards of a group.
  std::vector<pb::ShardVersion> held_of(const view_link& link) const {
    auto held = keeper_.view().versions();
    std::erase_if(held, [&](auto& shard) { return link.origins.count(resource_id{shard.origin()}) == 0; });
    return held;
  }

  /// Renews the subscription; with `resync` what was missed is sent again.
  void renew(std::size_t i, bool resync) { subscribe_with(i, held_of(links_[i]), resync); }

  void subscribe_with(std::size_t i, const std::vector<pb::ShardVersion>& held, bool resync) {
    auto& link = links_[i];
    link.last_renewal = now();
    link.resyncing = link.resyncing || resync;
    if (resync)
      link.parts.clear();
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
    link.accused.tell(request, now());
    self_->request(caf::actor_cast<view_source>(link.source), options_.silence, subscribe{std::move(request)})
        .then(
            [this, i, asked = link.source](const subscribe_ack& ack) {
              if (links_[i].source == asked)
                on_ack(i, *ack);
            },
            [this, i, asked = link.source](const caf::error& reason) {
              if (links_[i].source == asked)
                try_next(i, "no answer to a subscription: " + error_text(reason));
            });
  }

  /// @returns false when the Resource is of another group than the others behind this link.
  bool same_group(std::size_t i, const std::string& told) {
    auto& link = links_[i];
    auto wanted = link.named.empty() ? link.group.value_or(told) : link.named;
    if (told == wanted) {
      link.group = told;
      return true;
    }
    spdlog::error("view_client.group resource={} group={} expected={} cure=\"list only Resources of one group under "
                  "resources, and those of others under [[groups]] by their name\"",
                  link.order[link.choice], told, wanted);
    try_next(i, "it is of the Resource group " + told + ", not of " + wanted);
    return false;
  }

  void on_ack(std::size_t i, const pb::SubscribeAck& ack) {
    auto& link = links_[i];
    if (!same_group(i, group_from_wire(ack.group())))
      return;
    link.seen.renew(now());
    link.failures = 0;
    link.backoff = backoff_min;
    if (std::exchange(link.lost, false) || link.name != ack.resource_name())
      spdlog::info("view_client.join resource={} address={}", ack.resource_name(), link.order[link.choice]);
    link.id = resource_id{ack.resource()};
    link.name = ack.resource_name();
    // Of a shard that this Resource does not have nobody will speak any more.
    link.spoken_for.clear();
    for (auto& shard : ack.shards())
      link.spoken_for.insert(resource_id{shard.origin()});
    std::vector<resource_id> silent;
    for (auto& [origin, shard] : keeper_.view().shards())
      if (link.origins.count(origin) != 0 && link.spoken_for.count(origin) == 0 && !MUTANT(unspoken_shard_kept))
        silent.push_back(origin);
    view_changes changes;
    for (auto origin : silent)
      if (auto edit = keeper_.lose(origin, now(), changes))
        subscribers_.send(std::move(*edit), now());
  }

  void on_delta(const pb::ViewDelta& received) {
    auto sender = self_->current_sender();
    auto from = std::find_if(links_.begin(), links_.end(),
                             [&](auto& link) { return link.source != nullptr && link.source == sender; });
    if (from == links_.end())
      return;
    // Said before it says who it is: its acknowledgement will end this.
    auto wanted = from->named.empty() ? from->group : from->named;
    if (wanted && group_from_wire(received.origin_group()) != *wanted)
      return;
    from->seen.renew(now());
    auto i = static_cast<std::size_t>(from - links_.begin());
    std::vector<pb::ViewDelta> ready;
    switch (from->parts.add(received, ready)) {
    case part_collector::outcome::partial:
      from->resyncing = false;
      break;
    case part_collector::outcome::gap:
      on_gap(i, received);
      break;
    case part_collector::outcome::whole:
      for (auto& delta : ready)
        on_whole(i, delta);
      break;
    }
  }

  void on_whole(std::size_t i, pb::ViewDelta& delta) {
    view_changes changes;
    switch (keeper_.accept(delta, now(), changes)) {
    case cluster_view::apply_outcome::applied:
      links_[i].resyncing = false;
      links_[i].origins.insert(resource_id{delta.origin()});
      if (!keeper_.in_step(delta)) {
        spdlog::error("view_client.diverged origin={} version={} cure=\"the shard is asked for anew\"",
                      delta.origin_name(), delta.version());
        renew(i, true);
      }
      subscribers_.send(std::move(delta), now());
      break;
    case cluster_view::apply_outcome::gap:
      on_gap(i, delta);
      break;
    case cluster_view::apply_outcome::stale:
      break;
    }
  }

  void on_gap(std::size_t i, const pb::ViewDelta& received) {
    if (links_[i].resyncing || MUTANT(view_resync_not_asked))
      return;
    spdlog::info("view_client.gap origin={} base={} version={} part={}", received.origin_name(), received.base(),
                 received.version(), received.part());
    renew(i, true);
  }

  void on_down(const caf::down_msg& down) {
    subscribers_.remove(down.source);
    for (std::size_t i = 0; i < links_.size(); ++i)
      if (links_[i].source && links_[i].source == down.source)
        try_next(i, "connection closed");
  }

  void look_around() {
    self_->run_delayed(check, [this] { look_around(); });
    auto passed = now() - last_check_;
    auto late = passed - check;
    last_check_ = now();
    for (std::size_t i = 0; i < links_.size(); ++i)
      look_at(i, passed, late);
    // While nobody speaks nothing is decided.
    if (std::all_of(links_.begin(), links_.end(), deaf) && !MUTANT(grace_runs_while_deaf))
      return;
    view_changes changes;
    for (auto& edit : keeper_.expire(now(), changes))
      subscribers_.send(std::move(edit), now());
  }

  /// One that was dialled and has not answered yet is none.
  static bool deaf(const view_link& link) { return !link.source || link.lost; }

  void look_at(std::size_t i, std::chrono::nanoseconds passed, std::chrono::nanoseconds late) {
    auto& link = links_[i];
    // When this process slept, the silence was its own.
    if (late > check)
      link.seen.extend(late, now());
    // And while no Resource says anything, nothing can prove that a node found another home.
    auto of_link = [&link](resource_id origin) { return link.origins.count(origin) != 0; };
    if (deaf(link) && !MUTANT(grace_runs_while_deaf))
      keeper_.extend_grace(passed, now(), of_link);
    else if (late > check)
      keeper_.extend_grace(late, now(), of_link);
    if (link.source && link.seen.silence(now()) >= options_.silence)
      try_next(i, silence_text(link.seen.silence(now())));
    else if (link.source && now() - link.last_renewal >= options_.renew && !MUTANT(subscription_not_renewed))
      renew(i, std::exchange(link.resyncing, false));
    else if (!link.source && now() >= link.next_dial)
      dial(i);
  }

  // -- the process -------------------------------------------------------------

  caf::result<subscribe_ack> on_subscribe(const pb::Subscribe& request) {
    auto who = self_->current_sender();
    if (!who)
      return caf::make_error(errc::invalid_argument, "a subscription needs a sender");
    subscribers_.renew(who, request, now());
    pass_on(request);
    pb::SubscribeAck ack;
    ack.set_resource(links_.front().id.value());
    ack.set_resource_name(links_.front().name);
    ack.set_group(group_on_wire(links_.front().group.value_or(std::string{})));
    for (auto& [origin, shard] : keeper_.view().shards()) {
      auto& version = *ack.add_shards();
      version.set_origin(origin.value());
      version.set_epoch(shard.epoch);
      version.set_version(shard.version);
      version.set_group(group_on_wire(shard.group));
    }
    // Nor is a view complete without what is still under way.
    for (auto& link : links_) {
      for (auto origin : link.spoken_for)
        if (keeper_.view().shards().count(origin) == 0) {
          auto& version = *ack.add_shards();
          version.set_origin(origin.value());
          version.set_group(group_on_wire(*link.group));
        }
      if (!link.named.empty() && !link.group)
        ack.add_missing_groups(link.named);
    }
    return subscribe_ack{std::move(ack)};
  }

  /// What routers accuse nodes of, to the Resource through which their rows come.
  void pass_on(const pb::Subscribe& request) {
    for (auto& accusation : request.accusations()) {
      auto shown = keeper_.view().find(node_id{accusation.node()});
      for (auto& link : links_)
        if (shown != nullptr && link.source && link.origins.count(shown->origin) != 0)
          link.accused.add(accusation);
    }
    for (std::size_t i = 0; i < links_.size(); ++i)
      accuse(i);
  }

  void accuse(std::size_t i) {
    auto& link = links_[i];
    if (!link.source)
      return link.accused.clear();
    if (link.accused.wait(now()) == milliseconds{0}) {
      // A resync that brings nothing is asked for again by the regular renewals, which this is none of.
      auto last = link.last_renewal;
      renew(i, false);
      link.last_renewal = last;
    }
    if (auto wait = link.accused.begin_to_wait(now()))
      self_->run_delayed(*wait, [this, i] {
        links_[i].accused.waited();
        accuse(i);
      });
  }

  view_client_actor::pointer self_;
  platform& world_;
  view_client_options options_;
  random_source random_;
  view_keeper keeper_;
  subscriber_list subscribers_;
  /// The home group first.
  std::vector<view_link> links_;
  time_point last_check_;
};

} // namespace

view_source spawn_view_client(caf::actor_system& sys, platform& world, const view_client_options& options) {
  return sys.spawn<view_client_actor::stateful_impl<view_client_state>>(&world, options);
}

} // namespace astra
