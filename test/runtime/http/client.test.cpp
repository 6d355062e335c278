#include "runtime/http/client.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/http/caller.hpp"
#include "runtime/http/fetch.hpp"
#include "runtime/http/server.hpp"
#include "test/support/tcp_peer.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <thread>

using namespace astra;
using namespace std::chrono_literals;
using test::tcp_listener;

namespace {

http_call call_to(std::uint16_t port, std::string method = "GET", std::string body = {}) {
  http_call result;
  result.host = "127.0.0.1";
  result.port = port;
  result.method = std::move(method);
  result.target = "/t?q=1";
  if (!body.empty())
    result.body = std::make_shared<const std::string>(std::move(body));
  result.content_type = result.body ? "text/plain" : "";
  result.timeout = 5s;
  return result;
}

/// Makes one call and waits for its end.
struct waiting_caller {
  std::future<caf::expected<http_answer>> start(http_call what) {
    auto promise = std::make_shared<std::promise<caf::expected<http_answer>>>();
    auto result = promise->get_future();
    caller.call(++ticket, std::move(what),
                [promise](caf::expected<http_answer> answer) { promise->set_value(std::move(answer)); });
    return result;
  }

  std::uint64_t ticket = 0;
  http_caller caller;
};

struct live_system {
  caf::actor_system_config config;
  caf::actor_system sys{config};
};

constexpr std::string_view ok_reply = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nhi";

} // namespace

TEST_CASE("a call sends what it says and gets the answer") {
  tcp_listener server;
  waiting_caller client;
  auto call = call_to(server.port(), "POST", "question");
  call.headers = {{"A", "one"}, {"B", "two\r\nC: three"}};
  auto pending = client.start(std::move(call));
  auto peer = server.accept();
  CHECK(peer.read_until("\r\n\r\n")
        == "POST /t?q=1 HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port())
               + "\r\nConnection: keep-alive\r\nContent-Length: 8\r\nContent-Type: text/plain\r\nA: one\r\n"
                 "B: two  C: three\r\n\r\n");
  CHECK(peer.read_bytes(8) == "question");
  peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 418 Odd\r\nX: y\r\nTransfer-Encoding: "
            "chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
  auto answer = pending.get();
  REQUIRE(answer);
  CHECK(answer->status == 418);
  CHECK(answer->body == "hi");
  CHECK(answer->headers == http_headers{{"X", "y"}, {"Transfer-Encoding", "chunked"}});
}

TEST_CASE("a second call to the same place uses the first one's connection") {
  tcp_listener server;
  waiting_caller client;
  auto first = client.start(call_to(server.port()));
  auto peer = server.accept();
  peer.read_until("\r\n\r\n");
  peer.send(ok_reply);
  CHECK(first.get()->content_type == "a/b");
  auto second = client.start(call_to(server.port(), "POST", "x"));
  CHECK(peer.read_until("\r\n\r\n").starts_with("POST"));
  peer.read_bytes(1);
  peer.send(ok_reply);
  CHECK(second.get()->body == "hi");
}

TEST_CASE("a kept connection that the server closed is not used again") {
  tcp_listener server;
  waiting_caller client;
  auto first = client.start(call_to(server.port()));
  auto peer = server.accept();
  peer.read_until("\r\n\r\n");
  peer.send(ok_reply);
  REQUIRE(first.get());
  peer.close();
  std::this_thread::sleep_for(20ms);
  auto second = client.start(call_to(server.port(), "POST", "x"));
  auto again = server.accept();
  again.read_until("\r\n\r\nx");
  again.send(ok_reply);
  CHECK(second.get());
}

TEST_CASE("when a kept connection dies under a call, GET is repeated and POST is not") {
  for (std::string method : {"GET", "POST"}) {
    CAPTURE(method);
    tcp_listener server;
    waiting_caller client;
    auto first = client.start(call_to(server.port()));
    auto peer = server.accept();
    peer.read_until("\r\n\r\n");
    peer.send(ok_reply);
    REQUIRE(first.get());
    auto second = client.start(call_to(server.port(), method, method == "POST" ? "x" : ""));
    peer.read_until("\r\n\r\n");
    peer.close();
    if (method == "GET") {
      auto again = server.accept();
      again.read_until("\r\n\r\n");
      again.send(ok_reply);
      CHECK(second.get());
    } else {
      CHECK(second.get().error() == errc::io_failed);
    }
  }
}

