#include "runtime/sim/checks/placements.hpp"

#include "messages/wire/app.pb.h"
#include "messages/wire/claim.pb.h"
#include "runtime/sim/checks/sharing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

// Where replicas are placed, and why they are placed anew.

namespace astra::sim {

void placements::observe(const event& what, const world_facts& facts) {
  if (what.kind == event_kind::boot) {
    nodes_[what.machine] = {};
    nodes_[what.machine].roomy_since = what.at;
  } else if (auto batch = content_as<claim_batch>(what)) {
    auto& size = (*batch)->spec().per_replica();
    for (auto& claim : (*batch)->claims())
      asked_[claim.token()] = {size.cpu_milli(), size.memory_bytes()};
  } else if (what.kind == event_kind::log) {
    on_log(what, facts);
  }
}

void placements::on_log(const event& what, const world_facts&) {
  auto word = first_word(what.text);
  if (!word.starts_with("node."))
    return;
  auto& here = nodes_[what.machine];
  if (word == "node.drain")
    here.draining = true;
  auto token = hex_number(field(what.text, "token="));
  if (!token)
    return;
  if (word == "node.claim") {
    if (field(what.text, "outcome=") != "CLAIM_CONFIRMED")
      return;
    auto size = asked_.find(*token);
    auto index = number(field(what.text, "replica="));
    auto [entry, fresh] = here.replicas.try_emplace(*token);
    if (fresh)
      entry->second = {std::string{field(what.text, "app=")},
                       static_cast<std::uint32_t>(index.value_or(0)),
                       size ? size->cpu_milli : 0,
                       size ? size->memory : 0,
                       condition::starting,
                       what.at};
    return;
  }
  auto found = here.replicas.find(*token);
  if (found == here.replicas.end())
    return;
  auto is = [&](condition now) {
    if (found->second.is != now && found->second.is != condition::released)
      found->second.is = now, found->second.since = what.at;
  };
  if (word == "node.replica_gone") {
    here.replicas.erase(found);
    here.roomy_since = what.at;
  } else if (word == "node.replica_ready") {
    is(condition::ready);
  } else if (word == "node.replica_unready") {
    is(condition::starting);
  } else if (word == "node.replica_failed") {
    is(condition::failed);
  } else if (word == "node.replica_crash") {
    is(field(what.text, "state=") == "failed" ? condition::failed : condition::backing_off);
  } else if (word == "node.preempt" || (word == "node.release" && field(what.text, "known=") == "true")) {
    is(condition::released);
  }
}

bool placements::has_room(machine_id machine, std::uint64_t cpu_milli, std::uint64_t memory, const world_facts& facts) {
  auto& name = facts_of(machine, facts).name;
  for (auto& [token, held] : nodes_[machine].replicas) {
    cpu_milli += held.cpu_milli;
    memory += held.memory;
  }
  auto& groups = facts.what().machines;
  return std::any_of(groups.begin(), groups.end(), [&](auto& group) {
    return name.starts_with(group.name + '-') && name.find('-', group.name.size() + 1) == std::string::npos
           && cpu_milli <= group.cpu_milli && memory <= group.memory_bytes;
  });
}

bool placements::has_room(machine_id machine, std::uint64_t token, const world_facts& facts) {
  auto size = asked_.find(token);
  return size != nullptr && has_room(machine, size->cpu_milli, size->memory, facts);
}

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Not only at the end: whenever those who have to do with it are well for long enough.
class placement_progress : public named_check<placement_progress> {
public:
  static constexpr const char* label = "placement-progress";
  static constexpr const char* about =
      "While schedulers, Resources and network are well, an index without a replica at a node that is well gets one "
      "within the bound, if a node has had room for it for so long.";
  static constexpr nanoseconds default_bound{seconds{7}};

  using named_check::named_check;

