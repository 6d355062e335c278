#pragma once

#include "actors/resource/flap_damper.hpp"
#include "actors/resource/lease.hpp"
#include "actors/resource/shard_log.hpp"
#include "messages/ids.hpp"
#include "messages/wire/membership.pb.h"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace astra {

/// What changed in a node's liveness, for logs.
struct transition {
  node_id node;
  pb::Liveness before = pb::LIVENESS_UNKNOWN;
  pb::Liveness after = pb::LIVENESS_UNKNOWN;
  std::string reason;
};

/// The nodes whose home one Resource is: who is alive, and what they say of themselves.  Writes what changes into the
/// Resource's shard_log.
///
/// A message counts when its (incarnation, home epoch, sequence) is newer than what is known; an older incarnation is
/// told that it is fenced.  A newer incarnation starts with an empty row.  Silence makes a node suspect, then offline;
/// so does the end of its connection, which makes it suspect at once.  A node that comes and goes stays suspect for a
/// while after it came back (see flap_damper).  A draining node stays draining until it is
/// offline.  Offline rows stay for `forget_after`, so that operators see why.
/// A plain class: the time is an argument.
class member_table {
public:
  using time_point = std::chrono::steady_clock::time_point;

  member_table(shard_log& log, patience patience, std::chrono::milliseconds forget_after)
    : log_(log), patience_(patience), forget_after_(forget_after) {}

  struct verdict {
    /// It was newer than what is known, and was recorded.
    bool accepted = false;
    /// A newer incarnation is known.
    bool fenced = false;
    /// The node is new here, or new since it restarted: nothing that was held for it before counts.
    bool fresh = false;
    /// Profile version held now; 0: none.
    std::uint64_t profile_version = 0;
    std::optional<transition> change;
  };

  verdict record(const pb::Heartbeat& beat, time_point now);

  /// A beat of which only the load is told: the node goes on as it was.  Counts as the next in its sequence.
  /// @pre the slot has a row.
  std::optional<transition> beat_again(std::uint32_t slot, const node_load& load, time_point now);

  /// Through no fault of the node nothing is heard of it: its silence counts from now on.  @pre the slot has a row.
  void wait_longer(std::uint32_t slot, time_point now);

  /// A profile of a node that does not beat here is not accepted.
  verdict record(const pb::ProfileUpdate& update, time_point now);

  /// The node's connection ended: suspect until the next beat.  Only a sweep makes it offline: when the observer
  /// itself slept, it learns that there.
  std::optional<transition> connection_closed(node_id id, time_point now);

  /// Others cannot reach the node, and it did not answer when it was asked at `asked`: suspect until the next beat, if
  /// there was none since.  Of all nodes a tenth, and one in any case, may be suspected so: more of them are busy
  /// rather than gone, and silence will tell.
  std::optional<transition> accused(node_id id, time_point asked, std::string reason, time_point now);

  /// Drops the row: the node lives at another Resource now.
  /// @returns false when it was not here.
  bool moved_away(node_id id);

  /// Reserved by claims under way.
  void hold(node_id id, const pb::Resources& held);

  /// Suspects and evicts the silent and forgets the long gone, in ascending order of ids.
  std::vector<transition> sweep(time_point now);

  /// Nodes that sweeps have forgotten since the last call, in that order.
  std::vector<node_id> take_forgotten() { return std::exchange(forgotten_, {}); }

  /// Members that the next sweep makes offline for their silence.
  std::size_t due_to_evict(time_point now) const;

  /// The observer did not listen for `gap` up to `now`.
  void extend_leases(std::chrono::nanoseconds gap, time_point now);

  /// Null when the node is not at home here.
  const node_row* find(node_id id) const { return log_.find(id); }

  /// Nodes that are not offline.
  std::size_t alive() const { return alive_; }

private:
  struct member {
    lease seen;
    /// Why it is suspected until the next beat; empty: it is not.
    std::string doubt;
    /// For what others say.
    bool accused = false;
    bool draining = false;
    bool left = false;
    std::optional<time_point> offline_since;
    flap_damper flaps;
  };

  void remove(std::uint32_t slot);
  void trust(member& who);
  void drop_accusation(member& who);
  void set_due(std::uint32_t slot);
  std::optional<transition> judge(std::uint32_t slot, std::chrono::nanoseconds silence, time_point now);

  shard_log& log_;
  patience patience_;
  std::chrono::milliseconds forget_after_;
  /// By slot of the log less 1.
  std::vector<member> members_;
  /// When a member must be judged next, in the same order; never for those that are not.
  std::vector<time_point> due_;
  std::size_t alive_ = 0;
  std::size_t accused_ = 0;
  std::vector<node_id> forgotten_;
  shape_pool shapes_;
};

} // namespace astra
