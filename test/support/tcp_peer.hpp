#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <chrono>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace astra::test {

/// A plain blocking socket on the loopback interface, for tests that must say exactly which bytes travel when.
class tcp_peer {
public:
  explicit tcp_peer(int fd) : fd_(fd) {}

  /// @param from another address of the loopback interface.
  static tcp_peer connect(std::uint16_t port, const char* from = nullptr) {
    tcp_peer result{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    auto address = loopback(port);
    if (from != nullptr) {
      auto own = loopback(0);
      ::inet_pton(AF_INET, from, &own.sin_addr);
      if (::bind(result.fd_, reinterpret_cast<sockaddr*>(&own), sizeof own) != 0)
        throw std::runtime_error{"cannot bind"};
    }
    if (::connect(result.fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error{"cannot connect"};
    return result;
  }

  /// Does not wait for the other side.
  static tcp_peer begin_connect(std::uint16_t port) {
    tcp_peer result{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    auto address = loopback(port);
    [[maybe_unused]] auto code = ::connect(result.fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    return result;
  }

  tcp_peer(tcp_peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)), received_(std::move(other.received_)) {}
  ~tcp_peer() { close(); }

  int descriptor() const { return fd_; }

  void close() {
    if (fd_ >= 0)
      ::close(std::exchange(fd_, -1));
  }

  /// Closes with a reset instead of an orderly end.
  void reset() {
    linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

  void half_close() { ::shutdown(fd_, SHUT_WR); }

  /// False when the other side has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      auto size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (size <= 0)
        return false;
      bytes.remove_prefix(static_cast<std::size_t>(size));
    }
    return true;
  }

  enum class read_outcome { data, end, silence };

  /// Waits for more bytes and adds them to those received.
  read_outcome read_some(std::chrono::milliseconds patience) {
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(patience.count())) <= 0)
      return read_outcome::silence;
    char chunk[65536];
    auto size = ::recv(fd_, chunk, sizeof chunk, 0);
    if (size <= 0)
      return read_outcome::end;
    received_.append(chunk, static_cast<std::size_t>(size));
    return read_outcome::data;
  }

  /// What came until `end` (inclusive); all there is when the other side closes or is silent for 5 s.
  std::string read_until(std::string_view end) {
    for (;;) {
      auto place = received_.find(end);
      if (place != std::string::npos)
        return take(place + end.size());
      if (read_some(std::chrono::seconds{5}) != read_outcome::data)
        return take(received_.size());
    }
  }

  std::string read_bytes(std::size_t size) {
    while (received_.size() < size && read_some(std::chrono::seconds{5}) == read_outcome::data)
      ;
    return take(std::min(size, received_.size()));
  }

  /// Whether the other side closes within the time; whatever it still sends is thrown away.
  bool ends_within(std::chrono::milliseconds patience) {
    auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      if (left.count() < 0)
        return false;
      if (read_some(left) == read_outcome::end)
        return true;
    }
  }

  struct reply {
    /// 0: the connection ended without one.
    int status = 0;
    /// Names in lower case.
    std::map<std::string, std::string> headers;
    std::string body;
  };

  /// Reads one HTTP response.
  reply read_reply(bool head_only = false) {
    reply result;
    auto head = read_until("\r\n\r\n");
    if (!head.starts_with("HTTP/1.1 ") || !head.ends_with("\r\n\r\n"))
      return result;
    result.status = std::stoi(head.substr(9, 3));
    for (auto at = head.find("\r\n") + 2; at < head.size() - 2;) {
      auto end = head.find("\r\n", at);
      auto colon = head.find(": ", at);
      auto name = head.substr(at, colon - at);
      for (auto& c : name)
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      result.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    if (!head_only && result.headers.count("content-length") != 0)
      result.body = read_bytes(std::stoul(result.headers["content-length"]));
    return result;
  }

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

private:
  std::string take(std::size_t size) {
    auto result = received_.substr(0, size);
    received_.erase(0, size);
    return result;
  }

  int fd_;
  std::string received_;
};

/// Listens on a port that the kernel chose.
class tcp_listener {
public:
  /// @param backlog 0: after a connection or two the kernel drops what comes.
  explicit tcp_listener(int backlog = 16) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    auto address = tcp_peer::loopback(0);
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd_, backlog) != 0)
      throw std::runtime_error{"cannot listen"};
    socklen_t size = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }

  tcp_listener(const tcp_listener&) = delete;
  tcp_listener& operator=(const tcp_listener&) = delete;
  ~tcp_listener() { ::close(fd_); }

  std::uint16_t port() const { return port_; }

  /// The next client; throws when none comes within 5 s.
  tcp_peer accept() {
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, 5000) <= 0)
      throw std::runtime_error{"nobody connects"};
    return tcp_peer{::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC)};
  }

private:
  int fd_;
  std::uint16_t port_ = 0;
};

} // namespace astra::test
