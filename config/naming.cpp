#include "config/naming.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>

namespace astra {

namespace {

constexpr std::size_t name_length_max = 63;
constexpr std::size_t label_value_length_max = 255;

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}

bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string in_quotes(std::string_view text) {
  return "\"" + std::string{text} + "\"";
}

/// What both kinds of name have in common: some length, and only characters that `allowed` knows.
template <class Allowed>
std::string check(std::string_view name, std::string_view characters, Allowed allowed) {
  if (name.empty())
    return "is empty; use " + std::string{characters};
  if (name.size() > name_length_max)
    return in_quotes(name) + " has " + std::to_string(name.size()) + " characters; use at most 63";
  auto bad = std::find_if_not(name.begin(), name.end(), allowed);
  if (bad != name.end())
    return in_quotes(name) + " holds a character that a name cannot have, at position "
           + std::to_string(bad - name.begin() + 1) + "; use " + std::string{characters};
  return {};
}

} // namespace

std::string name_problem(std::string_view name) {
  auto problem = check(name, "letters, digits, '-', '_' and '.'", [](char c) {
    return is_lower(c) || is_upper(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
  });
  if (problem.empty() && !is_lower(name.front()) && !is_upper(name.front()) && !is_digit(name.front()))
    return in_quotes(name) + " must start with a letter or a digit";
  return problem;
}

std::string app_name_problem(std::string_view name) {
  auto problem =
      check(name, "lower-case letters, digits and '-'", [](char c) { return is_lower(c) || is_digit(c) || c == '-'; });
  if (problem.empty() && (name.front() == '-' || name.back() == '-'))
    return in_quotes(name) + " must start and end with a letter or a digit";
  return problem;
}

std::string label_problem(std::string_view key, std::string_view value) {
  if (auto problem = name_problem(key); !problem.empty())
    return "the label's key " + problem;
  if (value.size() > label_value_length_max)
    return "the label has " + std::to_string(value.size()) + " bytes; use at most 255";
  if (std::any_of(value.begin(), value.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }))
    return "the label holds a control character; remove it";
  return {};
}

std::string taint_problem(std::string_view taint) {
  auto [key, value] = split_taint(taint);
  auto problem = label_problem(key, value);
  return problem.starts_with("the label") ? "the taint" + problem.substr(std::string_view{"the label"}.size())
                                          : problem;
}

std::pair<std::string, std::string> split_taint(std::string_view taint) {
  auto equals = taint.find('=');
  if (equals == std::string_view::npos)
    return {std::string{taint}, {}};
  return {std::string{taint.substr(0, equals)}, std::string{taint.substr(equals + 1)}};
}

std::string parse_content_reference(std::string_view text, content_reference& out) {
  auto at = text.find('@');
  auto name = text.substr(0, at);
  if (auto problem = name_problem(name); !problem.empty())
    return problem;
  out = {std::string{name}, 0};
  if (at == std::string_view::npos)
    return {};
  auto digits = text.substr(at + 1);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out.version);
  if (error != std::errc{} || end != digits.data() + digits.size() || out.version == 0)
    return in_quotes(text) + " has no version that is a number from 1; write such as \"" + out.name + "@3\"";
  return {};
}

std::string to_string(const content_reference& reference) {
  return reference.version == 0 ? reference.name : reference.name + "@" + std::to_string(reference.version);
}

bool names_library_file(std::string_view library) {
  return !library.starts_with('{') && (library.find('/') != std::string_view::npos || library.ends_with(".so"));
}

std::string variable_problem(std::string_view name) {
  auto allowed = [](char c) { return is_lower(c) || is_upper(c) || is_digit(c) || c == '_'; };
  if (name.empty() || is_digit(name.front()) || !std::all_of(name.begin(), name.end(), allowed))
    return in_quotes(name) + " cannot name a variable; use letters, digits and '_', the first no digit";
  return {};
}

bool matches_any(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(), [&](std::string_view pattern) {
    return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern;
  });
}

} // namespace astra