  topics wants() const override {
    return placements::wants().add(event_kind::step, {message_kind::scheduler_beat}) |= disturbances::wants();
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    placed_.observe(what, facts);
    if (what.kind == event_kind::log && first_word(what.text) == "node.replica_failed")
      failed_at_.insert({what.machine, std::string{field(what.text, "app=")}});
    if (what.kind == event_kind::log && first_word(what.text) == "node.replica_crash")
      failed_at_.insert({what.machine, std::string{field(what.text, "app=")}});
    if (auto beat = content_as<scheduler_beat>(what))
      on_beat(**beat, what, facts);
    if (what.at >= next_look_)
      look(what.at, facts);
  }

private:
  struct wish {
    std::uint32_t replicas = 0;
    std::uint64_t hash = 0;
    bool deleting = false;
    /// Since when it is so.
    instant since{0};
    /// The last beat that said so.
    instant told{0};
    machine_id scheduler{};
    std::uint64_t cpu_milli = 0;
    std::uint64_t memory = 0;
    bool picky = false;
  };

  void on_beat(const pb::SchedulerBeat& beat, const event& what, const world_facts& facts) {
    for (auto& record : beat.apps()) {
      auto& known = wishes_[record.spec().name()];
      wish now;
      now.replicas = record.spec().replicas();
      now.hash = record.spec_hash();
      now.deleting = record.deleting();
      now.scheduler = what.peer == machine_id{} ? what.machine : what.peer;
      auto& size = record.spec().per_replica();
      now.cpu_milli = size.cpu_milli();
      now.memory = size.memory_bytes();
      // A gang waits for as many places as it has replicas, a worker for its head, and whoever has a quota for that.
      now.picky = !record.spec().require().empty() || !size.accelerators().empty() || record.spec().gang()
                  || record.spec().has_federation() || quota_of(record.spec().business(), facts.what()) != nullptr;
      auto same = known.replicas == now.replicas && known.hash == now.hash && known.deleting == now.deleting
                  && known.scheduler == now.scheduler;
      now.since = same ? known.since : what.at;
      now.told = what.at;
      known = now;
    }
  }

  void look(instant now, const world_facts& facts) {
    next_look_ = now + milliseconds{500};
    auto machines = facts.machines();
    auto& script = facts.what();
    auto held = held_well(now, facts);
    for (auto& [app, wanted] : wishes_) {
      auto& since = without_[app];
      since.resize(std::max<std::size_t>(since.size(), wanted.replicas), instant{-1});
      auto& held_here = held[app];
      for (std::uint32_t index = 0; index < wanted.replicas; ++index) {
        auto& without = since[index];
        if (held_here[index])
          without = instant{-1};
        else if (without < instant{0})
          without = now;
      }
    }
    if (lossy(script) || !disturbed_.network_calm(bound() + settled, facts))
      return;
    // Those that were lost at once come back one after the other.
    auto patience = bound() + seconds{20} / script.options.scheduler.replace_per_s;
    auto grace = script.options.resource.orphan_grace;
    for (std::uint32_t i = 1; i < machines.size(); ++i) {
      if (!has_role(machines[i], process_role::resource))
        continue;
      // One that is gone for long is missed by nobody, once its orphans have been given up.
      auto long_gone = !machines[i].up && now - machines[i].since > bound() + settled + grace;
      if (!long_gone && !long_well(machine_id{i}, facts))
        return;
      patience += long_gone ? grace : nanoseconds{0};
    }
    for (auto& [app, wanted] : wishes_) {
      if (wanted.deleting || wanted.picky || now - wanted.since < patience + settled || now - wanted.told > seconds{3}
          || !long_well(wanted.scheduler, facts))
        continue;
      auto& since = without_.at(app);
      for (std::uint32_t index = 0; index < wanted.replicas; ++index) {
        auto without = since[index];
        if (without >= instant{0} && now - without > patience)
          complain(app, index, wanted, without, now, patience, facts);
      }
    }
  }

  bool long_well(machine_id machine, const world_facts& facts) const {
    return healthy(machine, facts) && disturbed_.calm(machine, bound() + settled, facts);
  }

  /// By app, which of the wanted indices have a replica that runs or will, at a node that is well.
  std::map<std::string, std::vector<bool>> held_well(instant now, const world_facts& facts) {
    std::map<std::string, std::vector<bool>> result;
    for (auto& [app, wanted] : wishes_)
      result[app].resize(wanted.replicas);
    for (std::uint32_t i = 1; i < placed_.size(); ++i) {
      machine_id machine{i};
      auto& node = placed_.at(machine);
      if (node.replicas.empty() || node.draining || !healthy(machine, facts))
        continue;
      for (auto& [token, replica] : node.replicas) {
        auto app = result.find(replica.app);
        if (app == result.end() || replica.index >= app->second.size())
          continue;
        auto lasts = now - replica.since;
        if (replica.is == placements::condition::ready || replica.is == placements::condition::starting
            || (replica.is == placements::condition::backing_off && lasts < seconds{30}))
          app->second[replica.index] = true;
      }
    }
    return result;
  }

