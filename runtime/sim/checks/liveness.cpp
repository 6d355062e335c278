#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

// When Resources give nodes up: not too late, not too early, and never without cause.

namespace astra::sim {
namespace {

using rank = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;

rank rank_of(const pb::Heartbeat& beat) {
  return {beat.incarnation(), beat.home_epoch(), beat.sequence()};
}

/// What Resources have heard of nodes: the beats that they handled, without those that are older than one before.
class leases {
public:
  struct lease_record {
    std::uint64_t node = 0;
    machine_id resource{};
    /// Where the node is.
    machine_id from{};
    rank last{};
    instant heard{0};
    bool draining = false;
    bool leaving = false;
    /// A goodbye was handled here, be it one that came too late to matter elsewhere.
    bool goodbye = false;
    bool suspect = false;
    /// Offline, or another's.
    bool gone = false;
    /// When its connection ended after what was heard last; negative: it has not.
    instant closed{-1};
    /// The node has started again, and the end of a connection with its former life has not been seen.
    bool former_open = false;
  };

  /// A Resource handles a beat.
  void on_beat(const pb::Heartbeat& beat, const event& what) {
    auto now = rank_of(beat);
    auto& home = homes_[beat.node()];
    auto& place = places_[joint_id(static_cast<std::uint64_t>(what.machine), beat.node())];
    if (home != 0 && now <= records_[home - 1].last) {
      // From a Resource that was frozen, say, while the node started again and found another home.
      if (place != 0 && beat.leaving())
        records_[place - 1].goodbye = true;
      return;
    }
    if (place == 0) {
      records_.push_back({});
      place = records_.size();
    }
    auto& known = records_[place - 1];
    auto was_gone = known.gone;
    // A beat alone does not end that: a node that comes and goes stays suspect for a while.
    auto suspect = known.suspect;
    auto former_open = known.former_open;
    known = {};
    known.suspect = suspect;
    known.former_open = former_open;
    known.node = beat.node();
    known.resource = what.machine;
    known.from = what.peer == machine_id{} ? what.machine : what.peer;
    known.last = now;
    known.heard = what.at;
    known.draining = beat.draining();
    known.leaving = known.goodbye = beat.leaving();
    known.gone = was_gone && beat.leaving();
    home = place;
  }

  /// An aggregator handles a beat: from now on no Resource hears this node itself.
  void on_aggregated_beat(const pb::Heartbeat& beat) {
    auto& home = homes_[beat.node()];
    if (home == 0 || rank_of(beat) <= records_[home - 1].last)
      return;
    records_[home - 1].gone = true;
    home = 0;
  }

  /// The record of the Resource that a log line of it speaks of; null when it is unknown.
  lease_record* find(machine_id resource, std::string_view node_in_log) {
    auto key = [&](std::uint64_t node) { return joint_id(static_cast<std::uint64_t>(resource), node); };
    auto place = places_.find(key(name_hash(node_in_log)));
    if (place == nullptr)
      if (auto id = hex_number(node_in_log))
        place = places_.find(key(*id));
    return place == nullptr || *place == 0 ? nullptr : &records_[*place - 1];
  }

  /// Whether no other Resource has heard anything later of the node.
  bool is_home(const lease_record& what) const { return home_of(what.node) == &what; }

  const lease_record* home_of(std::uint64_t node) const {
    auto home = homes_.find(node);
    return home == nullptr || *home == 0 ? nullptr : &records_[*home - 1];
  }

  std::vector<lease_record>& all() { return records_; }

