#include "config/placeholders.hpp"

#include <algorithm>
#include <functional>

namespace astra {
namespace {

bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool goes_on(char c) {
  return begins_name(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

/// Splits a text into what stands for itself and placeholders.
void scan(std::string_view text, const std::function<void(std::string_view)>& plain,
          const std::function<void(std::string_view name)>& placeholder) {
  std::size_t from = 0;
  for (auto at = text.find('{'); at != std::string_view::npos; at = text.find('{', at)) {
    auto twice = at + 1 < text.size() && text[at + 1] == '{';
    auto begin = at + (twice ? 2 : 1);
    auto end = begin;
    while (end < text.size() && (end == begin ? begins_name(text[end]) : goes_on(text[end])))
      ++end;
    auto closed = end > begin && end < text.size() && text[end] == '}';
    if (!closed || (twice && (end + 1 >= text.size() || text[end + 1] != '}'))) {
      ++at;
      continue;
    }
    plain(text.substr(from, at - from));
    if (twice)
      plain(text.substr(at + 1, end - at));
    else
      placeholder(text.substr(begin, end - begin));
    at = from = end + (twice ? 2 : 1);
  }
  plain(text.substr(from));
}

} // namespace

std::vector<std::string> placeholders_in(std::string_view text) {
  std::vector<std::string> result;
  scan(
      text, [](std::string_view) {},
      [&](std::string_view name) {
        if (std::find(result.begin(), result.end(), name) == result.end())
          result.emplace_back(name);
      });
  return result;
}

std::string expand_placeholders(std::string_view text, const std::map<std::string, std::string>& values) {
  std::string result;
  scan(
      text, [&](std::string_view part) { result += part; },
      [&](std::string_view name) {
        auto found = values.find(std::string{name});
        if (found != values.end())
          result += found->second;
        else
          (result += '{').append(name) += '}';
      });
  return result;
}

} // namespace astra
