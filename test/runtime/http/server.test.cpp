#include "runtime/http/server.hpp"

#include "test/support/tcp_peer.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

using namespace astra;
using namespace std::chrono_literals;
using test::tcp_peer;

namespace {

http_response text(std::string body) {
  http_response result;
  result.content_type = "text/plain";
  result.body = std::move(body);
  return result;
}

std::string get(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

/// A server that answers "METHOD target body"; requests for /hold are kept for the test to answer.
struct echo_server {
  explicit echo_server(http_server_options options = {}) {
    auto started = http_server::start(options, [this](http_exchange_ptr exchange) { handle(std::move(exchange)); });
    REQUIRE(started);
    server = std::move(*started);
  }

  void handle(http_exchange_ptr exchange) {
    auto& request = exchange->request();
    if (request.target.starts_with("/hold")) {
      std::lock_guard guard{mutex};
      held.push_back(std::move(exchange));
      changed.notify_all();
      return;
    }
    if (request.target == "/drop")
      return;
    exchange->answer(text(request.method + " " + request.target + " " + *request.body));
  }

  http_exchange_ptr take_held() {
    std::unique_lock guard{mutex};
    REQUIRE(changed.wait_for(guard, 5s, [this] { return !held.empty(); }));
    auto result = std::move(held.front());
    held.erase(held.begin());
    return result;
  }

  tcp_peer connect() { return tcp_peer::connect(server->port()); }

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<http_exchange_ptr> held;
  std::unique_ptr<http_server> server; // Last: its thread uses the rest.
};

} // namespace

TEST_CASE("a connection serves many requests, one after the other and pipelined, in their order") {
  echo_server world;
  auto client = world.connect();
  client.send(get("/1"));
  CHECK(client.read_reply().body == "GET /1 ");
  client.send(get("/hold") + get("/3") + "POST /4 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody" + get("/5"));
  auto held = world.take_held();
  CHECK(client.read_some(50ms) == tcp_peer::read_outcome::silence);
  CHECK(held->answer(text("first")));
  CHECK(client.read_reply().body == "first");
  CHECK(client.read_reply().body == "GET /3 ");
  CHECK(client.read_reply().body == "POST /4 body");
  auto last = client.read_reply();
  CHECK(last.body == "GET /5 ");
  CHECK(last.headers["connection"] == "keep-alive");
}

TEST_CASE("HEAD gets the headers of GET without its body, and the connection stays in step") {
  echo_server world;
  auto client = world.connect();
  client.send("HEAD /x HTTP/1.1\r\n\r\n" + get("/y"));
  auto head = client.read_reply(true);
  CHECK(head.status == 200);
  CHECK(head.headers["content-length"] == "8");
  CHECK(client.read_reply().body == "GET /y ");
}

TEST_CASE("chunked bodies arrive whole, in one piece or byte by byte") {
  echo_server world;
  auto client = world.connect();
  std::string request = "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
  client.send(request);
  CHECK(client.read_reply().body == "POST /c hello world");
  for (auto c : request)
    client.send({&c, 1});
  CHECK(client.read_reply().body == "POST /c hello world");
}

TEST_CASE("a client that expects 100-continue is told to go on, or gets 413 without sending its body") {
  echo_server world{{.body_limit_bytes = 10}};
  auto client = world.connect();
  client.send("POST /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  CHECK(client.read_until("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("body");
  CHECK(client.read_reply().body == "POST /e body");
  client.send("POST /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
  CHECK(client.read_reply().status == 413);
  auto other = world.connect();
  other.send("POST /e HTTP/1.1\r\nExpect: wonders\r\nContent-Length: 4\r\n\r\n");
  CHECK(other.read_reply().status == 417);
}

TEST_CASE("an HTTP/1.0 client and one that asks to close get their answer and the end") {
  echo_server world;
  for (auto request : {"GET /old HTTP/1.0\r\n\r\n", "GET /old HTTP/1.1\r\nConnection: close\r\n\r\n"}) {
    auto client = world.connect();
    client.send(request);
    auto reply = client.read_reply();
    CHECK(reply.body == "GET /old ");
    CHECK(reply.headers["connection"] == "close");
    CHECK(client.ends_within(5s));
  }
}

TEST_CASE("a body over the limit is 413, announced or chunked, and the answer survives the unread rest") {
  echo_server world{{.body_limit_bytes = 1000}};
  std::string large(200'000, 'x');
  for (auto head : {"POST /b HTTP/1.1\r\nContent-Length: 200000\r\n\r\n",
                    "POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n"}) {
    auto client = world.connect();
    client.send(std::string{head} + large);
    auto reply = client.read_reply();
    CHECK(reply.status == 413);
    CHECK(reply.headers["content-type"] == "application/json");
    CHECK(reply.body == R"({"error":{"code":"body_too_large","message":"the body is limited to 1000 bytes"}})");
    client.half_close();
    CHECK(client.ends_within(5s));
  }
}

TEST_CASE("headers over the limit are 431") {
  echo_server world{{.header_limit_bytes = 2000}};
  auto many = world.connect();
  many.send("GET / HTTP/1.1\r\n");
  for (auto i = 0; i < 300; ++i)
    many.send("X-Header: value\r\n");
  CHECK(many.read_reply().status == 431);
  auto endless = world.connect();
  endless.send("GET /" + std::string(100'000, 'a'));
  CHECK(endless.read_reply().status == 431);
}

TEST_CASE("connections over the limit are answered 503 and make room again when others end") {
  echo_server world{{.connections_max = 2}};
  auto first = world.connect();
  auto second = world.connect();
  for (auto* client : {&first, &second}) {
    client->send(get("/in"));
    CHECK(client->read_reply().status == 200);
  }
  auto third = world.connect();
  third.send(get("/out"));
  auto reply = third.read_reply();
  CHECK(reply.status == 503);
  CHECK(reply.headers["retry-after"] == "1");
  CHECK(reply.body.find("too_many_connections") != std::string::npos);
  first.close();
  auto served = false;
  for (auto i = 0; i < 100 && !served; ++i) {
    auto next = world.connect();
    next.send(get("/in"));
    served = next.read_reply().status == 200;
  }
  CHECK(served);
}

TEST_CASE("what is not HTTP is answered 400 in JSON, never handled, and the server lives on") {
  std::atomic<int> handled = 0;
  auto server = http_server::start({}, [&](http_exchange_ptr exchange) {
    ++handled;
    exchange->answer(text("ok"));
  });
  REQUIRE(server);
  const std::string garbage[] = {
      "hello\r\n\r\n",
      "GET\r\n\r\n",
      "GET /\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      "GET / FTP/1.1\r\n\r\n",
      "G\x01T / HTTP/1.1\r\n\r\n",
      "GET /\x01 HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nNo colon here\r\n\r\n",
      "GET / HTTP/1.1\r\n: empty name\r\n\r\n",
      "GET / HTTP/1.1\r\nA : space before colon\r\n\r\n",
      "GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
      "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
      "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello_no_break\r\n0\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
      std::string(100, '\0') + "\r\n\r\n",
  };
  for (auto& bytes : garbage) {
    CAPTURE(bytes);
    auto client = tcp_peer::connect((*server)->port());
    client.send(bytes);
    client.half_close();
    auto reply = client.read_reply();
    CHECK(reply.status == 400);
    CHECK(reply.body.starts_with(R"({"error":{"code":"bad_request","message":")"));
    CHECK(client.ends_within(5s));
  }
  CHECK(handled == 0);
  auto client = tcp_peer::connect((*server)->port());
  client.send("GET / HTTP/1.1\r\n");
  client.half_close();
  CHECK(client.read_reply().status == 400);
}

TEST_CASE("random bytes and damaged requests never crash or hang the server") {
  echo_server world{{.body_limit_bytes = 4096, .header_limit_bytes = 1024}};
  const std::string good =
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n";
  CHECK(rc::check("noise", [&](const std::vector<std::uint8_t>& noise, std::uint16_t place, bool damage) {
    std::string bytes(noise.begin(), noise.end());
    if (damage)
      bytes = std::string{good}.replace(place % good.size(), std::min<std::size_t>(bytes.size(), 3), bytes);
    auto client = world.connect();
    client.send(bytes);
    client.half_close();
    RC_ASSERT(client.ends_within(5s));
  }));
  auto client = world.connect();
  client.send(get("/alive"));
  CHECK(client.read_reply().body == "GET /alive ");
}

TEST_CASE("a silent client is closed after the idle time, a slow header answered 408, a pending request left alone") {
  echo_server world{{.idle_timeout = 200ms}};
  auto silent = world.connect();
  auto slow = world.connect();
  slow.send("GET / HT");
  auto waiting = world.connect();
  waiting.send(get("/hold"));
  auto held = world.take_held();
  CHECK(silent.ends_within(2s));
  CHECK(slow.read_reply().status == 408);
  std::this_thread::sleep_for(300ms);
  held->answer(text("late"));
  CHECK(waiting.read_reply().body == "late");
}

TEST_CASE("a header that trickles in byte by byte does not outlive the idle time") {
  echo_server world{{.idle_timeout = 200ms}};
  auto client = world.connect();
  auto begin = std::chrono::steady_clock::now();
  while (client.send("a") && client.read_some(20ms) == tcp_peer::read_outcome::silence)
    REQUIRE(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(client.read_reply().status == 408);
}

TEST_CASE("a client that takes nothing of a large answer is closed after the idle time") {
  auto server = http_server::start({.idle_timeout = 200ms}, [](http_exchange_ptr exchange) {
    exchange->answer(text(std::string(64 * 1024 * 1024, 'x')));
  });
  REQUIRE(server);
  auto client = tcp_peer::connect((*server)->port());
  client.send(get("/"));
  (*server)->close();
  CHECK((*server)->wait(3s));
}

TEST_CASE("the handler learns within a second that its client is gone, by end or by reset") {
  echo_server world;
  for (auto reset : {false, true}) {
    auto client = world.connect();
    client.send(get("/hold"));
    auto held = world.take_held();
    std::promise<void> gone;
    held->on_gone([&] { gone.set_value(); });
    auto heard = gone.get_future();
    CHECK(heard.wait_for(50ms) == std::future_status::timeout);
    reset ? client.reset() : client.close();
    CHECK(heard.wait_for(1s) == std::future_status::ready);
    CHECK(held->answer(text("for nobody")));
  }
}

TEST_CASE("a callback set after the client is gone is called at once, and never after an answer") {
  echo_server world;
  auto client = world.connect();
  client.send(get("/hold"));
  auto held = world.take_held();
  client.reset();
  std::this_thread::sleep_for(50ms);
  std::promise<void> gone;
  held->on_gone([&] { gone.set_value(); });
  CHECK(gone.get_future().wait_for(1s) == std::future_status::ready);

  auto other = world.connect();
  other.send(get("/hold"));
  auto answered = world.take_held();
  std::atomic<int> calls = 0;
  answered->on_gone([&] { ++calls; });
  answered->answer(text("x"));
  CHECK(other.read_reply().body == "x");
  other.close();
  std::this_thread::sleep_for(50ms);
  CHECK(calls == 0);
}

TEST_CASE("the first of two answers counts, and a dropped exchange is answered 500") {
  echo_server world;
  auto client = world.connect();
  client.send(get("/hold") + get("/drop") + get("/after"));
  auto held = world.take_held();
  CHECK(held->answer(text("one")));
  CHECK_FALSE(held->answer(text("two")));
  CHECK(client.read_reply().body == "one");
  CHECK(client.read_reply().status == 500);
  CHECK(client.read_reply().body == "GET /after ");
}

TEST_CASE("header values from the handler cannot break out of their line") {
  auto server = http_server::start({}, [](http_exchange_ptr exchange) {
    auto response = text("x");
    response.headers.emplace_back("A", "b\r\nSet-Cookie: evil\r\n\r\n<body>");
    exchange->answer(std::move(response));
  });
  REQUIRE(server);
  auto client = tcp_peer::connect((*server)->port());
  client.send(get("/"));
  auto reply = client.read_reply();
  CHECK(reply.headers["a"] == "b  Set-Cookie: evil    <body>");
  CHECK(reply.body == "x");
}

TEST_CASE("close() ends idle connections, lets pending ones have their answer, and takes no new ones") {
  echo_server world;
  auto idle = world.connect();
  idle.send(get("/x"));
  CHECK(idle.read_reply().status == 200);
  auto busy = world.connect();
  busy.send(get("/hold"));
  auto held = world.take_held();
  world.server->close();
  CHECK(idle.ends_within(1s));
  CHECK_FALSE(world.server->wait(50ms));
  CHECK_THROWS(world.connect());
  held->answer(text("done"));
  auto reply = busy.read_reply();
  CHECK(reply.body == "done");
  CHECK(reply.headers["connection"] == "close");
  CHECK(world.server->wait(500ms));
}

TEST_CASE("stop() cuts what is pending within 500 ms; answers that come later are harmless") {
  auto world = std::make_unique<echo_server>();
  auto client = world->connect();
  client.send(get("/hold"));
  auto held = world->take_held();
  std::promise<void> gone;
  held->on_gone([&] { gone.set_value(); });
  std::this_thread::sleep_for(20ms);
  auto begin = std::chrono::steady_clock::now();
  world->server->stop();
  CHECK(std::chrono::steady_clock::now() - begin < 500ms);
  CHECK(gone.get_future().wait_for(0s) == std::future_status::ready);
  CHECK(client.ends_within(1s));
  world.reset();
  held->answer(text("too late"));
  held->on_gone([] {});
}

TEST_CASE("an address that cannot be listened on is an error that names it") {
  echo_server world;
  for (auto& listen : {world.server->address(), std::string{"nonsense"}, std::string{"127.0.0.1:99999"}}) {
    auto second = http_server::start({.listen = listen}, [](http_exchange_ptr) {});
    REQUIRE_FALSE(second);
    CHECK(to_string(second.error()).find("cannot listen on " + listen) != std::string::npos);
  }
}

TEST_CASE("answers from many threads to many clients at once all arrive") {
  echo_server world;
  constexpr auto clients = 32;
  std::vector<std::thread> threads;
  std::atomic<int> correct = 0;
  for (auto i = 0; i < clients; ++i)
    threads.emplace_back([&, i] {
      auto client = world.connect();
      for (auto k = 0; k < 10; ++k) {
        client.send(get("/hold/" + std::to_string(i)));
        auto reply = client.read_reply();
        correct += reply.body == "/hold/" + std::to_string(i) ? 1 : 0;
      }
    });
  std::vector<std::thread> workers;
  for (auto i = 0; i < 4; ++i)
    workers.emplace_back([&] {
      for (auto k = 0; k < clients * 10 / 4; ++k) {
        auto held = world.take_held();
        held->answer(text(held->request().target));
      }
    });
  for (auto& thread : threads)
    thread.join();
  for (auto& thread : workers)
    thread.join();
  CHECK(correct == clients * 10);
}

TEST_CASE("an answer in pieces is chunked, and the connection serves the next request") {
  echo_server echo;
  auto peer = echo.connect();
  peer.send(get("/hold"));
  auto held = echo.take_held();
  auto stream = held->begin(text("not used"));
  REQUIRE(stream);
  CHECK_FALSE(held->answer(text("too late")));
  CHECK(held->begin(text("")) == nullptr);
  std::promise<void> first;
  stream->write("one", [&] { first.set_value(); });
  CHECK(first.get_future().wait_for(5s) == std::future_status::ready);
  CHECK(peer.read_until("3\r\none\r\n").find("Transfer-Encoding: chunked\r\n") != std::string::npos);
  stream->write("", nullptr); // Would be the end, were it sent.
  stream->write(std::string(300'000, 'x'), nullptr);
  stream->end();
  auto rest = peer.read_until("\r\n0\r\n\r\n");
  CHECK(rest.starts_with("493e0\r\nxxx"));
  CHECK(rest.size() == 7 + 300'000 + 7);
  peer.send(get("/next"));
  CHECK(peer.read_until("GET /next ").find("200 OK") != std::string::npos);
}

TEST_CASE("an answer in pieces whose length is told is sent as it is, and is cut when it ends before that") {
  echo_server echo;
  auto peer = echo.connect();
  auto of_length = [&](const char* length) {
    auto held = echo.take_held();
    auto head = text("");
    head.headers.emplace_back("Content-Length", length);
    return held->begin(std::move(head));
  };
  // Old clients can tell its end, too; and HEAD is told the length.
  peer.send("HEAD /hold HTTP/1.1\r\nHost: a\r\n\r\n");
  of_length("6")->end();
  auto head = peer.read_until("\r\n\r\n");
  CHECK(head.find("Content-Length: 6\r\n") != std::string::npos);
  CHECK(head.find("chunked") == std::string::npos);
  peer.send(get("/hold"));
  auto stream = of_length("6");
  stream->write("one", nullptr);
  stream->write("", nullptr);
  stream->write("two", nullptr);
  stream->end();
  CHECK(peer.read_until("onetwo").find("Content-Length: 6\r\n") != std::string::npos);
  peer.send(get("/hold"));
  stream = of_length("7");
  stream->write("onetwo", nullptr);
  stream->end();
  CHECK(peer.read_until("never sent").ends_with("\r\n\r\nonetwo"));
  auto old = echo.connect();
  old.send("GET /hold HTTP/1.0\r\n\r\n");
  stream = of_length("3");
  stream->write("one", nullptr);
  stream->end();
  CHECK(old.read_until("never sent").ends_with("\r\n\r\none"));
}

TEST_CASE("an answer that is dropped before its end is cut behind what was written, and has no end") {
  echo_server echo;
  auto peer = echo.connect();
  peer.send(get("/hold"));
  auto held = echo.take_held();
  auto stream = held->begin(text(""));
  stream->write("half", nullptr);
  stream.reset();
  auto all = peer.read_until("never sent");
  CHECK(all.ends_with("4\r\nhalf\r\n"));
}

TEST_CASE("who hands out an answer in pieces hears when the client leaves, and that ends it") {
  echo_server echo;
  auto peer = echo.connect();
  peer.send(get("/hold"));
  auto held = echo.take_held();
  std::promise<void> gone;
  held->on_gone([&] { gone.set_value(); });
  auto stream = held->begin(text(""));
  stream->write("piece", nullptr);
  peer.read_until("piece");
  peer.close();
  CHECK(gone.get_future().wait_for(5s) == std::future_status::ready);
  stream->write("nobody", [] { FAIL("nobody took it"); });
  stream->end();
}

TEST_CASE("HTTP/1.0 gets no answer in pieces, and HEAD only its head") {
  echo_server echo;
  auto old = echo.connect();
  old.send("GET /hold HTTP/1.0\r\n\r\n");
  auto held = echo.take_held();
  std::promise<void> gone;
  held->on_gone([&] { gone.set_value(); });
  auto stream = held->begin(text(""));
  CHECK(old.read_until("never sent").find("505 ") != std::string::npos);
  CHECK(gone.get_future().wait_for(5s) == std::future_status::ready);
  auto head = echo.connect();
  head.send("HEAD /hold HTTP/1.1\r\nHost: a\r\n\r\n" + get("/next"));
  held = echo.take_held();
  stream = held->begin(text(""));
  stream->write("body", nullptr);
  stream->end();
  auto all = head.read_until("GET /next ");
  CHECK(all.find("chunked") != std::string::npos);
  CHECK(all.find("body") == std::string::npos);
}

TEST_CASE("a client that does not take its pieces is left after the idle timeout, one that waits for the next is not") {
  echo_server echo{{.idle_timeout = 200ms}};
  auto waits = echo.connect();
  waits.send(get("/hold"));
  auto first = echo.take_held();
  auto patient = first->begin(text(""));
  patient->write("a", nullptr);
  auto stuck = echo.connect();
  stuck.send(get("/hold"));
  auto second = echo.take_held();
  std::promise<void> gone;
  second->on_gone([&] { gone.set_value(); });
  auto full = second->begin(text(""));
  full->write(std::string(64 * 1024 * 1024, 'x'), nullptr);
  CHECK(gone.get_future().wait_for(10s) == std::future_status::ready);
  patient->write("b", nullptr);
  patient->end();
  CHECK(waits.read_until("1\r\nb\r\n0\r\n\r\n").find("1\r\na\r\n") != std::string::npos);
}