  void on_boot(machine_id node) {
    for (auto& lease : records_)
      if (lease.from == node)
        lease.former_open = true;
  }

private:
  std::vector<lease_record> records_;
  /// Places in `records_`, from 1: by (Resource, node), and the latest by node.
  id_table<std::size_t> places_;
  id_table<std::size_t> homes_;
};

/// Time in which the Resource was awake since it heard of the node.
nanoseconds silence(const leases::lease_record& what, const disturbances& disturbed, instant now) {
  return now - what.heard - disturbed.frozen_since(what.resource, what.heard, now);
}

bool is_drift(const event& what) {
  return what.kind == event_kind::fault && first_word(what.text) == "drift";
}

class eviction_bound : public named_check<eviction_bound> {
public:
  static constexpr const char* label = "eviction-bound";
  static constexpr const char* about = "A node that is silent is suspect and then offline at its home within the bound "
                                       "after the configured times, at once "
                                       "after its goodbye or the end of its connection, and shortly after that "
                                       "everywhere.";
  /// On top of resource.suspect_after and resource.evict_after.
  static constexpr nanoseconds default_bound{std::chrono::seconds{1}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .add(event_kind::step, {message_kind::heartbeat, message_kind::view_delta})
        .add(event_kind::disconnect)
        .add(event_kind::log);
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    drifts_ = drifts_ || is_drift(what);
    if (what.kind == event_kind::log) {
      on_log(what, facts);
    } else if (what.kind == event_kind::boot) {
      booted_[what.machine] = what.at;
      leases_.on_boot(what.machine);
    } else if (what.kind == event_kind::disconnect) {
      on_disconnect(what, facts);
    } else if (auto beat = content_as<heartbeat>(what)) {
      if (roles_.of(what.actor, facts) == actor_role::resource)
        leases_.on_beat(**beat, what);
      else if (has_role(facts_of(what.machine, facts), process_role::aggregator))
        leases_.on_aggregated_beat(**beat);
    } else if (auto delta = content_as<view_delta>(what)) {
      if (!owed_.empty())
        on_delta(**delta, what);
    }
    if (what.at >= next_look_)
      look(what.at, facts);
  }

  void at_quiet(const final_state&, const world_facts& facts) override { look(facts.now(), facts); }

private:
  /// News that another Resource has to hear.
  struct debt {
    std::uint64_t node = 0;
    machine_id from{};
    machine_id to{};
    instant since{0};
  };

  void on_log(const event& what, const world_facts& facts) {
    auto word = first_word(what.text);
    if (word != "resource.offline" && word != "resource.suspect" && word != "resource.moved"
        && word != "resource.online")
      return;
    auto lease = leases_.find(what.machine, field(what.text, "node="));
    if (lease == nullptr)
      return;
    lease->suspect = word == "resource.suspect";
    if (word == "resource.suspect" || word == "resource.online")
      return;
    lease->gone = true;
    if (word == "resource.moved" || !leases_.is_home(*lease))
      return;
    for (std::uint32_t i = 1; i < facts.machines().size(); ++i) {
      machine_id other{i};
      if (other != what.machine && has_role(facts_of(other, facts), process_role::resource)
          && facts_of(other, facts).resource_group == facts_of(what.machine, facts).resource_group
          && disturbed_.calm(other, settled, facts) && disturbed_.calm(what.machine, settled, facts))
        owed_.push_back({lease->node, what.machine, other, what.at});
    }
  }

  void on_disconnect(const event& what, const world_facts& facts) {
    auto& other = facts_of(what.peer, facts);
    if (!other.node)
      return;
    // The connection with the former life may be the one that ends: right after a start, and where links are slow, much
    // later.
    auto just_booted = booted_[what.peer] > instant{0} && what.at - booted_[what.peer] < settled;
    for (auto& lease : leases_.all())
      if (lease.resource == what.machine && lease.from == what.peer && what.peer != what.machine
          && !std::exchange(lease.former_open, false) && !just_booted)
        lease.closed = what.at;
  }

  void on_delta(const pb::ViewDelta& delta, const event& what) {
    std::erase_if(owed_, [&](const debt& entry) {
      if (entry.to != what.machine)
        return false;
      for (auto& row : delta.nodes())
        if (row.node() == entry.node && row.liveness() == pb::LIVENESS_OFFLINE)
          return true;
      return std::find(delta.removed_nodes().begin(), delta.removed_nodes().end(), entry.node)
             != delta.removed_nodes().end();
    });
  }

