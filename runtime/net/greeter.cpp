#include "runtime/net/greeter.hpp"

#include "messages/errc.hpp"
#include "messages/text.hpp"
#include "messages/type_ids.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace astra {
namespace {

using std::chrono::milliseconds;
using clock_type = std::chrono::steady_clock;
using time_point = clock_type::time_point;

/// How often deadlines are looked at.
constexpr milliseconds sweep{100};
/// Names that are being looked up at once; getaddrinfo blocks, so each has a thread.
constexpr int lookups_most = 16;
/// Of a peer's reason, in bytes.
constexpr std::size_t reason_text_max = 300;
/// Unacknowledged bytes for this long mean that the peer is gone, whatever else it has to say.
constexpr unsigned user_timeout_ms = 10'000;

struct resolved {
  sockaddr_storage address{};
  socklen_t size = 0;
};

/// @returns nothing when the host is a name.
std::optional<resolved> numeric(const endpoint& where) {
  resolved out;
  auto host = where.host == "localhost" ? std::string{"127.0.0.1"} : where.host;
  if (host == "*")
    host = "0.0.0.0";
  auto v4 = reinterpret_cast<sockaddr_in*>(&out.address);
  if (::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(where.port);
    out.size = sizeof(sockaddr_in);
    return out;
  }
  auto v6 = reinterpret_cast<sockaddr_in6*>(&out.address);
  if (::inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(where.port);
    out.size = sizeof(sockaddr_in6);
    return out;
  }
  return std::nullopt;
}

caf::expected<resolved> look_up(const endpoint& where) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (auto code = ::getaddrinfo(where.host.c_str(), std::to_string(where.port).c_str(), &hints, &found); code != 0)
    return caf::make_error(errc::unreachable,
                           fmt::format("the name '{}' has no address: {}", where.host, ::gai_strerror(code)));
  resolved out;
  std::memcpy(&out.address, found->ai_addr, found->ai_addrlen);
  out.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return out;
}

/// The address without its port: what belongs to one machine.
using machine_key = std::array<char, 16>;

machine_key machine_of(const sockaddr_storage& address) {
  machine_key key{};
  if (address.ss_family == AF_INET)
    std::memcpy(key.data(), &reinterpret_cast<const sockaddr_in&>(address).sin_addr, 4);
  else if (address.ss_family == AF_INET6)
    std::memcpy(key.data(), &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, 16);
  return key;
}

std::string text_of(const sockaddr_storage& address) {
  char host[INET6_ADDRSTRLEN] = "";
  std::uint16_t port = 0;
  if (address.ss_family == AF_INET) {
    auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
    port = ntohs(v4.sin_port);
  } else {
    auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
    port = ntohs(v6.sin6_port);
  }
  return to_string(endpoint{host, port});
}

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof(value));
}

void tune(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout_ms);
}

constexpr std::size_t tls_record_header = 5;
/// A longer first record is not waited for as a whole.
constexpr std::size_t first_record_max = 8 * 1024;

/// Whether all of the first TLS record is there.  If not, epoll tells of the socket when it is, or at its end.
bool begins_with_record(int fd, std::span<const unsigned char> first) {
  auto wanted = tls_record_header;
  if (first.size() == tls_record_header)
    wanted = std::min(tls_record_header + (static_cast<std::size_t>(first[3]) << 8 | first[4]), first_record_max);
  int there = 0;
  ::ioctl(fd, FIONREAD, &there);
  auto complete = static_cast<std::size_t>(there) >= wanted;
  set_option(fd, SOL_SOCKET, SO_RCVLOWAT, complete ? 1 : static_cast<int>(wanted));
  return complete;
}

bool still_open(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == TCP_ESTABLISHED;
}

enum class phase : std::uint8_t { connecting, first_byte, handshake, talk };

struct stranger {
  std::uint64_t id = 0;
  unique_fd fd;
  std::unique_ptr<tls_session> tls;
  phase now = phase::first_byte;
  bool dialled = false;
  bool edge = false;
  /// We listen and have answered the peer's hello.
  bool answered = false;
  std::uint64_t dial = 0;
  std::string from;
  machine_key machine{};
  time_point deadline{};
  std::uint32_t events = 0;
  std::string out;
  std::size_t written = 0;
  std::string in;
  std::size_t wanted = hello_header;
  bool header = true;
  hello peer;
  peer_identity identity;
  /// Nothing more is said once `out` has left.
  std::optional<refusal> last_words;
};

