#include "runtime/gateway/replies.hpp"

#include "messages/errc.hpp"
#include "runtime/gateway/json.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace astra {

http_response reply(std::uint16_t status, std::string body) {
  http_response result;
  result.status = status;
  result.body = std::move(body);
  return result;
}

http_response refusal(std::uint16_t status, std::string_view code, std::string_view message) {
  return reply(status, error_json(code, message));
}

std::uint16_t status_of_refusal(const std::string& code) {
  errc value = errc::none;
  if (!from_string({code.data(), code.size()}, value))
    return 500;
  switch (value) {
  case errc::unknown_app:
  case errc::unknown_name:
  case errc::unknown_node:
    return 404;
  case errc::invalid_argument:
    return 400;
  case errc::conflict:
  case errc::fenced:
    return 409;
  case errc::draining:
  case errc::unreachable:
    return 503;
  case errc::timed_out:
    return 504;
  default:
    return 500;
  }
}

http_response with_retry_after(http_response response, caf::timespan wait) {
  auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  response.headers.emplace_back("Retry-After", std::to_string(std::max<std::int64_t>(1, seconds)));
  return response;
}

} // namespace astra
