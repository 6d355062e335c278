#include "runtime/cli/commands/commands.hpp"

#include "config/load.hpp"
#include "config/schema.pb.h"
#include "messages/wire/app.pb.h"
#include "runtime/cli/spec_json.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

namespace astra {
namespace {

// A file that cannot be read counts as a process's; its loader then says why.
file_kind kind_of(const std::string& file, const std::optional<file_kind>& stated) {
  if (stated)
    return *stated;
  auto text = read_input_file(file);
  return text ? guess_file_kind(*text) : file_kind::process;
}

json to_json(const std::vector<config_problem>& problems) {
  auto list = json::array();
  for (const auto& problem : problems)
    list.push_back({{"file", problem.file},
                    {"line", problem.line},
                    {"column", problem.column},
                    {"key", problem.key},
                    {"message", problem.message}});
  return list;
}

// Calls f(name) for the first part of every key and table header at the top level of a TOML text.  Only a guess is
// made from it, so that text inside multi-line strings may pass as well.
template <class F>
void for_each_top_level_name(std::string_view text, F f) {
  auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  bool in_table = false;
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(" \t")));
    auto header = !line.empty() && line.front() == '[';
    if (header)
      line.remove_prefix(std::min(line.size(), line.find_first_not_of("[ \t")));
    in_table = in_table || header;
    std::string_view name{line.begin(), std::find_if_not(line.begin(), line.end(), is_word)};
    if (!name.empty() && (header || !in_table))
      f(std::string{name});
  }
}

struct checked_file {
  std::vector<config_problem> problems;
  /// What the file is when it is good: "process node-1 (node, gateway)".
  std::string summary;
};

checked_file check(const std::string& file, file_kind kind, const environment_lookup& variables) {
  if (kind == file_kind::app) {
    auto config = load_app_config(file, variables);
    if (!config.spec)
      return {std::move(config.problems), {}};
    return {{}, fmt::format("app {}, {}", config.spec->name(), counted(config.spec->replicas(), "replica"))};
  }
  auto config = load_process_config(file, variables);
  std::string roles;
  for (auto role : config.options.roles)
    roles += (roles.empty() ? "" : ", ") + to_string(role);
  return {std::move(config.problems), fmt::format("process {} ({})", config.options.name, roles)};
}

int fail_with(command_context& context, const std::vector<config_problem>& problems, const std::string& file) {
  for (const auto& problem : problems)
    context.say(printable(to_string(problem)));
  return context.fail(exit_bad_config, fmt::format("{} in {}", counted(problems.size(), "problem"), file));
}

} // namespace

const command_text config_text = {"Check and explain configuration files", "", ""};

const command_text config_check_text = {
    "Check files without starting anything",
    "Takes files of processes and of apps, told apart by their content; --app and --process say which.  Prints every "
    "problem with its place and its cure.  Exit code 78 when there is one.",
    "astra config check /etc/astra/node.toml ocr.toml",
};

const command_text config_show_text = {
    "Show what a file comes to",
    "Every value that the file sets and where it was set; with --effective the defaults too.  An app file is shown as "
    "the API takes it.",
    "astra config show /etc/astra/node.toml --effective",
};

file_kind guess_file_kind(std::string_view text) {
  const auto* process = schema::ProcessFile::descriptor();
  const auto* app = schema::AppFile::descriptor();
  int balance = 0;
  for_each_top_level_name(text, [&](const std::string& name) {
    auto in_process = process->FindFieldByName(name) != nullptr;
    auto in_app = app->FindFieldByName(name) != nullptr;
    balance += (in_app ? 1 : 0) - (in_process ? 1 : 0);
  });
  return balance > 0 ? file_kind::app : file_kind::process;
}

int check_config(command_context& context, const config_check_options& options) {
  std::size_t problems = 0;
  std::size_t bad_files = 0;
  auto answer = json::array();
  for (const auto& file : options.files) {
    auto kind = kind_of(file, options.kind);
    auto result = check(file, kind, context.environment.variables);
    problems += result.problems.size();
    bad_files += result.problems.empty() ? 0 : 1;
    if (context.options.format == output_format::json)
      answer.push_back({{"file", file},
                        {"kind", kind == file_kind::app ? "app" : "process"},
                        {"problems", to_json(result.problems)}});
    else if (result.problems.empty())
      context.out() << fmt::format("{}: good, {}\n", file, printable(result.summary));
    for (const auto& problem : result.problems)
      context.say(printable(to_string(problem)));
  }
  if (context.options.format == output_format::json)
    context.out() << pretty(json{{"files", std::move(answer)}});
  if (problems == 0)
    return exit_ok;
  return context.fail(exit_bad_config, fmt::format("{} in {} of {}", counted(problems, "problem"), bad_files,
                                                   counted(options.files.size(), "file")));
}

int show_config(command_context& context, const config_show_options& options) {
  if (kind_of(options.file, options.kind) == file_kind::app) {
    auto config = load_app_config(options.file, context.environment.variables);
    if (!config.spec)
      return fail_with(context, config.problems, options.file);
    context.out() << pretty(spec_to_json(*config.spec));
    return exit_ok;
  }
  auto config = load_process_config(options.file, context.environment.variables);
  if (!config.problems.empty())
    return fail_with(context, config.problems, options.file);
  text_table table{{{"KEY"}, {"VALUE"}, {"ORIGIN"}}};
  auto list = json::array();
  for (const auto& value : config.values) {
    auto is_default = value.origin == "default";
    if (is_default && !options.effective)
      continue;
    table.add({value.key, value.value, {value.origin, is_default ? tone::faint : tone::plain}});
    list.push_back({{"key", value.key}, {"value", value.value}, {"origin", value.origin}});
  }
  context.out() << (context.options.format == output_format::json ? pretty(json{{"values", std::move(list)}})
                                                                  : table.render(context.options.colour_out));
  return exit_ok;
}

} // namespace astra
