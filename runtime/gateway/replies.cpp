#include "runtime/gateway/replies.hpp"

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

http_response with_retry_after(http_response response, caf::timespan wait) {
  auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  response.headers.emplace_back("Retry-After", std::to_string(std::max<std::int64_t>(1, seconds)));
  return response;
}

} // namespace astra