struct door {
  unique_fd fd;
  bool edge = false;
  bool open = false;
};

} // namespace

std::string to_string(greeter::turned_away why) {
  switch (why) {
  case greeter::turned_away::silent:
    return "silent";
  case greeter::turned_away::not_tls:
    return "not_tls";
  case greeter::turned_away::tls:
    return "tls";
  case greeter::turned_away::hello:
    return "hello";
  case greeter::turned_away::refused:
    return "refused";
  case greeter::turned_away::crowded:
    return "crowded";
  }
  return "invalid";
}

class greeter::impl {
public:
  impl(hello own, std::shared_ptr<tls_context> tls, limits bounds, callbacks told)
    : own_(std::move(own)), tls_(std::move(tls)), limits_(bounds), told_(std::move(told)),
      admissions_(bounds.admissions_per_s) {
    poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    assert(poll_ && wake_);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = wake_key;
    ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  }

  ~impl() { stop(); }

  caf::expected<std::uint16_t> listen(const endpoint& where, bool edge) {
    auto address = numeric(where);
    if (!address) {
      auto found = look_up(where);
      if (!found)
        return std::move(found.error());
      address = *found;
    }
    unique_fd fd{::socket(address->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!fd)
      return caf::make_error(errc::io_failed, std::strerror(errno));
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address->address), address->size) != 0
        || ::listen(fd.get(), SOMAXCONN) != 0)
      return caf::make_error(errc::io_failed, std::strerror(errno));
    sockaddr_storage bound{};
    socklen_t size = sizeof(bound);
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &size);
    doors_.push_back({std::move(fd), edge, false});
    return ntohs(bound.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(bound).sin_port
                                            : reinterpret_cast<sockaddr_in6&>(bound).sin6_port);
  }

  void introduce_as(hello own) { own_ = std::move(own); }

  void start() {
    last_refill_ = clock_type::now();
    open_doors();
    thread_ = std::thread{[this] {
      ::pthread_setname_np(::pthread_self(), "astra.net");
      loop();
    }};
  }

  void dial(std::uint64_t number, const endpoint& where) {
    if (auto address = numeric(where)) {
      run([this, number, where, address = *address] { connect(number, where, address); }, {});
      return;
    }
    if (lookups_->fetch_add(1) >= lookups_most) {
      lookups_->fetch_sub(1);
      run([this, number] { fail_dial(number, errc::saturated, "too many names are being looked up"); }, {});
      return;
    }
    // The thread may outlive the greeter: a resolver can take a minute.
    std::thread{[number, where, lookups = lookups_, door = inbox_] {
      auto found = look_up(where);
      lookups->fetch_sub(1);
      std::lock_guard guard{door->mutex};
      if (!door->owner)
        return;
      door->owner->run_locked([number, where, found = std::move(found), owner = door->owner] {
        if (found)
          owner->connect(number, where, *found);
        else
          owner->fail_dial(number, errc::unreachable, error_text(found.error()));
      });
    }}.detach();
  }

  void run(std::function<void()> task, milliseconds delay) {
    std::lock_guard guard{inbox_->mutex};
    if (delay > milliseconds{0})
      inbox_->later.emplace(clock_type::now() + delay, std::move(task));
    else
      inbox_->tasks.push_back(std::move(task));
    wake();
  }

  void stop() {
    {
      std::lock_guard guard{inbox_->mutex};
      stopping_ = true;
      inbox_->owner = nullptr;
      wake();
    }
    if (thread_.joinable())
      thread_.join();
    strangers_.clear();
    doors_.clear();
  }

  std::size_t strangers() const { return stranger_count_.load(); }

