#pragma once

#include "messages/wire/app.pb.h"

#include <map>
#include <string>
#include <vector>

namespace astra {

/// What a member of a cluster has of its own.
struct cluster_place {
  pb::ClusterMember member;
  /// Host that others reach the node under.
  std::string node_ip;
  std::vector<pb::NamedPort> ports;
  /// Its directory.
  std::string scratch;
};

/// Values of the placeholders in the commands and variables of a role: node_ip, head_ip, port.NAME, head.port.NAME,
/// cpus (whole cores, at least one), gpus, memory (bytes), scratch, cluster (hexadecimal) and slot.  For a head,
/// head_ip and head.port.NAME are its own.
std::map<std::string, std::string> placeholder_values(const cluster_place& place, const pb::Resources& resources);

} // namespace astra
