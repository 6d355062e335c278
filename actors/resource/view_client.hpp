#pragma once

#include "actors/platform.hpp"
#include "config/options.hpp"
#include "messages/resource_protocol.hpp"

#include <caf/actor_system.hpp>

#include <chrono>
#include <string>
#include <vector>

namespace astra {

struct view_client_options {
  /// Name of the process; decides which Resource is tried first.
  std::string name;
  /// "host:port" of the Resources of the home group.
  std::vector<std::string> resources;
  /// Other groups.
  std::vector<resource_group> groups;
  /// How often the subscription is renewed.
  std::chrono::milliseconds renew{1000};
  /// A Resource from which nothing came for this long is left for the next.
  std::chrono::milliseconds silence{2000};
  /// As in resource_options: used for what no Resource speaks for.
  std::chrono::milliseconds orphan_grace{10000};
  std::chrono::milliseconds forget_after{60000};
  /// Of nodes, only those that hold replicas of these apps; empty: all.
  std::vector<std::string> apps;
};

/// Spawns the one view client of a process: it holds a subscription to one Resource of each group, moves to the next
/// when that one falls silent, and hands the view on to the actors of its process, which subscribe to it as they would
/// to a Resource.  What it handed out stays as it was while no Resource answers.  Runs until its owner sends it an exit
/// message.
view_source spawn_view_client(caf::actor_system& sys, platform& world, const view_client_options& options);

} // namespace astra
