#pragma once

#include "runtime/cli/dev_options.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace astra {

/// One child of a laptop cluster.
struct planned_process {
  std::string name;
  /// Content of its configuration file.
  std::string config;
  bool is_node = false;
};

/// Who runs in a laptop cluster and with which configuration.
/// @param directory where the children keep their state
/// @param resource_ports one port per Resource, on the loopback interface
/// @param gateway_listen "host:port" of the gateway
/// @pre `options` states cores and memory; its app files are absolute paths.
std::vector<planned_process> plan_cluster(const dev_options& options, const std::string& directory,
                                          const std::vector<std::uint16_t>& resource_ports,
                                          const std::string& gateway_listen);

} // namespace astra
