#include "runtime/net/session_layer.hpp"

#include "test/runtime/net/net_process.hpp"
#include "test/support/tcp_peer.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <thread>
#include <vector>

using namespace astra;
using namespace astra::test;

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

TEST_CASE("without certificates an aggregator speaks for every node") {
  process rack{"rack1", {peer_role::aggregator}};
  process resource{"r1", {peer_role::resource}};
  resource.echo = resource.sys.spawn([](caf::event_based_actor*) -> caf::behavior {
    return {[](const profile_update& update) {
      pb::HeartbeatAck ack;
      ack.set_profile_version(update->profile().version());
      return heartbeat_ack{ack};
    }};
  });
  resource.services->put(resource_service, caf::actor_cast<caf::strong_actor_ptr>(resource.echo));
  auto home = rack.dial(resource.net->address());
  REQUIRE_MESSAGE(home, error_text(home.error()));
  profile_update update;
  update->mutable_profile()->set_node(make_node_id("n7").value());
  update->mutable_profile()->set_name("n7");
  update->mutable_profile()->set_version(5);
  caf::scoped_actor asking{rack.sys};
  std::uint64_t answered = 0;
  asking->request(caf::actor_cast<caf::actor>(*home), 3s, update)
      .receive([&](const heartbeat_ack& ack) { answered = ack->profile_version(); }, [](const caf::error&) {});
  CHECK(answered == 5);
  CHECK(rack.live_sessions() == 1);
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

TEST_CASE("a peer that swallows every packet delays nobody else's dial") {
  process node{"n1", {peer_role::node}};
  process resource{"r1", {peer_role::resource}};
  resource.offer_echo();
  // A full queue drops what comes, as a broken network does.
  tcp_listener black_hole{0};
  std::vector<tcp_peer> queue;
  for (int i = 0; i < 3; ++i)
    queue.push_back(tcp_peer::begin_connect(black_hole.port()));
  std::thread waiting{[&] { CHECK(!node.dial("127.0.0.1:" + std::to_string(black_hole.port()))); }};
  std::this_thread::sleep_for(50ms);
  auto began = std::chrono::steady_clock::now();
  CHECK(node.dial(resource.net->address()));
  auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began);
  MESSAGE("dialled in " << took.count() << " us beside a dial that hangs");
  // With CAF's own connects it is 135 s.
  CHECK(took < 1s);
  waiting.join();
}
