#include "runtime/cli/redact.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace astra {
namespace {

using json = nlohmann::ordered_json;

constexpr std::string_view mark = "[redacted]";

std::string lower(std::string_view text) {
  std::string out{text};
  for (auto& c : out)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool ends_value(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '"' || c == '\'' || c == '&' || c == ',' || c == ';'
         || c == ')' || c == '}' || c == ']';
}

bool ends_url(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '"' || c == '\'' || c == '/' || c == '<' || c == '>' || c == '?'
         || c == '#';
}

std::string without_keys(std::string_view text, std::size_t& count) {
  constexpr std::string_view begin = "-----BEGIN ";
  constexpr std::string_view kind = "PRIVATE KEY-----";
  std::string out;
  while (true) {
    auto key = text.find(kind);
    if (key == std::string_view::npos)
      return out += text;
    auto from = text.rfind(begin, key);
    if (from == std::string_view::npos || text.substr(from, key - from).find("-----END ") != std::string_view::npos) {
      // The tail of a key whose head is not here.
      out += mark;
      ++count;
      text.remove_prefix(key + kind.size());
      continue;
    }
    out += text.substr(0, from);
    out += mark;
    ++count;
    // The end has the same words; a key that is cut off goes to the end of the text.
    auto end = text.find(kind, key + kind.size());
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + kind.size());
  }
}

std::string without_users(std::string_view text, std::size_t& count) {
  std::string out;
  while (true) {
    auto at = text.find("://");
    if (at == std::string_view::npos)
      return out += text;
    auto begin = at + 3;
    auto end = static_cast<std::size_t>(
        std::find_if(text.begin() + static_cast<std::ptrdiff_t>(begin), text.end(), ends_url) - text.begin());
    auto user_end = text.substr(begin, end - begin).rfind('@');
    out += text.substr(0, begin);
    if (user_end != std::string_view::npos && user_end > 0) {
      out += mark;
      ++count;
      begin += user_end;
    }
    text.remove_prefix(begin);
  }
}

/// The length of a value that begins here: up to its closing quote, or to what ends a word.
std::size_t value_length(std::string_view text) {
  if (!text.empty() && (text.front() == '"' || text.front() == '\'')) {
    auto end = text.find(text.front(), 1);
    return end == std::string_view::npos ? text.size() : end + 1;
  }
  return static_cast<std::size_t>(std::find_if(text.begin(), text.end(), ends_value) - text.begin());
}

std::string without_named(std::string_view text, std::size_t& count) {
  std::string out;
  auto take = [&](std::size_t length) {
    if (length == 0)
      return;
    auto value = text.substr(0, length);
    auto quoted = value.size() > 1 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front();
    out += quoted ? value.front() + std::string{mark} + value.front() : std::string{mark};
    text.remove_prefix(length);
    ++count;
  };
  auto blanks = [&] {
    auto length = std::min(text.find_first_not_of(" \t"), text.size());
    out += text.substr(0, length);
    text.remove_prefix(length);
    return length;
  };
  while (!text.empty()) {
    if (!is_name_char(text.front())) {
      out += text.front();
      text.remove_prefix(1);
      continue;
    }
    auto length = static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_name_char) - text.begin());
    auto name = text.substr(0, length);
    out += name;
    text.remove_prefix(length);
    auto word = lower(name);
    if (word == "bearer" || word == "basic") {
      // "basic" is a word of English, too: only what looks like a credential.
      auto rest = text.substr(std::min(text.find_first_not_of(" \t"), text.size()));
      if (auto long_enough = value_length(rest); rest.size() < text.size() && long_enough >= 8) {
        blanks();
        take(value_length(text));
      }
      continue;
    }
    if (!names_a_secret(name) || text.empty())
      continue;
    // "NAME": and 'NAME': are of a name, too, and so is NAME =.
    auto sign =
        std::min(text.find_first_not_of(" \t", text.front() == '"' || text.front() == '\'' ? 1 : 0), text.size());
    auto quoted_name = text.front() == '"' || text.front() == '\'';
    if (sign < text.size() && text[sign] == '=' && !text.substr(sign).starts_with("==")) {
      out += text.substr(0, sign + 1);
      text.remove_prefix(sign + 1);
      blanks();
      take(value_length(text));
    } else if (sign < text.size() && text[sign] == ':') {
      out += text.substr(0, sign + 1);
      text.remove_prefix(sign + 1);
      blanks();
      // A header's value is the rest of its line.
      take(text.starts_with('"') || text.starts_with('\'') ? value_length(text)
           : quoted_name                                   ? value_length(text)
                                                           : std::min(text.find('\n'), text.size()));
    } else if (name.starts_with('-') && blanks() > 0 && !text.starts_with('-')) {
      take(value_length(text));
    }
  }
  return out;
}

