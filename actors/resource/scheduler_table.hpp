#pragma once

#include "actors/resource/cluster_view.hpp"
#include "actors/resource/lease.hpp"
#include "actors/resource/shard_log.hpp"
#include "messages/ids.hpp"
#include "messages/wire/membership.pb.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>

namespace astra {

/// The scheduler processes whose home one Resource is, and the apps they manage.  Writes what changes into the
/// Resource's shard_log.  The record of an app outlives the silence of its scheduler: its replicas run, and requests
/// find them by it.
/// A plain class: the time is an argument.
class scheduler_table {
public:
  using time_point = std::chrono::steady_clock::time_point;

  scheduler_table(shard_log& log, patience patience, std::chrono::milliseconds forget_after)
    : log_(log), patience_(patience), forget_after_(forget_after) {}

  struct verdict {
    bool accepted = false;
    /// A newer incarnation is known.
    bool fenced = false;
  };

  verdict record(const pb::SchedulerBeat& beat, time_point now);

  /// Suspect until the next beat.
  void connection_closed(scheduler_id id, time_point now);

  /// Drops the row and the records of its apps: the process beats to another Resource now.
  /// @returns false when it was not here.
  bool moved_away(scheduler_id id);

  /// Suspects and gives up the silent; forgets those that are long gone and manage no app.
  void sweep(time_point now);

  void extend_leases(std::chrono::nanoseconds gap, time_point now);

private:
  struct member {
    lease seen;
    std::uint64_t sequence = 0;
    bool closed = false;
    bool left = false;
    std::optional<time_point> offline_since;
  };

  void record_apps(const pb::SchedulerBeat& beat);
  void judge(scheduler_id id, member& who, std::chrono::nanoseconds silence, time_point now);
  bool manages_apps(scheduler_id id) const;

  shard_log& log_;
  patience patience_;
  std::chrono::milliseconds forget_after_;
  std::map<scheduler_id, member> members_;
};

/// What to take of the beat of a process that has just started: not the apps that another process took over while it
/// was away, if one of the two is a standby.  Records of these would win over the right ones by their newer epochs.
pb::SchedulerBeat without_taken_apps(pb::SchedulerBeat beat, const cluster_view& view);

} // namespace astra
