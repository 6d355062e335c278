#pragma once

#include "actors/resource/node_load.hpp"
#include "messages/ids.hpp"
#include "messages/wire/aggregate.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace astra {

/// The beats of many nodes, gathered into one message per tick: a bit for each node that has nothing new to say, and
/// columns for what changed in the loads.
/// A plain class: the time is an argument.
class beat_batcher {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Members that one batch tells of at most; their whole beats are what makes a batch long.
  static constexpr std::size_t members_max = 2000;

  struct verdict {
    /// A newer incarnation of this node is known.
    bool fenced = false;
    /// The node is not known here and did not say its name.
    bool nameless = false;
    /// The home should hear of it before the next tick.
    bool urgent = false;
    /// Profile version that the home holds; 0: none, or not known yet.
    std::uint64_t profile_version = 0;
  };

  /// Takes in a beat.  One that is older than what is known changes nothing.
  verdict take(const pb::Heartbeat& beat, time_point now);

  /// Takes in a beat that says what the one before it said, but for its sequence and its load.  For whoever makes the
  /// beats itself and has no message to read.
  /// @returns false when that is not enough, because the home must be told or has fenced the node: take() the whole
  /// beat.
  /// @pre the slot is that of a node whose last beat was taken.
  bool take_again(std::uint32_t slot, std::uint64_t sequence, const node_load& load, time_point now);

  /// The node's connection ended.  @returns whether it is one of ours.
  bool closed(node_id node);

  /// Whoever is home now was told nothing yet.
  void rehomed();

  /// Forgets nodes that have not beaten since `before`: they are at home elsewhere, or dead.
  void forget(time_point before);

  /// Something waits that is more than beats as always.
  bool urgent() const { return !untold_.empty() || !closed_.empty(); }

  /// The node was told to the home, by its whole beat.
  bool told(node_id node) const;

  /// Where the node is in batches, until it is forgotten; 0: nowhere.
  std::uint32_t slot(node_id node) const;

  /// What has come since the last batch, an empty one too.  When there are more than `members_max` members, the others
  /// wait for the next one.
  pb::BeatBatch flush();

  /// What the home says to a batch.
  void take(const pb::BeatBatchAck& ack);

  /// What the home says to a profile that was passed on.
  void profile_acknowledged(node_id node, const pb::HeartbeatAck& ack);

  std::size_t size() const { return slots_.size(); }

private:
  struct member {
    node_id node;
    std::string name;
    std::uint64_t incarnation = 0;
    std::uint64_t home_epoch = 0;
    std::uint64_t profile_version = 0;
    std::uint64_t acknowledged_profile = 0;
    bool draining = false;
    bool leaving = false;
  };

  /// What each beat changes: a cache line.
  struct pulse {
    time_point heard_at;
    std::uint64_t sequence = 0;
    node_load load;
    node_load told_load;
  };

  /// What each batch looks at, of all.
  struct marks {
    bool heard : 1 = false;
    bool told : 1 = false;
    bool fenced : 1 = false;
    /// Its load may differ from what was told.
    bool moved : 1 = false;
  };

  void write_member(pb::BeatBatch& batch, std::uint32_t slot);

  /// By slot less 1, as the next two.
  std::vector<member> members_;
  std::vector<pulse> pulses_;
  std::vector<marks> marks_;
  /// For look-ups only.
  std::unordered_map<node_id, std::uint32_t> slots_;
  std::set<std::uint32_t> free_;
  /// Slots of members that have beaten and that the home does not know as they are.
  std::set<std::uint32_t> untold_;
  std::set<std::uint32_t> closed_;
};

} // namespace astra