  void complain(const std::string& app, std::uint32_t index, const wish& wanted, instant without, instant now,
                nanoseconds patience, const world_facts& facts) {
    for (std::uint32_t i = 1; i < placed_.size(); ++i) {
      machine_id machine{i};
      auto& node = placed_.at(machine);
      // A node where something of this app has failed is left out for long.
      if (facts_of(machine, facts).node && long_well(machine, facts) && !node.draining
          && now - node.roomy_since > patience && failed_at_.count({machine, app}) == 0
          && placed_.has_room(machine, wanted.cpu_milli, wanted.memory, facts)) {
        fail(fmt::format("index {} of app {} has been without a replica at a node that is well since {}, and node {} "
                         "has room for one",
                         index, app, seconds_text(without), facts_of(machine, facts).name));
        return;
      }
    }
  }

  /// Resources that were disturbed within this time before may not have found everybody.
  static constexpr nanoseconds settled{seconds{5}};

  disturbances disturbed_;
  placements placed_;
  std::map<std::string, wish> wishes_;
  /// By app and index, since when it has been without one; negative: it has one.
  std::map<std::string, std::vector<instant>> without_;
  std::set<std::pair<machine_id, std::string>> failed_at_;
  instant next_look_{0};
};

/// What schedulers ask for.
class claims_needed : public named_check<claims_needed> {
public:
  static constexpr const char* label = "claims-needed";
  static constexpr const char* about =
      "A scheduler claims an index once at a time, claims nothing before the cluster has turned up, replaces nothing "
      "that runs well, and keeps what works until its successor is ready.";
  /// How long a replica and its node must have been well.
  static constexpr nanoseconds default_bound{seconds{8}};

  using named_check::named_check;

  topics wants() const override {
    return placements::wants()
               .said({message_kind::claim_batch, message_kind::release_batch})
               .add(event_kind::step, {message_kind::claim_reply, message_kind::error}) |= disturbances::wants();
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    placed_.observe(what, facts);
    if (what.kind == event_kind::log && first_word(what.text) == "scheduler.resource_lost")
      if (auto known = schedulers_.find(what.actor); known != schedulers_.end())
        known->second.open.clear();
    if (what.kind == event_kind::log && first_word(what.text) == "node.claim"
        && field(what.text, "outcome=") == "CLAIM_CONFIRMED")
      if (auto token = hex_number(field(what.text, "token=")))
        confirmed_[*token] = true;
    if (auto reply = content_as<claim_reply>(what)) {
      if (auto known = schedulers_.find(what.actor); known != schedulers_.end())
        for (auto& result : (*reply)->results())
          known->second.answered(result.token());
    } else if (kind_of(what.content) == message_kind::error) {
      // A Resource that is out of reach will say nothing more.
      if (auto known = schedulers_.find(what.actor); known != schedulers_.end())
        known->second.open.clear();
    } else if (auto releases = content_as<release_batch>(what)) {
      if (said(what))
        for (auto& release : (*releases)->releases())
          on_release(release, what, facts);
    } else if (auto batch = content_as<claim_batch>(what)) {
      if (said(what) && roles_.of(what.sender, facts) == actor_role::scheduler)
        on_claims(**batch, what, facts);
    }
  }

private:
  struct scheduler_record {
    /// Claims without an answer, by index: token, and when it was said.
    std::map<std::uint32_t, std::pair<std::uint64_t, instant>> open;
    /// Which index each of these tokens, and some that were answered, was for.
    std::unordered_map<std::uint64_t, std::uint32_t> index_of;
    /// What it has released: tokens.
    std::set<std::uint64_t> released;

    void answered(std::uint64_t token) {
      auto claimed = index_of.extract(token);
      if (claimed.empty())
        return;
      auto found = open.find(claimed.mapped());
      if (found != open.end() && found->second.first == token)
        open.erase(found);
    }
  };

  /// Where an app's replicas are.
  using whereabouts = std::unordered_multimap<std::uint32_t, machine_id>;

