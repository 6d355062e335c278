#pragma once

#include "test/perf/network_space.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

// Machines at one switch, on one machine: network namespaces, a bridge, and queues that hold rates down.

namespace astra::perf {

/// Of a machine's one link, in Mbit/s of Ethernet frames; 0: as fast as it goes.
struct link_rates {
  double out = 0.0;
  double in = 0.0;
};

/// Needs root, and `ip` and `tc`.
class shaped_network {
public:
  explicit shaped_network(const std::vector<link_rates>& machines) : machines_(machines.size()) {
    std::string links = "link set lo up\nlink add br0 type bridge\nlink set br0 up\n";
    std::string queues;
    for (std::size_t i = 0; i < machines.size(); ++i) {
      links += fmt::format("link add v{0} type veth peer name e0 netns {1}\nlink set v{0} master br0 up\n", i,
                           machines_[i].path());
      queues += queue(fmt::format("v{}", i), machines[i].in);
    }
    hub_.ip(links);
    shape(hub_, queues);
    for (std::size_t i = 0; i < machines.size(); ++i) {
      machines_[i].ip(fmt::format("link set lo up\naddr add {}/16 dev e0\nlink set e0 up\n", address(i)));
      shape(machines_[i], queue("e0", machines[i].out));
    }
  }

  static std::string address(std::size_t machine) {
    return fmt::format("10.78.{}.{}", (machine + 1) / 256, (machine + 1) % 256);
  }

  static std::optional<std::size_t> machine(const std::string& address) {
    unsigned high = 0;
    unsigned low = 0;
    if (std::sscanf(address.c_str(), "10.78.%u.%u", &high, &low) != 2)
      return std::nullopt;
    return std::size_t{high} * 256 + low - 1;
  }

  /// Threads and processes that `action` starts are on that machine for good; this thread returns.
  template <class Action>
  std::invoke_result_t<Action> on(std::size_t machine, Action action) const {
    return machines_.at(machine).on(action);
  }

private:
  static void shape(const network_space& where, const std::string& queues) {
    if (!queues.empty())
      where.command("tc -batch -", "iproute2", queues);
  }

  /// The burst is what a machine sends at once after a pause: 10 ms, and a few frames at least.
  static std::string queue(const std::string& device, double mbit) {
    return mbit > 0.0 ? fmt::format("qdisc add dev {} root tbf rate {:.0f}kbit burst {:.0f} latency 100ms\n", device,
                                    mbit * 1000.0, std::max(16'000.0, mbit * 1250.0))
                      : "";
  }

  network_space hub_;
  std::vector<network_space> machines_;
};

} // namespace astra::perf