private:
  static constexpr std::uint64_t wake_key = ~std::uint64_t{0};
  static constexpr std::uint64_t door_key = std::uint64_t{1} << 62;

  struct inbox {
    std::mutex mutex;
    impl* owner = nullptr;
    std::vector<std::function<void()>> tasks;
    std::multimap<time_point, std::function<void()>> later;
  };

  void wake() const {
    std::uint64_t one = 1;
    [[maybe_unused]] auto n = ::write(wake_.get(), &one, sizeof(one));
  }

  void run_locked(std::function<void()> task) {
    inbox_->tasks.push_back(std::move(task));
    wake();
  }

  // -- the loop ------------------------------------------------------------------

  void loop() {
    std::array<epoll_event, 128> events;
    while (!stopping_) {
      auto n = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), wait_ms());
      for (int i = 0; i < n; ++i) {
        auto key = events[static_cast<std::size_t>(i)].data.u64;
        if (key == wake_key) {
          std::uint64_t count = 0;
          [[maybe_unused]] auto got = ::read(wake_.get(), &count, sizeof(count));
        } else if (key >= door_key) {
          take_in(doors_[key - door_key]);
        } else if (auto found = strangers_.find(key); found != strangers_.end()) {
          advance(found->second);
        }
      }
      run_tasks();
      auto now = clock_type::now();
      if (now >= next_sweep_) {
        next_sweep_ = now + sweep;
        refill(now);
        close_late(now);
        open_doors();
      }
    }
  }

  int wait_ms() {
    auto due = time_point::max();
    if (!strangers_.empty() || doors_shut_)
      due = next_sweep_;
    {
      std::lock_guard guard{inbox_->mutex};
      if (!inbox_->tasks.empty())
        return 0;
      if (!inbox_->later.empty())
        due = std::min(due, inbox_->later.begin()->first);
    }
    if (due == time_point::max())
      return -1;
    auto left = std::chrono::ceil<milliseconds>(due - clock_type::now()).count();
    return static_cast<int>(std::clamp<long>(left, 0, 60'000));
  }

  void run_tasks() {
    std::vector<std::function<void()>> due;
    {
      std::lock_guard guard{inbox_->mutex};
      due.swap(inbox_->tasks);
      auto now = clock_type::now();
      while (!inbox_->later.empty() && inbox_->later.begin()->first <= now) {
        due.push_back(std::move(inbox_->later.begin()->second));
        inbox_->later.erase(inbox_->later.begin());
      }
    }
    for (auto& task : due)
      task();
  }

  // -- who comes in -----------------------------------------------------------------

  void refill(time_point now) {
    auto passed = std::chrono::duration<double>(now - last_refill_).count();
    last_refill_ = now;
    admissions_ = std::min(limits_.admissions_per_s, admissions_ + passed * limits_.admissions_per_s);
  }

  void open_doors() {
    doors_shut_ = false;
    for (std::size_t i = 0; i < doors_.size(); ++i) {
      auto& at = doors_[i];
      if (at.open)
        continue;
      if (admissions_ < 1 || clock_type::now() < shut_until_) {
        doors_shut_ = true;
        continue;
      }
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = door_key + i;
      ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, at.fd.get(), &event);
      at.open = true;
    }
  }

  void shut(door& at) {
    ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, at.fd.get(), nullptr);
    at.open = false;
    doors_shut_ = true;
  }

  void take_in(door& at) {
    // A bounded number, so that dials and handshakes get their turn.
    for (int i = 0; i < 64; ++i) {
      refill(clock_type::now());
      if (admissions_ < 1)
        return shut(at);
      sockaddr_storage address{};
      socklen_t size = sizeof(address);
      unique_fd fd{::accept4(at.fd.get(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC)};
      if (!fd) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
          // The rest waits in the kernel's queue; without this pause the loop would spin.
          spdlog::error("net.accept_failed reason=\"{}\"", std::strerror(errno));
          shut_until_ = clock_type::now() + std::chrono::seconds{1};
          return shut(at);
        }
        return;
      }
      admissions_ -= 1;
      if (strangers_.size() >= limits_.strangers)
        make_room();
      tune(fd.get());
      stranger guest;
      guest.fd = std::move(fd);
      guest.edge = at.edge;
      guest.from = text_of(address);
      guest.machine = machine_of(address);
      guest.deadline = clock_type::now() + limits_.greeting;
      guest.now = tls_ ? phase::first_byte : phase::talk;
      watch(std::move(guest), EPOLLIN);
    }
  }

  /// Closes the oldest stranger of the machine that has most of them.
  void make_room() {
    std::map<machine_key, std::size_t> counts;
    for (auto& [id, guest] : strangers_)
      if (!guest.dialled)
        ++counts[guest.machine];
    auto most = std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; });
    if (most == counts.end())
      return;
    for (auto& [id, guest] : strangers_)
      if (!guest.dialled && guest.machine == most->first)
        return turn_away(guest, turned_away::crowded,
                         "too many connections at once that have not introduced themselves");
  }

  stranger& watch(stranger guest, std::uint32_t events) {
    guest.id = ++last_id_;
    guest.events = events;
    epoll_event event{};
    event.events = events;
    event.data.u64 = guest.id;
    ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, guest.fd.get(), &event);
    auto id = guest.id;
    if (guest.machine != machine_key{})
      ++stranger_count_;
    return strangers_.emplace(id, std::move(guest)).first->second;
  }

  void want(stranger& guest, std::uint32_t events) {
    if (guest.events == events)
      return;
    guest.events = events;
    epoll_event event{};
    event.events = events;
    event.data.u64 = guest.id;
    ::epoll_ctl(poll_.get(), EPOLL_CTL_MOD, guest.fd.get(), &event);
  }

  /// The stranger is gone when this returns.
  stranger take_out(stranger& guest) {
    auto node = strangers_.extract(guest.id);
    if (node.mapped().machine != machine_key{})
      --stranger_count_;
    ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, node.mapped().fd.get(), nullptr);
    return std::move(node.mapped());
  }

  void close_late(time_point now) {
    std::vector<std::uint64_t> late;
    for (auto& [id, guest] : strangers_)
      if (guest.deadline <= now)
        late.push_back(id);
    for (auto id : late) {
      auto& guest = strangers_.at(id);
      auto reason = guest.now == phase::connecting ? "no connection within the time allowed"
                    : guest.now == phase::talk     ? "has not introduced itself within the time allowed"
                                                   : "no TLS handshake within the time allowed";
      turn_away(guest, turned_away::silent, reason, errc::timed_out);
    }
  }

  /// @param reason by value: it may be part of the stranger.
  void turn_away(stranger& guest, turned_away why, std::string reason, errc code = errc::unreachable,
                 milliseconds retry_after = {}) {
    auto gone = take_out(guest);
    if (gone.dialled)
      told_.dial_failed(gone.dial, caf::make_error(code, std::move(reason)), retry_after);
    else
      told_.strangers(why, gone.from, reason);
  }

  // -- dials -----------------------------------------------------------------------

  void fail_dial(std::uint64_t number, errc code, std::string reason) {
    told_.dial_failed(number, caf::make_error(code, std::move(reason)), {});
  }

  void connect(std::uint64_t number, const endpoint& where, const resolved& address) {
    unique_fd fd{::socket(address.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!fd)
      return fail_dial(number, errc::io_failed, std::strerror(errno));
    tune(fd.get());
    auto code = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.address), address.size);
    if (code != 0 && errno != EINPROGRESS)
      return fail_dial(number, errc::unreachable, std::strerror(errno));
    stranger guest;
    guest.fd = std::move(fd);
    guest.dialled = true;
    guest.dial = number;
    guest.from = to_string(where);
    guest.deadline = clock_type::now() + limits_.dial;
    guest.now = phase::connecting;
    watch(std::move(guest), EPOLLOUT);
  }

  // -- the talk ----------------------------------------------------------------------

  /// Goes as far as the socket allows.  The stranger may be gone afterwards.
  void advance(stranger& guest) {
    if (guest.now == phase::connecting) {
      int error = 0;
      socklen_t size = sizeof(error);
      ::getsockopt(guest.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0)
        return turn_away(guest, turned_away::silent, std::strerror(error));
      if (tls_) {
        guest.tls = tls_->connect(guest.fd.get(), guest.from);
        guest.now = phase::handshake;
      } else {
        guest.now = phase::talk;
        say(guest, own_);
      }
    }
    if (guest.now == phase::first_byte) {
      // What does not begin like TLS costs no TLS session, and neither does what goes no further than its beginning.
      unsigned char first[tls_record_header];
      auto n = ::recv(guest.fd.get(), first, sizeof(first), MSG_PEEK);
      if (n == 0 || (n < 0 && errno != EAGAIN))
        return turn_away(guest, turned_away::silent, "closed the connection");
      if (n < 0)
        return;
      if (first[0] != 0x16 || (n > 1 && first[1] != 0x03))
        return turn_away(guest, turned_away::not_tls, "does not begin with TLS; does its file name certificates?");
      if (!begins_with_record(guest.fd.get(), {first, static_cast<std::size_t>(n)})) {
        if (!still_open(guest.fd.get()))
          turn_away(guest, turned_away::silent, "closed the connection");
        return;
      }
      guest.tls = tls_->accept(guest.fd.get());
      guest.now = phase::handshake;
    }
    if (guest.now == phase::handshake) {
      switch (guest.tls->handshake()) {
      case tls_step::want_read:
        return want(guest, EPOLLIN);
      case tls_step::want_write:
        return want(guest, EPOLLOUT);
      case tls_step::closed:
      case tls_step::failed:
        return turn_away(guest, turned_away::tls, guest.tls->error());
      case tls_step::done:
        guest.identity = guest.tls->peer();
        guest.now = phase::talk;
        if (guest.dialled)
          say(guest, own_);
      }
    }
    talk(guest);
  }

  void say(stranger& guest, const hello_frame& frame) { guest.out += encode(frame); }

  void talk(stranger& guest) {
    while (true) {
      if (guest.written < guest.out.size()) {
        std::size_t count = 0;
        auto step = write(guest, guest.out.data() + guest.written, guest.out.size() - guest.written, count);
        if (step == tls_step::want_write || step == tls_step::want_read)
          return want(guest, step == tls_step::want_write ? EPOLLOUT : EPOLLIN);
        if (step != tls_step::done)
          return turn_away(guest, turned_away::hello, lost_reason(guest));
        guest.written += count;
        continue;
      }
      if (guest.last_words) {
        auto& no = *guest.last_words;
        return turn_away(guest, turned_away::refused, no.reason);
      }
      if (guest.dialled && guest.answered)
        return deliver(guest);
      auto have = guest.in.size();
      guest.in.resize(guest.wanted);
      std::size_t count = 0;
      auto step = read(guest, guest.in.data() + have, guest.wanted - have, count);
      guest.in.resize(have + count);
      if (step == tls_step::want_write || step == tls_step::want_read)
        return want(guest, step == tls_step::want_write ? EPOLLOUT : EPOLLIN);
      if (step != tls_step::done)
        return turn_away(guest, turned_away::hello, lost_reason(guest));
      if (guest.in.size() < guest.wanted)
        continue;
      if (guest.header) {
        auto size = hello_body_size(guest.in);
        if (!size)
          return turn_away(guest, turned_away::hello, error_text(size.error()));
        guest.header = false;
        guest.wanted = *size;
        guest.in.clear();
        continue;
      }
      auto frame = decode_hello(guest.in);
      guest.in.clear();
      guest.in.shrink_to_fit();
      guest.header = true;
      guest.wanted = hello_header;
      if (!frame)
        return turn_away(guest, turned_away::hello, error_text(frame.error()));
      if (!hear(guest, *frame))
        return;
    }
  }

  /// @returns false when the stranger is gone.
  bool hear(stranger& guest, hello_frame& frame) {
    if (auto no = std::get_if<refusal>(&frame)) {
      if (!guest.dialled) {
        turn_away(guest, turned_away::hello, "a refusal without a question");
        return false;
      }
      auto code = errc::unreachable;
      // Only a Resource's word may end a process.
      auto trusted = !guest.tls || guest.identity.roles.has(peer_role::resource);
      if (!from_string(no->code, code) || code != errc::fenced || !trusted)
        code = errc::unreachable;
      turn_away(guest, turned_away::refused, "refused: " + printable(no->reason, reason_text_max), code,
                milliseconds{std::min(no->retry_after_ms, 60'000u)});
      return false;
    }
    if (std::holds_alternative<go_ahead>(frame)) {
      if (guest.dialled || !guest.answered) {
        turn_away(guest, turned_away::hello, "goes ahead without having introduced itself");
        return false;
      }
      deliver(guest);
      return false;
    }
    if (guest.answered) {
      turn_away(guest, turned_away::hello, "introduces itself twice");
      return false;
    }
    guest.peer = std::get<hello>(std::move(frame));
    auto no = objection(own_, guest.peer, guest.tls ? &guest.identity : nullptr);
    if (!guest.tls)
      guest.identity = guest.peer.self;
    if (!no)
      no = judge(guest, guest.dialled);
    if (no) {
      if (guest.dialled) {
        turn_away(guest, turned_away::refused, no->reason, errc::unreachable, milliseconds{no->retry_after_ms});
        return false;
      }
      say(guest, *no);
      guest.last_words = std::move(no);
      return true;
    }
    guest.answered = true;
    if (guest.dialled)
      say(guest, go_ahead{});
    else
      say(guest, own_);
    return true;
  }

  std::optional<refusal> judge(stranger& guest, bool last_word) {
    ready about;
    about.id = guest.id;
    about.peer = guest.peer;
    about.identity = guest.identity;
    about.dialled = guest.dialled;
    about.dial = guest.dial;
    return told_.judge(about, guest.edge, last_word);
  }

  void deliver(stranger& guest) {
    // A dialler has asked for the last time before it said go.
    if (!guest.dialled)
      if (auto no = judge(guest, true))
        return turn_away(guest, turned_away::refused, no->reason);
    auto peer = take_out(guest);
    ready out;
    out.id = peer.id;
    out.fd = std::move(peer.fd);
    out.tls = std::move(peer.tls);
    out.peer = std::move(peer.peer);
    out.identity = std::move(peer.identity);
    out.dialled = peer.dialled;
    out.dial = peer.dial;
    told_.deliver(std::move(out));
  }

  // -- bytes ---------------------------------------------------------------------

  static tls_step step_of(ssize_t n, std::size_t& count, tls_step again) {
    if (n > 0) {
      count = static_cast<std::size_t>(n);
      return tls_step::done;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
      return again;
    return n == 0 ? tls_step::closed : tls_step::failed;
  }

  static tls_step read(stranger& guest, char* into, std::size_t size, std::size_t& count) {
    if (guest.tls)
      return guest.tls->read(into, size, count);
    return step_of(::recv(guest.fd.get(), into, size, 0), count, tls_step::want_read);
  }

  static tls_step write(stranger& guest, const char* from, std::size_t size, std::size_t& count) {
    if (guest.tls)
      return guest.tls->write(from, size, count);
    return step_of(::send(guest.fd.get(), from, size, MSG_NOSIGNAL), count, tls_step::want_write);
  }

  static std::string lost_reason(const stranger& guest) {
    if (guest.tls && !guest.tls->error().empty())
      return guest.tls->error();
    return guest.dialled && !guest.answered
               ? "closed the connection without a word; is it an Astra process, and does it "
                 "want TLS?"
               : "closed the connection";
  }

  hello own_;
  std::shared_ptr<tls_context> tls_;
  limits limits_;
  callbacks told_;
  unique_fd poll_;
  unique_fd wake_;
  std::vector<door> doors_;
  bool doors_shut_ = false;
  time_point shut_until_{};
  double admissions_;
  time_point last_refill_{};
  time_point next_sweep_{};
  std::map<std::uint64_t, stranger> strangers_;
  std::atomic<std::size_t> stranger_count_ = 0;
  std::uint64_t last_id_ = 0;
  std::shared_ptr<std::atomic<int>> lookups_ = std::make_shared<std::atomic<int>>(0);
  std::shared_ptr<inbox> inbox_ = make_inbox();
  std::atomic<bool> stopping_ = false;
  std::thread thread_;

  std::shared_ptr<inbox> make_inbox() {
    auto made = std::make_shared<inbox>();
    made->owner = this;
    return made;
  }
};

greeter::greeter(hello own, std::shared_ptr<tls_context> tls, limits bounds, callbacks told)
  : impl_(std::make_unique<impl>(std::move(own), std::move(tls), bounds, std::move(told))) {}

greeter::~greeter() = default;

caf::expected<std::uint16_t> greeter::listen(const endpoint& where, bool edge) {
  return impl_->listen(where, edge);
}

void greeter::introduce_as(hello own) {
  impl_->introduce_as(std::move(own));
}

void greeter::start() {
  impl_->start();
}

void greeter::dial(std::uint64_t number, const endpoint& where) {
  impl_->dial(number, where);
}

void greeter::run(std::function<void()> task, milliseconds delay) {
  impl_->run(std::move(task), delay);
}

void greeter::stop() {
  impl_->stop();
}

std::size_t greeter::strangers() const {
  return impl_->strangers();
}

} // namespace astra
