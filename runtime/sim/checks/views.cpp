#include "runtime/sim/checks/history.hpp"
#include "runtime/sim/checks/node_profiles.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

// Views of the cluster: on their way, and at quiet.

namespace astra::sim {
namespace {

using rank = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;

rank rank_of(const pb::NodeRow& row) {
  return {row.incarnation(), row.home_epoch(), row.sequence()};
}

/// Deltas as they are said.
///
/// A Resource speaks for its own shard: versions and rows only go forward, whomever it tells.  A view client passes on
/// what it applied: within an epoch its versions go forward too, except where its shard was lost or edited by a relay,
/// which a snapshot from behind may replace.
class view_monotone : public named_check<view_monotone> {
public:
  static constexpr const char* label = "view-monotone";
  static constexpr const char* about =
      "Within an epoch of a Resource its versions and the (incarnation, home epoch, sequence) of its rows never go "
      "backwards, from itself or from view clients, and deltas lead from a version to a later one.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.said({message_kind::view_delta}); }

  void on_event(const event& what, const world_facts& facts) override {
    auto delta = content_as<view_delta>(what);
    if (!delta || !said(what))
      return;
    auto& body = **delta;
    if (body.origin_removed()) {
      passed_on_[joint_id(joint_id(what.sender, what.actor), body.origin())] = {};
      return;
    }
    auto in_parts = body.more() || body.part() > 0;
    if (in_parts && roles_.of(what.sender, facts) == actor_role::view_client)
      return fail(fmt::format("a view client passes on part {} of shard {}", body.part(), body.origin_name()));
    if (body.base() > body.version())
      return fail(fmt::format("a delta of shard {} leads from version {} back to {}", body.origin_name(), body.base(),
                              body.version()));
    if (body.origin_name() == facts_of(what.machine, facts).name
        && roles_.of(what.sender, facts) == actor_role::resource)
      on_own(body, what);
    else if (roles_.of(what.sender, facts) == actor_role::view_client)
      on_passed_on(body, what);
  }

private:
  struct stream_record {
    std::uint64_t epoch = 0;
    std::uint64_t version = 0;
  };

  struct shard_record {
    std::uint64_t epoch = 0;
    std::uint64_t base = 0;
    std::uint64_t version = 0;
    int rows = -1;
  };

  struct row_record {
    std::uint64_t epoch = 0;
    rank last{};
  };

  void on_own(const pb::ViewDelta& delta, const event& what) {
    if (!delta.ahead()) {
      auto& stream = streams_[joint_id(what.sender, what.actor)];
      if (delta.epoch() < stream.epoch || (delta.epoch() == stream.epoch && delta.version() < stream.version))
        fail(fmt::format("{} sends version {} of epoch {} to a subscriber that had version {} of epoch {}",
                         delta.origin_name(), delta.version(), delta.epoch(), stream.version, stream.epoch));
      stream = {delta.epoch(), delta.version()};
    }
    // The same delta goes to many.
    auto& shard = shards_[delta.origin()];
    auto repeated = shard.epoch == delta.epoch() && shard.base == delta.base() && shard.version == delta.version()
                    && shard.rows == delta.nodes_size();
    if (repeated)
      return;
    // Within a machine, what was said before may be handled later.
    if (what.kind != event_kind::send)
      return;
    // Parts have the version of their beginning, however long they take.
    auto in_parts = delta.more() || delta.part() > 0;
    if (delta.epoch() < shard.epoch || (delta.epoch() == shard.epoch && delta.version() < shard.version && !in_parts))
      fail(fmt::format("shard {} is at version {} of epoch {} and was at version {} of epoch {}", delta.origin_name(),
                       delta.version(), delta.epoch(), shard.version, shard.epoch));
    if (!in_parts)
      shard = {delta.epoch(), delta.base(), delta.version(), delta.nodes_size()};
    // What comes after its Resource has forgotten the node is news to it, be it a late beat or the elder of two
    // processes of a name.
    for (auto node : delta.removed_nodes())
      rows_[joint_id(delta.origin(), node)] = {};
    for (auto& row : delta.nodes()) {
      auto& known = rows_[joint_id(delta.origin(), row.node())];
      auto now = rank_of(row);
      if (known.epoch == delta.epoch() && now < known.last)
        fail(fmt::format("shard {} tells of beat {} of node {} (incarnation {}, home epoch {}) after beat {} "
                         "(incarnation {}, home epoch {})",
                         delta.origin_name(), row.sequence(), to_hex(row.node()), row.incarnation(), row.home_epoch(),
                         std::get<2>(known.last), std::get<0>(known.last), std::get<1>(known.last)));
      known = {delta.epoch(), now};
    }
  }

