#include "config/expand.hpp"

#include "messages/text.hpp"

#include <cstddef>
#include <cstdlib>
#include <optional>
#include <utility>

namespace astra {

namespace {

bool is_variable_name(std::string_view name) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (name.empty() || !letter(name.front()))
    return false;
  for (auto c : name)
    if (!letter(c) && !(c >= '0' && c <= '9'))
      return false;
  return true;
}

} // namespace

environment_lookup process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    if (auto value = std::getenv(name.c_str()))
      return value;
    return std::nullopt;
  };
}

expansion expand(std::string_view text, const environment_lookup& environment) {
  expansion result;
  auto fail = [&](std::string problem) {
    if (result.problem.empty())
      result.problem = std::move(problem);
  };
  std::size_t at = 0;
  while (at < text.size()) {
    if (text[at] != '$' || at + 1 == text.size() || (text[at + 1] != '$' && text[at + 1] != '{')) {
      result.text += text[at++];
      continue;
    }
    if (text[at + 1] == '$') {
      result.text += '$';
      at += 2;
      continue;
    }
    auto end = text.find('}', at);
    if (end == std::string_view::npos) {
      fail("'${' is not closed; write ${NAME}, or $${ for a literal '${'");
      break;
    }
    auto reference = text.substr(at + 2, end - at - 2);
    at = end + 1;
    auto split = reference.find(":-");
    std::string name{reference.substr(0, split)};
    if (!is_variable_name(name)) {
      fail("'${" + std::string{reference} + "}' names no variable; write ${NAME} or ${NAME:-default}, or $${ for a "
           + "literal '${'");
      continue;
    }
    if (!environment) {
      fail("'${" + name + "}' is not known here: only a file is expanded; write the value, or $${ for a literal '${'");
      continue;
    }
    auto value = environment(name);
    if (split != std::string_view::npos && (!value || value->empty())) {
      result.text += reference.substr(split + 2);
    } else if (value && to_utf8(*value) != *value) {
      fail("environment variable " + name + " is not UTF-8 text; set it to some");
    } else if (value) {
      result.text += *value;
      result.variables.push_back(std::move(name));
    } else {
      fail("environment variable " + name + " is not set; set it or write ${" + name + ":-default}");
    }
  }
  return result;
}

} // namespace astra