TEST_CASE("nobody listening is unreachable, and says where") {
  std::uint16_t port = 0;
  {
    tcp_listener gone;
    port = gone.port();
  }
  waiting_caller client;
  auto answer = client.start(call_to(port)).get();
  REQUIRE_FALSE(answer);
  CHECK(answer.error() == errc::unreachable);
  CHECK(to_string(answer.error()).find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
}

TEST_CASE("the timeout covers a server that accepts and stays silent, or sends for ever") {
  tcp_listener server;
  waiting_caller client;
  auto call = call_to(server.port());
  call.timeout = 150ms;
  auto begin = std::chrono::steady_clock::now();
  CHECK(client.start(call).get().error() == errc::timed_out);
  CHECK(std::chrono::steady_clock::now() - begin < 2s);
  auto trickle = client.start(call);
  server.accept().close();
  auto peer = server.accept();
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  while (trickle.wait_for(10ms) == std::future_status::timeout)
    peer.send("x");
  CHECK(trickle.get().error() == errc::timed_out);
  call.timeout = 0ms;
  CHECK(client.start(call).get().error() == errc::timed_out);
}

TEST_CASE("answers over the limit, malformed or cut short have a code each") {
  struct bad_answer {
    std::string bytes;
    std::string why;
    errc code;
  };
  const bad_answer bad[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "larger than 1000 bytes", errc::output_exceeded},
      {"HTTP/1.1 200 OK\r\n\r\n" + std::string(2000, 'x'), "larger than 1000 bytes", errc::output_exceeded},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + std::string(0xfff, 'x'), "larger than",
       errc::output_exceeded},
      {"HTTP/1.1 200 OK\r\nA: " + std::string(100'000, 'x'), "headers of the answer are too large",
       errc::output_exceeded},
      {"SSH-2.0-OpenSSH\r\n", "malformed answer", errc::app_failed},
      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "closed the connection", errc::io_failed},
      {"HTTP/1.1 200", "closed the connection", errc::io_failed},
      {"", "closed the connection", errc::io_failed},
  };
  for (auto& [bytes, why, code] : bad) {
    CAPTURE(why);
    tcp_listener server;
    waiting_caller client;
    auto call = call_to(server.port());
    call.response_limit_bytes = 1000;
    auto pending = client.start(call);
    auto peer = server.accept();
    peer.read_until("\r\n\r\n");
    peer.send(bytes);
    peer.close();
    auto answer = pending.get();
    REQUIRE_FALSE(answer);
    CHECK(answer.error() == code);
    CHECK(to_string(answer.error()).find(why) != std::string::npos);
  }
}

TEST_CASE("an answer without length ends with the connection") {
  tcp_listener server;
  waiting_caller client;
  auto pending = client.start(call_to(server.port()));
  auto peer = server.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.0 200 OK\r\n\r\nto the end");
  peer.close();
  CHECK(pending.get()->body == "to the end");
}

TEST_CASE("a server that answers before it has read the body is heard") {
  auto server = http_server::start({.body_limit_bytes = 10}, [](http_exchange_ptr) {});
  REQUIRE(server);
  waiting_caller client;
  auto answer = client.start(call_to((*server)->port(), "POST", std::string(8 * 1024 * 1024, 'x'))).get();
  REQUIRE(answer);
  CHECK(answer->status == 413);
}

TEST_CASE("a request line that would break out of its line is refused") {
  waiting_caller client;
  auto call = call_to(1);
  call.target = "/ HTTP/1.1\r\nX: y";
  CHECK(client.start(call).get().error() == errc::io_failed);
}

TEST_CASE("abort ends a call as cancelled and closes its connection; the caller's end does so to all") {
  tcp_listener server;
  std::future<caf::expected<http_answer>> last;
  {
    waiting_caller client;
    auto pending = client.start(call_to(server.port()));
    auto peer = server.accept();
    peer.read_until("\r\n\r\n");
    client.caller.abort(client.ticket);
    CHECK(pending.get().error() == errc::cancelled);
    CHECK(peer.ends_within(1s));
    client.caller.abort(client.ticket);
    last = client.start(call_to(server.port()));
    server.accept();
  }
  CHECK(last.wait_for(0s) == std::future_status::ready);
}

TEST_CASE("fetch makes one call and reports what went wrong") {
  auto server = http_server::start(
      {}, [](http_exchange_ptr exchange) { exchange->answer({.status = 404, .body = exchange->request().target}); });
  REQUIRE(server);
  auto call = call_to((*server)->port());
  for (auto host : {"127.0.0.1", "localhost"}) {
    call.host = host;
    auto answer = fetch(call);
    REQUIRE(answer);
    CHECK(answer->status == 404);
    CHECK(answer->body == "/t?q=1");
  }
  server->reset();
  CHECK(fetch(call).error() == errc::unreachable);
}

