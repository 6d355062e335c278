#pragma once

#include "p2p/file_io.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>

namespace astra::perf {

/// A network namespace without a name: the kernel takes it, with its links, away with the last process that is in it,
/// however that ends.  Needs root.
class network_space {
public:
  network_space() : origin_(here()) {
    if (::geteuid() != 0)
      throw std::runtime_error{"network namespaces need root"};
    if (::unshare(CLONE_NEWNET) != 0)
      throw std::system_error{errno, std::generic_category(), "a new network namespace"};
    space_ = here();
    enter(origin_);
  }

  /// Threads and processes that `action` starts are there for good; this thread returns.
  template <class Action>
  std::invoke_result_t<Action> on(Action action) const {
    struct back {
      const p2p::file_handle& origin;
      ~back() { enter(origin); }
    } guard{origin_};
    enter(space_);
    return action();
  }

  /// Lines for `ip -batch -`, `tc -batch -` or `nft -f -`.
  /// @param package What to install where there is no such program.
  void command(const std::string& program, const std::string& package, const std::string& lines) const {
    on([&] {
      auto* pipe = ::popen(program.c_str(), "w");
      if (!pipe)
        throw std::system_error{errno, std::generic_category(), program};
      auto written = std::fputs(lines.c_str(), pipe) >= 0;
      auto status = ::pclose(pipe);
      if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        throw std::runtime_error{fmt::format("'{}' is not there: apt-get install {}", program, package)};
      if (!written || status != 0)
        throw std::runtime_error{program + " failed at:\n" + lines};
    });
  }
  void ip(const std::string& lines) const { command("ip -batch -", "iproute2", lines); }

  /// For "link add ... peer name ... netns".
  std::string path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), space_.get()); }

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

  p2p::file_handle origin_;
  p2p::file_handle space_;
};

} // namespace astra::perf
