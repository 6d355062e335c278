#pragma once

#include "messages/ids.hpp"
#include "messages/wire/membership.pb.h"
#include "messages/wire/view.pb.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace astra {

/// Three cadences: a transition is pushed at once, what claims change soon, load when convenient.
enum class stream : std::uint8_t { liveness, claims, load };

inline constexpr std::size_t stream_count = 3;

/// Parts of a NodeRow that travel only when they changed.  The small fields (liveness, reason, sequence, age) go along
/// with any of them.
enum row_part : std::uint8_t { part_state = 1, part_load = 2, part_profile = 4, part_held = 8, part_all = 15 };

/// The shard of one Resource before its subscribers get to know it.  Changes are collected per stream and leave in one
/// delta per tick, or in several if there are many: each is a version of its own.
/// A plain class: the time is an argument.
class shard_log {
public:
  using time_point = std::chrono::steady_clock::time_point;

  shard_log(resource_id origin, std::string name, std::uint64_t epoch);
  // What it looks nodes up with points into itself.
  shard_log(const shard_log&) = delete;
  shard_log& operator=(const shard_log&) = delete;
  ~shard_log() = default;

  /// Null when there is none.
  const pb::NodeRow* find(node_id id) const;
  /// The row to write to, made when there is none.  Its `parts` leave with the next flush of the stream.
  pb::NodeRow& change(node_id id, std::uint8_t parts, stream when);
  /// Ages in deltas count from here.
  void heard(node_id id, time_point when);
  void remove(node_id id);

  const pb::AppRecord* find_app(const std::string& name) const;
  void put(const pb::AppRecord& record, stream when);
  void remove_app(const std::string& name);
  const std::map<std::string, pb::AppRecord>& apps() const { return apps_; }

  const pb::SchedulerRow* find(scheduler_id id) const;
  void put(const pb::SchedulerRow& row);
  void remove(scheduler_id id);

  /// Something waits for the stream's next flush.
  bool pending(stream which) const;

  /// One delta with what waits in the stream, as the next version.  None when nothing does.  What would make it longer
  /// than about `limit_bytes` goes on waiting: schedulers before nodes, and a scheduler never leaves before its apps.
  std::optional<pb::ViewDelta> flush(stream which, time_point now,
                                     std::size_t limit_bytes = std::numeric_limits<std::size_t>::max());

  /// The first word: a shard without rows.
  pb::ViewDelta beginning() const;

  /// An empty delta: still here, and at this version.
  pb::ViewDelta keep_alive() const;

  std::uint64_t epoch() const { return epoch_; }
  std::uint64_t version() const { return version_; }
  const std::string& name() const { return name_; }
  std::size_t size() const { return nodes_.size(); }

private:
  struct node_slot {
    pb::NodeRow row;
    time_point heard;
    std::array<std::uint8_t, stream_count> waiting{};
  };

  struct removal {
    node_id node;
    std::string app;
    scheduler_id scheduler;
  };

  struct waiting_keys {
    std::set<node_id> nodes;
    std::set<std::string> apps;
    std::set<scheduler_id> schedulers;
    std::vector<removal> removals;
    /// The last node that left: after a delta that had no room for all, the others have their turn first.
    node_id last;
    bool empty() const { return nodes.empty() && apps.empty() && schedulers.empty() && removals.empty(); }
  };

  waiting_keys& waiting(stream which) { return waiting_[static_cast<std::size_t>(which)]; }
  pb::ViewDelta header() const;
  void write_row(pb::ViewDelta& delta, const node_slot& slot, std::uint8_t parts_wanted, time_point now) const;
  bool present(const removal& what) const;
  /// Null when there is none.
  node_slot* slot_of(node_id id) const;

  resource_id origin_;
  std::string name_;
  std::uint64_t epoch_;
  std::uint64_t version_ = 1;
  std::map<node_id, node_slot> nodes_;
  /// Where a node is in it, as every heartbeat asks several times.  For look-ups only.
  std::unordered_map<node_id, node_slot*> slots_;
  std::map<std::string, pb::AppRecord> apps_;
  std::map<scheduler_id, pb::SchedulerRow> schedulers_;
  std::array<waiting_keys, stream_count> waiting_;
};

} // namespace astra
