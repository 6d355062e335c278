#pragma once

#include "actors/resource/cluster_view.hpp"
#include "actors/resource/credit_window.hpp"
#include "actors/resource/lease.hpp"
#include "actors/resource/view_excerpt.hpp"
#include "actors/resource/view_keeper.hpp"
#include "messages/ids.hpp"
#include "messages/wire/view.pb.h"

#include <caf/actor_addr.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/fwd.hpp>
#include <caf/message.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// The view of one Resource on its way to other processes, to each as fast as it takes it.
///
/// Who is in step with a shard gets each of its deltas, encoded once for all of them.  Who has no credit left, or is
/// new, is behind: of that shard nothing is kept for it but the version that it has, and once there is credit it is
/// brought up to date, in parts that are made as they leave.  So a slow subscriber gets larger deltas less often, and
/// costs the same however slow it is.  What left one shard may have come to another: who is behind of one is not told
/// of removals in any other before, and what it misses of several counts once all of it is there.  Changes of liveness
/// do not wait for that: to those who are behind they go before their turn, on a credit of their own.
///
/// Who has a filter gets its part of each delta (see view_excerpt), made for it alone.  It begins with a snapshot of
/// each shard, as soon as this Resource has what it has from another one: from behind it would be refused.
class view_feed {
public:
  using time_point = lease::time_point;

  struct limits {
    std::size_t chunk_bytes = 256 * 1024;
    /// Wait for an acknowledgement.
    std::chrono::milliseconds patience{3000};
  };

  /// What is left of a chunk for rows.
  static constexpr std::size_t rows_bytes(std::size_t chunk_bytes) { return chunk_bytes - 256; }

  /// @param own the shard that those who do not want all get.
  view_feed(caf::scheduled_actor* self, const view_keeper& keeper, resource_id own, limits limits);
  // Acknowledgements find their way back to it.
  view_feed(const view_feed&) = delete;
  view_feed& operator=(const view_feed&) = delete;
  ~view_feed() = default;

  /// @returns true when the sender is brought up to date: it is new here, or asks for it.
  bool renew(const caf::strong_actor_ptr& who, const pb::Subscribe& request, time_point now);

  /// @returns its name; empty when it was not subscribed.
  std::string remove(const caf::actor_addr& who);

  /// Drops who did not renew for `silence`.
  /// @returns their names.
  std::vector<std::string> drop_silent(std::chrono::milliseconds silence, time_point now);

  void extend_leases(std::chrono::nanoseconds gap, time_point now);

  /// Tells of a delta that the keeper has just accepted.
  void send(pb::ViewDelta delta, time_point now);

  std::size_t size() const { return subscribers_.size(); }

  /// Subscribers that miss something for which they have no credit.
  std::size_t behind() const;

private:
  /// What somebody who is behind has of a shard.
  struct position {
    std::uint64_t epoch = 0;
    std::uint64_t version = 0;
    /// The last turn of liveness that it was told, or will be told with all the rest.
    std::uint64_t turn = 0;
  };

  /// All shards of which somebody was behind at one moment, on their way to it.
  struct transfer {
    std::vector<shard_cursor> cursors;
    /// The one that is being told.
    std::size_t at = 0;
    std::uint64_t number = 0;
    std::uint32_t parts = 0;
  };

  struct subscriber {
    std::uint64_t number = 0;
    caf::strong_actor_ptr handle;
    std::string name;
    bool all_shards = true;
    bool takes_parts = false;
    bool takes_shapes = false;
    lease seen;
    credit_window credit;
    /// It is in step with all others.
    std::map<resource_id, position> behind;
    std::optional<transfer> present;
    /// None: it gets every row.
    std::optional<view_excerpt> excerpt;
    /// Shards of which it holds more than there is here.
    std::map<resource_id, position> ahead_of_us;
  };

  static void set_filter(subscriber& who, const view_filter& filter);
  bool behind_of(const position& other, resource_id origin) const;
  void give_up_transfer(subscriber& who);
  bool send_excerpt(subscriber& who, const pb::ViewDelta& delta, time_point now);
  void bring_up(subscriber& who, const pb::Subscribe& request, time_point now);
  void catch_up(subscriber& who, time_point now);
  void send_turns(subscriber& who, time_point now);
  bool begin_transfer(subscriber& who);
  void end_transfer(subscriber& who);
  void probe(subscriber& who);
  void post(subscriber& who, pb::ViewDelta delta, credit_window::kind what);
  void enqueue(const subscriber& who, const caf::message& message, std::optional<std::uint64_t> ask);
  void on_answer(std::uint64_t subscriber, std::uint64_t number, bool acknowledged);
  subscriber* find(std::uint64_t number);

  caf::scheduled_actor* self_;
  const view_keeper& keeper_;
  resource_id own_;
  limits limits_;
  /// In the order of their subscription.
  std::vector<subscriber> subscribers_;
  std::uint64_t last_subscriber_ = 0;
  std::uint64_t last_transfer_ = 0;
  /// Of the view when something of a shard was sent last.
  std::map<resource_id, std::uint64_t> turns_sent_;
};

} // namespace astra
