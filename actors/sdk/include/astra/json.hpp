#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace astra {
inline namespace v1 {

/// A value of JSON (RFC 8259).  Members of an object keep the order in which they were written.  Integers are exact
/// from -2^63 to 2^63-1; other numbers are doubles, integers beyond that too, whose last digits are lost then.
class json_value {
public:
  using list = std::vector<json_value>;
  using member = std::pair<std::string, json_value>;
  using object = std::vector<member>;

  json_value() = default;
  json_value(std::nullptr_t) {}
  json_value(bool value) : value_(value) {}
  template <class T, class = std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>>
  json_value(T value) : value_(static_cast<std::int64_t>(value)) {
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if constexpr (std::is_unsigned_v<T>)
      if (static_cast<std::uint64_t>(value) > most)
        value_ = static_cast<double>(value);
  }
  json_value(double value) : value_(value) {}
  json_value(std::string value) : value_(std::move(value)) {}
  json_value(std::string_view value) : value_(std::string{value}) {}
  json_value(const char* value) : value_(std::string{value}) {}
  json_value(list value) : value_(std::move(value)) {}
  json_value(object value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }

  /// nullptr when it is of another type.
  template <class T>
  const T* get_if() const {
    return std::get_if<T>(&value_);
  }
  template <class T>
  T* get_if() {
    return std::get_if<T>(&value_);
  }

  /// The member of an object; nullptr when there is none, or this is no object.
  const json_value* find(std::string_view key) const {
    if (auto members = get_if<object>())
      for (auto& [name, value] : *members)
        if (name == key)
          return &value;
    return nullptr;
  }

  /// The member of an object, or null.
  const json_value& operator[](std::string_view key) const {
    static const json_value none;
    auto found = find(key);
    return found == nullptr ? none : *found;
  }

  /// Sets a member; what is no object becomes one.
  void set(std::string key, json_value value) {
    auto members = get_if<object>();
    if (members == nullptr)
      members = &value_.template emplace<object>();
    for (auto& [name, old] : *members)
      if (name == key) {
        old = std::move(value);
        return;
      }
    members->emplace_back(std::move(key), std::move(value));
  }

  /// "a number", "a text" ...: for people.
  std::string_view kind() const {
    static constexpr std::string_view names[] = {"null",   "true or false", "an integer", "a number",
                                                 "a text", "a list",        "an object"};
    return names[value_.index()];
  }

  friend bool operator==(const json_value& a, const json_value& b) { return a.value_ == b.value_; }

private:
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, list, object> value_;
};

namespace json_detail {

inline constexpr int depth_max = 64;

/// Members of an object up to which comparing a name with all others is cheaper than a set of them.
inline constexpr std::size_t compared_max = 16;

inline void append_utf8(std::string& out, std::uint32_t code) {
  auto add = [&](std::uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xc0 | (code >> 6));
    add(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    add(0xe0 | (code >> 12));
    add(0x80 | ((code >> 6) & 0x3f));
    add(0x80 | (code & 0x3f));
  } else {
    add(0xf0 | (code >> 18));
    add(0x80 | ((code >> 12) & 0x3f));
    add(0x80 | ((code >> 6) & 0x3f));
    add(0x80 | (code & 0x3f));
  }
}

/// Length of the well-formed UTF-8 sequence that `text` begins with; 0: it begins with none.
inline std::size_t utf8_length(std::string_view text) {
  auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto first = at(0);
  if (first < 0x80)
    return 1;
  auto length = first >= 0xc2 && first < 0xe0   ? 2u
                : first >= 0xe0 && first < 0xf0 ? 3u
                : first >= 0xf0 && first < 0xf5 ? 4u
                                                : 0u;
  for (std::size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0u) != 0x80u)
      return 0;
  // Overlong forms, halves of surrogate pairs, beyond Unicode.
  if ((first == 0xe0 && at(1) < 0xa0) || (first == 0xed && at(1) >= 0xa0) || (first == 0xf0 && at(1) < 0x90)
      || (first == 0xf4 && at(1) >= 0x90))
    return 0;
  return length;
}

inline void write_text(std::string& out, std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    auto c = static_cast<unsigned char>(text.front());
    auto length = utf8_length(text);
    if (length == 0) {
      out += "\xef\xbf\xbd"; // what is no UTF-8 could not be read again
      length = 1;
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      out += "\\u00";
      out += digits[c >> 4];
      out += digits[c & 15];
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  out += '"';
}

class parser {
public:
  explicit parser(std::string_view text) : text_(text) {}

  std::optional<json_value> parse(std::string& problem) {
    json_value result;
    blanks();
    if (value(result, 0)) {
      blanks();
      if (at_ == text_.size())
        return result;
      fail("something follows the value");
    }
    problem = problem_ + " at byte " + std::to_string(at_ + 1);
    return std::nullopt;
  }

private:
  bool fail(const char* what) {
    if (problem_.empty())
      problem_ = what;
    return false;
  }

  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
  }

  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c)
      return false;
    ++at_;
    return true;
  }

  bool word(std::string_view what, json_value meaning, json_value& out) {
    if (text_.substr(at_, what.size()) != what)
      return fail("no value of JSON");
    at_ += what.size();
    out = std::move(meaning);
    return true;
  }

  bool value(json_value& out, int depth) {
    if (at_ == text_.size())
      return fail("a value is missing");
    if (depth == depth_max && (text_[at_] == '{' || text_[at_] == '['))
      return fail("too many values within each other");
    switch (text_[at_]) {
    case '{':
      return object(out, depth);
    case '[':
      return list(out, depth);
    case '"': {
      std::string text;
      if (!string(text))
        return false;
      out = std::move(text);
      return true;
    }
    case 't':
      return word("true", true, out);
    case 'f':
      return word("false", false, out);
    case 'n':
      return word("null", nullptr, out);
    default:
      return number(out);
    }
  }

  bool object(json_value& out, int depth) {
    json_value::object members;
    // Names of an object that has many; a stranger decides how many.  A tree: no names make it slow.
    std::set<std::string> names;
    auto is_new = [&](const std::string& key) {
      if (members.size() < compared_max) {
        for (auto& other : members)
          if (other.first == key)
            return false;
        return true;
      }
      if (names.empty())
        for (auto& other : members)
          names.insert(other.first);
      return names.insert(key).second;
    };
    ++at_;
    blanks();
    if (!take('}')) {
      for (;;) {
        std::string key;
        if (at_ == text_.size() || text_[at_] != '"')
          return fail("a name in \"\" is missing");
        if (!string(key))
          return false;
        if (!is_new(key))
          return fail("a name is there twice");
        blanks();
        if (!take(':'))
          return fail("a ':' is missing");
        blanks();
        json_value inner;
        if (!value(inner, depth + 1))
          return false;
        members.emplace_back(std::move(key), std::move(inner));
        blanks();
        if (take('}'))
          break;
        if (!take(','))
          return fail("a ',' or '}' is missing");
        blanks();
      }
    }
    out = std::move(members);
    return true;
  }

  bool list(json_value& out, int depth) {
    json_value::list items;
    ++at_;
    blanks();
    if (!take(']')) {
      for (;;) {
        json_value inner;
        if (!value(inner, depth + 1))
          return false;
        items.push_back(std::move(inner));
        blanks();
        if (take(']'))
          break;
        if (!take(','))
          return fail("a ',' or ']' is missing");
        blanks();
      }
    }
    out = std::move(items);
    return true;
  }

  bool hex(std::uint32_t& out) {
    if (text_.size() - at_ < 4)
      return fail("four digits are missing after \\u");
    auto begin = text_.data() + at_;
    auto [end, error] = std::from_chars(begin, begin + 4, out, 16);
    if (error != std::errc{} || end != begin + 4)
      return fail("four digits are missing after \\u");
    at_ += 4;
    return true;
  }

  bool escape(std::string& out) {
    if (at_ == text_.size())
      return fail("a text has no end");
    static constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    auto c = text_[at_++];
    if (auto which = names.find(c); which != std::string_view::npos) {
      out += meanings[which];
      return true;
    }
    std::uint32_t code = 0;
    if (c != 'u')
      return fail("no such escape");
    if (!hex(code))
      return false;
    if (code >= 0xdc00 && code < 0xe000)
      return fail("half of a character");
    if (code >= 0xd800 && code < 0xdc00) {
      std::uint32_t low = 0;
      if (!take('\\') || !take('u'))
        return fail("half of a character");
      if (!hex(low))
        return false;
      if (low < 0xdc00 || low >= 0xe000)
        return fail("half of a character");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(out, code);
    return true;
  }

  bool string(std::string& out) {
    ++at_;
    while (at_ < text_.size()) {
      auto c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (c == '\\') {
        ++at_;
        if (!escape(out))
          return false;
        continue;
      }
      auto length = utf8_length(text_.substr(at_));
      if (length == 0)
        return fail("no UTF-8");
      if (static_cast<unsigned char>(c) < 0x20)
        return fail("a control character in a text");
      out.append(text_.substr(at_, length));
      at_ += length;
    }
    return fail("a text has no end");
  }

  bool number(json_value& out) {
    auto begin = at_;
    auto digit = [&] { return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; };
    auto digits = [&] {
      auto first = at_;
      while (digit())
        ++at_;
      return at_ > first;
    };
    auto whole = true;
    take('-');
    // 012 is no number of JSON.
    if (!take('0') && !digits())
      return fail("no value of JSON");
    if (take('.')) {
      whole = false;
      if (!digits())
        return fail("digits are missing");
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      whole = false;
      ++at_;
      if (!take('+'))
        take('-');
      if (!digits())
        return fail("digits are missing");
    }
    auto first = text_.data() + begin;
    auto last = text_.data() + at_;
    std::int64_t integer = 0;
    if (whole && std::from_chars(first, last, integer).ec == std::errc{}) {
      out = integer;
      return true;
    }
    double real = 0.0;
    if (std::from_chars(first, last, real).ec != std::errc{})
      return fail("a number is too large");
    out = real;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string problem_;
};

} // namespace json_detail