  void look(instant now, const world_facts& facts) {
    next_look_ = now + std::chrono::milliseconds{100};
    auto& options = facts.what().options.resource;
    for (auto& lease : leases_.all()) {
      if (lease.gone || !leases_.is_home(lease) || !healthy(lease.resource, facts)
          || facts_of(lease.resource, facts).since > lease.heard)
        continue;
      auto silent = silence(lease, disturbed_, now);
      auto allowed = bound() + (drifts_ ? nanoseconds{options.evict_after} : nanoseconds{0});
      auto name = facts_of(lease.resource, facts).name;
      if (lease.leaving && silent > std::chrono::milliseconds{100})
        fail(fmt::format("{} heard node {} say goodbye at {} and has not made it offline", name, to_hex(lease.node),
                         seconds_text(lease.heard)));
      else if (silent > options.evict_after + allowed)
        fail(fmt::format("{} has heard nothing of node {} for {} and has not made it offline", name, to_hex(lease.node),
                         seconds_text(silent)));
      else if (lease.closed >= nanoseconds{0} && !lease.suspect && !lease.draining
               && now - lease.closed - disturbed_.frozen_since(lease.resource, lease.closed, now) > told_at_once)
        fail(fmt::format("{} has lost its connection with node {} at {} and does not suspect it", name,
                         to_hex(lease.node), seconds_text(lease.closed)));
      else if (silent > options.suspect_after + allowed && !lease.suspect && !lease.draining)
        fail(fmt::format("{} has heard nothing of node {} for {} and does not suspect it", name, to_hex(lease.node),
                         seconds_text(silent)));
    }
    std::erase_if(owed_, [&](const debt& entry) {
      auto touched = std::max(disturbed_.last_touched(entry.from), disturbed_.last_touched(entry.to));
      auto lease = leases_.home_of(entry.node);
      if (touched >= entry.since || !lease->gone || !disturbed_.network_calm(now - entry.since, facts))
        return true;
      // Where messages get lost, the gap shows with the next keep-alive.
      if (now - entry.since <= (lossy(facts.what()) ? 3 : 1) * bound())
        return false;
      fail(fmt::format("node {} is offline at its home {} since {}, and {} has not heard of it", to_hex(entry.node),
                       facts_of(entry.from, facts).name, seconds_text(entry.since), facts_of(entry.to, facts).name));
      return true;
    });
  }

  /// Resources that were disturbed within this time may not have found each other yet.
  static constexpr nanoseconds settled{std::chrono::seconds{6}};
  static constexpr nanoseconds told_at_once{std::chrono::milliseconds{200}};

  actor_roles roles_;
  disturbances disturbed_;
  leases leases_;
  std::vector<debt> owed_;
  /// The last starts of processes.
  per_machine<instant> booted_;
  instant next_look_{0};
  bool drifts_ = false;
};

class no_false_eviction : public named_check<no_false_eviction> {
public:
  static constexpr const char* label = "no-false-eviction";
  static constexpr const char* about =
      "No Resource gives up or forgets a node before its time, nor one that is well and heard, nor for a goodbye it "
      "did not say.";
  /// Nobody was disturbed for so long.
  static constexpr nanoseconds default_bound{std::chrono::seconds{8}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .add(event_kind::step, {message_kind::heartbeat})
        .said({message_kind::view_delta, message_kind::heartbeat})
        .add(event_kind::log);
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    drifts_ = drifts_ || is_drift(what);
    if (what.kind == event_kind::log) {
      auto word = first_word(what.text);
      if (word == "resource.offline")
        on_offline(what, facts);
      if (word == "resource.offline" || word == "resource.moved")
        if (auto lease = leases_.find(what.machine, field(what.text, "node=")))
          lease->gone = true;
    } else if (auto beat = content_as<heartbeat>(what)) {
      if (what.kind == event_kind::step && roles_.of(what.actor, facts) == actor_role::resource)
        leases_.on_beat(**beat, what);
      else if (what.kind == event_kind::step && has_role(facts_of(what.machine, facts), process_role::aggregator))
        leases_.on_aggregated_beat(**beat);
      if (said(what))
        said_[(*beat)->node()] = rank_of(**beat);
    } else if (auto delta = content_as<view_delta>(what); delta && said(what)) {
      on_removed(**delta, what, facts);
      on_delta(**delta, facts);
    }
  }

private:
  /// A home forgets only whom it has given up before.
  void on_removed(const pb::ViewDelta& delta, const event& what, const world_facts& facts) {
    auto& resource = facts_of(what.machine, facts);
    if (delta.removed_nodes().empty() || delta.origin() != name_hash(resource.name))
      return;
    // Who has a filter is told of nodes that only leave that.
    if (roles_.of(what.sender, facts) != actor_role::resource || roles_.of(what.actor, facts) == actor_role::scheduler
        || !facts.what().options.gateway.apps.empty())
      return;
    // Who catches up is told once more, and a node that has just come back is published with the next tick.
    auto& last = removals_told_[what.machine];
    auto now = std::pair{delta.epoch(), delta.version()};
    if (now <= last || delta.version() > delta.base() + 1)
      return;
    last = now;
    for (auto node : delta.removed_nodes()) {
      auto lease = leases_.home_of(node);
      if (lease != nullptr && lease->resource == what.machine && !lease->gone && lease->heard >= resource.since)
        fail(fmt::format("{} forgets node {}, which it heard at {} and has not given up", resource.name, to_hex(node),
                         seconds_text(lease->heard)));
    }
  }