  /// Of those that are ready, by index, as far as their nodes are well.
  whereabouts ready_replicas(const std::string& app, const world_facts& facts) {
    whereabouts result;
    for (std::uint32_t i = 1; i < placed_.size(); ++i) {
      machine_id machine{i};
      auto& node = placed_.at(machine);
      if (node.replicas.empty() || node.draining || !healthy(machine, facts) || superseded(machine, facts)
          || !disturbed_.calm(machine, bound(), facts))
        continue;
      for (auto& [token, replica] : node.replicas)
        if (replica.app == app && replica.is == placements::condition::ready)
          result.emplace(replica.index, machine);
    }
    return result;
  }

  void on_claims(const pb::ClaimBatch& batch, const event& what, const world_facts& facts) {
    auto& known = schedulers_[what.sender];
    auto& app = batch.spec().name();
    too_early(app, what, facts);
    // With a grace so short that nodes find no other home within it, they are given up.
    auto may_judge = !lossy(facts.what()) && facts.what().options.resource.orphan_grace >= bound()
                     && disturbed_.network_calm(bound(), facts) && disturbed_.calm(what.machine, bound(), facts);
    auto ready = may_judge ? ready_replicas(app, facts) : whereabouts{};
    for (auto& claim : batch.claims()) {
      known.index_of[claim.token()] = claim.replica_index();
      auto before = std::exchange(known.open[claim.replica_index()], {claim.token(), what.at});
      // Clocks may drift by some per cent.
      if (before.first != 0 && !lossy(facts.what())
          && what.at - before.second < facts.what().options.scheduler.claim_timeout * 9 / 10 && !ended(before.first)
          && !outdated(before.first, batch.spec_hash()) && !has_twin(before.first, facts))
        fail(fmt::format("{} claims index {} of app {} while a claim for it has no answer yet",
                         facts.actor_name(what.sender), claim.replica_index(), app));
      auto [first, last] = ready.equal_range(claim.replica_index());
      for (auto at = first; at != last; ++at)
        needless(at->second, claim.replica_index(), batch, known, what, facts);
    }
    for (auto& claim : batch.claims()) {
      hashes_[claim.token()] = batch.spec_hash();
      claimed_at_[claim.token()] = claim.node();
    }
  }

  /// Whether it was confirmed and has another spec: it may be seen at its node, and be replaced, before the answer for
  /// the last claim of its batch comes.
  bool outdated(std::uint64_t token, std::uint64_t spec_hash) const {
    return confirmed_.has(token) && hash_of(token) != spec_hash;
  }

  /// Whether it was claimed at a node that runs twice: when the later one is seen, the claim at the other is void.
  bool has_twin(std::uint64_t token, const world_facts& facts) {
    auto node = claimed_at_.find(token);
    return node != nullptr && facts_of(machines_.of(*node, facts), facts).twin != machine_id{};
  }

  /// Whether it was confirmed and did not last: that may be seen at its node before the answer comes.
  bool ended(std::uint64_t token) {
    if (!confirmed_.has(token))
      return false;
    for (std::uint32_t i = 1; i < placed_.size(); ++i)
      if (auto found = placed_.at(machine_id{i}).replicas.find(token);
          found != placed_.at(machine_id{i}).replicas.end())
        return placed_.at(machine_id{i}).draining
               || (found->second.is != placements::condition::starting
                   && found->second.is != placements::condition::ready);
    return true;
  }

  void too_early(const std::string& app, const event& what, const world_facts& facts) {
    auto& script = facts.what();
    auto& here = facts_of(what.machine, facts);
    auto from_file = std::any_of(script.apps.begin(), script.apps.end(), [&](auto& entry) {
      return entry.spec && entry.spec->name() == app && entry.from_file;
    });
    // Clocks may drift by some per cent.
    if (from_file && here.boot <= 1 && what.at - here.since < script.options.scheduler.heartbeat * 19 / 10)
      fail(fmt::format("{} claims for app {} {} after the start of its process, before the nodes have turned up",
                       facts.actor_name(what.sender), app, seconds_text(what.at - here.since)));
  }