  void on_passed_on(const pb::ViewDelta& delta, const event& what) {
    // Rows before their turn leave the version as it is.
    if (delta.ahead())
      return;
    // Each subscriber handles them in its own time.
    auto& shard = passed_on_[joint_id(joint_id(what.sender, what.actor), delta.origin())];
    auto& edited_epoch = edited_[joint_id(what.sender, delta.origin())];
    auto snapshot = delta.base() == 0;
    auto edit = delta.origin_lost()
                || (!snapshot && delta.base() == delta.version()
                    && delta.nodes_size() + delta.removed_nodes_size() + delta.apps_size() + delta.removed_apps_size()
                               + delta.schedulers_size() + delta.removed_schedulers_size()
                           > 0);
    if (delta.epoch() < shard.epoch)
      fail(fmt::format("a view client passes on epoch {} of shard {} after epoch {}", delta.epoch(),
                       delta.origin_name(), shard.epoch));
    else if (delta.epoch() == shard.epoch && delta.version() < shard.version && !delta.origin_lost()
             && !(snapshot && edited_epoch == delta.epoch()))
      fail(fmt::format("a view client passes on version {} of shard {} after version {}", delta.version(),
                       delta.origin_name(), shard.version));
    else if (delta.epoch() > shard.epoch && shard.epoch != 0 && !snapshot)
      fail(fmt::format("a view client goes to epoch {} of shard {} without a snapshot", delta.epoch(),
                       delta.origin_name()));
    if (edit)
      edited_epoch = std::max(edited_epoch, delta.epoch());
    shard.epoch = delta.epoch();
    shard.version = delta.version();
  }

  actor_roles roles_;
  /// By (sender, receiver).
  id_table<stream_record> streams_;
  /// By origin.
  id_table<shard_record> shards_;
  /// By (view client, subscriber, origin).
  id_table<shard_record> passed_on_;
  /// By (view client, origin): the last epoch in which it was lost or edited.
  id_table<std::uint64_t> edited_;
  /// By (origin, node).
  id_table<row_record> rows_;
};

/// A Resource tells of its nodes what they said in the beat that it counts.
class draining_told : public named_check<draining_told> {
public:
  static constexpr const char* label = "draining-told";
  static constexpr const char* about =
      "A Resource that has a draining node's beat tells that the node drains, until it is offline.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}.add(event_kind::step, {message_kind::heartbeat}).said({message_kind::view_delta});
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (auto beat = content_as<heartbeat>(what)) {
      if (what.kind == event_kind::step && (*beat)->draining())
        draining_[key_of((*beat)->node(), (*beat)->incarnation())] = (*beat)->sequence();
      return;
    }
    auto delta = content_as<view_delta>(what);
    if (!delta || !said(what) || (*delta)->origin_name() != facts_of(what.machine, facts).name
        || roles_.of(what.sender, facts) != actor_role::resource)
      return;
    for (auto& row : (*delta)->nodes()) {
      auto beat = draining_.find(key_of(row.node(), row.incarnation()));
      if (beat != nullptr && *beat == row.sequence() && row.liveness() != pb::LIVENESS_DRAINING
          && row.liveness() != pb::LIVENESS_OFFLINE)
        fail(fmt::format("{} tells that node {} is {}, which drains since its beat {}", (*delta)->origin_name(),
                         to_hex(row.node()), pb::Liveness_Name(row.liveness()), *beat));
    }
  }

private:
  static std::uint64_t key_of(std::uint64_t node, std::uint64_t incarnation) { return joint_id(node, incarnation); }

