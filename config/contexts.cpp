#include "config/contexts.hpp"

#include "config/contexts.pb.h"
#include "config/schema_reader.hpp"
#include "config/spelling.hpp"
#include "config/text_file.hpp"
#include "config/toml_tree.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

namespace astra {

std::string xdg_path(const environment_lookup& environment, const char* variable, std::string_view below_home,
                     std::string_view file) {
  auto value_of = [&](const char* name) { return environment ? environment(name).value_or("") : std::string{}; };
  auto base = value_of(variable);
  if (base.empty()) {
    auto home = value_of("HOME");
    if (home.empty())
      return {};
    base = fmt::format("{}/{}", home, below_home);
  }
  return fmt::format("{}/astra/{}", base, file);
}

std::string contexts_path(const environment_lookup& environment) {
  return xdg_path(environment, "XDG_CONFIG_HOME", ".config", "contexts.toml");
}

contexts_config load_contexts(const std::string& path, const environment_lookup& environment) {
  std::error_code error;
  if (path.empty() || !std::filesystem::exists(path, error))
    return {};
  auto file = read_text_file(path);
  if (file.problem.empty())
    return parse_contexts(file.text, path, environment);
  contexts_config result;
  result.problems.push_back({path, 0, 0, {}, file.problem});
  return result;
}

contexts_config parse_contexts(const std::string& text, const std::string& name,
                               const environment_lookup& environment) {
  contexts_config result;
  auto& problems = result.problems;
  auto document = parse_toml(text, name);
  if (document.error)
    problems.push_back({name, document.error->at.line, document.error->at.column, {}, document.error->message});
  // The schema has no maps of tables: each context is read as a message of its own.
  auto rest = document.root;
  rest.entries.erase(
      std::remove_if(rest.entries.begin(), rest.entries.end(), [](auto& entry) { return entry.key == "contexts"; }),
      rest.entries.end());
  schema::ContextsFile file;
  auto findings = read_schema(file, rest, environment, {});
  problems.insert(problems.end(), findings.problems.begin(), findings.problems.end());
  result.current = file.current();
  std::vector<std::string> names;
  auto* contexts = document.root.find("contexts");
  if (contexts != nullptr && contexts->value.type != toml_value::kind::table)
    problems.push_back({name, contexts->value.at.line, contexts->value.at.column, "contexts",
                        "must be tables, such as [contexts.prod]"});
  else if (contexts != nullptr)
    for (auto& entry : contexts->value.entries) {
      auto key = "contexts." + key_part(entry.key);
      names.push_back(entry.key);
      if (entry.value.type != toml_value::kind::table) {
        problems.push_back({name, entry.value.at.line, entry.value.at.column, key, "must be a table, [" + key + "]"});
        continue;
      }
      schema::ContextEntry one;
      auto found = read_schema(one, entry.value, environment, {});
      for (auto& problem : found.problems) {
        problem.key = problem.key.empty() ? key : key + "." + problem.key;
        problems.push_back(std::move(problem));
      }
      if (!document.error && one.gateway().empty() && found.failed.count("gateway") == 0)
        problems.push_back({name, entry.at.line, entry.at.column, key,
                            "has no gateway; write gateway = \"HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\""});
      result.contexts[entry.key] = {one.gateway(), one.certificate(), one.key(), one.ca(), entry.at.line};
    }
  if (!result.current.empty() && std::find(names.begin(), names.end(), result.current) == names.end()) {
    auto* current = document.root.find("current");
    auto meant = closest(result.current, names);
    problems.push_back(
        {name, current->value.at.line, current->value.at.column, "current",
         "there is no context '" + result.current + "'"
             + (meant ? "; did you mean '" + *meant + "'?" : "; add [contexts." + key_part(result.current) + "]")});
  }
  std::sort(problems.begin(), problems.end(), [](auto& a, auto& b) {
    return std::tie(a.line, a.column, a.key, a.message) < std::tie(b.line, b.column, b.key, b.message);
  });
  return result;
}

std::string with_current(const std::string& text, std::string_view name) {
  auto written = "current = " + quote(name) + "\n";
  auto* current = parse_toml(text, "").root.find("current");
  if (current == nullptr)
    return written + text;
  // A text in quotes has no line of its own.
  std::size_t begin = 0;
  for (auto line = 1; line < current->at.line; ++line)
    begin = text.find('\n', begin) + 1;
  auto end = std::min(text.find('\n', begin), text.size() - 1) + 1;
  return text.substr(0, begin) + written + text.substr(end);
}

} // namespace astra