  /// @param where A node that is well and has such a replica ready.
  void needless(machine_id where, std::uint32_t index, const pb::ClaimBatch& batch, const scheduler_record& scheduler,
                const event& what, const world_facts& facts) {
    auto& app = batch.spec().name();
    for (auto& [token, replica] : placed_.at(where).replicas) {
      if (replica.app != app || replica.index != index || replica.is != placements::condition::ready
          || what.at - replica.since < bound() || scheduler.released.count(token) != 0
          || hash_of(token) != batch.spec_hash())
        continue;
      fail(fmt::format("{} claims a place for index {} of app {}, which has been ready at node {} since {}",
                       facts.actor_name(what.sender), index, app, facts_of(where, facts).name,
                       seconds_text(replica.since)));
    }
  }

  /// Of the spec that was claimed under this token; 0: it is not known.
  std::uint64_t hash_of(std::uint64_t token) const {
    auto found = hashes_.find(token);
    return found == nullptr ? 0 : *found;
  }

  void on_release(const pb::Release& release, const event& what, const world_facts& facts) {
    auto known = schedulers_.find(what.sender);
    if (known == schedulers_.end())
      return;
    auto first = known->second.released.insert(release.token()).second;
    known->second.answered(release.token());
    auto replaced =
        release.reason() == "the app's spec has changed" || release.reason() == "replaced: its node is draining";
    if (!first || !replaced || lossy(facts.what()) || !disturbed_.network_calm(bound(), facts))
      return;
    // With such a policy some of the old ones may go first.
    for (auto& app : facts.what().apps)
      if (app.spec && app.spec->name() == release.app() && app.spec->update().max_unavailable() > 0)
        return;
    auto works = false;
    auto others = false;
    // Without room for both the old one goes first.
    auto room = false;
    for (std::uint32_t i = 1; i < placed_.size(); ++i) {
      machine_id machine{i};
      for (auto& [token, replica] : placed_.at(machine).replicas) {
        if (replica.app != release.app() || replica.index != release.replica_index())
          continue;
        auto ready = replica.is == placements::condition::ready;
        if (token == release.token()) {
          for (std::uint32_t other = 1; other < placed_.size(); ++other) {
            auto& node = placed_.at(machine_id{other});
            room = room
                   || (facts_of(machine_id{other}, facts).node && healthy(machine_id{other}, facts) && !node.draining
                       && disturbed_.calm(machine_id{other}, bound(), facts) && what.at - node.roomy_since > bound()
                       && placed_.has_room(machine_id{other}, replica.cpu_milli, replica.memory, facts));
          }
          works = ready && healthy(machine, facts) && disturbed_.calm(machine, bound(), facts)
                  && what.at - replica.since > bound();
        } else {
          // One that was ready a moment ago may still be seen so.
          others = others || ready || what.at - replica.since < seconds{1};
        }
      }
    }
    if (works && room && !others)
      fail(fmt::format("{} releases index {} of app {} ({}), which is ready, before its successor is",
                       facts.actor_name(what.sender), release.replica_index(), release.app(), release.reason()));
  }

  actor_roles roles_;
  disturbances disturbed_;
  placements placed_;
  std::map<std::uint64_t, scheduler_record> schedulers_;
  /// Tokens that a node has confirmed at some time.
  id_table<bool> confirmed_;
  /// Hashes of specs, and nodes, by token.
  id_table<std::uint64_t> hashes_;
  id_table<std::uint64_t> claimed_at_;
  node_machines machines_;
};

/// Records of apps come and go with their apps.
class app_records : public named_check<app_records> {
public:
  static constexpr const char* label = "app-records";
  static constexpr const char* about =
      "A Resource tells at once that an app is gone when its scheduler no longer names it, a scheduler names an app "
      "until the last of its replicas has ended, those that come back later are ended too, and no record goes that "
      "nobody deleted.";
  static constexpr nanoseconds default_bound{milliseconds{500}};

  using named_check::named_check;

