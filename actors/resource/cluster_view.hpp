#pragma once

#include "actors/resource/node_load.hpp"
#include "actors/resource/node_row.hpp"
#include "actors/resource/view_index.hpp"
#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace astra {

/// Everything known of one node.
struct node_entry {
  /// The newest of every part: later deltas that leave out profile or held do not clear them.
  node_row row;
  /// The Resource whose shard the row is in: the node's home.
  resource_id origin;
  /// When the node's last heartbeat was received by its home, on the local clock, as the last word about the row had
  /// it.
  std::chrono::steady_clock::time_point last_beat;
  /// Versions of its shard in which anything of the row, and its profile, were told last.
  std::uint64_t changed = 0;
  std::uint64_t profile_changed = 0;
  /// Where its shard keeps the row's load; 0: nowhere.
  std::uint32_t slot = 0;
  /// What counts while nothing is kept there: the row came with it, or it is that of its former home.
  node_load load;
  bool came_with_load = false;

  node_id id() const { return node_id{row.node()}; }
  const std::string& name() const { return row.name(); }
  /// May get new work: online or suspect, with a profile, and not draining.
  bool usable() const;
};

struct app_entry {
  pb::AppRecord record;
  resource_id origin;
  std::uint64_t changed = 0;
};

struct scheduler_entry {
  pb::SchedulerRow row;
  resource_id origin;
  std::uint64_t changed = 0;
};

/// What one delta changed, for whoever keeps something derived from the view.  Sorted, without repetition.  Loads are
/// not listed: they change all the time.
struct view_changes {
  std::vector<node_id> nodes;
  std::vector<std::string> apps;
  std::vector<scheduler_id> schedulers;

  bool empty() const { return nodes.empty() && apps.empty() && schedulers.empty(); }
};

/// How far a shard that travels in parts has got.  Each part is made when it can leave, from what is known then.
struct shard_cursor {
  enum class section : std::uint8_t { nodes, loads, apps, schedulers, removals, done };

  resource_id origin;
  std::uint64_t epoch = 0;
  /// What the receiver has; 0: nothing that counts, and gets the whole shard.
  std::uint64_t base = 0;
  /// What it has at the end, at least.
  std::uint64_t version = 0;
  /// Of the shard: when it is another one, the parts that left mean nothing any more.
  std::uint64_t generation = 0;

  section at = section::nodes;
  /// The last ones that left.
  node_id node;
  std::uint32_t slot = 0;
  std::string app;
  scheduler_id scheduler;
};

/// Rows of a shard and the sum of their hashes, whatever their order: equal for equal contents.
struct shard_digest {
  std::uint64_t rows = 0;
  std::uint64_t hash = 0;
  bool operator==(const shard_digest&) const = default;
};

/// Gives every row its whole profile, for a reader that does not know shapes.
void expand_shapes(pb::ViewDelta& delta);

/// The cluster as one subscriber knows it: the shards of all Resources, merged.  What stands in several shards (it has
/// just moved) is shown from one of them: a node from the one with the larger (incarnation, home epoch, sequence), an
/// app from the one with the larger (scheduler epoch, version), a scheduler process from the one with the larger
/// incarnation and then the better liveness.  A node that moved keeps the profile and load that are known of its
/// incarnation until its new home tells others.
/// A plain class: the time is an argument.
class cluster_view {
public:
  using time_point = std::chrono::steady_clock::time_point;

  cluster_view() = default;
  // What it looks nodes up with points into itself.
  cluster_view(const cluster_view&) = delete;
  cluster_view& operator=(const cluster_view&) = delete;
  cluster_view(cluster_view&&) = default;
  cluster_view& operator=(cluster_view&&) = default;
  ~cluster_view() = default;

  enum class apply_outcome {
    /// The delta or snapshot was applied.
    applied,
    /// Versions are missing between what is known and the delta: subscribe again with `resync`.  Nothing was changed.
    gap,
    /// Older than what is known: ignored.
    stale,
  };

  /// Rows are states, not differences, so a delta that overlaps with what is known is applied too.  A delta that
  /// leads from the known version to itself is a keep-alive, or an edit by whoever relays a shard whose origin does
  /// not speak for all of its rows (see view_keeper).  Rows before their turn (`ahead`) change no version.
  apply_outcome apply(const pb::ViewDelta& delta, time_point now, view_changes& changes);

  /// Null when unknown.  Pointers stay valid until the next apply.
  const node_entry* find(node_id id) const;
  const app_entry* find_app(const std::string& name) const;
  const scheduler_entry* find_scheduler(scheduler_id id) const;

  /// Load of an entry of this view, as its home told it last.
  const node_load& load(const node_entry& entry) const;

  /// Grows with every word about the node, be it its row or its load.
  std::uint64_t last_word(const node_entry& entry) const;

  /// How long ago the node was heard of by its home, at most.
  std::chrono::milliseconds age(const node_entry& entry, time_point now) const;

  /// @pre the shard is known.
  shard_digest digest(resource_id origin) const;

  /// Checks a shard, just after `delta` was applied to it, against what its origin says that it holds at that version.
  /// What differs is wanted anew: it is left out of `versions` until it was told whole.
  /// @returns false when it differs.
  bool in_step(const pb::ViewDelta& delta);

  /// Sorted by id or name.
  const std::map<node_id, node_entry>& nodes() const { return nodes_; }
  const std::map<std::string, app_entry>& apps() const { return apps_; }
  const std::map<scheduler_id, scheduler_entry>& schedulers() const { return schedulers_; }

