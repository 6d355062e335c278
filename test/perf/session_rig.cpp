// Thousands of nodes on one thread, each over a session of its own: what a process of a cluster costs per session.
//
//   perf_sessions --target 127.0.0.1:9700 --sessions 15000 --seconds 600 [--pid PID] [--hertz 1] [--ca DIR] [--junk N]
//                 [--profile-bytes N] [--subscribe S] [--freeze F] [--plane core]
//
// --target takes several addresses, separated by commas: each node makes its home as a node agent does, by rendezvous
// hashing, and goes to its next choice when its home is lost.  Printed is how long that took, from the end of the
// session to the first beat that the new home acknowledged.  With --plane core every process is a gateway too, which
// may send more often than a node.
//
// The other side is a real `astra run` with the role resource.  Each node connects, introduces itself (under TLS with a
// certificate of its own when --ca names an authority), asks the directory for the Resource and beats.  Printed once
// per 5 s and at the end: sessions, beats sent and acknowledged, round trips, and memory and CPU time of the process
// PID.  With --junk, N threads connect as fast as they can and send 64 KiB of junk each, in the second half of the
// time.
//
// With --subscribe, one more process (a node and gateway, without TLS only) beats 500 times per second, subscribes to
// the view after S seconds and acknowledges what it gets: printed are round trips of its beats before, during and after
// the snapshot, the snapshot's rate, and the memory of PID.  With --freeze it reads nothing for F seconds once the
// snapshot flows.  --profile-bytes makes each node's profile so large, 58000 at most.

#include "actors/rendezvous.hpp"
#include "config/endpoint.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/type_ids.hpp"
#include "messages/wire.hpp"
#include "messages/wire/membership.pb.h"
#include "runtime/net/byte_reader.hpp"
#include "runtime/net/hello.hpp"
#include "runtime/net/tls.hpp"
#include "runtime/process/unique_fd.hpp"
#include "runtime/security/ca.hpp"

#include <arpa/inet.h>
#include <caf/binary_serializer.hpp>
#include <caf/init_global_meta_objects.hpp>
#include <caf/io/middleman.hpp>
#include <caf/message_id.hpp>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace astra;
using clock_type = std::chrono::steady_clock;

namespace {

struct settings {
  /// Of the Resources, "host:port".
  std::vector<std::string> targets;
  std::size_t sessions = 1000;
  double seconds = 30;
  double hertz = 1;
  double joins_per_s = 900;
  int pid = 0;
  std::string ca;
  std::string prefix = "n";
  int junk = 0;
  std::size_t profile_bytes = 0;
  /// Seconds; 0: nobody subscribes.
  double subscribe_after = 0;
  double freeze = 0;
  /// Every process is a gateway as well.
  bool core = false;
  /// This is the process that subscribes.
  bool probe = false;
};

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "perf_sessions: %s\n", what.c_str());
  std::exit(1);
}

template <class T>
void put(std::string& out, T value) {
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8)
    out += static_cast<char>((value >> shift) & 0xff);
}

