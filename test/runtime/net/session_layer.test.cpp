#include "runtime/net/session_layer.hpp"

#include "messages/resource_protocol.hpp"
#include "messages/type_ids.hpp"
#include "runtime/net/dialer.hpp"
#include "runtime/net/hello.hpp"
#include "config/endpoint.hpp"
#include "test/support/tcp_peer.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/io/middleman.hpp>
#include <caf/scoped_actor.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

/// Heartbeats as numbers: what the echo service of the tests speaks.
heartbeat numbered(std::uint64_t number, const std::string& node) {
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

bool soon(const std::function<bool()>& what, std::chrono::milliseconds limit = 5s) {
  for (auto end = std::chrono::steady_clock::now() + limit; std::chrono::steady_clock::now() < end;) {
    if (what())
      return true;
    std::this_thread::sleep_for(5ms);
  }
  return what();
}

std::uint16_t port_of(const process& who) {
  return parse_endpoint(who.net->address())->port;
}

} // namespace

TEST_CASE("two processes find each other's services and keep one session") {
  process node{"n1", {peer_role::node}};
  process resource{"r1", {peer_role::resource}};
  resource.offer_echo();
  auto echo = node.dial(resource.net->address());
  REQUIRE_MESSAGE(echo, error_text(echo.error()));
  for (std::uint64_t i = 1; i <= 20; ++i)
    CHECK(node.ask(*echo, i) == i);
  CHECK(node.dial(resource.net->address()));
  CHECK(node.live_sessions() == 1);
  CHECK(resource.live_sessions() == 1);
  auto seen = resource.net->sessions().front();
  CHECK(seen.peer == "n1");
  CHECK(seen.roles == "node");
  CHECK(!seen.dialled);
}

TEST_CASE("a dial that cannot succeed says why") {
  process node{"n1", {peer_role::node}};
  process resource{"r1", {peer_role::resource}};
  auto why = [&](const std::string& address, const std::string& service) {
    auto found = node.dial(address, service);
    return found ? "found" : error_text(found.error());
  };
  CHECK(why("127.0.0.1:1", "resource").find("Connection refused") != std::string::npos);
  CHECK(why("no-such-host.invalid:9700", "resource").find("no-such-host.invalid") != std::string::npos);
  CHECK(why(resource.net->address(), "resource").find("no service 'resource'") != std::string::npos);
  // A resource's word is no scheduler's.
  CHECK(why(resource.net->address(), "apps").find("may not offer 'apps'") != std::string::npos);
  process stranger{"r2", {peer_role::resource}, 1, [](auto& how) { how.self.cluster = "test"; }};
  tcp_listener silent;
  CHECK(why("127.0.0.1:" + std::to_string(silent.port()), "resource").find("within the time") != std::string::npos);
}

TEST_CASE("both dial at once and end with one session that works both ways") {
  for (int round = 0; round < 5; ++round) {
    process left{"r1", {peer_role::resource}};
    process right{"r2", {peer_role::resource}};
    left.offer_echo();
    right.offer_echo();
    caf::expected<caf::strong_actor_ptr> from_left{caf::error{}};
    std::thread other{[&] { from_left = left.dial(right.net->address()); }};
    auto from_right = right.dial(left.net->address());
    other.join();
    REQUIRE_MESSAGE(from_left, error_text(from_left.error()));
    REQUIRE_MESSAGE(from_right, error_text(from_right.error()));
    CHECK(soon([&] { return left.net->sessions().size() == 1 && right.net->sessions().size() == 1; }));
    CHECK(left.live_sessions() == 1);
    CHECK(right.live_sessions() == 1);
  }
}

TEST_CASE("a process that comes back is known again, and its older life is not") {
  process resource{"r1", {peer_role::resource}};
  resource.offer_echo();
  {
    process node{"n1", {peer_role::node}, 5};
    auto echo = node.dial(resource.net->address());
    REQUIRE(echo);
    CHECK(node.ask(*echo, 1) == 1);
  }
  process reborn{"n1", {peer_role::node}, 6};
  auto echo = reborn.dial(resource.net->address());
  REQUIRE(echo);
  CHECK(reborn.ask(*echo, 2) == 2);
  process ghost{"n1", {peer_role::node}, 5};
  auto refused = ghost.dial(resource.net->address());
  REQUIRE(!refused);
  CHECK(error_text(refused.error()).find("started again") != std::string::npos);
  CHECK(reborn.ask(*echo, 3) == 3);
}

TEST_CASE("sessions that end are made anew, as often as it takes, and leave no zombies") {
  process resource{"r1", {peer_role::resource}};
  resource.offer_echo();
  process node{"n1", {peer_role::node}};
  for (std::uint64_t round = 1; round <= 30; ++round) {
    auto echo = node.dial(resource.net->address());
    REQUIRE_MESSAGE(echo, error_text(echo.error()));
    REQUIRE(node.ask(*echo, round) == round);
    // Either side may be the one that ends it.
    (round % 2 == 0 ? node : resource).net->cut_all("the test says so");
    REQUIRE(soon([&] { return node.net->sessions().empty(); }));
  }
  CHECK(soon([&] { return resource.net->sessions().empty(); }));
}

TEST_CASE("strangers that say nothing, or anything else, are gone within two seconds and disturb nobody") {
  process resource{"r1", {peer_role::resource}};
  resource.offer_echo();
  process node{"n1", {peer_role::node}};
  auto echo = node.dial(resource.net->address());
  REQUIRE(echo);
  auto began = std::chrono::steady_clock::now();
  std::vector<tcp_peer> silent;
  for (int i = 0; i < 50; ++i)
    silent.push_back(tcp_peer::connect(port_of(resource)));
  for (auto junk : {std::string{"GET / HTTP/1.1\r\n\r\n"}, std::string(40, '\0'), std::string(1 << 20, 'x'),
                    std::string{"AST\x01\x00\x00\x08\x00", 8}, std::string{"AST\x01\xff\xff\xff\xff", 8}}) {
    auto peer = tcp_peer::connect(port_of(resource));
    peer.send(junk);
    silent.push_back(std::move(peer));
  }
  CHECK(node.ask(*echo, 1) == 1);
  CHECK(soon([&] { return resource.net->strangers() == 0; }, 2100ms));
  CHECK(std::chrono::steady_clock::now() - began < 4s);
  CHECK(node.ask(*echo, 2) == 2);
}

TEST_CASE("stopping does not wait for anybody") {
  auto resource = std::make_unique<process>("r1", peer_roles{peer_role::resource});
  resource->offer_echo();
  process node{"n1", {peer_role::node}};
  REQUIRE(node.dial(resource->net->address()));
  auto silent = tcp_peer::connect(port_of(*resource));
  resource.reset();
  CHECK(soon([&] { return node.net->sessions().empty(); }));
}
