#pragma once

#include "actors/resource/posting_list.hpp"
#include "actors/resource/view_filter.hpp"
#include "actors/resource/view_keeper.hpp"
#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace astra {

/// The part of a view that one subscriber with a filter is told of.
///
/// What a filter lets through depends on the profile, and a delta seldom has it: so it is remembered which rows the
/// subscriber holds.  A node that comes to match is told whole, its load included; one that matches no more is removed;
/// one of which no profile is known, as it restarted or moved, stays what it was.  Deltas with nothing in them for the
/// subscriber do not leave: the next one leads from the version that it has.  Digests are of all rows and left out.
///
/// A node is in when the row matches that the view shows of it.  Another shard's older row of it, where it was told,
/// goes with that shard's next word about it.
///
/// What is held is known exactly, as every shard begins with a snapshot and everything reaches the subscriber or none
/// of what follows does.  A plain class: the time is an argument.
class view_excerpt {
public:
  using time_point = cluster_view::time_point;

  explicit view_excerpt(view_filter filter) : filter_(std::move(filter)) {}

  const view_filter& filter() const { return filter_; }

  /// What of a delta is to be told, and what is held once it is.
  struct piece {
    pb::ViewDelta delta;
    /// To be told just before: an edit is one only to who is at its version.
    std::optional<pb::ViewDelta> before;
    /// Nothing of it concerns the subscriber.
    bool nothing = false;
    std::vector<node_id> entered;
    std::vector<node_id> left;
  };

  /// The piece of a delta that the view has just taken in.  @pre it has no shapes
  piece of(const pb::ViewDelta& delta, const cluster_view& view, time_point now) const;

  /// The piece is told.
  /// @param whole false: it is a part, and other parts of it follow.
  void told(const piece& what, bool whole = true);

  /// As view_keeper::next_part.  Parts of a snapshot replace what is held once the last one is there.
  piece next_part(shard_cursor& cursor, const view_keeper& keeper, std::size_t limit_bytes, time_point now);

  /// The whole shard; of an unknown one the word that it is removed.
  pb::ViewDelta snapshot(resource_id origin, const view_keeper& keeper, time_point now);

  /// Rows before their turn, for who is being told the shard: of them those that it holds or will hold.
  void narrow_turns(pb::ViewDelta& turns, const cluster_view& view);

private:
  struct shard {
    std::uint64_t epoch = 0;
    /// The subscriber's.
    std::uint64_t version = 0;
    bool lost = false;
    posting_list nodes;
    /// The rows of a snapshot, while it is told in parts.
    std::optional<posting_list> coming;
    /// Told before their turn and by no part: there, but not whole.
    posting_list strays;
  };

  bool in(node_id id, const cluster_view& view, const posting_list& held) const;
  void write_whole(pb::NodeRow& row, const node_entry& entry, const cluster_view& view, time_point now) const;

  view_filter filter_;
  std::map<resource_id, shard> shards_;
};

} // namespace astra