void put_length(std::string& out, std::size_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

std::string frame(std::uint8_t operation, std::uint64_t data, std::uint64_t source, std::uint64_t destination,
                  const std::string& payload) {
  std::string out;
  out += static_cast<char>(operation);
  out.append(3, '\0');
  put(out, static_cast<std::uint32_t>(payload.size()));
  put(out, data);
  put(out, source);
  put(out, destination);
  return out + payload;
}

std::uint64_t request_id(std::uint64_t number) {
  return number | caf::message_id::default_async_value;
}

std::string body_message(caf::type_id_t type, const std::string& body) {
  std::string out;
  put_length(out, 0);
  put_length(out, 1);
  put(out, type);
  put_length(out, body.size());
  return out + body;
}

enum class phase { connecting, tls, hello, handshake, lookup, live, dead };

struct node {
  std::string name;
  unique_fd fd;
  std::shared_ptr<tls_context> identity;
  std::unique_ptr<tls_session> tls;
  phase now = phase::connecting;
  std::string in;
  std::string out;
  hello peer;
  std::uint64_t resource = 0;
  std::uint64_t sequence = 0;
  /// A profile was sent over this session; `described`: over any.
  bool profile = false;
  bool described = false;
  std::uint64_t request = 0;
  std::map<std::uint64_t, clock_type::time_point> asked;
  clock_type::time_point next_beat{};
  /// Resources, best first, and the one that is home.
  std::vector<std::string> choices;
  std::size_t choice = 0;
  std::uint64_t home_epoch = 1;
  /// Choices in a row that did not take it in.
  std::size_t failures = 0;
  /// Number of its dials.
  std::uint64_t attempt = 0;
  /// When its home was lost; none while it has one.
  std::optional<clock_type::time_point> homeless_since;
};

constexpr std::uint64_t own_actor = 1000;
constexpr std::uint64_t life = 1;
constexpr std::chrono::seconds redial_after{1};
/// From dialling to being live, as node.home_silence says.  A full queue of connections answers nobody.
constexpr std::chrono::seconds join_patience{2};

/// Connects, sends what nobody asked for, and does so again.
void throw_junk(const endpoint& target, int kind, const std::atomic<bool>& over, std::atomic<unsigned long>& thrown) {
  std::string bytes(64 << 10, '\0');
  std::mt19937 random{static_cast<unsigned>(kind)};
  for (auto& byte : bytes)
    byte = static_cast<char>(random());
  // Some look like a greeting, some like TLS, some like CAF's protocol.
  const char* beginnings[] = {"", "AST\x01\x7f", "\x16\x03\x01", "\x01"};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(target.port);
  ::inet_pton(AF_INET, target.host.c_str(), &address.sin_addr);
  timeval patience{0, 20'000};
  while (!over) {
    std::string_view beginning = beginnings[thrown % 4];
    std::copy(beginning.begin(), beginning.end(), bytes.begin());
    unique_fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    linger hard{1, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
      continue;
    [[maybe_unused]] auto n = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ++thrown;
  }
}

class rig {
public:
  explicit rig(settings how) : how_(std::move(how)) {
    poll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    nodes_.resize(how_.sessions);
    if (!how_.ca.empty())
      issue_all();
  }

  int run() {
    auto begin = clock_type::now();
    auto next_report = begin + std::chrono::seconds{5};
    auto cpu = cpu_s();
    auto cpu_at = begin;
    std::size_t started = 0;
    std::size_t dials = 0;
    std::atomic<bool> over = false;
    std::atomic<unsigned long> thrown = 0;
    std::vector<std::thread> junk;
    std::array<epoll_event, 256> events;
    for (auto now = begin; seconds(now - begin) < how_.seconds; now = clock_type::now()) {
      if (how_.probe)
        watch(now, begin);
      while (started < nodes_.size() && static_cast<double>(dials) < seconds(now - begin) * how_.joins_per_s) {
        connect(started++);
        ++dials;
      }
      // At the same pace: each is a TLS handshake, and a crowd that comes again at once would not let anybody through.
      while (!redials_.empty() && redials_.begin()->first <= now
             && static_cast<double>(dials) < seconds(now - begin) * how_.joins_per_s) {
        connect(redials_.begin()->second);
        redials_.erase(redials_.begin());
        ++dials;
      }
      if (junk.empty() && how_.junk > 0 && seconds(now - begin) > how_.seconds / 2) {
        std::printf("junk from here on\n");
        for (int i = 0; i < how_.junk; ++i)
          junk.emplace_back([&, i] { throw_junk(*parse_endpoint(how_.targets.front()), i, over, thrown); });
      }
      while (!joining_.empty() && joining_.front().until <= now) {
        auto& at = nodes_[joining_.front().index];
        auto late = at.attempt == joining_.front().attempt && at.now != phase::live && at.now != phase::dead;
        joining_.pop_front();
        if (late)
          lose(at, "no answer");
      }
      auto n = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), 2);
      for (int i = 0; i < n; ++i)
        advance(events[static_cast<std::size_t>(i)].data.u64);
      now = clock_type::now();
      while (!beats_.empty() && beats_.begin()->first <= now) {
        auto [due, index] = *beats_.begin();
        beats_.erase(beats_.begin());
        // One of a former session is none of this one.
        if (due == nodes_[index].next_beat)
          beat(index, now);
      }
      if (now >= next_report && !how_.probe) {
        next_report += std::chrono::seconds{5};
        auto used = cpu_s();
        report(now - begin, (used - cpu) / seconds(now - cpu_at));
        cpu = used;
        cpu_at = now;
      }
    }
    if (how_.probe)
      return 0;
    over = true;
    for (auto& thread : junk)
      thread.join();
    if (how_.junk > 0)
      std::printf("junk: %lu connections\n", thrown.load());
    report(clock_type::now() - begin, (cpu_s() - cpu) / std::max(0.001, seconds(clock_type::now() - cpu_at)));
    std::printf("result: sessions %zu of %zu, turned away while joining %zu, lost %zu, beats %lu acknowledged %lu, "
                "fenced %lu\n",
                live_, nodes_.size(), turned_away_, lost_, beats_sent_, acks_, fenced_);
    return lost_ == 0 && live_ == nodes_.size() ? 0 : 1;
  }

private:
  static double seconds(clock_type::duration d) { return std::chrono::duration<double>(d).count(); }

  void issue_all() {
    auto authority = certificate_authority::open(how_.ca);
    if (!authority)
      give_up(error_text(authority.error()));
    cluster_ = authority->cluster();
    directory_ = std::filesystem::temp_directory_path() / fmt::format("perf-sessions-{}", ::getpid());
    std::filesystem::create_directories(directory_);
    auto now = static_cast<std::int64_t>(std::time(nullptr));
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      certificate_wish wish;
      wish.name = fmt::format("{}{}", how_.prefix, i);
      wish.roles = {peer_role::node};
      auto issued = authority->issue(wish, now, "issue");
      if (!issued)
        give_up(error_text(issued.error()));
      tls_options files;
      files.certificate = directory_ / "certificate.pem";
      files.key = directory_ / "key.pem";
      files.ca = std::filesystem::path{how_.ca} / "ca.pem";
      std::ofstream{files.certificate} << issued->certificate_pem;
      std::ofstream{files.key} << issued->key_pem;
      std::filesystem::permissions(files.key, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
      auto context = tls_context::load(files);
      if (!context)
        give_up(error_text(context.error()));
      nodes_[i].identity = *context;
    }
    std::filesystem::remove_all(directory_);
  }

  hello own(const node& of) const {
    hello out;
    out.self = {cluster_, of.name, {peer_role::node}, {}};
    if (how_.probe || how_.core)
      out.self.roles.add(peer_role::gateway);
    out.life = incarnation{life};
    out.address = "127.0.0.1:1";
    out.directory = 999;
    return out;
  }

  void connect(std::size_t index) {
    auto& at = nodes_[index];
    at.name = fmt::format("{}{}", how_.prefix, index);
    if (at.choices.empty())
      at.choices = rendezvous_order(at.name, how_.targets);
    auto target = *parse_endpoint(at.choices[at.choice]);
    at.now = phase::connecting;
    at.tls.reset();
    at.in.clear();
    at.out.clear();
    at.asked.clear();
    at.profile = false;
    at.fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!at.fd)
      give_up(std::strerror(errno));
    int on = 1;
    ::setsockopt(at.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    // Several source addresses: one has only so many ports.
    if (target.host == "127.0.0.1") {
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(index % 8));
      ::setsockopt(at.fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
      ::bind(at.fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
    }
    ::inet_pton(AF_INET, target.host.c_str(), &address.sin_addr);
    address.sin_port = htons(target.port);
    joining_.push_back({clock_type::now() + join_patience, index, ++at.attempt});
    if (::connect(at.fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 && errno != EINPROGRESS)
      return lose(at, std::strerror(errno));
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.u64 = index;
    ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, at.fd.get(), &event);
  }

  void lose(node& at, const char* why) {
    auto joined = at.now == phase::live;
    at.now = phase::dead;
    at.fd.reset();
    if (at.choices.size() > 1) {
      auto now = clock_type::now();
      live_ -= joined ? 1 : 0;
      lost_homes_ += joined ? 1 : 0;
      turned_away_ += joined ? 0 : 1;
      if (!at.homeless_since && at.described)
        at.homeless_since = now;
      at.choice = (at.choice + 1) % at.choices.size();
      ++at.home_epoch;
      // At once, unless every choice failed since the last one that answered.
      auto pause = ++at.failures % at.choices.size() != 0 ? clock_type::duration{} : clock_type::duration{redial_after};
      redials_.emplace(now + pause, static_cast<std::size_t>(&at - nodes_.data()));
      return;
    }
    if (!joined) {
      // Turned away while joining, as happens to a crowd: an agent comes again, too.
      redials_.emplace(clock_type::now() + redial_after, static_cast<std::size_t>(&at - nodes_.data()));
      ++turned_away_;
      return;
    }
    --live_;
    if (++lost_ <= 5)
      std::fprintf(stderr, "lost %s: %s %s\n", at.name.c_str(), why, at.tls ? at.tls->error().c_str() : "");
  }

  void advance(std::size_t index) {
    auto& at = nodes_[index];
    if (at.now == phase::dead)
      return;
    if (at.now == phase::connecting) {
      int error = 0;
      socklen_t size = sizeof(error);
      ::getsockopt(at.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0)
        return lose(at, std::strerror(error));
      tcp_info info{};
      size = sizeof(info);
      ::getsockopt(at.fd.get(), IPPROTO_TCP, TCP_INFO, &info, &size);
      if (info.tcpi_state != TCP_ESTABLISHED)
        return;
      if (at.identity)
        at.tls = at.identity->connect(at.fd.get(), at.name);
      at.now = at.tls ? phase::tls : phase::hello;
      if (!at.tls)
        at.out += encode(hello_frame{own(at)});
    }
    if (at.now == phase::tls) {
      auto step = at.tls->handshake();
      if (step == tls_step::want_read || step == tls_step::want_write)
        return;
      if (step != tls_step::done)
        return lose(at, "TLS");
      at.now = phase::hello;
      at.out += encode(hello_frame{own(at)});
    }
    if (!flush(at))
      return lose(at, "write");
    if (clock_type::now() < frozen_until_)
      return;
    std::array<char, 16384> buffer;
    while (true) {
      std::size_t count = 0;
      if (at.tls) {
        auto step = at.tls->read(buffer.data(), buffer.size(), count);
        if (step == tls_step::want_read || step == tls_step::want_write)
          break;
        if (step != tls_step::done)
          return lose(at, "closed");
      } else {
        auto n = ::recv(at.fd.get(), buffer.data(), buffer.size(), 0);
        if (n < 0 && errno == EAGAIN)
          break;
        if (n <= 0)
          return lose(at, "closed");
        count = static_cast<std::size_t>(n);
      }
      at.in.append(buffer.data(), count);
      if (!take(index))
        return lose(at, "protocol");
    }
    if (!flush(at))
      lose(at, "write");
  }

  static bool flush(node& at) {
    while (!at.out.empty()) {
      std::size_t count = 0;
      if (at.tls) {
        auto step = at.tls->write(at.out.data(), at.out.size(), count);
        if (step == tls_step::want_read || step == tls_step::want_write)
          return true;
        if (step != tls_step::done)
          return false;
      } else {
        auto n = ::send(at.fd.get(), at.out.data(), at.out.size(), MSG_NOSIGNAL);
        if (n < 0)
          return errno == EAGAIN;
        count = static_cast<std::size_t>(n);
      }
      at.out.erase(0, count);
    }
    return true;
  }

  bool take(std::size_t index) {
    auto& at = nodes_[index];
    if (at.now == phase::hello) {
      if (at.in.size() < hello_header)
        return true;
      auto size = hello_body_size(std::span{at.in}.first(hello_header));
      if (!size)
        return false;
      if (at.in.size() < hello_header + *size)
        return true;
      auto said = decode_hello(std::span{at.in}.subspan(hello_header, *size));
      at.in.erase(0, hello_header + *size);
      if (!said || !std::holds_alternative<hello>(*said)) {
        if (said && std::holds_alternative<refusal>(*said))
          std::fprintf(stderr, "%s: %s\n", at.name.c_str(), std::get<refusal>(*said).reason.c_str());
        return false;
      }
      at.peer = std::get<hello>(*said);
      at.out += encode(hello_frame{go_ahead{}});
      caf::byte_buffer bytes;
      caf::binary_serializer sink{nullptr, bytes};
      if (!sink.apply(caf_node(own(at))))
        return false;
      at.out += frame(1, 0, 0, 0, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      at.now = phase::handshake;
    }
    while (at.in.size() >= 32) {
      byte_reader header{std::as_bytes(std::span{at.in})};
      std::uint8_t operation = 0;
      std::uint8_t skip = 0;
      std::uint32_t size = 0;
      std::uint64_t data = 0;
      std::uint64_t source = 0;
      std::uint64_t destination = 0;
      header.number(operation);
      header.number(skip);
      header.number(skip);
      header.number(skip);
      header.number(size);
      header.number(data);
      header.number(source);
      header.number(destination);
      if (at.in.size() < 32 + size)
        return true;
      std::string payload = at.in.substr(32, size);
      at.in.erase(0, 32 + size);
      if (!hear(index, operation, data, source, payload))
        return false;
    }
    return true;
  }

  bool hear(std::size_t index, std::uint8_t operation, std::uint64_t data, std::uint64_t source,
            const std::string& payload) {
    auto& at = nodes_[index];
    if (how_.probe && operation == 2 && (data & caf::message_id::response_flag_mask) == 0)
      return take_delta(at, data, source, payload);
    if (operation == 0 && at.now == phase::handshake) {
      std::string ask;
      put_length(ask, 0);
      put_length(ask, 2);
      put(ask, caf::type_id_v<lookup_atom>);
      put(ask, caf::type_id_v<std::string>);
      put_length(ask, std::strlen(resource_service));
      ask += resource_service;
      at.out += frame(2, request_id(++at.request), own_actor, at.peer.directory, ask);
      at.now = phase::lookup;
      return true;
    }
    if (operation != 2 || (data & caf::message_id::response_flag_mask) == 0)
      return true;
    byte_reader reader{std::as_bytes(std::span{payload})};
    std::size_t stages = 0;
    std::size_t count = 0;
    caf::type_id_t type = 0;
    if (!reader.length(stages) || !reader.length(count) || count != 1 || !reader.number(type))
      return false;
    if (at.now == phase::lookup) {
      if (type != caf::type_id_v<caf::strong_actor_ptr> || !reader.number(at.resource))
        return false;
      at.now = phase::live;
      ++live_;
      // The first beats are spread over an interval, as those of machines are; a new home hears of a node at once.
      at.next_beat = clock_type::now();
      if (!at.homeless_since)
        at.next_beat += std::chrono::microseconds{index * 7919 % 1000 * 1000};
      beats_.emplace(at.next_beat, index);
      return true;
    }
    std::string_view body;
    if (type == caf::type_id_v<subscribe_ack>)
      return true;
    pb::HeartbeatAck ack;
    if (type != caf::type_id_v<heartbeat_ack> || !reader.text(body, payload.size()) || !decode(ack, std::string{body}))
      return false;
    ++acks_;
    if (ack.fenced())
      ++fenced_;
    at.failures = 0;
    if (auto since = std::exchange(at.homeless_since, std::nullopt))
      moves_.push_back(seconds(clock_type::now() - *since));
    if (auto asked = at.asked.extract(data & caf::message_id::request_id_mask); !asked.empty())
      trips_.push_back(seconds(clock_type::now() - asked.mapped()));
    if (ack.profile_version() < 1 && !at.profile) {
      at.profile = at.described = true;
      pb::ProfileUpdate update;
      auto& profile = *update.mutable_profile();
      profile.set_node(make_node_id(at.name).value());
      profile.set_incarnation(life);
      profile.set_version(1);
      profile.set_name(at.name);
      profile.set_address("127.0.0.1:1");
      profile.mutable_capacity()->set_cpu_milli(4000);
      profile.mutable_capacity()->set_memory_bytes(8ull << 30);
      profile.set_capacity_origin(std::string(how_.profile_bytes, 'x'));
      update.set_home_epoch(at.home_epoch);
      at.out += frame(2, request_id(++at.request), own_actor, at.resource,
                      body_message(caf::type_id_v<profile_update>, encode(update)));
    }
    return true;
  }

  void beat(std::size_t index, clock_type::time_point now) {
    auto& at = nodes_[index];
    if (at.now != phase::live)
      return;
    pb::Heartbeat body;
    body.set_node(make_node_id(at.name).value());
    body.set_incarnation(life);
    body.set_sequence(++at.sequence);
    body.set_home_epoch(at.home_epoch);
    body.set_profile_version(1);
    body.mutable_load()->set_host_utilisation(0.25);
    at.out += frame(2, request_id(++at.request), own_actor, at.resource,
                    body_message(caf::type_id_v<heartbeat>, encode(body)));
    if (index % 16 == 0)
      at.asked.emplace(at.request, now);
    ++beats_sent_;
    if (!flush(at))
      return lose(at, "write");
    at.next_beat += std::chrono::duration_cast<clock_type::duration>(std::chrono::duration<double>(1 / how_.hertz));
    beats_.emplace(at.next_beat, index);
  }

  // -- the process that subscribes -----------------------------------------------------

  /// Acknowledges a part of the view, which is what makes the next one come.
  bool take_delta(node& at, std::uint64_t data, std::uint64_t source, const std::string& payload) {
    byte_reader reader{std::as_bytes(std::span{payload})};
    std::size_t stages = 0;
    std::size_t count = 0;
    caf::type_id_t type = 0;
    std::string_view body;
    pb::ViewDelta delta;
    if (!reader.length(stages) || !reader.length(count) || count != 1 || !reader.number(type)
        || type != caf::type_id_v<view_delta> || !reader.text(body, payload.size())
        || !decode(delta, std::string{body}))
      return false;
    auto request = data & caf::message_id::request_id_mask;
    if (request != 0)
      at.out +=
          frame(2, request_id(request) | caf::message_id::response_flag_mask, own_actor, source, std::string(2, '\0'));
    auto now = clock_type::now();
    if (stage_ == stage::snapshot) {
      snapshot_bytes_ += payload.size();
      snapshot_rows_ += static_cast<std::size_t>(delta.nodes_size());
      if (how_.freeze > 0 && snapshot_bytes_ > (2u << 20) && frozen_until_ == clock_type::time_point{}) {
        frozen_until_ =
            now + std::chrono::duration_cast<clock_type::duration>(std::chrono::duration<double>(how_.freeze));
        std::printf("probe: frozen for %.0f s\n", how_.freeze);
      }
      if (delta.base() == 0 && !delta.more()) {
        stage_ = stage::after;
        std::printf("probe: snapshot of %zu rows, %.1f MB in %.2f s: %.0f MB/s\n", snapshot_rows_,
                    static_cast<double>(snapshot_bytes_) / 1e6, seconds(now - subscribed_),
                    static_cast<double>(snapshot_bytes_) / 1e6 / seconds(now - subscribed_));
        tell("during the snapshot");
      }
    }
    return true;
  }

  void watch(clock_type::time_point now, clock_type::time_point begin) {
    auto& at = nodes_[0];
    // While nodes join there is another kind of load.
    if (seconds(now - begin) < how_.subscribe_after - 10)
      trips_.clear();
    if (stage_ == stage::before && at.now == phase::live && seconds(now - begin) > how_.subscribe_after) {
      tell("before the snapshot");
      stage_ = stage::snapshot;
      subscribed_ = now;
      baseline_mib_ = most_mib_ = rss_mib();
    }
    if (stage_ != stage::before && now - renewed_ > std::chrono::seconds{1} && at.now == phase::live) {
      renewed_ = now;
      pb::Subscribe wish;
      wish.set_scope(pb::Subscribe::ALL_SHARDS);
      wish.set_subscriber(at.name);
      wish.set_takes_parts(true);
      at.out += frame(2, request_id(++at.request), own_actor, at.resource,
                      body_message(caf::type_id_v<subscribe>, encode(wish)));
      flush(at);
    }
    if (frozen_until_ != clock_type::time_point{} && now >= frozen_until_ && !thawed_) {
      thawed_ = true;
      advance(0);
    }
    if (stage_ == stage::before || now - sampled_ < std::chrono::milliseconds{50})
      return;
    sampled_ = now;
    most_mib_ = std::max(most_mib_, rss_mib());
    if (!told_end_ && seconds(now - begin) > how_.seconds - 0.5) {
      told_end_ = true;
      tell(stage_ == stage::after ? "after the snapshot" : "while it was on its way");
      std::printf("probe: %s; memory of the process %.1f MiB before, %.1f most, %.1f now\n",
                  at.now == phase::live ? "its session lives" : "its session was ended", baseline_mib_, most_mib_,
                  rss_mib());
    }
  }

  void tell(const char* when) {
    std::sort(trips_.begin(), trips_.end());
    auto at = [&](double share) {
      return trips_.empty() ? 0.0
                            : trips_[static_cast<std::size_t>(share * static_cast<double>(trips_.size() - 1))] * 1e3;
    };
    std::printf("probe: %zu beats %s: trip p50 %.2f p99 %.2f p99.9 %.2f max %.2f ms\n", trips_.size(), when, at(0.5),
                at(0.99), at(0.999), at(1));
    std::fflush(stdout);
    trips_.clear();
  }

  double cpu_s() const {
    if (how_.pid == 0)
      return 0;
    std::ifstream in{fmt::format("/proc/{}/stat", how_.pid)};
    std::string text{std::istreambuf_iterator<char>{in}, {}};
    auto rest = text.find(") ");
    if (rest == std::string::npos)
      give_up("the process is gone");
    unsigned long user = 0;
    unsigned long system = 0;
    std::sscanf(text.c_str() + rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }

  double rss_mib() const {
    std::ifstream in{fmt::format("/proc/{}/statm", how_.pid)};
    double size = 0;
    double resident = 0;
    in >> size >> resident;
    return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
  }

  void report(clock_type::duration since, double cores) {
    std::sort(trips_.begin(), trips_.end());
    auto at = [&](double share) {
      return trips_.empty() ? 0.0
                            : trips_[static_cast<std::size_t>(share * static_cast<double>(trips_.size() - 1))] * 1e3;
    };
    std::printf("%6.1f s  live %zu lost %zu  beats %lu acks %lu  trip p50 %.2f p99 %.2f max %.1f ms", seconds(since),
                live_, lost_, beats_sent_, acks_, at(0.5), at(0.99), at(1));
    if (how_.pid != 0)
      std::printf("  process: %.1f MiB, %.2f cores", rss_mib(), cores);
    if (lost_homes_ > 0) {
      std::sort(moves_.begin(), moves_.end());
      auto move = [&](double share) {
        return moves_.empty() ? 0.0 : moves_[static_cast<std::size_t>(share * static_cast<double>(moves_.size() - 1))];
      };
      std::printf("  homes lost %zu, found %zu after p50 %.2f p99 %.2f max %.2f s", lost_homes_, moves_.size(),
                  move(0.5), move(0.99), move(1));
    }
    std::printf("\n");
    std::fflush(stdout);
    trips_.clear();
  }

  enum class stage { before, snapshot, after };

  settings how_;
  stage stage_ = stage::before;
  clock_type::time_point subscribed_{};
  clock_type::time_point renewed_{};
  clock_type::time_point sampled_{};
  clock_type::time_point frozen_until_{};
  bool thawed_ = false;
  bool told_end_ = false;
  std::size_t snapshot_bytes_ = 0;
  std::size_t snapshot_rows_ = 0;
  double baseline_mib_ = 0;
  double most_mib_ = 0;
  std::string cluster_ = "astra";
  std::filesystem::path directory_;
  unique_fd poll_;
  std::vector<node> nodes_;
  std::multimap<clock_type::time_point, std::size_t> beats_;
  std::vector<double> trips_;
  std::size_t live_ = 0;
  std::size_t lost_ = 0;
  std::size_t turned_away_ = 0;
  std::multimap<clock_type::time_point, std::size_t> redials_;
  struct dial {
    clock_type::time_point until;
    std::size_t index = 0;
    std::uint64_t attempt = 0;
  };
  /// Dials, the oldest first.
  std::deque<dial> joining_;
  std::size_t lost_homes_ = 0;
  /// Seconds from the loss of a home to the first answer of the next.
  std::vector<double> moves_;
  unsigned long beats_sent_ = 0;
  unsigned long acks_ = 0;
  unsigned long fenced_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  caf::init_global_meta_objects<caf::id_block::astra_wire>();
  caf::core::init_global_meta_objects();
  settings how;
  std::string target = "127.0.0.1:9700";
  // Every option has a value.
  if (argc % 2 == 0)
    give_up("usage: perf_sessions [--OPTION VALUE]..., as the head of its source says");
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string key = argv[i];
    std::string value = argv[i + 1];
    if (key == "--target")
      target = value;
    else if (key == "--plane")
      how.core = value == "core";
    else if (key == "--sessions")
      how.sessions = std::stoul(value);
    else if (key == "--seconds")
      how.seconds = std::stod(value);
    else if (key == "--hertz")
      how.hertz = std::stod(value);
    else if (key == "--joins")
      how.joins_per_s = std::stod(value);
    else if (key == "--pid")
      how.pid = std::stoi(value);
    else if (key == "--junk")
      how.junk = std::stoi(value);
    else if (key == "--ca")
      how.ca = value;
    else if (key == "--profile-bytes")
      how.profile_bytes = std::stoul(value);
    else if (key == "--subscribe")
      how.subscribe_after = std::stod(value);
    else if (key == "--freeze")
      how.freeze = std::stod(value);
    else
      give_up("unknown option " + key);
  }
  for (std::size_t begin = 0; begin <= target.size();) {
    auto end = std::min(target.find(',', begin), target.size());
    how.targets.push_back(target.substr(begin, end - begin));
    if (!parse_endpoint(how.targets.back()))
      give_up("--target: host:port, or several with commas between them");
    begin = end + 1;
  }
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  std::thread probe;
  if (how.subscribe_after > 0)
    probe = std::thread{[how]() mutable {
      how.probe = true;
      how.sessions = 1;
      how.prefix = "probe";
      how.hertz = 500;
      how.junk = 0;
      how.profile_bytes = 0;
      how.ca.clear();
      how.targets.resize(1);
      rig{std::move(how)}.run();
    }};
  auto code = rig{std::move(how)}.run();
  if (probe.joinable())
    probe.join();
  return code;
}
