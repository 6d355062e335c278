#include "runtime/transfer/content_request.hpp"

#include "runtime/http/percent.hpp"

#include <algorithm>
#include <charconv>

namespace astra {
namespace {

/// Digits and nothing else; what is larger than any file is the largest number.
std::optional<std::uint64_t> read_number(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} ? value : UINT64_MAX;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix))
    return false;
  text.remove_prefix(prefix.size());
  return true;
}

} // namespace

std::optional<content_target> read_content_target(std::string_view target, std::string_view token) {
  auto path = target.substr(0, target.find_first_of("?#"));
  if (!take(path, "/") || !take(path, token) || !take(path, "/contents/"))
    return std::nullopt;
  auto slash = std::min(path.find('/'), path.size());
  auto content = percent_decode(path.substr(0, slash));
  path.remove_prefix(std::min(slash + 1, path.size()));
  auto file = percent_decode(path);
  if (!content || content->empty() || !file)
    return std::nullopt;
  return content_target{std::move(*content), std::move(*file)};
}

byte_range read_range(std::string_view header, std::uint64_t size) {
  byte_range whole{byte_range::kind::whole, 0, size};
  if (!take(header, "bytes="))
    return whole;
  auto dash = header.find('-');
  if (dash == std::string_view::npos)
    return whole;
  auto first = read_number(header.substr(0, dash));
  auto last = read_number(header.substr(dash + 1));
  if (dash == 0) {
    if (!last)
      return whole;
    auto length = std::min(*last, size);
    return length == 0 ? byte_range{byte_range::kind::none} : byte_range{byte_range::kind::part, size - length, length};
  }
  auto is_open = dash + 1 == header.size();
  if (!first || (!last && !is_open) || (last && *last < *first))
    return whole;
  if (*first >= size)
    return {byte_range::kind::none};
  auto end = last ? std::min(*last, size - 1) + 1 : size;
  return {byte_range::kind::part, *first, end - *first};
}

} // namespace astra