  actor_roles roles_;
  /// Sequence of the last draining beat that a Resource handled, by node and incarnation.
  id_table<std::uint64_t> draining_;
};

/// Nobody leaves its Resource while nothing is wrong.
class calm_subscriptions : public named_check<calm_subscriptions> {
public:
  static constexpr const char* label = "calm-subscriptions";
  static constexpr const char* about = "While nothing is wrong no view client leaves its Resource.";
  /// After the last disturbance.
  static constexpr nanoseconds default_bound{std::chrono::seconds{6}};

  using named_check::named_check;

  topics wants() const override { return topics{}.add(event_kind::log); }

  void on_event(const event& what, const world_facts& facts) override {
    // Where messages may be lost, an answer may be.
    if (lossy(facts.what()) && facts.now() < facts.what().horizon + bound())
      return;
    if (first_word(what.text) == "view_client.leave" && facts.now() - facts.calm_since() >= bound())
      fail(fmt::format("{}: {}", facts_of(what.machine, facts).name, what.text));
  }
};

/// Whoever holds a shard at a version holds what its origin holds.
class shards_agree : public named_check<shards_agree> {
public:
  static constexpr const char* label = "shards-agree";
  static constexpr const char* about =
      "A shard at a version has the rows that its origin says it has at that version, count and hash.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override { return topics{}.add(event_kind::log); }

  void on_event(const event& what, const world_facts& facts) override {
    auto word = first_word(what.text);
    if (word == "resource.diverged" || word == "view_client.diverged")
      fail(fmt::format("{}: {}", facts_of(what.machine, facts).name, what.text));
  }
};

/// At quiet every Resource sees the truth.
class views_agree : public named_check<views_agree> {
public:
  static constexpr const char* label = "views-agree";
  static constexpr const char* about = "At quiet every Resource sees exactly the nodes that are up, as they described "
                                       "themselves last, with the same homes, "
                                       "and no shard of a Resource that is up counts as lost.";
  /// What changed within this time before the end may still be under way.
  static constexpr nanoseconds default_bound{std::chrono::seconds{5}};

  using named_check::named_check;

  topics wants() const override { return node_profiles::wants(); }

  void on_event(const event& what, const world_facts& facts) override { nodes_.observe(what, facts); }

  void at_quiet(const final_state& state, const world_facts& facts) override {
    for (auto& [resource, view] : state.views) {
      if (!settled(resource, facts))
        continue;
      compare_nodes(resource, view, facts);
      compare_shards(resource, view, facts);
      compare_homes(resource, view, facts);
    }
    compare_with_each_other(state, facts);
  }

private:
  bool settled(machine_id machine, const world_facts& facts) const {
    auto& known = facts_of(machine, facts);
    return known.up && !known.stalled && facts.now() - known.since >= 2 * bound();
  }

  bool recent(machine_id machine, const world_facts& facts) {
    auto changed = nodes_[machine].changed;
    return changed >= instant{0} && facts.now() - changed < bound();
  }

