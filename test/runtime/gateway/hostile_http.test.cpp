#include "runtime/gateway/join_desk.hpp"
#include "runtime/http/server.hpp"
#include "test/runtime/gateway/live_gateway.hpp"
#include "test/runtime/security/test_authority.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

// Whoever can connect to a gateway tries to crash, freeze, fill or deceive it over its real port.

using namespace astra;
using namespace astra::test;

namespace {

constexpr std::string_view host = "Host: a\r\n";

std::size_t resident_kib() {
  std::ifstream in{"/proc/self/statm"};
  std::size_t size = 0;
  std::size_t resident = 0;
  in >> size >> resident;
  return resident * 4;
}

std::string request(std::string_view method, std::string_view target, std::string_view headers = {},
                    std::string_view body = {}) {
  return std::string{method}
             .append(" ")
             .append(target)
             .append(" HTTP/1.1\r\n")
             .append(host)
             .append(headers)
             .append("\r\n")
         + std::string{body};
}

std::string with_body(std::string_view method, std::string_view target, std::string_view type, std::string_view body) {
  return request(method, target,
                 "Content-Type: " + std::string{type} + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n",
                 body);
}

gateway_options quick_options() {
  gateway_options options;
  options.idle_timeout = 400ms;
  options.connections_max = 64;
  return options;
}

struct attacked : live_gateway {
  explicit attacked(gateway_options options = quick_options()) : live_gateway(std::move(options)) { check_alive(); }

  /// For those who come now.
  void check_alive() {
    auto client = connect();
    client.send(request("GET", "/livez") + invoke("honest"));
    CHECK(client.read_reply().status == 200);
    CHECK(client.read_reply().body == "honest");
  }

  /// The status of each answer until the gateway closes, or has said nothing for a while.
  std::vector<int> statuses_of(std::string_view bytes, bool half_close = false) {
    auto client = connect();
    client.send(bytes);
    if (half_close)
      client.half_close();
    std::vector<int> result;
    while (client.read_some(150ms) == tcp_peer::read_outcome::data)
      ;
    for (auto reply = client.read_reply(); reply.status != 0; reply = client.read_reply())
      result.push_back(reply.status);
    return result;
  }
};

} // namespace

TEST_CASE("hostile HTTP: what is ambiguous is refused, and what hides in it is never a request") {
  attacked world;
  auto hidden = request("GET", "/v1/status");
  auto chunked_hidden = "0\r\n\r\n" + hidden;
  auto length = [&](std::string_view value, std::string_view more = {}) {
    return request("POST", "/v1/apps/echo/invoke",
                   std::string{"Content-Length:"}.append(value).append("\r\n").append(more), hidden);
  };
  auto encoding = [&](std::string_view line, std::string_view more = {}) {
    return request("POST", "/v1/apps/echo/invoke", std::string{line}.append("\r\n").append(more), chunked_hidden);
  };
  const std::string attacks[] = {
      length(" 5", "Transfer-Encoding: chunked\r\n"),
      encoding("Transfer-Encoding: chunked", "Content-Length: 5\r\n"),
      length(" 0", "Content-Length: 52\r\n"),
      length(" -1"),
      length(" +5"),
      length(" 0x10"),
      length(" 5, 6"),
      length(" 5 6"),
      length(" 18446744073709551616"),
      length(" 99999999999999999999999999"),
      length(std::string{" 5\0", 3}),
      length(" 1e3"),
      encoding("Transfer-Encoding : chunked"),
      encoding("Transfer-Encoding: xchunked"),
      encoding("Transfer-Encoding: chunked, identity"),
      encoding("Transfer-Encoding: identity", "Transfer-Encoding: chunked, foo\r\n"),
      encoding("Transfer-Encoding:\x0b"
               "chunked"),
      encoding("Transfer-Encoding: \"chunked\""),
      encoding(std::string{"Transfer-Encoding: chunked\0", 27}),
      encoding("X: a\rTransfer-Encoding: chunked"),
      encoding("X: a\nTransfer-Encoding: chunked"),
      "POST /v1/apps/echo/invoke HTTP/1.1\nHost: a\nContent-Length: 5\n\n" + hidden,
      "POST /v1/apps/echo/invoke HTTP/1.1\r\n Content-Length: 5\r\n\r\n" + hidden,
      request("POST", "/v1/apps/echo/invoke", "Transfer-Encoding: chunked\r\n", "-1\r\n" + hidden),
      request("POST", "/v1/apps/echo/invoke", "Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFF\r\n" + hidden),
      request("POST", "/v1/apps/echo/invoke", "Transfer-Encoding: chunked\r\n", "10000000000000000\r\n" + hidden),
      request("POST", "/v1/apps/echo/invoke", "Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n" + hidden),
      request("POST", "/v1/apps/echo/invoke", "Transfer-Encoding: chunked\r\n", "5\r\nhelloXX0\r\n\r\n" + hidden),
      request("POST", "/v1/apps/echo/invoke", "Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n" + hidden),
      std::string{"GET /livez\0 HTTP/1.1\r\n\r\n", 24},
      std::string{"GET /livez HTTP/1.1\r\nA\0: b\r\n\r\n", 30},
      std::string{"GET /livez HTTP/1.1\r\nA: b\0c\r\n\r\n", 31},
      std::string(300, '\0'),
      "GET http://[::1 HTTP/1.1\r\n\r\n\r\n",
      "GET  /livez  HTTP/1.1\r\n\r\n",
      "CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS on the plain port\r\n\r\n",
  };
  for (auto& bytes : attacks) {
    CAPTURE(bytes);
    auto said = world.statuses_of(bytes);
    // One refusal, then the end: nothing after it is read.
    REQUIRE(said.size() == 1);
    CHECK((said[0] == 501 || (said[0] >= 400 && said[0] < 500)));
    world.check_alive();
  }
}