/// Reads one value.
/// @param problem What is wrong and where, when there is no result.
inline std::optional<json_value> parse_json(std::string_view text, std::string& problem) {
  return json_detail::parser{text}.parse(problem);
}

/// Appends the value as JSON, in one line.  What is no UTF-8 in a text becomes U+FFFD; a number that is none becomes
/// null.
inline void write_json(std::string& out, const json_value& value) {
  auto number = [&](auto n) {
    char buffer[32] = {};
    auto end = std::to_chars(buffer, buffer + sizeof(buffer), n).ptr;
    out.append(buffer, end);
    return std::string_view{buffer, static_cast<std::size_t>(end - buffer)};
  };
  if (auto boolean = value.get_if<bool>()) {
    out += *boolean ? "true" : "false";
  } else if (auto integer = value.get_if<std::int64_t>()) {
    number(*integer);
  } else if (auto real = value.get_if<double>()) {
    if (!std::isfinite(*real))
      out += "null";
    else if (number(*real).find_first_of(".e") == std::string_view::npos)
      out += ".0"; // it is read as what it is
  } else if (auto text = value.get_if<std::string>()) {
    json_detail::write_text(out, *text);
  } else if (auto list = value.get_if<json_value::list>()) {
    out += '[';
    for (auto& item : *list) {
      if (&item != &list->front())
        out += ',';
      write_json(out, item);
    }
    out += ']';
  } else if (auto members = value.get_if<json_value::object>()) {
    out += '{';
    for (auto& one : *members) {
      if (&one != &members->front())
        out += ',';
      json_detail::write_text(out, one.first);
      out += ':';
      write_json(out, one.second);
    }
    out += '}';
  } else {
    out += "null";
  }
}

inline std::string to_json(const json_value& value) {
  std::string result;
  write_json(result, value);
  return result;
}

} // namespace v1
} // namespace astra
