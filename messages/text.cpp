#include "messages/text.hpp"

#include <cstddef>
#include <string_view>

namespace astra {
namespace {

/// Bytes of the character that `text` begins with; 0 when it begins with none (Unicode 15, table 3-7).
std::size_t character_size(std::string_view text) {
  auto at = [text](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  auto continues = [at](std::size_t i) { return (at(i) & 0xC0U) == 0x80U; };
  auto lead = at(0);
  if (lead < 0x80)
    return 1;
  if (lead >= 0xC2 && lead <= 0xDF)
    return continues(1) ? 2 : 0;
  // The second byte's range leaves out longer forms than needed, surrogates and what lies beyond U+10FFFF.
  if (lead >= 0xE0 && lead <= 0xEF) {
    auto fits = (lead != 0xE0 || at(1) >= 0xA0) && (lead != 0xED || at(1) < 0xA0);
    return fits && continues(1) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    auto fits = (lead != 0xF0 || at(1) >= 0x90) && (lead != 0xF4 || at(1) < 0x90);
    return fits && continues(1) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

} // namespace

std::string to_utf8(std::string text) {
  std::string_view rest = text;
  while (!rest.empty() && character_size(rest) != 0)
    rest.remove_prefix(character_size(rest));
  if (rest.empty())
    return text;
  std::string result{text, 0, text.size() - rest.size()};
  while (!rest.empty()) {
    auto size = character_size(rest);
    if (size != 0)
      result += rest.substr(0, size);
    else
      result += "\xEF\xBF\xBD";
    rest.remove_prefix(size != 0 ? size : 1);
  }
  return result;
}

std::string shorten(std::string text, std::size_t bytes_max) {
  constexpr std::string_view gap = " ... ";
  if (text.size() <= bytes_max)
    return text;
  auto inside = [&text](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U; };
  auto kept = bytes_max - gap.size();
  auto begin = kept / 4;
  while (begin > 0 && inside(begin))
    --begin;
  auto end = text.size() - (kept - begin);
  while (end < text.size() && inside(end))
    ++end;
  return text.substr(0, begin).append(gap).append(text, end);
}

std::string printable(std::string_view text, std::size_t bytes_max) {
  constexpr char digits[] = "0123456789abcdef";
  std::string result;
  for (auto c : text.substr(0, bytes_max)) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte <= 0x7e && c != '"' && c != '\\')
      result += c;
    else
      result.append("\\x").append({digits[byte >> 4], digits[byte & 0xf]});
  }
  if (text.size() > bytes_max)
    result += "...";
  return result;
}

} // namespace astra