TEST_CASE("the client actor answers calls, aborts only the sender's own, and fails the rest when it ends") {
  live_system world;
  tcp_listener server;
  auto client = spawn_http_client(world.sys);
  caf::scoped_actor self{world.sys};
  caf::scoped_actor other{world.sys};
  auto call = call_to(server.port());
  call.id = 7;

  auto done = self->request(client, 10s, call);
  auto peer = server.accept();
  peer.read_until("\r\n\r\n");
  other->send(client, http_abort{7});
  peer.send(ok_reply);
  done.receive([](http_answer& answer) { CHECK(answer.body == "hi"); }, [](caf::error& e) { FAIL(to_string(e)); });

  auto aborted = self->request(client, 10s, call);
  self->send(client, http_abort{7});
  aborted.receive([](http_answer&) { FAIL("answered"); }, [](caf::error& e) { CHECK(e == errc::cancelled); });

  auto orphan = self->request(client, 10s, call);
  caf::anon_send_exit(client, caf::exit_reason::user_shutdown);
  orphan.receive([](http_answer&) { FAIL("answered"); }, [](caf::error& e) { CHECK(e == errc::cancelled); });
}

TEST_CASE("hundreds of calls at once to one server all get their own answer") {
  auto server =
      http_server::start({}, [](http_exchange_ptr exchange) { exchange->answer({.body = *exchange->request().body}); });
  REQUIRE(server);
  waiting_caller client;
  std::vector<std::future<caf::expected<http_answer>>> pending;
  for (auto i = 0; i < 300; ++i)
    pending.push_back(client.start(call_to((*server)->port(), "POST", "n" + std::to_string(i))));
  for (auto i = 0; i < 300; ++i) {
    auto answer = pending[static_cast<std::size_t>(i)].get();
    REQUIRE(answer);
    CHECK(answer->body == "n" + std::to_string(i));
  }
}

TEST_CASE("a body that comes in pieces is handed on as it comes, and its limit is for each piece") {
  http_exchange_ptr held;
  std::promise<void> asked;
  auto server = http_server::start({}, [&](http_exchange_ptr exchange) {
    held = std::move(exchange);
    asked.set_value();
  });
  REQUIRE(server);
  http_call call;
  call.host = "127.0.0.1";
  call.port = (*server)->port();
  call.timeout = 500ms;
  std::string got;
  std::promise<void> first;
  auto answer = std::async(std::launch::async, [&] {
    return fetch(call, {}, [&](std::string_view piece) {
      if (got.empty())
        first.set_value();
      got += piece;
      return true;
    });
  });
  asked.get_future().wait();
  auto stream = held->begin({});
  for (auto i = 0; i < 5; ++i) { // Longer than the limit in all.
    stream->write("piece\n", nullptr);
    if (i == 0)
      CHECK(first.get_future().wait_for(5s) == std::future_status::ready);
    std::this_thread::sleep_for(150ms);
  }
  stream->end();
  auto result = answer.get();
  REQUIRE(result);
  CHECK(result->status == 200);
  CHECK(result->body == "");
  CHECK(got == "piece\npiece\npiece\npiece\npiece\n");
}

TEST_CASE("a body that is cut is an error, however much of it came; one that is refused is no body") {
  auto cut = true;
  auto server = http_server::start({}, [&](http_exchange_ptr exchange) {
    if (!cut) {
      exchange->answer({.status = 404, .body = "no such thing"});
      return;
    }
    exchange->begin({})->write("half", nullptr);
  });
  REQUIRE(server);
  http_call call;
  call.host = "127.0.0.1";
  call.port = (*server)->port();
  call.timeout = 5s;
  std::string got;
  auto keep = [&](std::string_view piece) {
    got += piece;
    return true;
  };
  auto half = fetch(call, {}, keep);
  CHECK(got == "half");
  CHECK(half.error() == errc::io_failed);
  cut = false;
  auto refused = fetch(call, {}, keep);
  REQUIRE(refused);
  CHECK(refused->status == 404);
  CHECK(refused->body == "no such thing");
  CHECK(got == "half");
  cut = true;
  CHECK(fetch(call, {}, [](std::string_view) { return false; }).error() == errc::cancelled);
}
