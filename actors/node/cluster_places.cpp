#include "actors/node/cluster_places.hpp"

#include "messages/ids.hpp"

#include <algorithm>

namespace astra {

std::map<std::string, std::string> placeholder_values(const cluster_place& place, const pb::Resources& resources) {
  std::map<std::string, std::string> result;
  auto& member = place.member;
  auto is_head = member.slot() == 0;
  result["node_ip"] = place.node_ip;
  result["head_ip"] = is_head ? place.node_ip : member.head_host();
  for (auto& port : place.ports) {
    result["port." + port.name()] = std::to_string(port.port());
    if (is_head)
      result["head.port." + port.name()] = std::to_string(port.port());
  }
  for (auto& port : member.head_ports())
    result["head.port." + port.name()] = std::to_string(port.port());
  std::uint32_t cards = 0;
  for (auto& accelerator : resources.accelerators())
    cards += accelerator.count();
  result["cpus"] = std::to_string(std::max(1U, (resources.cpu_milli() + 999) / 1000));
  result["gpus"] = std::to_string(cards);
  result["memory"] = std::to_string(resources.memory_bytes());
  result["scratch"] = place.scratch;
  result["cluster"] = to_hex(member.cluster());
  result["slot"] = std::to_string(member.slot());
  return result;
}

} // namespace astra