  /// nodes() by what their profiles say.
  const view_index& index() const { return index_; }

  /// What is held of each shard, sorted by origin: the `have` of a Subscribe.  Lost, edited and diverged shards are
  /// left out: their rows are not the origin's, so they are wanted anew.
  std::vector<pb::ShardVersion> versions() const;

  struct shard_info {
    std::uint64_t epoch = 0;
    std::uint64_t version = 0;
    std::string name;
    /// Of the origin; never empty.
    std::string group;
    bool lost = false;
    /// Holds rows that a relay changed without the origin.
    bool edited = false;
    /// When the last delta (also an empty one) came.
    time_point last_delta;
    /// The same, of its origin.
    time_point last_word;
    /// Longest silence of a node that is online and of which nothing is said.
    std::chrono::milliseconds heard_within{0};
    /// The last version of which a row was told before its turn.
    std::uint64_t ahead_of = 0;
    /// What it holds differs from what its origin said it should; until it is told anew.
    bool diverged = false;
    /// Changes with every change that no delta since a version can tell.
    std::uint64_t generation = 0;
    /// Nobody who has less than this version can be told by a delta what it misses.
    std::uint64_t forgotten = 0;
  };
  const std::map<resource_id, shard_info>& shards() const { return shards_; }

  /// A place for the load of one row.
  struct load_slot {
    node_load load;
    /// None: it is free.
    node_id owner;
    /// Version of the shard in which it was told last; 0: never.
    std::uint64_t changed = 0;
  };

  struct shard_rows {
    std::map<node_id, node_entry> nodes;
    /// By slot less 1.
    std::vector<load_slot> loads;
    std::uint64_t hash = 0;
    std::map<std::string, app_entry> apps;
    std::map<scheduler_id, scheduler_entry> schedulers;
  };
  /// One shard as it came, rows included that others outshine in the merged view.  Null when unknown.
  const shard_rows* rows(resource_id origin) const;

  /// The whole shard as a delta with base 0, ages brought up to `now`.  Of an unknown shard: `origin_removed`.
  pb::ViewDelta snapshot(resource_id origin, time_point now) const;

  /// Where to begin for somebody who has this version of this epoch.  @pre the shard is known.
  shard_cursor cursor(resource_id origin, std::uint64_t epoch, std::uint64_t version) const;

  /// False when the shard is gone or must be told anew.
  bool valid(const shard_cursor& cursor) const;

  /// The next part, about `limit_bytes` long at most; what follows is at the cursor.  All parts together lead from
  /// `base` to `version`: they are the rows that changed since, or all of them.  @pre valid and not done.
  /// @param shapes Whether profiles that several rows have in common are told once.
  pb::ViewDelta next_part(shard_cursor& cursor, std::size_t limit_bytes, time_point now, bool shapes = false) const;

  /// Changes of a node's liveness are numbered; this is the last one of any shard.
  std::uint64_t last_turn() const { return last_turn_; }

  /// The nodes of a shard whose liveness changed after the turn `after`, as rows before their turn, about `limit_bytes`
  /// long at most.  `after` becomes the last one that is told.  None when there is none.
  std::optional<pb::ViewDelta> turns_since(resource_id origin, std::uint64_t& after, std::size_t limit_bytes,
                                           time_point now) const;

private:
  struct removal {
    std::uint64_t version = 0;
    node_id node;
    std::string app;
    scheduler_id scheduler;
  };

  struct turn {
    std::uint64_t number = 0;
    node_id node;
  };

  /// What deltas told of late, oldest first and bounded, for those who missed it.
  struct shard_history {
    std::deque<removal> removals;
    std::deque<turn> turns;
  };

  static bool present(const shard_rows& rows, const removal& gone);
  struct row_reader;
  static void take(shard_rows& rows, node_entry& entry, const pb::NodeRow& part, row_reader& how);
  static void take_loads(shard_rows& rows, const pb::ViewDelta& delta);
  static void erase(shard_rows& rows, node_id id);
  const load_slot* slot_of(const node_entry& entry) const;
  void remember(resource_id origin, removal gone);
  pb::ViewDelta header(resource_id origin) const;
  void replace(resource_id origin, const pb::ViewDelta& delta, time_point now, view_changes& changes);
  void update(resource_id origin, const pb::ViewDelta& delta, time_point now, view_changes& changes);
  void drop(resource_id origin, view_changes& changes);
  /// @param next Where the next node that is new is expected in the merged view; kept up to date.
  void refresh_node(node_id id, resource_id origin, view_changes& changes,
                    std::map<node_id, node_entry>::iterator* next = nullptr);
  void refresh_app(const std::string& name, resource_id origin, view_changes& changes);
  void refresh_scheduler(scheduler_id id, resource_id origin, view_changes& changes);

  std::map<resource_id, shard_info> shards_;
  std::map<resource_id, shard_rows> rows_;
  std::map<resource_id, shard_history> histories_;
  std::uint64_t last_generation_ = 0;
  std::uint64_t last_turn_ = 0;
  shape_pool shapes_;
  /// The merged view.
  std::map<node_id, node_entry> nodes_;
  /// Where a node is in it: with 100,000 of them a search is a dozen misses of the cache, for every row of every delta.
  /// For look-ups only.
  std::unordered_map<node_id, std::map<node_id, node_entry>::iterator> places_;
  std::map<std::string, app_entry> apps_;
  std::map<scheduler_id, scheduler_entry> schedulers_;
  view_index index_;
};

} // namespace astra
