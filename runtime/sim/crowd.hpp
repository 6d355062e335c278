#pragma once

#include "actors/platform.hpp"
#include "actors/resource/node_load.hpp"
#include "config/options.hpp"
#include "messages/wire/membership.pb.h"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>

#include <cstdint>
#include <memory>

namespace astra::sim {

/// What a member says when it has its turn.
struct crowd_word {
  node_load load;
  std::uint32_t profile_version = 1;
  /// How often it has started anew.
  std::uint8_t restarts = 0;
  bool leaving = false;
};

/// What the members of a crowd do, for whoever measures with them; without one they beat and nothing else.  Members
/// have numbers from 0.  Called by the crowd's actor alone.
class crowd_script {
public:
  virtual ~crowd_script() = default;

  /// Some members have their turns now, all within a moment.
  virtual void begin_turns() = 0;
  /// The member has its turn.
  /// @param sequence that its beat would have
  /// @returns false: it says nothing now, as if it were not there.
  virtual bool speak(std::uint32_t member, std::uint32_t sequence, crowd_word& word) = 0;
  /// So many have spoken since.
  virtual void end_turns(std::uint32_t beats) = 0;
  /// A profile that is about to leave.
  virtual void describe(std::uint32_t member, pb::NodeProfile& profile) = 0;
  /// A Resource has answered so many beats.
  virtual void answered(std::uint32_t beats) = 0;
  /// It has answered the member's goodbye.
  virtual void goodbye_answered(std::uint32_t member) = 0;
};

/// How the beats of a crowd travel.
enum class crowd_voice : std::uint8_t {
  /// Each by itself, as a node's does.
  single,
  /// As an aggregator's: all that came in a quarter of an interval in one message, and what is urgent with the slice.
  batches,
};

/// Spawns one actor that beats for `count` nodes, each to its own home Resource by rendezvous hashing, with phases
/// spread over the heartbeat interval: for clusters too large for an actor per node.  The nodes have the options' name
/// with "/1" to "/count" behind it; they claim nothing, run nothing and serve nothing, and move to the next Resource
/// when theirs is silent.  Runs until its owner sends it an exit message.
/// @param script may be null.
caf::actor spawn_crowd(caf::actor_system& sys, platform& world, const node_options& options, std::uint32_t count,
                       std::shared_ptr<crowd_script> script = nullptr, crowd_voice voice = crowd_voice::single);

} // namespace astra::sim
