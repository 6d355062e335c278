#include "runtime/sim/checks/history.hpp"

#include "messages/wire/app.pb.h"

#include <caf/error.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>

// Two that believe to be one: processes of one name, schedulers of one app.  Only the later one goes on.

namespace astra::sim {
namespace {

/// Follows the beats of machines that have a twin.  A process is older than another of its name when its incarnation
/// is; it may work until it is told so, and the Resources tell it as soon as they have heard the later one.
class one_life : public named_check<one_life> {
public:
  static constexpr const char* label = "one-life";
  static constexpr const char* about =
      "Of two processes of one name the older one says nothing once it is told so, is not started again by its own "
      "supervisor, and is gone soon; the later one is never fenced.";
  /// From when both can reach the Resources.
  static constexpr nanoseconds default_bound{std::chrono::seconds{10}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .said({message_kind::heartbeat, message_kind::profile_update, message_kind::scheduler_beat})
        .add(event_kind::step, {message_kind::heartbeat_ack, message_kind::error});
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (what.content == nullptr) {
      if (what.at >= next_look_)
        look(what.at, facts);
    } else if (auto beat = content_as<heartbeat>(what)) {
      on_word(part::node, (*beat)->node(), (*beat)->incarnation(), what, facts);
    } else if (auto update = content_as<profile_update>(what)) {
      on_word(part::node, (*update)->profile().node(), (*update)->profile().incarnation(), what, facts);
    } else if (auto process = content_as<scheduler_beat>(what)) {
      on_word(part::scheduler, (*process)->scheduler(), (*process)->incarnation(), what, facts);
    } else if (auto ack = content_as<heartbeat_ack>(what)) {
      if ((*ack)->fenced())
        on_fence(what, facts);
    } else if (is_named(what.actor, facts)) {
      given_up_[joint_id(what.actor, what.message_id)] = true;
    }
  }

  void at_quiet(const final_state&, const world_facts& facts) override { look(facts.now(), facts); }

private:
  enum class part : std::uint8_t { node, scheduler };

  struct life {
    /// Of the machine.
    std::uint32_t boot = 0;
    std::uint64_t name = 0;
    std::uint64_t incarnation = 0;
    /// The event in which it was told of a later one; 0: it was not.
    std::uint64_t fenced_in = 0;
  };

  struct name_record {
    /// The latest that has spoken, and since when a Resource knows.
    std::uint64_t latest = 0;
    instant heard{-1};
  };

  bool is_named(std::uint64_t actor, const world_facts& facts) {
    auto role = roles_.of(actor, facts);
    return role == actor_role::node || role == actor_role::apps;
  }

  life& life_of(part which, machine_id machine, const world_facts& facts) {
    auto& found = lives_[machine][static_cast<std::size_t>(which)];
    if (auto boot = facts_of(machine, facts).boot; found.boot != boot) {
      found = {};
      found.boot = boot;
    }
    return found;
  }

  void on_word(part which, std::uint64_t id, std::uint64_t incarnation, const event& what, const world_facts& facts) {
    auto crossed = what.kind == event_kind::step && what.peer != machine_id{};
    auto from = crossed ? what.peer : what.machine;
    if (facts_of(from, facts).twin == machine_id{})
      return;
    auto name = joint_id(id, static_cast<std::uint64_t>(which));
    if (said(what)) {
      auto& speaker = life_of(which, from, facts);
      if (speaker.fenced_in != 0 && said_in(what) > speaker.fenced_in)
        return fail(fmt::format("{} was told that a later process has its name (event {}), and still speaks as "
                                "incarnation {}",
                                facts_of(from, facts).name, speaker.fenced_in, incarnation));
      speaker.name = name;
      speaker.incarnation = std::max(speaker.incarnation, incarnation);
    }
    auto& known = names_[name];
    if (incarnation > known.latest)
      known = {incarnation, instant{-1}};
    if (what.kind == event_kind::step && incarnation == known.latest && known.heard < instant{0})
      known.heard = what.at;
    if (what.at >= next_look_)
      look(what.at, facts);
  }

