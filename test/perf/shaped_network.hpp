#pragma once

#include "p2p/file_io.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

// Machines at one switch, on one machine: network namespaces, a bridge, and queues that hold rates down.

namespace astra::perf {

/// Of a machine's one link, in Mbit/s of Ethernet frames; 0: as fast as it goes.
struct link_rates {
  double out = 0.0;
  double in = 0.0;
};

/// Namespaces without names: the kernel takes them, the bridge and the links away with the last process that is in
/// them, however that ends.  Needs root, and `ip` and `tc`.
class shaped_network {
public:
  explicit shaped_network(const std::vector<link_rates>& machines) : origin_(here()) {
    if (::geteuid() != 0)
      throw std::runtime_error{"network namespaces need root"};
    hub_ = make();
    for (std::size_t i = 0; i < machines.size(); ++i)
      machines_.push_back(make());
    std::string links = "link set lo up\nlink add br0 type bridge\nlink set br0 up\n";
    for (std::size_t i = 0; i < machines.size(); ++i)
      links += fmt::format("link add v{0} type veth peer name e0 netns /proc/{1}/fd/{2}\nlink set v{0} master br0 up\n",
                           i, ::getpid(), machines_[i].get());
    inside(hub_, [&] { command("ip", links); });
    std::string queues;
    for (std::size_t i = 0; i < machines.size(); ++i)
      queues += queue(fmt::format("v{}", i), machines[i].in);
    if (!queues.empty())
      inside(hub_, [&] { command("tc", queues); });
    for (std::size_t i = 0; i < machines.size(); ++i)
      on(i, [&] {
        command("ip", fmt::format("link set lo up\naddr add {}/16 dev e0\nlink set e0 up\n", address(i)));
        if (auto shaped = queue("e0", machines[i].out); !shaped.empty())
          command("tc", shaped);
      });
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
    return inside(machines_.at(machine), action);
  }

private:
  static p2p::file_handle here() {
    p2p::file_handle result{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    if (!result)
      throw std::system_error{errno, std::generic_category(), "/proc/thread-self/ns/net"};
    return result;
  }

  static void enter(const p2p::file_handle& space) {
    if (::setns(space.get(), CLONE_NEWNET) != 0)
      throw std::system_error{errno, std::generic_category(), "setns"};
  }

  template <class Action>
  std::invoke_result_t<Action> inside(const p2p::file_handle& space, Action action) const {
    struct back {
      const p2p::file_handle& origin;
      ~back() { enter(origin); }
    } guard{origin_};
    enter(space);
    return action();
  }

  p2p::file_handle make() const {
    if (::unshare(CLONE_NEWNET) != 0)
      throw std::system_error{errno, std::generic_category(), "a new network namespace"};
    auto result = here();
    enter(origin_);
    return result;
  }

  /// The burst is what a machine sends at once after a pause: 10 ms, and a few frames at least.
  static std::string queue(const std::string& device, double mbit) {
    return mbit > 0.0 ? fmt::format("qdisc add dev {} root tbf rate {:.0f}kbit burst {:.0f} latency 100ms\n", device,
                                    mbit * 1000.0, std::max(16'000.0, mbit * 1250.0))
                      : "";
  }

  static void command(const std::string& program, const std::string& lines) {
    auto* pipe = ::popen((program + " -batch -").c_str(), "w");
    if (!pipe)
      throw std::system_error{errno, std::generic_category(), program};
    auto written = std::fputs(lines.c_str(), pipe) >= 0;
    auto status = ::pclose(pipe);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
      throw std::runtime_error{program + " is not there: install iproute2"};
    if (!written || status != 0)
      throw std::runtime_error{program + " failed at:\n" + lines};
  }

  p2p::file_handle origin_;
  p2p::file_handle hub_;
  std::vector<p2p::file_handle> machines_;
};

} // namespace astra::perf
