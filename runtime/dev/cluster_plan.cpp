#include "runtime/dev/cluster_plan.hpp"

#include <fmt/format.h>

#include <cassert>

namespace astra {

std::vector<planned_process> plan_cluster(const dev_options& options, const std::string& directory,
                                          const std::vector<std::uint16_t>& resource_ports,
                                          const std::string& gateway_listen) {
  assert(!options.cores.empty() && options.memory_per_node_bytes > 0 && resource_ports.size() == options.resources);
  std::string peers;
  for (auto port : resource_ports)
    peers += fmt::format("{}\"127.0.0.1:{}\"", peers.empty() ? "" : ", ", port);
  auto common = [&](const std::string& name, const std::string& role, const std::string& listen) {
    return fmt::format(R"(name = "{0}"
roles = ["{1}"]
resources = [{2}]
state_dir = "{3}/{0}"

[net]
listen = "{4}"

[metrics]
listen = "127.0.0.1:0"
)",
                       name, role, peers, directory, listen);
  };
  std::vector<planned_process> result;
  for (std::size_t i = 0; i < resource_ports.size(); ++i) {
    auto name = fmt::format("resource-{}", i + 1);
    result.push_back({name, common(name, "resource", fmt::format("127.0.0.1:{}", resource_ports[i])), false});
  }
  std::string apps;
  for (auto& file : options.app_files)
    apps += fmt::format("{}\"{}\"", apps.empty() ? "" : ", ", file);
  result.push_back(
      {"scheduler-1",
       common("scheduler-1", "scheduler", "127.0.0.1:0") + fmt::format("\n[scheduler]\napps = [{}]\n", apps), false});
  result.push_back(
      {"gateway-1",
       common("gateway-1", "gateway", "127.0.0.1:0") + fmt::format("\n[gateway]\nlisten = \"{}\"\n", gateway_listen),
       false});
  for (std::uint32_t i = 0; i < options.nodes; ++i) {
    auto name = fmt::format("node-{}", i + 1);
    auto cores = options.cores[i % options.cores.size()];
    auto config = common(name, "node", "127.0.0.1:0");
    config += fmt::format("\n[node]\nlabels = {{ zone = \"{}\" }}\n", static_cast<char>('a' + i % 3));
    config +=
        fmt::format("\n[capacity]\ncores = {}\nmemory = \"{}KiB\"\n", cores, options.memory_per_node_bytes / 1024);
    config += "\n[drain]\nwait = \"10s\"\n";
    result.push_back({name, std::move(config), true});
  }
  return result;
}

} // namespace astra