TEST_CASE("hostile HTTP: paths that escape, decode to nonsense or do not end lead nowhere") {
  attacked world;
  for (std::string target :
       {"/../../etc/passwd", "/v1/apps/..%2f..%2f..%2fetc%2fpasswd", "/v1/apps/%2e%2e", "/v1/nodes/%00", "/v1/nodes/%",
        "/v1/nodes/%2", "/v1/nodes/%zz", "/v1/nodes/%c0%af%c0%af", "/v1/nodes/%ff%fe", "/v1/apps/%0d%0aSet-Cookie:%20a",
        "//v1//status", "/v1/status/", "/v1/routers/%F0%9F%98%80", "*", "/v1/nodes/a%2Fdrain", "/?../../",
        "/v1/apps/;x", "http://evil/v1/status", "/%76%31/status"}) {
    CAPTURE(target);
    for (auto method : {"GET", "PUT", "DELETE", "POST"}) {
      auto said = world.statuses_of(with_body(method, target, "application/json", "{}"));
      REQUIRE(said.size() == 1);
      CHECK(said[0] >= 400);
      CHECK(said[0] < 500);
    }
  }
  CHECK(world.statuses_of("GET /" + std::string(60'000, 'a') + " HTTP/1.1\r\n\r\n") == std::vector{431});
  CHECK(world.statuses_of("GET /" + std::string(200'000, '%')) == std::vector{431});
  // A name that comes back in the answer does not become a header.
  auto client = world.connect();
  client.send(request("DELETE", "/v1/apps/%0d%0aEvil:%20yes%0d%0a%0d%0a"));
  auto reply = client.read_reply();
  CHECK(reply.headers.count("evil") == 0);
  world.check_alive();
}

TEST_CASE("hostile HTTP: bodies that are nonsense are refused by every route that changes something") {
  attacked world;
  std::string deep(30'000, '[');
  std::string deep_objects;
  for (auto i = 0; i < 10'000; ++i)
    deep_objects += "{\"a\":";
  const std::string bodies[] = {
      "",
      "{",
      "null",
      "[]",
      "\"x\"",
      "{\"name\":1}",
      "{\"name\":{\"name\":{}}}",
      "{\"replicas\":1e999}",
      "{\"replicas\":-1}",
      "{\"replicas\":18446744073709551616}",
      "{\"name\":\"\\ud800\"}",
      "{\"name\":\"\xff\xfe\"}",
      std::string{"{\"name\":\"a\0b\"}", 14},
      deep,
      deep + std::string(30'000, ']'),
      deep_objects,
      "{\"token\":[],\"csr\":{}}",
      "{\"token\":\"astra1." + std::string(50'000, 'A') + "\",\"csr\":\"x\"}",
      "{\"token\":\"x\",\"csr\":\"-----BEGIN CERTIFICATE REQUEST-----\\nAAAA\\n-----END CERTIFICATE REQUEST-----\"}",
      "a = " + deep,
      "[a" + std::string(20'000, '.') + "]",
      "x = \"\"\"" + std::string(1000, '"'),
      "name = 1979-99-99T99:99:99Z",
      std::string(60'000, '\0'),
  };
  for (auto& body : bodies)
    for (auto type : {"application/json", "application/toml", "text/xml"})
      for (auto [method, target] :
           {std::pair{"PUT", "/v1/apps/new"}, std::pair{"PUT", "/v1/apps/echo"}, std::pair{"DELETE", "/v1/apps/new"},
            std::pair{"POST", "/v1/nodes/n1/drain"}, std::pair{"POST", "/v1/join"}, std::pair{"POST", "/v1/renew"}}) {
        CAPTURE(body.substr(0, 80));
        CAPTURE(type);
        CAPTURE(target);
        auto client = world.connect();
        client.send(with_body(method, target, type, body));
        auto reply = client.read_reply();
        CHECK(reply.status >= 400);
        CHECK(reply.status < 500);
        CHECK(reply.body.starts_with("{\"error\":{"));
      }
  world.check_alive();
}

TEST_CASE("hostile HTTP: the slow, the silent and the half-open are shown the door, and others are served meanwhile") {
  attacked world;
  std::vector<tcp_peer> slow;
  auto open = [&](std::string_view bytes) {
    slow.push_back(world.connect());
    slow.back().send(bytes);
  };
  open("");
  open("GET /livez HT");
  open("GET /livez HTTP/1.1\r\nA: ");
  open("\r\n\r\n\r\n");
  open(request("POST", "/v1/apps/echo/invoke", "Content-Length: 1000\r\n", "some"));
  open(request("POST", "/v1/apps/echo/invoke", "Transfer-Encoding: chunked\r\n", "ff\r\nsome"));
  open(request("POST", "/v1/apps/echo/invoke", "Expect: 100-continue\r\nContent-Length: 10\r\n"));
  auto half_open = world.connect();
  half_open.send(live_gateway::invoke("half"));
  half_open.half_close();
  // Who closes takes its request back, if it is not answered by then.
  CHECK(half_open.ends_within(3s));
  auto since = std::chrono::steady_clock::now();
  // A byte at a time: neither headers nor bodies are kept alive by that.
  auto dribble = world.connect();
  auto body = world.connect();
  body.send(request("POST", "/v1/apps/echo/invoke", "Content-Length: 100000\r\n"));
  auto dribbling = true;
  auto body_going_on = true;
  while ((dribbling || body_going_on) && std::chrono::steady_clock::now() - since < 5s) {
    dribbling = dribbling && dribble.send("G") && dribble.read_some(20ms) == tcp_peer::read_outcome::silence;
    body_going_on = body_going_on && body.send("x") && body.read_some(20ms) == tcp_peer::read_outcome::silence;
    world.check_alive();
  }
  CHECK_FALSE(dribbling);
  CHECK_FALSE(body_going_on);
  CHECK(body.read_reply().status == 408);
  for (auto& peer : slow)
    CHECK(peer.ends_within(3s));
}

TEST_CASE("hostile HTTP: endless headers, floods and unread answers are bounded") {
  attacked world;
  auto before = resident_kib();
  auto endless = world.connect();
  endless.send("GET /livez HTTP/1.1\r\n");
  for (auto i = 0; i < 200'000; ++i)
    if (!endless.send("X-Header: value\r\n"))
      break;
  CHECK(endless.ends_within(3s));
  // Requests without end whose answers nobody reads.
  std::string flood;
  for (auto i = 0; i < 2000; ++i)
    flood += request("GET", "/v1/status");
  std::vector<tcp_peer> deaf;
  for (auto i = 0; i < 8; ++i) {
    deaf.push_back(world.connect());
    timeval patience{0, 200'000};
    ::setsockopt(deaf.back().descriptor(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    for (auto n = 0; n < 20; ++n)
      if (!deaf.back().send(flood))
        break;
  }
  world.check_alive();
  for (auto& peer : deaf)
    peer.reset();
  // Large bodies announced, and not sent.
  std::vector<tcp_peer> announced;
  for (auto i = 0; i < 50; ++i) {
    announced.push_back(world.connect());
    announced.back().send(request("POST", "/v1/apps/echo/invoke", "Content-Length: 67000000\r\n", "x"));
  }
  for (auto i = 0; i < 500; ++i) {
    auto peer = world.connect();
    peer.send(live_gateway::invoke(std::string(1000, 'x')));
    peer.reset();
  }
  announced.clear();
  world.check_alive();
  CHECK(resident_kib() < before + 48 * 1024);
}

TEST_CASE("hostile HTTP: bodies that are on their way have a limit for all of them together") {
  http_server_options options;
  options.body_limit_bytes = 4 << 20;
  options.bodies_bytes_max = 8 << 20;
  auto server = need(http_server::start(options, [](http_exchange_ptr exchange) { exchange->answer({}); }));
  std::vector<tcp_peer> filling;
  auto refused = 0;
  for (auto i = 0; i < 8; ++i) {
    filling.push_back(tcp_peer::connect(server->port()));
    filling.back().send(request("POST", "/", "Content-Length: 4000000\r\n", std::string(2'000'000, 'x')));
    if (filling.back().read_some(100ms) == tcp_peer::read_outcome::data)
      refused += filling.back().read_reply().status == 503;
  }
  CHECK(refused >= 3);
  filling.clear();
  std::this_thread::sleep_for(50ms);
  auto honest = tcp_peer::connect(server->port());
  honest.send(request("POST", "/", "Content-Length: 4000000\r\n", std::string(4'000'000, 'x')));
  CHECK(honest.read_reply().status == 200);
}

TEST_CASE("hostile HTTP: one address that takes all connections keeps nobody else out") {
  attacked world;
  std::vector<tcp_peer> greedy;
  for (auto i = 0; i < 200; ++i) {
    greedy.push_back(world.connect());
    greedy.back().send("GET /livez HTTP/1.1\r\n");
  }
  auto other = tcp_peer::connect(world.front->port(), "127.0.0.2");
  other.send(request("GET", "/livez"));
  CHECK(other.read_reply().status == 200);
}

namespace {

struct tls_attacked {
  tls_attacked() {
    gateway_options options = quick_options();
    options.connections_max = 2000;
    gateway_doors doors;
    doors.tls = need(tls_context::load(authority.issue("g1", {peer_role::gateway})));
    world.emplace(options, std::move(doors), std::make_shared<const join_desk>(authority.directory / "ca"));
    check_alive();
  }

  /// A client that trusts this authority, blocking.
  struct client {
    client(tls_context& files, std::uint16_t port)
      : peer(tcp_peer::connect(port)), tls(files.connect(peer.descriptor(), "")) {
      REQUIRE(go_on([&] { return tls->handshake(); }));
    }

    template <class Step>
    bool go_on(Step step) {
      for (auto i = 0; i < 1000; ++i) {
        auto result = step();
        if (result == tls_step::done)
          return true;
        if (result == tls_step::closed || result == tls_step::failed)
          return false;
        std::this_thread::sleep_for(2ms);
      }
      return false;
    }

    int ask(const std::string& bytes) {
      std::size_t count = 0;
      for (std::size_t sent = 0; sent < bytes.size(); sent += count)
        if (!go_on([&] { return tls->write(bytes.data() + sent, bytes.size() - sent, count); }))
          break; // It may have answered already.
      std::string answer;
      auto whole = [&answer] {
        auto head = answer.find("\r\n\r\n");
        auto length = answer.find("Content-Length: ");
        return head != std::string::npos && answer.size() >= head + 4 + std::stoul(answer.substr(length + 16));
      };
      std::array<char, 4096> part{};
      while (!whole()) {
        if (!go_on([&] { return tls->read(part.data(), part.size(), count); }))
          return 0;
        answer.append(part.data(), count);
      }
      return std::stoi(answer.substr(9, 3));
    }

    tcp_peer peer;
    std::unique_ptr<tls_session> tls;
  };

  client connect(tls_context& files) { return {files, world->front->port()}; }

  void check_alive() { CHECK(connect(*nobody).ask(request("GET", "/livez")) == 200); }

  test_authority authority;
  std::shared_ptr<tls_context> nobody = tls_context::pin(authority.ca.fingerprint());
  std::optional<live_gateway> world;
};

} // namespace

TEST_CASE_FIXTURE(tls_attacked, "hostile HTTP: garbage on the TLS port costs nobody anything") {
  const std::string attacks[] = {
      request("GET", "/livez"),
      std::string(100'000, 'x'),
      std::string(1000, '\0'),
      "\x16\x03\x01",
      std::string{"\x16\x03\x01\x40\x00\x01\x00\x01\xfc\x03\x03", 11},
      std::string{"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", 10},
      std::string{"\x15\x03\x01\x00\x02\x02\x28", 7},
      std::string{"\x80\x2e\x01\x03\x01\x00\x15", 7},
      std::string{"\x17\x03\x03\x40\x00", 5} + std::string(16384, 'x'),
  };
  for (auto& bytes : attacks) {
    for (auto i = 0; i < 5; ++i) {
      auto peer = tcp_peer::connect(world->front->port());
      peer.send(bytes);
      if (i % 2 == 0)
        peer.reset();
    }
    check_alive();
  }
}

TEST_CASE_FIXTURE(tls_attacked, "hostile HTTP: who has no certificate cannot make the gateway hold large bodies") {
  std::string large(1'000'000, 'x');
  for (auto [method, target, status] :
       {std::tuple{"POST", "/v1/join", 413}, std::tuple{"POST", "/v1/renew", 413}, std::tuple{"GET", "/livez", 413},
        std::tuple{"POST", "/v1/apps/echo/invoke", 401}, std::tuple{"PUT", "/v1/apps/echo", 401}}) {
    CAPTURE(target);
    CHECK(connect(*nobody).ask(with_body(method, target, "application/json", large)) == status);
    CHECK(connect(*nobody).ask(request(method, target, "Transfer-Encoding: chunked\r\n", "f4240\r\n" + large))
          == status);
  }
  auto viewer = need(tls_context::load(authority.issue("v", {peer_role::viewer})));
  CHECK(connect(*viewer).ask(with_body("POST", "/v1/apps/echo/invoke", "text/plain", large)) == 200);
  CHECK(connect(*viewer).ask(with_body("PUT", "/v1/apps/echo", "application/json", large)) == 403);
}

TEST_CASE_FIXTURE(tls_attacked, "a certificate that expires while its connection is open is good for nothing more") {
  auto brief = need(tls_context::load(authority.issue("v", {peer_role::viewer}, 57, 60s)));
  auto client = connect(*brief);
  auto asked = [&] { return client.ask(request("GET", "/v1/status")); };
  CHECK(asked() == 200);
  // The idle time of these gateways is shorter than that.
  while (brief->expires_at() >= unix_now()) {
    std::this_thread::sleep_for(100ms);
    auto status = asked();
    CHECK((status == 200 || brief->expires_at() < unix_now()));
  }
  CHECK(asked() != 200);
}

TEST_CASE_FIXTURE(tls_attacked, "hostile HTTP: a silent connection costs less than 4 KB before it says something") {
  std::vector<tcp_peer> silent;
  constexpr std::size_t count = 1500;
  silent.reserve(count);
  auto before = resident_kib();
  for (std::size_t i = 0; i < count; ++i)
    silent.push_back(tcp_peer::connect(world->front->port()));
  check_alive();
  auto each = static_cast<double>(resident_kib() - before) * 1024 / static_cast<double>(count);
  MESSAGE(each << " bytes per silent connection");
#ifndef __SANITIZE_ADDRESS__
  CHECK(each < 4096);
#endif
}