  void compare_nodes(machine_id resource, const cluster_view& view, const world_facts& facts) {
    auto& viewer = facts_of(resource, facts).name;
    auto machines = facts.machines();
    for (std::uint32_t i = 1; i < machines.size(); ++i) {
      machine_id id{i};
      auto& machine = machines[i];
      if (!machine.node || recent(id, facts))
        continue;
      auto entry = view.find(machine.node);
      if (machine.resource_group != facts_of(resource, facts).resource_group) {
        if (entry)
          fail(fmt::format("{} sees node {} of the Resource group {}", viewer, machine.name, machine.resource_group));
        continue;
      }
      if (!machine.up) {
        if (entry && facts.now() - machine.since >= 4 * bound() && entry->row.liveness() != pb::LIVENESS_OFFLINE)
          fail(fmt::format("{} sees node {} {}, it is down since {}", viewer, machine.name,
                           pb::Liveness_Name(entry->row.liveness()), seconds_text(machine.since)));
        auto& limits = facts.what().options.resource;
        if (entry
            && facts.now() - machine.since
                   >= limits.evict_after + limits.orphan_grace + limits.forget_after + 3 * bound())
          fail(fmt::format("{} still remembers node {}, which is down since {}", viewer, machine.name,
                           seconds_text(machine.since)));
        continue;
      }
      if (!settled(id, facts))
        continue;
      auto& truth = nodes_[id];
      auto profile = nodes_.profile_of(id);
      auto liveness = truth.draining ? pb::LIVENESS_DRAINING : pb::LIVENESS_ONLINE;
      if (!entry)
        fail(fmt::format("{} does not see node {}, which is up since {}", viewer, machine.name,
                         seconds_text(machine.since)));
      else if (entry->row.liveness() != liveness && !entry->row.reason().starts_with("flapping"))
        fail(fmt::format("{} sees node {} {} ({}), it is up and well", viewer, machine.name,
                         pb::Liveness_Name(entry->row.liveness()), entry->row.reason()));
      else if (entry->row.incarnation() != truth.incarnation)
        fail(fmt::format("{} sees incarnation {} of node {}, it is {}", viewer, entry->row.incarnation(), machine.name,
                         truth.incarnation));
      else if (!profile || entry->row.profile_version() != profile->version())
        fail(fmt::format("{} has profile {} of node {}, the last is {}", viewer, entry->row.profile_version(),
                         machine.name, profile ? profile->version() : 0));
      else if (!same_replicas(entry->row.shape(), *profile))
        fail(fmt::format("{} has other replicas of node {} than it has told", viewer, machine.name));
      if (entry && !facts_up(entry->origin, facts))
        fail(fmt::format("{} sees node {} at a home that is down", viewer, machine.name));
    }
  }

  static bool same_replicas(const pb::NodeProfile& a, const pb::NodeProfile& b) {
    return std::equal(a.replicas().begin(), a.replicas().end(), b.replicas().begin(), b.replicas().end(),
                      [](const pb::ReplicaStatus& x, const pb::ReplicaStatus& y) {
                        return x.token() == y.token() && x.state() == y.state() && x.index() == y.index()
                               && x.epoch() == y.epoch() && x.spec_hash() == y.spec_hash() && x.app() == y.app();
                      });
  }

  static bool facts_up(resource_id origin, const world_facts& facts) {
    auto machines = facts.machines();
    return std::any_of(machines.begin(), machines.end(), [&](auto& machine) {
      return machine.up && has_role(machine, process_role::resource) && make_resource_id(machine.name) == origin;
    });
  }

  void compare_shards(machine_id resource, const cluster_view& view, const world_facts& facts) {
    auto machines = facts.machines();
    for (std::uint32_t i = 1; i < machines.size(); ++i) {
      if (!has_role(machines[i], process_role::resource) || !settled(machine_id{i}, facts)
          || machines[i].resource_group != facts_of(resource, facts).resource_group)
        continue;
      auto shard = view.shards().find(make_resource_id(machines[i].name));
      auto& viewer = facts_of(resource, facts).name;
      if (shard == view.shards().end())
        fail(fmt::format("{} has no shard of {}, which is up", viewer, machines[i].name));
      else if (shard->second.lost)
        fail(fmt::format("{} counts the shard of {} as lost, which is up", viewer, machines[i].name));
    }
  }

