#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/wire/membership.pb.h"

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>

#include <cstdint>
#include <memory>

namespace astra::sim {

/// What the members of a crowd do, for whoever measures with them; without one they beat and nothing else.  Members
/// have numbers from 0.  Called by the crowd's actor alone.
class crowd_script {
public:
  virtual ~crowd_script() = default;

  /// False: the member says nothing now, as if it were not there.
  virtual bool speaks(std::uint32_t member) = 0;
  /// A beat that is about to leave, complete but for load and flags.
  virtual void describe(std::uint32_t member, pb::Heartbeat& beat) = 0;
  /// Version of the member's profile: a larger one than was sent is sent behind the next beat.
  virtual std::uint32_t profile_version(std::uint32_t member) = 0;
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
