#include "test/runtime/gateway/live_gateway.hpp"

using namespace astra;
using namespace std::chrono_literals;
using test::live_gateway;
using test::tcp_peer;

TEST_CASE("requests over one connection reach the router and come back in order") {
  live_gateway world;
  auto client = world.connect();
  client.send(live_gateway::invoke("one") + "HEAD /livez HTTP/1.1\r\n\r\n" + live_gateway::invoke("two")
              + "GET /v1/apps/nope/invoke HTTP/1.1\r\n\r\n");
  auto first = client.read_reply();
  CHECK(first.status == 200);
  CHECK(first.body == "one");
  CHECK(first.headers["content-type"] == "application/octet-stream");
  CHECK_FALSE(first.headers["astra-request-id"].empty());
  CHECK(client.read_reply(true).status == 200);
  CHECK(client.read_reply().body == "two");
  auto last = client.read_reply();
  CHECK(last.status == 405);
  CHECK(last.headers["allow"] == "POST");
}

TEST_CASE("the limits of the options hold") {
  live_gateway world{{.body_limit_bytes = 100, .header_limit_bytes = 1000}};
  auto client = world.connect();
  client.send(live_gateway::invoke(std::string(101, 'x')));
  CHECK(client.read_reply().status == 413);
  auto other = world.connect();
  other.send("GET /livez HTTP/1.1\r\nA: " + std::string(1000, 'x') + "\r\n\r\n");
  CHECK(other.read_reply().status == 431);
}

TEST_CASE("a client that closes has its request cancelled at the router within a second") {
  live_gateway world;
  auto client = world.hold();
  client.close();
  for (auto i = 0; i < 100 && world.cancelled == 0; ++i)
    std::this_thread::sleep_for(10ms);
  CHECK(world.cancelled == 1);
}

TEST_CASE("stop() lets answers under way leave and returns as soon as they have") {
  live_gateway world;
  auto client = world.connect();
  client.send(live_gateway::invoke("last"));
  CHECK(client.read_reply().body == "last");
  auto begin = std::chrono::steady_clock::now();
  world.front->stop(10s);
  CHECK(std::chrono::steady_clock::now() - begin < 2s);
  CHECK(client.ends_within(1s));
}

TEST_CASE("stop() answers 503 what has no answer within its limit, and is over a second later") {
  live_gateway world;
  auto client = world.hold();
  auto begin = std::chrono::steady_clock::now();
  world.front->stop(100ms);
  CHECK(std::chrono::steady_clock::now() - begin < 1500ms);
  auto reply = client.read_reply();
  CHECK(reply.status == 503);
  CHECK(reply.body.find("this gateway has stopped") != std::string::npos);
}

TEST_CASE("a drained gateway says so on /readyz and refuses invokes, while those under way go on") {
  live_gateway world;
  auto held = world.hold();
  world.front->drain();
  auto client = world.connect();
  client.send("GET /readyz HTTP/1.1\r\n\r\n" + live_gateway::invoke("x"));
  CHECK(client.read_reply().status == 503);
  CHECK(client.read_reply().headers["retry-after"] == "1");
  CHECK(held.read_some(50ms) == tcp_peer::read_outcome::silence);
}

TEST_CASE("a gateway whose actor was killed answers 500 and does not hang") {
  live_gateway world;
  auto held = world.hold();
  caf::anon_send_exit(world.front->actor(), caf::exit_reason::kill);
  CHECK(held.read_reply().status == 503);
  auto client = world.connect();
  client.send(live_gateway::invoke("x"));
  CHECK(client.read_reply().status == 500);
  world.front->stop(1s);
}

TEST_CASE("an address in use is an error, and the actor ends with it") {
  live_gateway world;
  gateway_options options;
  options.listen = world.front->address();
  auto second = gateway::start(world.sys, options, spawn_gateway(world.sys, *world.world, {}, world.view, "second"));
  REQUIRE_FALSE(second);
  CHECK(to_string(second.error()).find(options.listen) != std::string::npos);
}

TEST_CASE("a gateway with real routers starts, serves and stops") {
  live_gateway world;
  gateway_options options;
  options.listen = "127.0.0.1:0";
  auto real = gateway::start(world.sys, options, spawn_gateway(world.sys, *world.world, {}, world.view, "real"));
  REQUIRE(real);
  pb::ViewDelta delta;
  delta.set_origin(1);
  delta.set_epoch(1);
  delta.set_version(1);
  delta.add_apps()->mutable_spec()->set_name("none");
  delta.mutable_apps(0)->mutable_spec()->set_request_timeout_ms(500);
  caf::anon_send(real->actor(), view_delta{delta});
  auto client = tcp_peer::connect(real->port());
  client.send("GET /readyz HTTP/1.1\r\n\r\nPOST /v1/apps/none/invoke HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
  CHECK(client.read_reply().status == 200);
  auto reply = client.read_reply();
  CHECK(reply.status >= 503);
  CHECK(reply.body.find("\"message\"") != std::string::npos);
  real->stop(1s);
}

TEST_CASE("64 clients at once each get their own answer while others come and go") {
  live_gateway world;
  std::atomic<int> correct = 0;
  std::vector<std::thread> threads;
  for (auto i = 0; i < 64; ++i)
    threads.emplace_back([&, i] {
      if (i % 4 == 0) {
        auto leaver = world.connect();
        leaver.send(live_gateway::invoke("hold"));
      }
      auto client = world.connect();
      for (auto k = 0; k < 5; ++k) {
        auto body = std::to_string(i) + "." + std::to_string(k);
        client.send(live_gateway::invoke(body));
        correct += client.read_reply().body == body ? 1 : 0;
      }
    });
  for (auto& thread : threads)
    thread.join();
  CHECK(correct == 64 * 5);
}
