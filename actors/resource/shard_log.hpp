#pragma once

#include "actors/resource/node_load.hpp"
#include "actors/resource/node_row.hpp"
#include "messages/group.hpp"
#include "messages/ids.hpp"
#include "messages/wire/membership.pb.h"
#include "messages/wire/view.pb.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
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
/// with any of them.  A load is told by itself: with `part_load` all of it, whatever was told before.
enum row_part : std::uint8_t { part_state = 1, part_load = 2, part_profile = 4, part_held = 8, part_all = 15 };

/// The shard of one Resource before its subscribers get to know it.  Changes are collected per stream and leave in one
/// delta per tick, or in several if there are many: each is a version of its own.
/// Every row has a slot, a small number by which its load is told.  A load leaves with the first word of its row and
/// then when it has changed by more than noise; what is within the noise leaves once it has stayed for `settle`.
/// A plain class: the time is an argument.
class shard_log {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// A load that differs from what was told by no more than noise is told after this long.
  static constexpr std::chrono::seconds settle{10};

  /// @param heard_within longest silence of a node that is not suspected, for the ages of rows.
  shard_log(resource_id origin, std::string name, std::uint64_t epoch, std::chrono::milliseconds heard_within = {},
            const std::string& group = main_group);
  // What it looks nodes up with points into itself.
  shard_log(const shard_log&) = delete;
  shard_log& operator=(const shard_log&) = delete;
  ~shard_log() = default;

  /// The slot of a node's row; 0 when there is none.
  std::uint32_t slot(node_id id) const;
  /// @pre the slot has a row.
  const node_row& row(std::uint32_t slot) const { return places_[slot - 1].row; }
  /// Null when there is none.
  const node_row* find(node_id id) const;
  /// The row to write to, made when there is none.  Its `parts` leave with the next flush of the stream; without any it
  /// is told with the next word about it.
  node_row& change(node_id id, std::uint8_t parts, stream when);
  /// The same of a row that is there.
  node_row& change(std::uint32_t slot, std::uint8_t parts, stream when);
  /// A heartbeat: ages in deltas count from here, and the load is told if that is worth it.
  void heard(std::uint32_t slot, const node_load& load, time_point when);
  /// Whether the slot has the row of this node.
  bool holds(std::uint32_t slot, node_id id) const {
    return slot != 0 && slot <= places_.size() && node_id{places_[slot - 1].row.node()} == id;
  }
  /// @pre the slot has a row.
  const node_load& load(std::uint32_t slot) const { return places_[slot - 1].load; }
  /// Null when there is none; as it was heard, told or not.
  const node_load* load(node_id id) const;
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
  std::size_t size() const { return slots_.size(); }

private:
  struct node_slot {
    node_row row;
    time_point heard;
    std::array<std::uint8_t, stream_count> waiting{};
    node_load load;
    node_load told;
    /// When `told` was all of `load`; none: nothing of it was told.
    std::optional<time_point> settled;
    /// Columns of the load that wait.
    std::uint8_t columns = 0;
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
  void write_row(pb::ViewDelta& delta, std::uint32_t slot, std::uint8_t parts_wanted, time_point now) const;
  static bool untold(const node_slot& place);
  std::uint32_t take_slot(node_id id);
  void want_load(std::uint32_t slot, std::uint8_t columns);
  /// Writes what waits of the loads of these slots.
  void write_loads(pb::ViewDelta& delta, std::vector<std::uint32_t> slots, time_point now);
  void flush_loads(pb::ViewDelta& delta, std::size_t room, time_point now);
  bool present(const removal& what) const;

  resource_id origin_;
  std::string name_;
  /// As messages have it.
  std::string group_;
  std::uint64_t epoch_;
  std::uint64_t version_ = 1;
  /// By slot less 1.
  std::deque<node_slot> places_;
  /// For look-ups only.
  std::unordered_map<node_id, std::uint32_t> slots_;
  /// Whose rows have left, the smallest one first.
  std::set<std::uint32_t> free_slots_;
  std::map<std::string, pb::AppRecord> apps_;
  std::map<scheduler_id, pb::SchedulerRow> schedulers_;
  std::array<waiting_keys, stream_count> waiting_;
  /// By slot less 1: its load waits.
  std::vector<bool> loads_waiting_;
  std::size_t loads_waiting_count_ = 0;
  /// Slot of the last load that left: the others have their turn first.
  std::uint32_t last_load_ = 0;
  std::chrono::milliseconds heard_within_;
};

} // namespace astra
