#include "config/toml_tree.hpp"

namespace {

struct parser_bug {};

// toml++ 3.3 breaks its own assertions on some malformed files, such as "[[[a]]]".  For us they are malformed files.
constexpr void assert_in_parser(bool holds) {
  if (!holds)
    throw parser_bug{};
}

} // namespace

#define TOML_ASSERT(expr) assert_in_parser(static_cast<bool>(expr))
#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 0
#define TOML_HEADER_ONLY 1
#define TOML_MAX_NESTED_VALUES 32
#include <toml++/toml.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

namespace astra {

namespace {

toml_place to_place(const toml::source_region& region, const std::string& file) {
  return {file, static_cast<int>(std::max(1u, region.begin.line)), static_cast<int>(std::max(1u, region.begin.column))};
}

toml_value to_value(const toml::node& node, const std::string& file) {
  toml_value result;
  result.at = to_place(node.source(), file);
  switch (node.type()) {
  case toml::node_type::string:
    result.type = toml_value::kind::text;
    result.text = node.as_string()->get();
    break;
  case toml::node_type::integer:
    result.type = toml_value::kind::integer;
    result.integer = node.as_integer()->get();
    break;
  case toml::node_type::floating_point:
    result.type = toml_value::kind::real;
    result.real = node.as_floating_point()->get();
    break;
  case toml::node_type::boolean:
    result.type = toml_value::kind::boolean;
    result.boolean = node.as_boolean()->get();
    break;
  case toml::node_type::array:
    result.type = toml_value::kind::list;
    for (auto& item : *node.as_array())
      result.items.push_back(to_value(item, file));
    break;
  case toml::node_type::table:
    result.type = toml_value::kind::table;
    for (auto&& [key, value] : *node.as_table())
      result.entries.push_back({std::string{key.str()}, to_place(key.source(), file), to_value(value, file)});
    break;
  default:
    result.type = toml_value::kind::time;
  }
  return result;
}

std::string_view line_of(std::string_view text, int line) {
  for (; line > 1; --line) {
    auto end = text.find('\n');
    if (end == std::string_view::npos)
      return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

/// The parser's words without its frame, and what to do about it.
std::string explain(std::string_view description, std::string_view line, std::string_view line_before_place) {
  constexpr std::string_view frame = "Error while parsing ";
  std::string where;
  if (description.starts_with(frame)) {
    description.remove_prefix(frame.size());
    auto colon = description.find(": ");
    if (colon != std::string_view::npos) {
      where = description.substr(0, colon);
      description.remove_prefix(colon + 2);
    }
  }
  auto has = [&](std::string_view words) { return description.find(words) != std::string_view::npos; };
  auto quoted = [&] {
    auto begin = description.find('\'');
    auto end = description.find('\'', begin + 1);
    return end == std::string_view::npos ? std::string{} : std::string{description.substr(begin, end - begin + 1)};
  };
  if (has("cannot redefine existing table"))
    return "table " + quoted() + " is opened twice; join both into one";
  if (has("cannot redefine"))
    return "key " + quoted() + " is given twice; keep one of the two";
  if (has("control characters other than TAB"))
    return line_before_place == line ? "the text is not closed on its line; add the closing quote"
                                     : "a control character in a text; write it as an escape such as \"\\n\"";
  if (has("end-of-file"))
    return "the file ends inside a" + std::string{where.starts_with('a') || where.starts_with('i') ? "n " : " "} + where
           + "; it is cut, or a closing quote or bracket is missing";
  if (has("utf-8") || has("UTF-8"))
    return "this is not UTF-8 text; save the file as UTF-8";
  if (has("expected digit, saw") && where.ends_with("integer"))
    return "a number with letters; write a value with a unit in quotes, such as \"5s\"";
  if (where == "boolean" || has("could not determine value type")
      || (where == "key-value pair" && has("expected value")))
    return line_before_place.ends_with("=") || line.find_last_not_of(" \t\r") + 1 <= line_before_place.size()
               ? "a value is missing or not complete; text stands in quotes, such as key = \"value\""
               : "not a value; text stands in quotes, such as key = \"value\"";
  std::string clean;
  for (auto c : description)
    clean += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return "not TOML" + (where.empty() ? "" : " (" + where + ")") + ": " + clean;
}

struct parse_outcome {
  std::optional<toml::table> table;
  /// Of the error, when there is no table.
  toml_place at;
  std::string description;
};

/// Where a key has more parts than any key of ours, which would make a tree too deep for the stack.
std::optional<toml_place> find_endless_key(std::string_view text, const std::string& file) {
  constexpr int parts_max = 16;
  enum class inside { nothing, comment, basic, literal, long_basic, long_literal };
  auto state = inside::nothing;
  toml_place at{file, 1, 0};
  int dots = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto c = text[i];
    auto rest = text.substr(i);
    auto ends_long = [&](std::string_view mark) {
      // A text may end in quotes of its own: the last three count.
      return rest.starts_with(mark) && !(rest.size() > 3 && rest[3] == mark[0]);
    };
    ++at.column;
    switch (state) {
    case inside::nothing:
      if (c == '#') {
        state = inside::comment;
      } else if (c == '"' || c == '\'') {
        auto is_long = rest.starts_with(c == '"' ? "\"\"\"" : "'''");
        state = c == '"' ? (is_long ? inside::long_basic : inside::basic)
                         : (is_long ? inside::long_literal : inside::literal);
        i += is_long ? 2 : 0;
      } else if (c == '.') {
        if (++dots >= parts_max)
          return at;
      } else if (std::string_view{"=,[]{}\n"}.find(c) != std::string_view::npos) {
        dots = 0;
      }
      break;
    case inside::basic:
    case inside::long_basic:
      if (c == '\\')
        ++i;
      else if (state == inside::basic ? c == '"' || c == '\n' : ends_long("\"\"\"")) {
        i += state == inside::basic ? 0 : 2;
        state = inside::nothing;
      }
      break;
    case inside::literal:
    case inside::long_literal:
      if (state == inside::literal ? c == '\'' || c == '\n' : ends_long("'''")) {
        i += state == inside::literal ? 0 : 2;
        state = inside::nothing;
      }
      break;
    case inside::comment:
      if (c == '\n') {
        state = inside::nothing;
        dots = 0;
      }
      break;
    }
    if (c == '\n') {
      ++at.line;
      at.column = 0;
    }
  }
  return std::nullopt;
}

std::optional<parse_outcome> parse_or_break(std::string_view text, const std::string& file) {
  try {
    return parse_outcome{toml::parse(text, std::string_view{file}), {}, {}};
  } catch (const toml::parse_error& error) {
    return parse_outcome{std::nullopt, to_place(error.source(), file), std::string{error.description()}};
  } catch (const parser_bug&) {
    return std::nullopt;
  }
}

/// The text up to the end of the given line.
std::string_view first_lines(std::string_view text, int lines) {
  std::size_t end = 0;
  for (; lines > 0 && end < text.size(); --lines)
    end = std::min(text.find('\n', end), text.size() - 1) + 1;
  return text.substr(0, end);
}

parse_outcome parse(std::string_view text, const std::string& file) {
  if (auto at = find_endless_key(text, file))
    return {std::nullopt, *at, "a key has too many parts"};
  if (auto outcome = parse_or_break(text, file))
    return std::move(*outcome);
  // The parser broke without a place: find the first line that it cannot get past.
  int good = 0;
  int bad = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
  while (good + 1 < bad) {
    auto middle = good + (bad - good) / 2;
    (parse_or_break(first_lines(text, middle), file) ? good : bad) = middle;
  }
  return {std::nullopt, {file, bad, 1}, "this line is malformed"};
}

} // namespace

const toml_entry* toml_value::find(std::string_view key) const {
  auto i = std::find_if(entries.begin(), entries.end(), [key](auto& entry) { return entry.key == key; });
  return i == entries.end() ? nullptr : &*i;
}

toml_document parse_toml(std::string_view text, const std::string& file) {
  toml_document result;
  result.root.at = {file, 1, 1};
  auto parsed = parse(text, file);
  if (parsed.table) {
    result.root = to_value(*parsed.table, file);
    result.root.at = {file, 1, 1};
    return result;
  }
  auto line = line_of(text, parsed.at.line);
  auto before = line.substr(0, std::min(line.size(), static_cast<std::size_t>(parsed.at.column - 1)));
  result.error = toml_error{parsed.at, explain(parsed.description, line, before)};
  auto complete = text.substr(0, line.data() ? static_cast<std::size_t>(line.data() - text.data()) : 0);
  if (auto start = parse(complete, file); start.table) {
    result.root = to_value(*start.table, file);
    result.root.at = {file, 1, 1};
  }
  return result;
}

void overlay(toml_value& base, const toml_value& over) {
  if (base.type != toml_value::kind::table || over.type != toml_value::kind::table) {
    base = over;
    return;
  }
  base.at = over.at;
  for (auto& entry : over.entries) {
    auto i = std::lower_bound(base.entries.begin(), base.entries.end(), entry.key,
                              [](auto& left, auto& key) { return left.key < key; });
    if (i == base.entries.end() || i->key != entry.key) {
      base.entries.insert(i, entry);
    } else {
      overlay(i->value, entry.value);
      i->at = entry.at;
    }
  }
}

std::string key_part(std::string_view name) {
  constexpr auto bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  return !name.empty() && name.find_first_not_of(bare) == std::string::npos ? std::string{name} : quote(name);
}

std::string quote(std::string_view text) {
  std::string result = "\"";
  for (auto c : text) {
    switch (c) {
    case '"':
      result += "\\\"";
      break;
    case '\\':
      result += "\\\\";
      break;
    case '\n':
      result += "\\n";
      break;
    case '\t':
      result += "\\t";
      break;
    default:
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        result += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      else
        result += c;
    }
  }
  return result + "\"";
}

} // namespace astra