  /// A node, or the front of the schedulers, is told that it is fenced.
  void on_fence(const event& what, const world_facts& facts) {
    if (!is_named(what.actor, facts) || given_up_.has(joint_id(what.actor, what.message_id)))
      return;
    auto which = roles_.of(what.actor, facts) == actor_role::node ? part::node : part::scheduler;
    auto& fenced = life_of(which, what.machine, facts);
    if (fenced.fenced_in == 0)
      fenced.fenced_in = what.number;
    auto name = names_.find(fenced.name);
    if (fenced.name != 0 && name != nullptr && fenced.incarnation == name->latest)
      fail(fmt::format("{} is fenced, and nobody of its name has a later incarnation than {}",
                       facts_of(what.machine, facts).name, fenced.incarnation));
  }

  void look(instant now, const world_facts& facts) {
    next_look_ = now + std::chrono::milliseconds{250};
    if (names_.size() == 0 || lossy(facts.what()) || !disturbed_.network_calm(bound(), facts))
      return;
    auto machines = facts.machines();
    for (std::uint32_t i = 1; i < machines.size(); ++i)
      if ((has_role(machines[i], process_role::resource) || has_role(machines[i], process_role::aggregator))
          && !well(machine_id{i}, now, facts))
        return; // homes were lost, and each has its own time to be found again
    for (std::uint32_t i = 1; i < machines.size(); ++i) {
      machine_id machine{i};
      if (machines[i].twin == machine_id{} || !well(machine, now, facts))
        continue;
      for (auto& one : lives_[machine]) {
        auto name = names_.find(one.name);
        if (one.name == 0 || one.boot != machines[i].boot || name == nullptr || one.incarnation == name->latest
            || name->heard < instant{0} || now - name->heard < bound())
          continue;
        fail(fmt::format("{} is still there with incarnation {}, and Resources know a later one since {}",
                         machines[i].name, one.incarnation, seconds_text(name->heard)));
      }
    }
  }

  /// Undisturbed for the whole bound.
  bool well(machine_id machine, instant now, const world_facts& facts) const {
    return healthy(machine, facts) && now - facts_of(machine, facts).since >= bound()
           && disturbed_.calm(machine, bound(), facts);
  }

  actor_roles roles_;
  disturbances disturbed_;
  per_machine<std::array<life, 2>> lives_;
  id_table<name_record> names_;
  /// Beats that were not answered in time, by (actor, message id): an answer is not heard any more.
  id_table<bool> given_up_;
  instant next_look_{0};
};

/// Knows what a scheduler knows: the epochs of its app in the view that it has taken in, and in the answers to its
/// claims.
class scheduler_yields : public named_check<scheduler_yields> {
public:
  static constexpr const char* label = "scheduler-yields";
  static constexpr const char* about = "A scheduler that is told of a later one of its app ends at once.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::view_delta, message_kind::claim_reply, message_kind::error})
        .said({message_kind::app_detail, message_kind::claim_batch});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto report = content_as<app_detail>(what)) {
      if (said(what) && roles_.of(what.sender, facts) == actor_role::scheduler)
        learn(what.sender, (*report)->record().spec().name(), (*report)->record().epoch());
    } else if (auto batch = content_as<claim_batch>(what)) {
      if (said(what) && roles_.of(what.sender, facts) == actor_role::scheduler)
        learn(what.sender, (*batch)->spec().name(), (*batch)->epoch());
    } else if (roles_.of(what.actor, facts) == actor_role::scheduler) {
      auto& here = schedulers_[what.actor];
      if (here.told_in != 0)
        return fail(fmt::format("{} has epoch {} of app {} and goes on, although it was told of epoch {} (event {})",
                                facts.actor_name(what.actor), here.epoch, here.app, here.told, here.told_in));
      if (content_as<caf::error>(what))
        given_up_[joint_id(what.actor, what.message_id)] = true;
      else if (auto reply = content_as<claim_reply>(what);
               reply && !given_up_.has(joint_id(what.actor, what.message_id)))
        hear(here, (*reply)->newer_epoch(), what);
      else if (auto delta = content_as<view_delta>(what); delta && what.peer == machine_id{})
        on_delta(here, **delta, what);
    }
  }

private:
  struct scheduler_record {
    std::string app;
    std::uint64_t epoch = 0;
    /// The later epoch that it was told of, and the event; 0: none.
    std::uint64_t told = 0;
    std::uint64_t told_in = 0;
  };