  /// A node lives in one shard: its former homes have dropped it.
  void compare_homes(machine_id resource, const cluster_view& view, const world_facts& facts) {
    for (auto& [id, entry] : view.nodes()) {
      auto machine = machines_.of(id.value(), facts);
      if (machine == machine_id{} || recent(machine, facts) || !settled(machine, facts))
        continue;
      for (auto& [origin, shard] : view.shards()) {
        auto rows = view.rows(origin);
        if (origin != entry.origin && rows && rows->nodes.count(id) != 0)
          fail(fmt::format("{} has node {} in the shards of {} and {}", facts_of(resource, facts).name, entry.name(),
                           view.shards().at(entry.origin).name, shard.name));
      }
    }
  }

  void compare_with_each_other(const final_state& state, const world_facts& facts) {
    std::map<std::string, std::pair<const cluster_view*, std::string>> firsts;
    for (auto& [resource, view] : state.views) {
      if (!settled(resource, facts))
        continue;
      auto& [first, first_name] = firsts[facts_of(resource, facts).resource_group];
      auto& name = facts_of(resource, facts).name;
      if (first == nullptr) {
        first = &view;
        first_name = name;
        continue;
      }
      for (auto& [id, entry] : first->nodes()) {
        auto other = view.find(id);
        auto machine = machines_.of(id.value(), facts);
        if (machine == machine_id{} || recent(machine, facts) || !settled(machine, facts))
          continue;
        if (!other)
          fail(fmt::format("{} sees node {}, {} does not", first_name, entry.name(), name));
        else if (other->origin != entry.origin || other->row.liveness() != entry.row.liveness()
                 || other->row.home_epoch() != entry.row.home_epoch()
                 || other->row.incarnation() != entry.row.incarnation())
          fail(fmt::format("{} and {} do not see node {} alike", first_name, name, entry.name()));
      }
      for (auto& [app, entry] : first->apps()) {
        auto other = view.find_app(app);
        // A record that is as new as this comparison may be under way.
        if (other && other->record.epoch() != entry.record.epoch())
          fail(fmt::format("{} knows epoch {} of the scheduler of app {}, {} knows epoch {}", first_name,
                           entry.record.epoch(), app, name, other->record.epoch()));
        if (!other && !entry.record.deleting())
          fail(fmt::format("{} knows app {}, {} does not", first_name, app, name));
      }
    }
  }

  node_profiles nodes_;
  node_machines machines_;
};

/// Edits: what a Resource or a view client says about the rows of somebody who is lost.
class orphan_grace : public named_check<orphan_grace> {
public:
  static constexpr const char* label = "orphan-grace";
  static constexpr const char* about = "A node whose Resource is lost is given up only after resource.orphan_grace, in "
                                       "which whoever gives it up was awake and heard other Resources.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .add(event_kind::step, {message_kind::view_delta})
        .said({message_kind::view_delta})
        .add(event_kind::log);
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (what.kind == event_kind::log) {
      auto word = first_word(what.text);
      if (word == "view_client.leave")
        ears_[what.machine].deaf = what.at;
      else if (word == "view_client.join")
        ears_[what.machine].end(what.at);
    } else if (what.kind == event_kind::boot) {
      ears_[what.machine] = {};
    } else if (auto delta = content_as<view_delta>(what)) {
      auto speaker = said(what) ? roles_.of(what.sender, facts) : actor_role::unknown;
      if (speaker == actor_role::resource || speaker == actor_role::view_client)
        on_said(**delta, what, facts);
      if (what.kind == event_kind::step && what.peer != machine_id{})
        on_heard(**delta, what, facts);
    }
  }

private:
  struct hearing {
    instant deaf{-1};
    std::vector<std::pair<instant, instant>> spans;

    void end(instant now) {
      if (deaf >= instant{0})
        spans.emplace_back(deaf, now);
      deaf = instant{-1};
    }

