#pragma once

#include "config/endpoint.hpp"
#include "messages/resource_protocol.hpp"
#include "messages/type_ids.hpp"
#include "runtime/net/dialer.hpp"
#include "runtime/net/hello.hpp"
#include "runtime/net/session_layer.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/io/middleman.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

// Processes of a cluster inside one test program, joined over real sockets.

namespace astra::test {

using namespace std::chrono_literals;

/// Heartbeats as numbers: what the echo service of the tests speaks.
inline heartbeat numbered(std::uint64_t number, const std::string& node) {
  pb::Heartbeat body;
  body.set_node(make_node_id(node).value());
  body.set_incarnation(1);
  body.set_sequence(number);
  return body;
}

struct process_config : caf::actor_system_config {
  process_config(const peer_identity& self, incarnation life) {
    load<caf::io::middleman>();
    session_layer::prepare(*this, self, life);
    set("caf.scheduler.policy", "sharing");
    set("caf.scheduler.max-threads", 1);
    set("caf.logger.file.verbosity", "quiet");
    set("caf.logger.console.verbosity", "quiet");
  }
};

/// A process of a cluster, as host.cpp builds one, in this process: real sockets, real middleman.
struct process {
  explicit process(const std::string& name, peer_roles roles, std::uint64_t life = 1,
                   std::function<void(session_layer::options&)> change = {})
    : self{"test", name, roles, {}}, config(self, incarnation{life}), sys(config) {
    session_layer::options how;
    how.self = self;
    how.life = incarnation{life};
    how.net.cluster = "test";
    if (change)
      change(how);
    net = std::make_unique<session_layer>(sys, how, services);
    directory = spawn_directory(sys, services);
    auto started = net->start(directory);
    REQUIRE_MESSAGE(started, error_text(started.error()));
    dialer = spawn_dialer(sys, net->connector(), net->address(), services, how.net.dial_timeout);
  }

  ~process() {
    net->stop(1s);
    caf::anon_send_exit(dialer, caf::exit_reason::user_shutdown);
    caf::anon_send_exit(directory, caf::exit_reason::user_shutdown);
    if (echo)
      caf::anon_send_exit(echo, caf::exit_reason::user_shutdown);
    services->clear();
    net.reset();
  }

  /// Answers heartbeats with their number, as "resource".
  void offer_echo() {
    echo = sys.spawn([](caf::event_based_actor*) -> caf::behavior {
      return {[](const heartbeat& beat) {
        pb::HeartbeatAck ack;
        ack.set_profile_version(beat->sequence());
        return heartbeat_ack{ack};
      }};
    });
    services->put(resource_service, caf::actor_cast<caf::strong_actor_ptr>(echo));
  }

  caf::expected<caf::strong_actor_ptr> dial(const std::string& address, const std::string& service = resource_service) {
    caf::scoped_actor self{sys};
    caf::expected<caf::strong_actor_ptr> result{caf::error{}};
    self->request(dialer, 5s, dial_atom_v, address, service)
        .receive([&](const caf::strong_actor_ptr& found) { result = found; },
                 [&](const caf::error& reason) { result = reason; });
    return result;
  }

  /// @returns what the echo said, 0 when nothing.
  std::uint64_t ask(const caf::strong_actor_ptr& whom, std::uint64_t number, std::chrono::milliseconds wait = 3s) {
    caf::scoped_actor asking{sys};
    std::uint64_t result = 0;
    asking->request(caf::actor_cast<caf::actor>(whom), wait, numbered(number, self.name))
        .receive([&](const heartbeat_ack& ack) { result = ack->profile_version(); }, [](const caf::error&) {});
    return result;
  }

  std::size_t live_sessions() const {
    auto all = net->sessions();
    return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [](auto& one) { return one.live; }));
  }

  peer_identity self;
  process_config config;
  caf::actor_system sys;
  std::shared_ptr<service_table> services = std::make_shared<service_table>();
  std::unique_ptr<session_layer> net;
  directory_actor directory;
  dialer_actor dialer;
  caf::actor echo;
};

inline bool soon(const std::function<bool()>& what, std::chrono::milliseconds limit = 5s) {
  for (auto end = std::chrono::steady_clock::now() + limit; std::chrono::steady_clock::now() < end;) {
    if (what())
      return true;
    std::this_thread::sleep_for(5ms);
  }
  return what();
}

inline std::uint16_t port_of(const process& who) {
  return parse_endpoint(who.net->address())->port;
}

} // namespace astra::test
