#include "runtime/dev/port_holder.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

namespace astra {

port_holder::port_holder(std::uint16_t wanted) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0)
    return;
  int on = 1;
  ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(wanted);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0
      && ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    port_ = ntohs(address.sin_port);
}

port_holder::~port_holder() {
  if (fd_ >= 0)
    ::close(fd_);
}

port_holder::port_holder(port_holder&& other) noexcept
  : fd_(std::exchange(other.fd_, -1)), port_(std::exchange(other.port_, std::uint16_t{0})) {}

} // namespace astra
