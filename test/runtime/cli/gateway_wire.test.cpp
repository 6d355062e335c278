#include "runtime/http/fetch.hpp"
#include "runtime/http/server.hpp"
#include "test/runtime/cli/command_fixture.hpp"
#include "test/support/tcp_peer.hpp"

#include <doctest/doctest.h>

#include <mutex>

using namespace astra;
using namespace std::chrono_literals;
using test::command_fixture;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Commands over real sockets, against a server that answers as it is told.
class wire_fixture : public command_fixture {
public:
  wire_fixture() {
    environment.fetch = [](const http_call& call) { return astra::fetch(call); };
    auto started = http_server::start({}, [this](http_exchange_ptr exchange) {
      http_response response;
      {
        std::lock_guard guard{mutex_};
        requests_.push_back(exchange->request());
        response = reply;
      }
      exchange->answer(std::move(response));
    });
    REQUIRE(started);
    server_ = std::move(*started);
    gateway = server_->address();
  }

  test::command_result ask(std::vector<const char*> words, const std::string& input = {}) {
    words.insert(words.end(), {"--gateway", gateway.c_str()});
    return run(std::move(words), input);
  }

  http_request last_request() {
    std::lock_guard guard{mutex_};
    REQUIRE_FALSE(requests_.empty());
    return requests_.back();
  }

  /// Set before a command runs.
  http_response reply;
  std::string gateway;

private:
  std::mutex mutex_;
  std::vector<http_request> requests_;
  std::unique_ptr<http_server> server_;
};

} // namespace

TEST_CASE_FIXTURE(wire_fixture, "invoke carries body, type and deadline to the gateway, and 1 MiB of bytes back") {
  reply = {
      200, "application/octet-stream", {{"Astra-Node", "node-2"}, {"Astra-Tries", "1"}}, std::string(1 << 20, '\0')};
  auto result = ask({"invoke", "ocr", "--timeout", "5s", "--content-type", "image/png", "-v"}, "pixels");
  CHECK(result.code == exit_ok);
  CHECK(result.out == std::string(1 << 20, '\0'));
  CHECK(result.err.starts_with("node node-2  tries 1  total "));
  auto request = last_request();
  CHECK(request.method == "POST");
  CHECK(request.target == "/v1/apps/ocr/invoke");
  CHECK(*request.body == "pixels");
  CHECK(request.header("content-type") == "image/png");
  CHECK(request.header("astra-timeout") == "5s");
}

TEST_CASE_FIXTURE(wire_fixture, "exit codes over the wire: 0, 1, 4, 5, 6") {
  auto code_of = [&](std::uint16_t status, const std::string& code) {
    reply = {status, "application/json", {}, R"({"error":{"code":")" + code + R"(","message":"m"}})"};
    return ask({"app", "show", "ocr"}).code;
  };
  reply = {200, "application/json", {}, "{}"};
  CHECK(ask({"app", "show", "ocr"}).code == exit_ok);
  CHECK(code_of(502, "app_failed") == exit_failed);
  CHECK(code_of(404, "unknown_app") == exit_not_found);
  CHECK(code_of(504, "timed_out") == exit_unreachable);
  CHECK(code_of(409, "conflict") == exit_conflict);
}

TEST_CASE_FIXTURE(wire_fixture, "an address where nobody listens exits 5 and says so once") {
  {
    test::tcp_listener closed;
    gateway = "127.0.0.1:" + std::to_string(closed.port());
  }
  auto result = ask({"status"});
  CHECK(result.code == exit_unreachable);
  CHECK(result.err
        == "astra: cannot reach the gateway at " + gateway
               + ": Connection refused; is it running? start one with 'astra dev', or name it with --gateway "
                 "HOST:PORT\n");
}

TEST_CASE_FIXTURE(wire_fixture, "a gateway that accepts and says nothing exits 5 after --timeout") {
  test::tcp_listener silent;
  gateway = "127.0.0.1:" + std::to_string(silent.port());
  auto result = ask({"status", "--timeout", "100ms"});
  CHECK(result.code == exit_unreachable);
  CHECK(contains(result.err, "did not answer within 100ms"));
}