    nanoseconds deaf_since(instant from, instant now) const {
      auto sum = deaf >= instant{0} ? now - std::max(deaf, from) : nanoseconds{0};
      for (auto& [begin, end] : spans)
        if (end > from)
          sum += end - std::max(begin, from);
      return sum;
    }
  };

  struct told {
    instant at{-1};
    std::uint64_t incarnation = 0;
  };

  static std::uint64_t key(machine_id keeper, std::uint64_t origin, std::uint64_t node) {
    return joint_id(joint_id(static_cast<std::uint64_t>(keeper), origin), node);
  }

  void on_heard(const pb::ViewDelta& delta, const event& what, const world_facts& facts) {
    auto first_hand = delta.origin_name() == facts_of(what.peer, facts).name;
    for (auto& row : delta.nodes()) {
      auto& known = told_[key(what.machine, delta.origin(), row.node())];
      if (row.liveness() == pb::LIVENESS_OFFLINE || row.liveness() == pb::LIVENESS_UNKNOWN)
        known = {};
      else if (first_hand)
        known = {what.at, row.incarnation()};
    }
    for (auto node : delta.removed_nodes())
      told_[key(what.machine, delta.origin(), node)] = {};
  }

  void on_said(const pb::ViewDelta& delta, const event& what, const world_facts& facts) {
    auto& here = facts_of(what.machine, facts);
    // Where messages are lost, what it was told may have come after a gap and not been taken in.
    if (delta.origin_name() == here.name || lossy(facts.what()))
      return;
    for (auto& row : delta.nodes()) {
      if (row.liveness() != pb::LIVENESS_OFFLINE || row.reason().find("was lost") == std::string::npos)
        continue;
      auto known = told_.find(key(what.machine, delta.origin(), row.node()));
      if (known == nullptr || known->at < here.since || known->incarnation != row.incarnation())
        continue;
      auto heard = what.at - known->at - disturbed_.frozen_since(what.machine, known->at, what.at)
                   - ears_[what.machine].deaf_since(known->at, what.at);
      auto grace = facts.what().options.resource.orphan_grace;
      // Clocks may drift by some per cent.
      if (heard < grace * 9 / 10)
        fail(fmt::format("{} gives up node {} of {} {} after it was told of it, the grace is {}", here.name,
                         to_hex(row.node()), delta.origin_name(), seconds_text(heard), seconds_text(grace)));
      *known = {};
    }
  }

  actor_roles roles_;
  disturbances disturbed_;
  per_machine<hearing> ears_;
  /// By (keeper, origin, node).
  id_table<told> told_;
};

/// Rows that change their shard or lose the Resource that spoke for them.
class rows_kept : public named_check<rows_kept> {
public:
  static constexpr const char* label = "rows-kept";
  static constexpr const char* about =
      "The first words of a Resource that has restarted take no node out of anybody's view, and no Resource tells of a "
      "node after it has heard that it is at home elsewhere.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::view_delta})
        .said({message_kind::view_delta})
        .add(event_kind::boot);
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (what.kind == event_kind::boot) {
      std::erase_if(elsewhere_, [&](auto& entry) { return entry.first.first == what.machine; });
      std::erase_if(passed_on_, [&](auto& entry) { return entry.first.first == what.machine; });
      return;
    }
    auto delta = content_as<view_delta>(what);
    if (!delta)
      return;
    auto& here = facts_of(what.machine, facts);
    if (said(what)) {
      auto role = roles_.of(what.sender, facts);
      // Where messages are lost, a Resource may have refused what it was sent.
      if (role == actor_role::resource && (*delta)->origin_name() == here.name && !lossy(facts.what()))
        on_own(**delta, what, here);
      // A router is told of the nodes of its app, and these change.
      else if (role == actor_role::view_client && roles_.of(what.actor, facts) != actor_role::router)
        on_passed_on(**delta, what, here);
    }
    if (what.kind == event_kind::step && roles_.of(what.actor, facts) == actor_role::resource
        && (*delta)->origin_name() != here.name)
      on_heard(**delta, what);
  }

