#pragma once

#include "runtime/sim/checks/history.hpp"

#include <caf/message.hpp>

#include <cstdint>

namespace astra::sim {

/// What the nodes themselves said last: the truth that everybody's belief is compared with at quiet.
class node_profiles {
public:
  struct node_record {
    std::uint64_t incarnation = 0;
    bool draining = false;
    std::uint32_t running = 0;
    std::uint32_t queued = 0;
    instant beat_at{-1};
    std::uint64_t version = 0;
    /// When anything but a repetition and its load was said last.
    instant changed{-1};
    /// The last profile_update, shared with the run.
    caf::message profile;
  };

  static topics wants() { return topics{}.said({message_kind::profile_update, message_kind::heartbeat}); }

  void observe(const event& what, const world_facts& facts) {
    if (!said(what))
      return;
    if (auto beat = content_as<heartbeat>(what))
      on_beat(**beat, what, facts);
    else if (auto update = content_as<profile_update>(what))
      on_profile((*update)->profile(), what, facts);
  }

  /// Null when it has said nothing.
  const pb::NodeProfile* profile_of(machine_id machine) {
    auto& node = nodes_[machine];
    return node.profile.empty() ? nullptr : &node.profile.get_as<profile_update>(0)->profile();
  }

  node_record& operator[](machine_id machine) { return nodes_[machine]; }

private:
  void on_beat(const pb::Heartbeat& beat, const event& what, const world_facts& facts) {
    if (facts_of(what.machine, facts).node.value() != beat.node())
      return;
    auto& node = nodes_[what.machine];
    if (node.incarnation != beat.incarnation() || node.draining != beat.draining())
      node.changed = what.at;
    if (node.incarnation != beat.incarnation())
      node.profile.reset();
    node.incarnation = beat.incarnation();
    node.draining = beat.draining();
    node.running = beat.load().running();
    node.queued = beat.load().queued();
    node.beat_at = what.at;
  }

  void on_profile(const pb::NodeProfile& profile, const event& what, const world_facts& facts) {
    if (facts_of(what.machine, facts).node.value() != profile.node())
      return;
    auto& node = nodes_[what.machine];
    if (node.version != profile.version() || node.incarnation != profile.incarnation() || node.profile.empty())
      node.changed = what.at;
    node.incarnation = profile.incarnation();
    node.version = profile.version();
    node.profile = *what.content;
  }

  per_machine<node_record> nodes_;
};

} // namespace astra::sim