  topics wants() const override {
    return placements::wants()
               .add(event_kind::step,
                    {message_kind::scheduler_beat, message_kind::delete_app, message_kind::view_delta})
               .said({message_kind::view_delta, message_kind::delete_app})
               .add(event_kind::crash)
               .add(event_kind::stop) |= disturbances::wants();
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    placed_.observe(what, facts);
    if (what.kind == event_kind::boot) {
      std::erase_if(named_, [&](auto& entry) { return entry.first.first == what.machine; });
      std::erase_if(owed_, [&](auto& entry) { return entry.first.first == what.machine; });
    } else if (what.kind == event_kind::log) {
      auto word = first_word(what.text);
      if (word == "resource.moved")
        moved_[what.machine] = what.at;
      else if (word == "apps.start")
        on_start(std::string{field(what.text, "app=")}, what.machine);
    } else if (content_as<delete_app>(what)) {
      deleted_ = true;
    } else if (auto beat = content_as<scheduler_beat>(what)) {
      if (roles_.of(what.actor, facts) == actor_role::resource)
        on_beat(**beat, what, facts);
    } else if (auto delta = content_as<view_delta>(what)) {
      if (said(what)) {
        on_delta(**delta, what, facts);
        on_edit(**delta, what, facts);
      }
      if (what.kind == event_kind::step)
        on_told(**delta, what);
    }
    if (what.at >= next_look_)
      look(what.at, facts);
  }

private:
  struct named {
    std::uint64_t incarnation = 0;
    std::uint64_t sequence = 0;
    std::set<std::string> apps;
  };

  /// Of two that schedule an app the one that is fenced no longer names it, which says nothing about the app.
  void on_start(const std::string& app, machine_id scheduler) {
    auto first = started_.emplace(app, scheduler).first->second;
    if (first != scheduler)
      contested_.insert(app);
  }

  void on_beat(const pb::SchedulerBeat& beat, const event& what, const world_facts& facts) {
    auto& known = named_[{what.machine, beat.scheduler()}];
    if (std::pair{beat.incarnation(), beat.sequence()} <= std::pair{known.incarnation, known.sequence})
      return;
    std::set<std::string> now;
    for (auto& record : beat.apps())
      now.insert(record.spec().name());
    for (auto& app : now) {
      owed_.erase({what.machine, app});
      forgotten_.erase(app);
      origins_[{what.machine, app}].insert(name_hash(facts_of(what.machine, facts).name));
    }
    if (!beat.leaving() && !beat.settling() && !lossy(facts.what()))
      for (auto& app : known.apps)
        if (now.count(app) == 0 && contested_.count(app) == 0) {
          owed_[{what.machine, app}] = what.at;
          forgotten_.emplace(app, what.at);
          if (beat.incarnation() == known.incarnation)
            nothing_left(app, what, facts);
        }
    if (beat.leaving() || beat.settling())
      now.insert(known.apps.begin(), known.apps.end());
    known = {beat.incarnation(), beat.sequence(), std::move(now)};
  }

  void nothing_left(const std::string& app, const event& what, const world_facts& facts) {
    for (std::uint32_t i = 1; i < placed_.size(); ++i) {
      machine_id machine{i};
      if (!healthy(machine, facts) || !disturbed_.calm(machine, seconds{8}, facts))
        continue;
      for (auto& [token, replica] : placed_.at(machine).replicas)
        if (replica.app == app && what.at - replica.since > seconds{1} && replica.is != placements::condition::released)
          fail(fmt::format("app {} is forgotten, and its replica {} still runs at node {}", app, replica.index,
                           facts_of(machine, facts).name));
    }
  }

  void on_delta(const pb::ViewDelta& delta, const event& what, const world_facts& facts) {
    auto& resource = facts_of(what.machine, facts);
    if (delta.origin() != name_hash(resource.name) || roles_.of(what.sender, facts) != actor_role::resource)
      return;
    heard_[what.machine] = what.at;
    for (auto& app : delta.removed_apps()) {
      auto expected = owed_.erase({what.machine, app}) != 0 || deleted_;
      // Its scheduler may have found another home since the app was told of last, or just before.
      auto moved = moved_[what.machine] > instant{0} && moved_[what.machine] + seconds{1} > told_[{what.machine, app}];
      if (!expected && !moved && !removed_before(what.machine, app) && contested_.count(app) == 0
          && what.at - resource.since < facts.what().options.resource.forget_after)
        fail(fmt::format("{} removes app {}, which nobody deleted", resource.name, app));
      removed_[{what.machine, app}] = true;
    }
    for (auto& record : delta.apps()) {
      removed_.erase({what.machine, record.spec().name()});
      told_[{what.machine, record.spec().name()}] = what.at;
    }
  }

