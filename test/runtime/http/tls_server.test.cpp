#include "runtime/http/client_info.hpp"
#include "runtime/http/fetch.hpp"
#include "runtime/http/server.hpp"
#include "test/runtime/security/test_authority.hpp"
#include "test/support/tcp_peer.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <vector>

using namespace astra;
using namespace astra::test;
using namespace std::chrono_literals;

namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// Whether the server closes the connection; it may say why first.
bool ends(tcp_peer& peer) {
  auto outcome = tcp_peer::read_outcome::data;
  while (outcome == tcp_peer::read_outcome::data)
    outcome = peer.read_some(5s);
  return outcome == tcp_peer::read_outcome::end;
}

/// Answers who has asked, and the size of the body.
struct fixture : test_authority {
  void start(http_server_options options = {}) {
    options.tls = need(tls_context::load(issue("g1", {peer_role::gateway})));
    options.unix_path = (directory / "gateway.sock").string();
    auto started = http_server::start(options, [](http_exchange_ptr exchange) {
      auto client = client_info_of(exchange->request());
      http_response response;
      response.body = (client.identity ? client.identity->name : "nobody") + " " + client.from.substr(0, 4) + " "
                      + std::to_string(exchange->request().body->size());
      response.body += exchange->request().target == "/large" ? std::string(3'000'000, 'x') : "";
      exchange->answer(std::move(response));
    });
    server = need(std::move(started));
  }

  std::string ask(const fetch_door& door, const std::string& target = "/", std::size_t body_bytes = 0) {
    http_call call;
    call.host = "127.0.0.1";
    call.port = server->port();
    call.target = target;
    call.method = body_bytes == 0 ? "GET" : "POST";
    call.body = std::make_shared<const std::string>(body_bytes, 'b');
    call.timeout = 20s;
    auto answer = fetch(call, door);
    return answer ? answer->body : "failed: " + error_text(answer.error());
  }

  fetch_door with(const tls_options& files) { return {{}, need(tls_context::load(files))}; }

  std::unique_ptr<http_server> server;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "over HTTPS the server knows who asks, and takes and gives large bodies") {
  start();
  auto operator_door = with(issue("alice", {peer_role::operator_}));
  CHECK(ask(operator_door) == "alice 127. 0");
  CHECK(ask(operator_door) == "alice 127. 0"); // resumed
  CHECK(ask(operator_door, "/", 5'000'000) == "alice 127. 5000000");
  CHECK(ask(operator_door, "/large").size() == 3'000'000 + 12);
  CHECK(ask({{}, tls_context::pin(ca.fingerprint())}) == "nobody 127. 0");
}

TEST_CASE_FIXTURE(fixture, "a client of another authority is refused with the reason") {
  start();
  test_authority other;
  auto files = other.issue("eve", {peer_role::operator_});
  files.ca = other.issue("x", {peer_role::node}).ca;
  CHECK(contains(ask(with(files)), "the certificate of 'g1' is signed by another authority"));
  CHECK(contains(ask({{}, tls_context::pin(other.ca.fingerprint())}), "does not show the authority"));
}

TEST_CASE_FIXTURE(fixture, "a client takes no other server for a gateway") {
  http_server_options options;
  options.tls = need(tls_context::load(issue("n17", {peer_role::node})));
  server = need(http_server::start(options, [](http_exchange_ptr) {}));
  CHECK(contains(ask(with(issue("alice", {peer_role::operator_}))), "'n17' shows the certificate of a node"));
}

TEST_CASE_FIXTURE(fixture, "the Unix socket is its owner's alone, tells who is there, and goes with the server") {
  start();
  auto path = (directory / "gateway.sock").string();
  struct ::stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(ask({path, nullptr}) == "nobody uid= 0");
  CHECK(ask({path, nullptr}, "/", 1'000'000) == "nobody uid= 1000000");
  server.reset();
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE_FIXTURE(fixture, "plain text, silence and half a handshake are cut, and cost honest clients nothing") {
  http_server_options options;
  options.handshake_timeout = 300ms;
  options.connections_max = 20;
  start(options);
  auto plain = tcp_peer::connect(server->port());
  plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(ends(plain));
  std::vector<tcp_peer> silent;
  for (int i = 0; i < 10; ++i)
    silent.push_back(tcp_peer::connect(server->port()));
  auto half = tcp_peer::connect(server->port());
  half.send(std::string{"\x16\x03\x01\x02\x00\x01", 6});
  CHECK(ask(with(issue("alice", {peer_role::operator_}))) == "alice 127. 0");
  for (auto& peer : silent)
    CHECK(ends(peer));
  CHECK(ends(half));
}

TEST_CASE_FIXTURE(fixture, "sockets in the handshake count as connections; the Unix socket still gets in") {
  http_server_options options;
  options.handshake_timeout = 2s;
  options.connections_max = 3;
  start(options);
  std::vector<tcp_peer> silent;
  for (int i = 0; i < 3; ++i)
    silent.push_back(tcp_peer::connect(server->port()));
  auto over = tcp_peer::connect(server->port());
  CHECK(ends(over));
  CHECK(ask({(directory / "gateway.sock").string(), nullptr}) == "nobody uid= 0");
}

TEST_CASE_FIXTURE(fixture, "a client cannot say who it is in a header") {
  http_server_options options;
  auto started = http_server::start(options, [](http_exchange_ptr exchange) {
    http_response response;
    response.body = client_info_of(exchange->request()).door == http_door::plain ? "plain" : "forged";
    exchange->answer(std::move(response));
  });
  server = need(std::move(started));
  for (auto line : {":door: unix", " :door: unix", ":door : unix"}) {
    auto peer = tcp_peer::connect(server->port());
    peer.send(std::string{"GET / HTTP/1.1\r\n"} + line + "\r\nHost: a\r\n\r\n");
    auto reply = peer.read_reply();
    CHECK((reply.status == 400 || reply.body == "plain"));
  }
}