  void on_offline(const event& what, const world_facts& facts) {
    auto lease = leases_.find(what.machine, field(what.text, "node="));
    if (lease == nullptr)
      return;
    auto& resource = facts_of(what.machine, facts);
    auto reason = field(what.text, "reason=");
    if (!reason.starts_with("no heartbeat")) {
      if (!lease->goodbye)
        fail(fmt::format("{} evicts node {} for a goodbye that it did not say: {}", resource.name, to_hex(lease->node),
                         reason));
      return;
    }
    auto silent = silence(*lease, disturbed_, what.at);
    auto& options = facts.what().options.resource;
    // The silence counts from a tick of a clock that may drift by some per cent; what is meant here are mistakes.
    if (resource.since <= lease->heard && silent < options.evict_after * 3 / 4 && !drifts_)
      fail(fmt::format("{} was awake for {} since it heard node {}, and evicts it", resource.name, seconds_text(silent),
                       to_hex(lease->node)));
    if (applies(facts) && well(lease->from, facts) && disturbed_.calm(what.machine, bound(), facts))
      fail(fmt::format("{} evicts node {} on {}, which is well, and so is the network: {}", resource.name,
                       to_hex(lease->node), facts_of(lease->from, facts).name, reason));
  }

  /// An offline row of somebody who is well, such as an orphan that has long been found.
  void on_delta(const pb::ViewDelta& delta, const world_facts& facts) {
    if (delta.nodes().empty() || facts.now() - facts.calm_since() < 2 * bound() || !applies(facts))
      return;
    for (auto& row : delta.nodes()) {
      if (row.liveness() != pb::LIVENESS_OFFLINE)
        continue;
      auto machine = machines_.of(row.node(), facts);
      auto last = said_.find(row.node());
      if (machine == machine_id{} || last == nullptr || !well(machine, facts))
        continue;
      auto lease = leases_.home_of(row.node());
      if (std::get<0>(*last) == row.incarnation() && std::get<2>(*last) < row.sequence() + 5
          && !(lease && lease->leaving))
        fail(fmt::format("node {} is well, and shard {} shows it offline: {}", facts_of(machine, facts).name,
                         delta.origin_name(), row.reason()));
    }
  }

  bool well(machine_id machine, const world_facts& facts) const {
    return healthy(machine, facts) && disturbed_.calm(machine, bound(), facts);
  }

  /// Where beats may be lost or take seconds, nodes may be evicted without a fault.
  bool applies(const world_facts& facts) const {
    auto& script = facts.what();
    auto slowest =
        std::max(script.network.tail > 0.0 ? script.network.tail_max : nanoseconds{0}, script.network.latency_max);
    return !drifts_ && !(lossy(script) && script.network.loss > 0.0)
           && script.options.node.heartbeat + 2 * slowest < script.options.resource.evict_after;
  }

  actor_roles roles_;
  node_machines machines_;
  disturbances disturbed_;
  /// Epoch and version of the last delta with removals.
  per_machine<std::pair<std::uint64_t, std::uint64_t>> removals_told_;
  leases leases_;
  /// The last beat of each node, heard or not.
  id_table<rank> said_;
  bool drifts_ = false;
};

} // namespace

void add_liveness_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<eviction_bound>());
  all.push_back(kind_of_check<no_false_eviction>());
}

} // namespace astra::sim