private:
  using place = std::pair<std::uint64_t, std::uint64_t>;

  struct shard_record {
    std::uint64_t epoch = 0;
    std::set<std::uint64_t> nodes;
  };

  struct others_shard {
    std::uint64_t epoch = 0;
    std::uint64_t version = 0;
    std::map<std::uint64_t, place> rows;
  };

  /// Incarnation and home epoch: where it is at home follows from them.
  static place place_of(const pb::NodeRow& row) { return {row.incarnation(), row.home_epoch()}; }

  void on_heard(const pb::ViewDelta& delta, const event& what) {
    auto& shard = elsewhere_[{what.machine, delta.origin()}];
    auto& known = shard.rows;
    // Parts are taken in once the last one is there, and that is not followed here.
    if (delta.ahead() || delta.more() || delta.part() > 0) {
      if (!delta.ahead())
        shard = {};
      return;
    }
    if (delta.base() == 0 || delta.origin_removed())
      known.clear();
    // What is behind or has a gap before it is not taken in.
    else if (delta.epoch() != shard.epoch || delta.base() > shard.version || delta.version() <= shard.version)
      return;
    shard.epoch = delta.epoch();
    shard.version = delta.version();
    for (auto id : delta.removed_nodes())
      known.erase(id);
    for (auto& row : delta.nodes())
      known[row.node()] = place_of(row);
  }

  void on_own(const pb::ViewDelta& delta, const event& what, const machine_facts& here) {
    for (auto& row : delta.nodes())
      for (auto& [key, shard] : elsewhere_)
        if (auto found = shard.rows.find(row.node());
            key.first == what.machine && found != shard.rows.end() && found->second > place_of(row))
          fail(fmt::format("{} tells of node {} in home epoch {} of incarnation {}, and has heard that it went on to "
                           "home epoch {} of incarnation {}",
                           here.name, to_hex(row.node()), row.home_epoch(), row.incarnation(), found->second.second,
                           found->second.first));
  }

  /// What a view client tells its process; each subscriber gets it, so it is looked at by what it says and not by whom.
  void on_passed_on(const pb::ViewDelta& delta, const event& what, const machine_facts& here) {
    auto& shard = passed_on_[{what.machine, delta.origin()}];
    if (delta.origin_removed()) {
      shard = {};
      return;
    }
    std::set<std::uint64_t> told;
    for (auto& row : delta.nodes())
      told.insert(row.node());
    if (delta.base() == 0) {
      if (delta.epoch() > shard.epoch && shard.epoch != 0)
        for (auto id : shard.nodes)
          if (told.count(id) == 0)
            fail(fmt::format("{} drops node {} with the first words of the restarted {}", here.name, to_hex(id),
                             delta.origin_name()));
      if (delta.epoch() >= shard.epoch)
        shard = {delta.epoch(), std::move(told)};
      return;
    }
    if (delta.epoch() != shard.epoch)
      return;
    shard.nodes.insert(told.begin(), told.end());
    for (auto id : delta.removed_nodes())
      shard.nodes.erase(id);
  }

  actor_roles roles_;
  /// Rows of others as a Resource heard them, by (Resource, origin) and node.
  std::map<std::pair<machine_id, std::uint64_t>, others_shard> elsewhere_;
  /// By (machine, origin).
  std::map<std::pair<machine_id, std::uint64_t>, shard_record> passed_on_;
};

} // namespace

void add_view_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<view_monotone>());
  all.push_back(kind_of_check<views_agree>());
  all.push_back(kind_of_check<orphan_grace>());
  all.push_back(kind_of_check<rows_kept>());
  all.push_back(kind_of_check<draining_told>());
  all.push_back(kind_of_check<calm_subscriptions>());
  all.push_back(kind_of_check<shards_agree>());
}

} // namespace astra::sim
