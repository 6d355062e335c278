#include "runtime/dev/dev_faults.hpp"

#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

namespace astra {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr const char* socket_name = "faults.sock";
constexpr const char* list_name = "cluster.json";
constexpr std::size_t packet_max_bytes = 64 << 10;
/// An owner that starts or ends its cluster is busy for as long.
constexpr milliseconds answer_wait{30'000};
/// For whoever connects to say what is wanted.
constexpr milliseconds wish_wait{1000};

const std::vector<std::string>& kinds() {
  static const std::vector<std::string> all{"kill", "stop", "stall"};
  return all;
}

caf::error problem(const std::string& text) {
  return caf::make_error(errc::invalid_argument, text);
}

/// A socket's address by way of its directory's descriptor: a path may be longer than an address can be.
struct short_address {
  explicit short_address(const std::filesystem::path& directory)
    : fd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    value.sun_family = AF_UNIX;
    std::snprintf(value.sun_path, sizeof value.sun_path, "/proc/self/fd/%d/%s", fd, socket_name);
  }
  ~short_address() {
    if (fd >= 0)
      ::close(fd);
  }
  short_address(const short_address&) = delete;
  short_address& operator=(const short_address&) = delete;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&value); }

  int fd;
  sockaddr_un value{};
};

bool send_packet(int socket, const json& what) {
  auto bytes = what.dump();
  return ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

/// Nothing when none comes in time.
std::optional<json> receive_packet(int socket, milliseconds patience) {
  pollfd ready{socket, POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(patience.count())) <= 0)
    return std::nullopt;
  std::string bytes(packet_max_bytes, '\0');
  auto length = ::recv(socket, bytes.data(), bytes.size(), 0);
  if (length <= 0)
    return std::nullopt;
  auto parsed = json::parse(bytes.data(), bytes.data() + length, nullptr, false);
  return parsed.is_object() ? std::optional{std::move(parsed)} : std::nullopt;
}

} // namespace

std::string to_string(dev_fault::kind what) {
  return kinds()[static_cast<std::size_t>(what)];
}

caf::expected<dev_fault> read_dev_fault(const std::vector<std::string>& words) {
  if (words.empty())
    return problem("write it as fault kill|stop|stall PROCESS... [DURATION], such as fault kill node-2 2s");
  auto name = words.front() == "crash" ? std::string{"kill"} : words.front();
  auto known = std::find(kinds().begin(), kinds().end(), name);
  if (known == kinds().end()) {
    auto meant = closest(name, kinds());
    return problem(fmt::format("astra dev has no fault '{}'{}; it can {} a process, astra sim run can do more", name,
                               meant ? fmt::format("; did you mean '{}'?", *meant) : "", fmt::join(kinds(), ", ")));
  }
  dev_fault result;
  result.what = static_cast<dev_fault::kind>(known - kinds().begin());
  for (std::size_t i = 1; i < words.size(); ++i) {
    auto& word = words[i];
    if (word == "for" && i + 1 < words.size())
      continue;
    if (word.front() >= '0' && word.front() <= '9') {
      auto read = parse_duration(word);
      if (!read.value)
        return problem(fmt::format("fault: '{}': {}", word, read.problem));
      result.duration = *read.value;
      continue;
    }
    for (std::size_t from = 0; from <= word.size();) {
      auto to = std::min(word.find(',', from), word.size());
      if (to > from)
        result.targets.push_back(word.substr(from, to - from));
      from = to + 1;
    }
  }
  if (result.targets.empty())
    return problem(fmt::format("fault {}: name a process, such as node-2", name));
  return result;
}

caf::error ask_for_fault(const std::filesystem::path& directory, const dev_fault& what) {
  auto nobody = [&] {
    return caf::make_error(errc::unreachable, fmt::format("nobody runs the cluster of {} any more: {}",
                                                          directory.string(), std::strerror(errno)));
  };
  short_address address{directory};
  if (address.fd < 0)
    return nobody();
  auto socket = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (socket < 0)
    return nobody();
  caf::error result;
  if (::connect(socket, address.get(), sizeof address.value) != 0) {
    result = nobody();
  } else {
    send_packet(socket,
                {{"fault", to_string(what.what)}, {"targets", what.targets}, {"for_ms", what.duration.count()}});
    auto answer = receive_packet(socket, answer_wait);
    if (!answer)
      result = caf::make_error(errc::unreachable, "astra dev gave no answer; whether the fault happened is unknown");
    else if (auto& refused = (*answer)["error"]; refused.is_string())
      result = problem(refused.get<std::string>());
  }
  ::close(socket);
  return result;
}

dev_fault_door::dev_fault_door(const std::filesystem::path& directory) : directory_(directory) {
  short_address address{directory};
  if (address.fd < 0)
    return;
  listener_ = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener_ < 0)
    return;
  // Only for the owner of the cluster, whatever the directory lets in.
  auto before = ::umask(0177);
  auto bound = ::bind(listener_, address.get(), sizeof address.value) == 0 && ::listen(listener_, 8) == 0;
  ::umask(before);
  if (!bound) {
    ::close(listener_);
    listener_ = -1;
  }
}

dev_fault_door::~dev_fault_door() {
  if (listener_ < 0)
    return;
  ::close(listener_);
  std::error_code ignored;
  std::filesystem::remove(directory_ / socket_name, ignored);
}

void dev_fault_door::serve(const doer& act) {
  for (;;) {
    auto client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0)
      return;
    std::string refused = "the wish was not understood; are both of the same version?";
    if (auto wish = receive_packet(client, wish_wait)) {
      dev_fault fault;
      auto& name = (*wish)["fault"];
      auto& targets = (*wish)["targets"];
      auto& lasts = (*wish)["for_ms"];
      auto known = name.is_string() ? std::find(kinds().begin(), kinds().end(), name.get_ref<const std::string&>())
                                    : kinds().end();
      auto texts =
          targets.is_array() && std::all_of(targets.begin(), targets.end(), [](auto& one) { return one.is_string(); });
      if (known != kinds().end() && texts && lasts.is_number_integer()) {
        fault.what = static_cast<dev_fault::kind>(known - kinds().begin());
        fault.targets = targets.get<std::vector<std::string>>();
        fault.duration = milliseconds{lasts.get<std::int64_t>()};
        refused = act(fault);
      }
    }
    send_packet(client, refused.empty() ? json{{"done", true}} : json{{"error", refused}});
    ::close(client);
  }
}

caf::expected<std::string> dev_gateway(const std::filesystem::path& directory) {
  std::ifstream in{directory / list_name};
  auto list = json::parse(in, nullptr, false);
  if (list.is_object() && list.contains("gateway") && list["gateway"].is_string())
    return list["gateway"].get<std::string>();
  return caf::make_error(errc::io_failed, fmt::format("--dev {}: is not the directory of a cluster of astra dev, which "
                                                      "prints it when it starts",
                                                      directory.string()));
}

} // namespace astra
