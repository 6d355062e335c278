#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

// How the view gets to its subscribers: never more than they take, and in the end all of it.

namespace astra::sim {
namespace {

using std::chrono::seconds;

/// Bytes of deltas that have been said and not been handled.
class view_credit : public named_check<view_credit> {
public:
  static constexpr const char* label = "view-credit";
  static constexpr const char* about =
      "A Resource never has more than four resource.view_chunk of deltas under way to one subscriber, and one more of "
      "changes of liveness; none of them is longer than a chunk, unless it is a single row.";
  static constexpr nanoseconds default_bound{0};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::send, {message_kind::view_delta})
        .add(event_kind::step, {message_kind::view_delta})
        .add(event_kind::drop)
        .add(event_kind::disconnect);
  }

  void on_event(const event& what, const world_facts& facts) override {
    link here{std::minmax({what.machine, what.peer}), {what.sender, what.actor}};
    if (what.kind == event_kind::drop) {
      // Which one it was is not known.
      under_way_.erase(here);
    } else if (what.kind == event_kind::disconnect) {
      std::erase_if(under_way_, [&](auto& entry) { return entry.first.first == here.first; });
    } else if (what.kind == event_kind::send) {
      if (roles_.of(what.sender, facts) == actor_role::resource)
        on_said(**content_as<view_delta>(what), what, under_way_[here], facts);
    } else if (auto known = under_way_.find(here); known != under_way_.end()) {
      auto& [sizes, sum] = known->second;
      auto size = (*content_as<view_delta>(what))->ByteSizeLong();
      auto handled = std::find(sizes.begin(), sizes.end(), size);
      if (handled == sizes.end())
        return;
      sum -= size;
      sizes.erase(handled);
    }
  }

private:
  /// Both machines, then the Resource and the subscriber.
  using link = std::pair<std::pair<machine_id, machine_id>, std::pair<std::uint64_t, std::uint64_t>>;

  struct flow {
    std::deque<std::size_t> sizes;
    std::size_t sum = 0;
  };

  void on_said(const pb::ViewDelta& delta, const event& what, flow& flow, const world_facts& facts) {
    auto chunk = facts.what().options.resource.view_chunk_bytes;
    auto size = delta.ByteSizeLong();
    if (size > chunk && delta.nodes_size() + delta.apps_size() + delta.schedulers_size() > 1)
      fail(
          fmt::format("{} sends a delta of {} bytes, a chunk has {}", facts_of(what.machine, facts).name, size, chunk));
    flow.sizes.push_back(size);
    flow.sum += size;
    auto largest = *std::max_element(flow.sizes.begin(), flow.sizes.end());
    auto most = 5 * chunk + (largest > chunk ? largest : 0);
    if (flow.sum > most)
      fail(fmt::format("{} has {} deltas with {} bytes under way to {}, the most are {}",
                       facts_of(what.machine, facts).name, flow.sizes.size(), flow.sum, facts.actor_name(what.actor),
                       most));
  }

  actor_roles roles_;
  std::map<link, flow> under_way_;
};

/// Versions that subscribers were told of.  What they make of it is for views-agree: between them lies their own
/// resync when something is missing.
class views_catch_up : public named_check<views_catch_up> {
public:
  static constexpr const char* label = "views-catch-up";
  static constexpr const char* about =
      "At quiet every view client and every Resource has been told of the versions of all shards that their Resources "
      "had a bound before.";
  static constexpr nanoseconds default_bound{seconds{4}};

  using named_check::named_check;

  topics wants() const override {
    return topics{}
        .add(event_kind::step, {message_kind::view_delta})
        .said({message_kind::subscribe_ack})
        .add(event_kind::boot);
  }

  void on_event(const event& what, const world_facts& facts) override {
    if (what.kind == event_kind::boot) {
      std::erase_if(told_, [&](auto& entry) { return entry.first.machine == what.machine; });
      published_.erase(what.machine);
    } else if (auto ack = content_as<subscribe_ack>(what)) {
      if (said(what) && roles_.of(what.sender, facts) == actor_role::resource)
        on_published(**ack, what);
    } else if (auto delta = content_as<view_delta>(what)) {
      auto listener = roles_.of(what.actor, facts);
      if ((listener == actor_role::resource || listener == actor_role::view_client)
          && roles_.of(what.sender, facts) == actor_role::resource)
        on_told(**delta, what.sender, {what.machine, listener, (*delta)->origin()});
    }
  }