  /// How far a scheduler has followed a shard.
  struct shard_record {
    std::uint64_t epoch = 0;
    std::uint64_t version = 0;
  };

  void learn(std::uint64_t scheduler, const std::string& app, std::uint64_t epoch) {
    auto& known = schedulers_[scheduler];
    if (known.epoch != 0)
      return;
    known.app = app;
    known.epoch = epoch;
  }

  void hear(scheduler_record& scheduler, std::uint64_t epoch, const event& what) {
    if (scheduler.epoch == 0 || epoch <= scheduler.epoch)
      return;
    scheduler.told = epoch;
    scheduler.told_in = what.number;
  }

  /// From the view client of its process, which is the only one that it listens to.
  void on_delta(scheduler_record& scheduler, const pb::ViewDelta& delta, const event& what) {
    auto& shard = shards_[joint_id(what.actor, delta.origin())];
    auto same = delta.epoch() == shard.epoch;
    auto snapshot = delta.base() == 0;
    // Whatever else it takes in, it takes in these.
    auto certain = snapshot ? delta.epoch() > shard.epoch || (same && delta.version() >= shard.version)
                            : same && delta.base() <= shard.version && delta.version() > shard.version;
    if (!certain && !delta.origin_lost())
      return;
    shard = {delta.epoch(), delta.version()};
    if (!certain)
      return;
    for (auto& record : delta.apps())
      if (record.spec().name() == scheduler.app)
        hear(scheduler, record.epoch(), what);
  }

  actor_roles roles_;
  /// By actor.
  id_table<scheduler_record> schedulers_;
  /// By (actor, origin).
  id_table<shard_record> shards_;
  /// Requests that were not answered in time, by (actor, message id): an answer is not heard any more.
  id_table<bool> given_up_;
};

/// Of two schedulers of one app the one with the larger epoch is right, whoever beats last.
class app_epochs : public named_check<app_epochs> {
public:
  static constexpr const char* label = "app-epochs";
  static constexpr const char* about = "What a Resource tells of an app never goes back to an earlier epoch of it.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.add(event_kind::send, {message_kind::view_delta}); }

  void on_event(const event& what, const world_facts& facts) override {
    auto& delta = *content_as<view_delta>(what);
    if ((delta->apps().empty() && delta->removed_apps().empty())
        || delta->origin_name() != facts_of(what.machine, facts).name
        || roles_.of(what.sender, facts) != actor_role::resource)
      return;
    auto key = [&](const std::string& app) { return joint_id(delta->origin(), name_hash(app)); };
    for (auto& app : delta->removed_apps())
      apps_[key(app)] = {};
    for (auto& record : delta->apps()) {
      auto& known = apps_[key(record.spec().name())];
      if (known.life == delta->epoch() && record.epoch() < known.epoch)
        fail(fmt::format("{} tells of epoch {} of app {} after epoch {}", delta->origin_name(), record.epoch(),
                         record.spec().name(), known.epoch));
      known = {delta->epoch(), record.epoch()};
    }
  }

private:
  struct app_record {
    /// Of the Resource.
    std::uint64_t life = 0;
    std::uint64_t epoch = 0;
  };

  actor_roles roles_;
  /// By (origin, app).
  id_table<app_record> apps_;
};

} // namespace

void add_life_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<one_life>());
  all.push_back(kind_of_check<scheduler_yields>());
  all.push_back(kind_of_check<app_epochs>());
}

} // namespace astra::sim