json all_redacted(const json& value, std::size_t& count) {
  if (value.is_structured()) {
    auto out = value;
    for (auto& part : out)
      part = all_redacted(part, count);
    return out;
  }
  if (value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty()))
    return value;
  ++count;
  return mark;
}

/// Of an environment: "NAME=value" and {"NAME": "value"}.
json environment_redacted(const json& value, std::size_t& count) {
  if (value.is_array()) {
    auto out = json::array();
    for (auto& entry : value)
      out.push_back(environment_redacted(entry, count));
    return out;
  }
  if (value.is_object())
    return all_redacted(value, count);
  if (!value.is_string())
    return value;
  auto& text = value.get_ref<const std::string&>();
  auto sign = text.find('=');
  ++count;
  return sign == std::string::npos ? std::string{mark} : text.substr(0, sign + 1) + std::string{mark};
}

/// "NAME=value" hides all of its value, blanks included.
json pair_redacted(const json& value, std::size_t& count) {
  if (value.is_string()) {
    std::string_view text = value.get_ref<const std::string&>();
    auto sign = text.find('=');
    if (sign != std::string_view::npos && std::all_of(text.begin(), text.begin() + sign, is_name_char)
        && names_a_secret(text.substr(0, sign)))
      return environment_redacted(value, count);
  }
  return redacted(value, count);
}

} // namespace

bool names_a_secret(std::string_view name) {
  auto all = lower(name);
  for (auto part : {"password", "passwd", "passphrase", "secret", "credential", "authorization", "apikey", "privatekey",
                    "accesskey", "authtoken", "accesstoken"})
    if (all.find(part) != std::string::npos)
      return true;
  std::vector<std::string> words;
  for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = all.find_first_of("_-.", begin);
    words.push_back(all.substr(begin, end == std::string::npos ? end : end - begin));
  }
  auto is_word = [&](std::string_view one) { return std::find(words.begin(), words.end(), one) != words.end(); };
  // A "key" alone is that of a label.
  auto is_token = std::any_of(words.begin(), words.end(), [](auto& one) { return one.ends_with("token"); });
  return is_token || is_word("pwd") || is_word("pass") || is_word("sig") || is_word("signature") || is_word("cookie")
         || is_word("auth") || (words.size() > 1 && words.back() == "key" && !words[words.size() - 2].empty());
}

std::string redacted(std::string_view text, std::size_t& count) {
  return without_named(without_users(without_keys(text, count), count), count);
}

json redacted(const json& value, std::size_t& count) {
  if (value.is_string())
    return redacted(std::string_view{value.get_ref<const std::string&>()}, count);
  if (value.is_array()) {
    auto out = json::array();
    auto behind_option = false;
    for (auto& part : value) {
      auto hide = std::exchange(behind_option, false) && part.is_string();
      out.push_back(hide ? all_redacted(part, count) : pair_redacted(part, count));
      if (part.is_string()) {
        auto& text = part.get_ref<const std::string&>();
        behind_option = text.starts_with('-') && text.find('=') == std::string::npos && names_a_secret(text);
      }
    }
    return out;
  }
  if (!value.is_object())
    return value;
  auto name = value.find("name");
  auto pair_is_secret = name != value.end() && name->is_string() && value.contains("value")
                        && names_a_secret(name->get_ref<const std::string&>());
  auto out = json::object();
  for (auto& [key, field] : value.items())
    out[key] = names_a_secret(key) || (pair_is_secret && key == "value") ? all_redacted(field, count)
               : key == "env"                                            ? environment_redacted(field, count)
                                                                         : redacted(field, count);
  return out;
}

} // namespace astra
