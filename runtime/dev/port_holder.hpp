#pragma once

#include <cstdint>

namespace astra {

/// A TCP port of the loopback interface that the kernel chose and that stays ours until a child listens on it: the
/// socket is bound with SO_REUSEADDR but never listens, so a listener with SO_REUSEADDR may take the port, and nobody
/// is given it by chance.
class port_holder {
public:
  /// @param wanted 0: any; otherwise this port, or `port()` is 0 when it is taken.
  explicit port_holder(std::uint16_t wanted = 0);
  ~port_holder();
  port_holder(port_holder&& other) noexcept;
  port_holder& operator=(port_holder&&) = delete;

  std::uint16_t port() const { return port_; }

private:
  int fd_ = -1;
  std::uint16_t port_ = 0;
};

} // namespace astra
