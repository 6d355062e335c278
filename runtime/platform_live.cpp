#include "runtime/platform_live.hpp"

#include "actors/random.hpp"

#include <arpa/inet.h>
#include <caf/send.hpp>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <system_error>

namespace astra {
namespace {

/// Ports of replicas start here.
constexpr std::uint16_t lowest_port = 10240;

/// First port of the kernel's range for outgoing connections; its usual one where that range leaves us no room.
std::uint16_t first_ephemeral_port() {
  std::ifstream in{"/proc/sys/net/ipv4/ip_local_port_range"};
  unsigned first = 0;
  return in >> first && first > lowest_port + 1000 && first < 65536 ? static_cast<std::uint16_t>(first) : 32768;
}

/// Whether nobody listens on it, on any address: replicas listen on the one that others reach them under.
bool is_free(std::uint16_t port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return false;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  auto free = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return free;
}

} // namespace

live_platform::live_platform(live_parts parts) : parts_(std::move(parts)) {
  assert(parts_.services && parts_.dialer && parts_.machine && parts_.incarnations);
  std::random_device device;
  process_seed_ = (std::uint64_t{device()} << 32) | device();
}

live_platform::~live_platform() = default;

void live_platform::end_actors() {
  caf::anon_send_exit(parts_.dialer, caf::exit_reason::user_shutdown);
  if (parts_.launcher)
    caf::anon_send_exit(parts_.launcher, caf::exit_reason::user_shutdown);
  if (parts_.http)
    caf::anon_send_exit(parts_.http, caf::exit_reason::user_shutdown);
}

app_store& live_platform::apps() {
  assert(parts_.apps);
  return *parts_.apps;
}

void live_platform::publish(std::string_view service, caf::strong_actor_ptr target) {
  parts_.services->put(service, std::move(target));
}

void live_platform::withdraw(std::string_view service) {
  parts_.services->erase(service);
}

std::uint64_t live_platform::seed(std::string_view stream) {
  return random_source{process_seed_ ^ name_hash(stream)}.next();
}

std::chrono::milliseconds live_platform::wall_time() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
}

std::uint16_t live_platform::reserve_port() {
  std::lock_guard guard{mutex_};
  std::uint16_t width = first_ephemeral_port() - lowest_port;
  random_source random{process_seed_ + ++port_draws_};
  for (int tries = 0; tries < 1000; ++tries) {
    auto port = static_cast<std::uint16_t>(lowest_port + random.below(width));
    if (ports_.count(port) == 0 && is_free(port)) {
      ports_.insert(port);
      return port;
    }
  }
  return 0;
}

std::string live_platform::program() const {
  // The link leads to the program that runs even when its file was replaced or removed meanwhile.
  auto own = "/proc/" + std::to_string(::getpid()) + "/exe";
  std::error_code ignored;
  auto path = std::filesystem::read_symlink(own, ignored);
  return !ignored && std::filesystem::exists(path, ignored) ? path.string() : own;
}

void live_platform::release_port(std::uint16_t port) {
  std::lock_guard guard{mutex_};
  ports_.erase(port);
}

} // namespace astra