  void at_quiet(const final_state&, const world_facts& facts) override {
    for (auto& [resource, versions] : published_) {
      if (!settled(resource, facts))
        continue;
      auto origin = name_hash(facts_of(resource, facts).name);
      // The last one that is old enough.
      auto due = std::find_if(versions.rbegin(), versions.rend(),
                              [&](auto& entry) { return facts.now() - entry.at >= bound(); });
      if (due == versions.rend())
        continue;
      auto machines = facts.machines();
      for (std::uint32_t i = 1; i < machines.size(); ++i) {
        machine_id id{i};
        if (id == resource || !settled(id, facts))
          continue;
        if (has_role(machines[i], process_role::resource)
            && machines[i].resource_group == facts_of(resource, facts).resource_group)
          compare({id, actor_role::resource, origin}, resource, *due, facts);
        if (has_role(machines[i], process_role::gateway) || has_role(machines[i], process_role::scheduler))
          compare({id, actor_role::view_client, origin}, resource, *due, facts);
      }
    }
  }

private:
  struct place {
    machine_id machine{};
    actor_role role{};
    std::uint64_t origin = 0;
    auto operator<=>(const place&) const = default;
  };

  struct version {
    std::uint64_t epoch = 0;
    std::uint64_t number = 0;
    instant at{0};
  };

  bool settled(machine_id machine, const world_facts& facts) const {
    auto& known = facts_of(machine, facts);
    return known.up && !known.stalled && known.twin == machine_id{} && facts.now() - known.since >= 2 * bound();
  }

  void on_published(const pb::SubscribeAck& ack, const event& what) {
    for (auto& shard : ack.shards()) {
      if (shard.origin() != ack.resource())
        continue;
      auto& versions = published_[what.machine];
      versions.push_back({shard.epoch(), shard.version(), what.at});
      // Of those that are old enough, only the last one counts.
      while (versions.size() > 1 && what.at - versions[1].at >= bound())
        versions.pop_front();
    }
  }

  void on_told(const pb::ViewDelta& delta, std::uint64_t sender, const place& where) {
    if (delta.ahead())
      return;
    // A transfer counts with its last part.
    auto& pending = pending_[{where.machine, where.role, sender}];
    if (delta.part() == 0)
      pending.clear();
    pending.emplace_back(where, version{delta.epoch(), delta.version(), {}});
    if (delta.more())
      return;
    for (auto& [place, now] : pending) {
      auto& told = told_[place];
      if (now.epoch > told.epoch || (now.epoch == told.epoch && now.number > told.number))
        told = now;
    }
    pending.clear();
  }

  void compare(const place& where, machine_id origin, const version& due, const world_facts& facts) {
    auto found = told_.find(where);
    auto told = found == told_.end() ? version{} : found->second;
    if (told.epoch > due.epoch || (told.epoch == due.epoch && told.number >= due.number))
      return;
    fail(fmt::format("{} {} was told of version {} of epoch {} of shard {}, which was at {} of {} at {}",
                     where.role == actor_role::resource ? "Resource" : "the view client of",
                     facts_of(where.machine, facts).name, told.number, told.epoch, facts_of(origin, facts).name,
                     due.number, due.epoch, seconds_text(due.at)));
  }

  actor_roles roles_;
  /// By Resource, oldest first.
  std::map<machine_id, std::deque<version>> published_;
  std::map<place, version> told_;
  /// Of a transfer that is not complete, by (machine, role).
  std::map<std::tuple<machine_id, actor_role, std::uint64_t>, std::vector<std::pair<place, version>>> pending_;
};

/// What cannot wait: that a node is no longer to be used.
class turns_told : public named_check<turns_told> {
public:
  static constexpr const char* label = "turns-told";
  static constexpr const char* about =
      "A Resource that tells anybody that one of its nodes is suspect, draining or offline tells all its subscribers "
      "within the bound, however much else they have yet to take; but for those with a quarter of a chunk of such news "
      "before.";
  static constexpr nanoseconds default_bound{std::chrono::milliseconds{500}};

  using named_check::named_check;

  topics wants() const override {
    return disturbances::wants()
        .add(event_kind::step, {message_kind::subscribe})
        .add(event_kind::send, {message_kind::view_delta})
        .add(event_kind::drop)
        .add(event_kind::disconnect);
  }

