#include "runtime/gateway/invoke_request.hpp"

#include <doctest/doctest.h>

#include <memory>

using namespace astra;
using namespace std::chrono_literals;

namespace {

std::variant<route_request, std::string> read(http_headers headers) {
  http_request request;
  request.headers = std::move(headers);
  request.body = std::make_shared<const std::string>("page");
  return read_invoke(request);
}

std::string problem(http_headers headers) {
  auto result = read(std::move(headers));
  auto wrong = std::get_if<std::string>(&result);
  return wrong != nullptr ? *wrong : "";
}

} // namespace

TEST_CASE("what a client says of its request is read") {
  auto result = read({{"astra-request-id", "r1"},
                      {"astra-timeout", "2s"},
                      {"astra-client", "alice"},
                      {"astra-affinity", "session-7"},
                      {"astra-size", "2.5"},
                      {"content-type", "image/png"}});
  auto& request = std::get<route_request>(result);
  CHECK(request.request_id == "r1");
  CHECK(request.deadline == 2s);
  CHECK(request.client == "alice");
  CHECK(request.affinity == "session-7");
  CHECK(request.size == 2.5);
  CHECK(request.content_type == "image/png");
  CHECK(*request.body == "page");
  auto plain = std::get<route_request>(read({}));
  CHECK(plain.request_id.empty());
  CHECK(plain.size == 0.0);
}

TEST_CASE("what a client says wrongly is refused with the header and the cure") {
  CHECK(problem({{"astra-request-id", "a b"}})
        == "Astra-Request-Id must be at most 128 printable characters without spaces");
  CHECK(problem({{"astra-client", std::string(129, 'x')}}).find("Astra-Client must be at most 128") == 0);
  CHECK(problem({{"astra-affinity", "\x01"}}).find("Astra-Affinity must be") == 0);
  CHECK(problem({{"astra-timeout", "0s"}}) == "Astra-Timeout: must be more than 0");
  CHECK(problem({{"astra-timeout", "soon"}}).find("Astra-Timeout: ") == 0);
  for (auto text : {"0", "-1", "nan", "inf", "1e9", "big", "1 ", "0x2"})
    CHECK_MESSAGE(problem({{"astra-size", text}}).find("Astra-Size: must be a number above 0") == 0, text);
}
