#include "runtime/shell/syntax.hpp"

#include "config/units.hpp"

#include <algorithm>
#include <array>
#include <cassert>

#include <fmt/format.h>

namespace astra::shell {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// What a word may be without quotes and without being taken for something else.
bool is_plain_word(std::string_view text) {
  constexpr std::array taken{"as", "true", "false", "null", "and", "or", "not", "in"};
  return !text.empty() && is_letter(text.front()) && std::all_of(text.begin(), text.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '/';
  }) && std::find(taken.begin(), taken.end(), text) == taken.end();
}

std::string quoted(const std::vector<piece>& pieces) {
  std::string out = "\"";
  for (auto& part : pieces) {
    if (part.inserted) {
      auto inner = to_text(*part.inserted);
      out += "${" + inner.substr(1) + "}";
      continue;
    }
    for (auto c : part.text)
      switch (c) {
      case '"':
      case '\\':
      case '$':
        out += std::string{'\\', c};
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        out += c;
      }
  }
  return out + "\"";
}

std::string to_text(const value& what) {
  switch (what.what) {
  case value::kind::number:
  case value::kind::quantity:
    return what.written;
  case value::kind::literal:
    return what.literal.dump(-1, ' ', false, json::error_handler_t::replace);
  case value::kind::reference:
    return to_text(what.source);
  case value::kind::text:
    break;
  }
  if (what.pieces.size() == 1 && !what.pieces.front().inserted && is_plain_word(what.pieces.front().text))
    return what.pieces.front().text;
  return quoted(what.pieces);
}

std::string_view to_text(comparison how) {
  switch (how) {
  case comparison::equal:
    return "==";
  case comparison::not_equal:
    return "!=";
  case comparison::less:
    return "<";
  case comparison::less_equal:
    return "<=";
  case comparison::greater:
    return ">";
  case comparison::greater_equal:
    return ">=";
  case comparison::glob:
    return "=~";
  case comparison::in:
    return "in";
  case comparison::not_in:
    return "not in";
  }
  return "";
}

std::string to_text(const stage& what) {
  std::string fields;
  for (auto& field : what.fields)
    fields += fmt::format("{}{}{}", fields.empty() ? "" : ", ", field.falling ? "-" : "", joined(field.path));
  switch (what.what) {
  case stage::kind::where:
    return "where " + to_text(what.filter);
  case stage::kind::sort:
    return "sort " + fields;
  case stage::kind::top:
    return fmt::format("top {}{}{}", what.most, fields.empty() ? "" : " ", fields);
  case stage::kind::limit:
    return fmt::format("limit {}", what.most);
  case stage::kind::select:
    return "select " + fields;
  case stage::kind::count:
    return "count";
  }
  return "";
}

std::string block(const script& body) {
  std::string out = "{";
  for (auto& one : body)
    out += (out.size() == 1 ? " " : "; ") + to_text(one);
  return out + " }";
}

} // namespace

std::string joined(const std::vector<std::string>& path) {
  return fmt::format("{}", fmt::join(path, "."));
}

std::string to_text(const reference& what) {
  auto path = joined(what.path);
  if (what.sigil == 0)
    return path;
  return what.sigil + what.name + (path.empty() ? "" : "." + path);
}

std::string to_text(const condition& what) {
  switch (what.what) {
  case condition::kind::all_of:
  case condition::kind::any_of: {
    std::string out;
    for (auto& part : what.parts)
      out += (out.empty() ? "" : what.what == condition::kind::all_of ? " and " : " or ") + ("(" + to_text(part) + ")");
    return out;
  }
  case condition::kind::negation:
    return "not (" + to_text(what.parts.front()) + ")";
  case condition::kind::test:
    break;
  }
  auto out = fmt::format("{} {} ", to_text(what.operand), to_text(what.how));
  if (what.how != comparison::in && what.how != comparison::not_in)
    return out + to_text(what.values.front());
  std::string list;
  for (auto& one : what.values)
    list += (list.empty() ? "" : ", ") + to_text(one);
  return out + "(" + list + ")";
}

std::string to_text(const statement& what) {
  switch (what.what) {
  case statement::kind::loop:
    return fmt::format("for {} in {}..{} {}", what.variable, to_text(what.from), to_text(what.to), block(what.body));
  case statement::kind::every:
    return fmt::format("every {} {}{}", format_fine_duration(what.period),
                       what.times ? fmt::format("{} times ", *what.times) : "", block(what.body));
  case statement::kind::await:
    return fmt::format("await {} {}{}", to_text(what.awaited), what.state,
                       what.patience ? " " + format_fine_duration(*what.patience) : "");
  case statement::kind::expect:
    return "expect " + to_text(what.expected);
  case statement::kind::pipeline:
    break;
  }
  std::string out;
  if (what.source_call) {
    out = what.source_call->verb;
    for (auto& one : what.source_call->arguments)
      out += " " + (one.name.empty() ? "" : one.name + "=") + to_text(one.what);
  } else {
    assert(what.source_value);
    out = to_text(*what.source_value);
  }
  for (auto& one : what.stages)
    out += " | " + to_text(one);
  return what.bind.empty() ? out : out + " as " + what.bind;
}

std::string to_text(const script& what) {
  std::string out;
  for (auto& one : what)
    out += to_text(one) + "\n";
  return out;
}

} // namespace astra::shell