  void on_event(const event& what, const world_facts& facts) override {
    disturbed_.observe(what);
    if (auto request = content_as<subscribe>(what)) {
      // App schedulers ask once, and are forgotten again.  Who has a filter is told of its own nodes only.
      auto listener = roles_.of(what.sender, facts);
      if (what.kind == event_kind::step && (*request)->takes_parts() && !(*request)->has_filter()
          && what.peer != machine_id{} && roles_.of(what.actor, facts) == actor_role::resource
          && (listener == actor_role::resource || listener == actor_role::view_client)) {
        auto& known = listeners_[{what.actor, what.sender}];
        known.resource = what.machine;
        known.machine = what.peer;
        known.renewed = what.at;
      }
    } else if (what.kind == event_kind::drop) {
      if (auto known = listeners_.find({what.sender, what.actor}); known != listeners_.end())
        forget(known);
    } else if (what.kind == event_kind::disconnect) {
      for (auto known = listeners_.begin(); known != listeners_.end();) {
        auto& [resource, machine, renewed, urgent] = known->second;
        auto ended =
            (resource == what.machine && machine == what.peer) || (resource == what.peer && machine == what.machine);
        known = ended ? forget(known) : std::next(known);
      }
    } else if (auto delta = content_as<view_delta>(what)) {
      if (what.kind != event_kind::send || roles_.of(what.sender, facts) != actor_role::resource || lossy(facts.what()))
        return;
      if ((*delta)->ahead())
        on_urgent(**delta, what);
      if ((*delta)->origin_name() == facts_of(what.machine, facts).name)
        on_said(**delta, what);
    }
    if (!owed_.empty())
      look(what.at, facts);
  }

private:
  using link = std::pair<std::uint64_t, std::uint64_t>;

  struct listener {
    machine_id resource{};
    machine_id machine{};
    /// When it renewed its subscription.
    instant renewed{0};
    /// News before their turn that it was sent of late: when, and how many bytes.
    std::deque<std::pair<instant, std::size_t>> urgent;
  };

  struct debt {
    link to;
    std::uint64_t node = 0;
    pb::Liveness liveness{};
    instant since{0};
  };

  std::map<link, listener>::iterator forget(std::map<link, listener>::iterator known) {
    std::erase_if(owed_, [&](auto& entry) { return entry.to == known->first; });
    return listeners_.erase(known);
  }

  void on_urgent(const pb::ViewDelta& delta, const event& what) {
    auto known = listeners_.find({what.sender, what.actor});
    if (known == listeners_.end())
      return;
    auto& urgent = known->second.urgent;
    urgent.emplace_back(what.at, delta.ByteSizeLong());
    while (what.at - urgent.front().first > 5 * renewal)
      urgent.pop_front();
  }

  void on_said(const pb::ViewDelta& delta, const event& what) {
    link told{what.sender, what.actor};
    for (auto& row : delta.nodes()) {
      std::erase_if(owed_, [&](auto& entry) { return entry.to == told && entry.node == row.node(); });
      auto bad = row.liveness() == pb::LIVENESS_SUSPECT || row.liveness() == pb::LIVENESS_DRAINING
                 || row.liveness() == pb::LIVENESS_OFFLINE;
      auto& last = last_[joint_id(joint_id(delta.origin(), delta.epoch()), row.node())];
      if (std::exchange(last, {row.incarnation(), row.liveness()}) == std::pair{row.incarnation(), row.liveness()}
          || !bad)
        continue;
      for (auto& [to, entry] : listeners_)
        if (to.first == what.sender && to != told && what.at - entry.renewed < renewal)
          owed_.push_back({to, row.node(), row.liveness(), what.at});
    }
    for (auto node : delta.removed_nodes())
      std::erase_if(owed_, [&](auto& entry) { return entry.to == told && entry.node == node; });
  }

  void look(instant now, const world_facts& facts) {
    std::erase_if(owed_, [&](auto& entry) {
      auto& to = listeners_.at(entry.to);
      auto waited = now - entry.since - disturbed_.frozen_since(to.resource, entry.since, now);
      if (waited <= bound())
        return false;
      std::size_t before = 0;
      for (auto& [at, bytes] : to.urgent)
        before += now - at < 5 * renewal ? bytes : 0;
      if (now - to.renewed < renewal && healthy(to.resource, facts)
          && disturbed_.last_touched(to.resource) < entry.since
          && before < facts.what().options.resource.view_chunk_bytes / 4)
        fail(fmt::format("{} tells that node {} is {} since {}, and has not told {}", facts_of(to.resource, facts).name,
                         to_hex(entry.node), pb::Liveness_Name(entry.liveness), seconds_text(entry.since),
                         facts.actor_name(entry.to.second)));
      return true;
    });
  }

  /// Subscriptions are renewed each second.
  static constexpr nanoseconds renewal{seconds{2}};

  actor_roles roles_;
  disturbances disturbed_;
  /// By (Resource, subscriber).
  std::map<link, listener> listeners_;
  std::vector<debt> owed_;
  /// What was told of a node last, by (origin, epoch) and node.
  id_table<std::pair<std::uint64_t, pb::Liveness>> last_;
};

} // namespace

void add_view_flow_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<view_credit>());
  all.push_back(kind_of_check<views_catch_up>());
  all.push_back(kind_of_check<turns_told>());
}

} // namespace astra::sim
