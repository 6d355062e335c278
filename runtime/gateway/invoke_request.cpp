#include "runtime/gateway/invoke_request.hpp"

#include "config/units.hpp"
#include "messages/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <string_view>

namespace astra {
namespace {

constexpr std::size_t word_max = 128;
constexpr double size_max = 1'000'000.0;

/// What clients send goes to logs, and some of it back to them: it must be a short printable word.
bool is_good_word(std::string_view word) {
  return word.size() <= word_max
         && std::all_of(word.begin(), word.end(), [](char c) { return c > ' ' && c < '\x7f' && c != '"'; });
}

std::optional<double> read_size(std::string_view text) {
  auto value = 0.0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value > 0.0 && value <= size_max))
    return std::nullopt;
  return value;
}

} // namespace

std::variant<route_request, std::string> read_invoke(const http_request& request) {
  route_request result;
  struct word {
    std::string_view header;
    std::string_view called;
    std::string& to;
  };
  for (auto& [header, called, to] : {word{"astra-request-id", "Astra-Request-Id", result.request_id},
                                     word{"astra-client", "Astra-Client", result.client},
                                     word{"astra-affinity", "Astra-Affinity", result.affinity}}) {
    to = request.header(header);
    if (!is_good_word(to))
      return fmt::format("{} must be at most {} printable characters without spaces", called, word_max);
  }
  if (auto limit = request.header("astra-timeout"); !limit.empty()) {
    auto parsed = parse_duration(limit);
    if (!parsed.value || *parsed.value <= std::chrono::milliseconds{0})
      return fmt::format("Astra-Timeout: {}", parsed.value ? "must be more than 0" : parsed.problem);
    result.deadline = *parsed.value;
  }
  if (auto size = request.header("astra-size"); !size.empty()) {
    auto value = read_size(size);
    if (!value)
      return fmt::format("Astra-Size: must be a number above 0 and at most {:.0f}, the expected work relative to the "
                         "app's mean, not '{}'",
                         size_max, printable(size, 32));
    result.size = *value;
  }
  result.body = request.body;
  result.content_type = to_utf8(std::string{request.header("content-type")});
  return result;
}

} // namespace astra
