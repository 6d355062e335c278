#include "config/toml_tree.hpp"

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include <algorithm>
#include <cstddef>
#include <utility>

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
  if (where == "boolean" || (where == "key-value pair" && has("expected value")))
    return line_before_place.ends_with("=") || line.find_last_not_of(" \t\r") + 1 <= line_before_place.size()
               ? "a value is missing or not complete; text stands in quotes, such as key = \"value\""
               : "not a value; text stands in quotes, such as key = \"value\"";
  std::string clean;
  for (auto c : description)
    clean += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return "not TOML" + (where.empty() ? "" : " (" + where + ")") + ": " + clean;
}

} // namespace

const toml_entry* toml_value::find(std::string_view key) const {
  auto i = std::find_if(entries.begin(), entries.end(), [key](auto& entry) { return entry.key == key; });
  return i == entries.end() ? nullptr : &*i;
}

toml_document parse_toml(std::string_view text, const std::string& file) {
  toml_document result;
  result.root.at.file = file;
  auto parsed = toml::parse(text, std::string_view{file});
  if (parsed) {
    result.root = to_value(parsed.table(), file);
    result.root.at = {file, 1, 1};
    return result;
  }
  auto at = to_place(parsed.error().source(), file);
  auto line = line_of(text, at.line);
  auto before = line.substr(0, std::min(line.size(), static_cast<std::size_t>(at.column - 1)));
  result.error = toml_error{at, explain(parsed.error().description(), line, before)};
  auto complete = text.substr(0, static_cast<std::size_t>(line.data() ? line.data() - text.data() : 0));
  if (auto start = toml::parse(complete, std::string_view{file})) {
    result.root = to_value(start.table(), file);
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

} // namespace astra
