#include "runtime/sim/checks/history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
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
        .add(event_kind::drop);
  }

  void on_event(const event& what, const world_facts& facts) override {
    auto key = joint_id(what.sender, what.actor);
    if (what.kind == event_kind::drop) {
      // Which one it was is not known.
      if (auto lost = under_way_.find(key))
        *lost = {};
    } else if (what.kind == event_kind::send) {
      if (roles_.of(what.sender, facts) == actor_role::resource)
        on_said(**content_as<view_delta>(what), what, facts);
    } else if (auto known = under_way_.find(key); known != nullptr && what.peer != machine_id{}) {
      auto size = (*content_as<view_delta>(what))->ByteSizeLong();
      auto handled = std::find(known->sizes.begin(), known->sizes.end(), size);
      if (handled == known->sizes.end())
        return;
      known->sum -= size;
      known->sizes.erase(handled);
    }
  }

private:
  struct flow {
    std::deque<std::size_t> sizes;
    std::size_t sum = 0;
  };

  void on_said(const pb::ViewDelta& delta, const event& what, const world_facts& facts) {
    auto chunk = facts.what().options.resource.view_chunk_bytes;
    auto size = delta.ByteSizeLong();
    if (size > chunk && delta.nodes_size() + delta.apps_size() + delta.schedulers_size() > 1)
      fail(
          fmt::format("{} sends a delta of {} bytes, a chunk has {}", facts_of(what.machine, facts).name, size, chunk));
    auto& flow = under_way_[joint_id(what.sender, what.actor)];
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
  /// By (Resource, subscriber).
  id_table<flow> under_way_;
};

/// Versions that subscribers have.
class views_catch_up : public named_check<views_catch_up> {
public:
  static constexpr const char* label = "views-catch-up";
  static constexpr const char* about =
      "At quiet every view client and every Resource has the versions of all shards that their Resources had a bound "
      "before.";
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
      std::erase_if(held_, [&](auto& entry) { return entry.first.machine == what.machine; });
      published_.erase(what.machine);
    } else if (auto ack = content_as<subscribe_ack>(what)) {
      if (roles_.of(what.sender, facts) == actor_role::resource)
        on_published(**ack, what);
    } else if (auto delta = content_as<view_delta>(what)) {
      auto listener = roles_.of(what.actor, facts);
      if ((listener == actor_role::resource || listener == actor_role::view_client)
          && roles_.of(what.sender, facts) == actor_role::resource)
        on_heard(**delta, {what.machine, listener, (*delta)->origin()});
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
        if (has_role(machines[i], process_role::resource))
          compare({id, actor_role::resource, origin}, *due, facts);
        if (has_role(machines[i], process_role::gateway) || has_role(machines[i], process_role::scheduler))
          compare({id, actor_role::view_client, origin}, *due, facts);
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

  struct record {
    std::uint64_t epoch = 0;
    std::uint64_t version = 0;
    std::uint64_t transfer = 0;
    std::uint32_t next_part = 0;
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

  void on_heard(const pb::ViewDelta& delta, const place& where) {
    if (delta.ahead())
      return;
    auto& held = held_[where];
    if (delta.more() || delta.part() > 0) {
      auto expected = delta.part() == 0 || (delta.transfer() == held.transfer && delta.part() == held.next_part);
      held.transfer = expected ? delta.transfer() : 0;
      held.next_part = delta.part() + 1;
      if (!expected || delta.more())
        return;
    }
    auto applies = delta.base() == 0 || (delta.epoch() == held.epoch && delta.base() <= held.version);
    if (!applies || delta.epoch() < held.epoch)
      return;
    held.version = delta.epoch() == held.epoch ? std::max(held.version, delta.version()) : delta.version();
    held.epoch = delta.epoch();
  }

  void compare(const place& where, const version& due, const world_facts& facts) {
    auto found = held_.find(where);
    auto held = found == held_.end() ? record{} : found->second;
    if (held.epoch > due.epoch || (held.epoch == due.epoch && held.version >= due.number))
      return;
    fail(fmt::format("{} has version {} of shard {}, which was at {} at {}", facts_of(where.machine, facts).name,
                     held.epoch == due.epoch ? held.version : 0, to_hex(where.origin), due.number,
                     seconds_text(due.at)));
  }

  actor_roles roles_;
  /// By Resource, oldest first.
  std::map<machine_id, std::deque<version>> published_;
  std::map<place, record> held_;
};

} // namespace

void add_view_flow_checks(std::vector<check_kind>& all) {
  all.push_back(kind_of_check<view_credit>());
  all.push_back(kind_of_check<views_catch_up>());
}

} // namespace astra::sim
