#pragma once

#include "actors/resource/cluster_view.hpp"
#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// A cluster view that outlives the Resources it comes from.
///
/// A Resource persists nothing.  When one is lost, or comes back empty under a new epoch, the rows of its shard have
/// nobody to speak for them until their nodes have found another home: they are orphans.  Orphans stay as they were
/// until their node turns up elsewhere, or, after `orphan_grace`, become offline with that reason, and are forgotten
/// `forget_after` later.  So the death of a Resource never takes a living node out of a view.
///
/// What the keeper decides by itself it puts into deltas, as edits of the shard: whoever hands the view on passes
/// them on like deltas of the origin, and every subscriber ends with the same rows.
/// A plain class: the time is an argument.
class view_keeper {
public:
  using time_point = cluster_view::time_point;
  using apply_outcome = cluster_view::apply_outcome;

  struct limits {
    std::chrono::milliseconds orphan_grace{10000};
    std::chrono::milliseconds forget_after{60000};
  };

  explicit view_keeper(limits limits) : limits_(limits) {}

  /// Applies a delta.  To a snapshot that knows nothing of rows which it cannot speak for, those rows are added, as
  /// kept ones: when it was applied, `delta` is what is to be handed on.
  apply_outcome accept(pb::ViewDelta& delta, time_point now, view_changes& changes);

  /// As cluster_view::in_step, for a delta that was applied.
  bool in_step(const pb::ViewDelta& delta);

  /// Nobody speaks for the shard any more, until a delta that says otherwise.
  /// @returns the delta to hand on; none when that was known, or the shard is not.
  std::optional<pb::ViewDelta> lose(resource_id origin, time_point now, view_changes& changes);

  /// Decides what becomes of the orphans.  To be called a few times per second.
  /// @returns the deltas to hand on, at most one per shard.
  std::vector<pb::ViewDelta> expire(time_point now, view_changes& changes);

  /// The observer did not listen for `gap` up to `now`: orphans get that much more time.
  /// @param of The shards that this holds for; empty: all.
  void extend_grace(std::chrono::nanoseconds gap, time_point now, const std::function<bool(resource_id)>& of = {});

  const cluster_view& view() const { return view_; }

  /// A shard for somebody who has nothing of it.  Empty when there is none.
  pb::ViewDelta snapshot(resource_id origin, time_point now) const;

  /// As cluster_view::next_part; a part of a whole shard names those of its rows that were kept.
  pb::ViewDelta next_part(shard_cursor& cursor, std::size_t limit_bytes, time_point now, bool shapes = false) const;

  /// Names those of a snapshot's nodes that were kept.
  void name_kept_nodes(resource_id origin, pb::ViewDelta& snapshot) const;

  /// An edit of a shard that changes nothing yet.  @pre the view has the shard.
  pb::ViewDelta edit_of(resource_id origin) const;

private:
  struct orphan {
    time_point since;
    /// Unknown to the origin's present epoch, so its snapshots say nothing of it.
    bool foreign = false;
    /// When it became offline, if it did.
    std::optional<time_point> offline_since;
  };

  /// The orphans of one shard.
  struct orphanage {
    std::map<node_id, orphan> nodes;
    std::map<std::string, orphan> apps;
    std::map<scheduler_id, orphan> schedulers;
    /// When this keeper lost the origin, if it did and nobody spoke for the shard since.
    std::optional<time_point> lost_since;

    bool empty() const { return nodes.empty() && apps.empty() && schedulers.empty() && !lost_since; }
  };

  static orphanage kept_by_relay(const pb::ViewDelta& snapshot, const orphanage& known, time_point now);
  orphanage carry_over(resource_id origin, pb::ViewDelta& snapshot, time_point now) const;
  void expire_nodes(resource_id origin, orphanage& orphans, time_point now, pb::ViewDelta& edit) const;
  void expire_schedulers(resource_id origin, orphanage& orphans, time_point now, pb::ViewDelta& edit) const;
  void expire_apps(resource_id origin, orphanage& orphans, time_point now, pb::ViewDelta& edit) const;
  std::string why_offline(resource_id origin) const;

  limits limits_;
  cluster_view view_;
  std::map<resource_id, orphanage> orphans_;
};

} // namespace astra