  /// Whoever keeps the shard of a Resource that is lost drops a record only when it is told elsewhere.
  void on_edit(const pb::ViewDelta& delta, const event& what, const world_facts& facts) {
    auto& here = facts_of(what.machine, facts);
    auto role = roles_.of(what.sender, facts);
    if (delta.origin_name() == here.name || deleted_ || lossy(facts.what())
        || (role != actor_role::resource && role != actor_role::view_client))
      return;
    for (auto& app : delta.removed_apps()) {
      auto& origins = origins_[{what.machine, app}];
      if (origins.count(delta.origin()) != 0 && origins.size() == 1 && contested_.count(app) == 0)
        fail(fmt::format("{} drops app {} with the shard of {}, and nobody else has told of it", here.name, app,
                         delta.origin_name()));
    }
  }

  void on_told(const pb::ViewDelta& delta, const event& what) {
    for (auto& record : delta.apps())
      origins_[{what.machine, record.spec().name()}].insert(delta.origin());
    // What its origin removes is gone, and no edit of the listener.
    for (auto& app : delta.removed_apps())
      origins_[{what.machine, app}].erase(delta.origin());
  }

  /// A later subscriber is told again of what has gone.
  bool removed_before(machine_id machine, const std::string& app) const { return removed_.count({machine, app}) != 0; }

  void look(instant now, const world_facts& facts) {
    next_look_ = now + milliseconds{100};
    for (auto& [app, since] : forgotten_)
      for (std::uint32_t i = 1; i < placed_.size(); ++i) {
        machine_id machine{i};
        if (lossy(facts.what()) || now - since < late || !healthy(machine, facts)
            || !disturbed_.calm(machine, late, facts))
          continue;
        for (auto& [token, replica] : placed_.at(machine).replicas)
          if (replica.app == app && replica.is != placements::condition::released && contested_.count(app) == 0)
            fail(fmt::format("app {} is forgotten since {}, and its replica {} at node {} has not been released", app,
                             seconds_text(since), replica.index, facts_of(machine, facts).name));
      }
    std::erase_if(owed_, [&](auto& entry) {
      auto machine = entry.first.first;
      // Without listeners there is nobody to tell.
      // What it does not tell of is in its view no more, or under another scheduler.
      if (told_[entry.first] <= facts_of(machine, facts).since || removed_before(machine, entry.first.second))
        return true;
      if (!healthy(machine, facts) || !disturbed_.calm(machine, seconds{3}, facts))
        return true;
      if (contested_.count(entry.first.second) != 0)
        return true;
      if (now - entry.second <= bound() || heard_[machine] <= entry.second)
        return false;
      fail(fmt::format("the scheduler of app {} has not named it to {} since {}, and it is still in the view",
                       entry.first.second, facts_of(machine, facts).name, seconds_text(entry.second)));
      return true;
    });
  }

  /// Time to find a node that has come back, and to release what it runs.
  static constexpr nanoseconds late{seconds{6}};

  actor_roles roles_;
  disturbances disturbed_;
  placements placed_;
  /// By (Resource, scheduler).
  std::map<std::pair<machine_id, std::uint64_t>, named> named_;
  /// Removals that a Resource has yet to tell: since when, by (Resource, app).
  std::map<std::pair<machine_id, std::string>, instant> owed_;
  std::map<std::pair<machine_id, std::string>, bool> removed_;
  /// Where an app's scheduler started first, and the apps that somebody else has had too.
  std::map<std::string, machine_id> started_;
  std::set<std::string> contested_;
  /// When a Resource told of an app last.
  std::map<std::pair<machine_id, std::string>, instant> told_;
  /// When somebody had found another home last.
  per_machine<instant> moved_;
  /// When a Resource last told something.
  per_machine<instant> heard_;
  /// Apps that their scheduler no longer names.
  std::map<std::string, instant> forgotten_;
  /// Who has told of an app, by (listener's machine, app).
  std::map<std::pair<machine_id, std::string>, std::set<std::uint64_t>> origins_;
  bool deleted_ = false;
  instant next_look_{0};
};

} // namespace

void add_placement_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<placement_progress>());
  all.push_back(kind_of_check<claims_needed>());
  all.push_back(kind_of_check<app_records>());
}

} // namespace astra::sim
