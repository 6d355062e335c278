#include "config/contexts.hpp"
#include "config/spelling.hpp"
#include "runtime/cli/commands/commands.hpp"
#include "runtime/cli/table.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace astra {
namespace {

/// Reads the file, or tells what is wrong with it.
bool read_contexts(command_context& context, contexts_config& file) {
  auto path = contexts_path(context.environment.variables);
  file = load_contexts(path, context.environment.variables);
  if (file.problems.empty())
    return true;
  for (const auto& problem : file.problems)
    context.say(printable(to_string(problem)));
  context.fail(exit_bad_config, fmt::format("{} in {}", counted(file.problems.size(), "problem"), path));
  return false;
}

json to_json(const std::string& name, const context_entry& entry, bool current) {
  return {{"name", name},     {"current", current}, {"gateway", entry.gateway}, {"certificate", entry.certificate},
          {"key", entry.key}, {"ca", entry.ca}};
}

} // namespace

const command_text context_text = {"The clusters that you ask, by names of their own", "", ""};

const command_text context_list_text = {
    "List the clusters of contexts.toml; * marks the current one",
    "The file is $XDG_CONFIG_HOME/astra/contexts.toml, else ~/.config/astra/contexts.toml.  It has a table "
    "[contexts.NAME] with gateway, certificate, key and ca for each cluster, and current = \"NAME\".  --context NAME "
    "asks another one; --gateway and ASTRA_GATEWAY count more than the current one.",
    "astra context list\nastra --context prod status",
};

const command_text context_use_text = {"Make a context the current one", "", "astra context use prod"};

const command_text context_show_text = {"Show one context", "", "astra context show prod"};

std::string unknown_context(const contexts_config& file, const std::string& name) {
  std::vector<std::string> known;
  for (const auto& [one, entry] : file.contexts)
    known.push_back(one);
  auto meant = closest(name, known);
  return fmt::format("no context '{}'{}", name,
                     meant           ? fmt::format("; did you mean '{}'?", *meant)
                     : known.empty() ? "; there are none, see 'astra help context list'"
                                     : fmt::format("; there are {}", fmt::join(known, ", ")));
}

const listing& context_listing() {
  static const listing what{"contexts",
                            "context",
                            "name",
                            {"name", "current", "gateway", "certificate", "key", "ca"},
                            [](const json& answer, bool colour) {
                              text_table table{{{""}, {"NAME"}, {"GATEWAY"}, {"CERTIFICATE"}}};
                              for (const auto& entry : list_in(answer, "contexts"))
                                table.add({flag_in(entry, "current") ? "*" : "", text_in(entry, "name"),
                                           text_in(entry, "gateway"), text_in(entry, "certificate")});
                              return table.render(colour);
                            }};
  return what;
}

int list_contexts(command_context& context, const list_options& options) {
  contexts_config file;
  if (!read_contexts(context, file))
    return exit_bad_config;
  auto all = json{{"contexts", json::array()}};
  for (const auto& [name, entry] : file.contexts)
    all["contexts"].push_back(to_json(name, entry, name == file.current));
  auto what = context_listing();
  if (file.contexts.empty())
    what.render = [path = printable(contexts_path(context.environment.variables))](const json&, bool) {
      return fmt::format("no contexts; write some into {}\n", path);
    };
  return print_list(context, what, options, [&] { return caf::expected<json>{all}; });
}

int choose_context(command_context& context, const std::string& name) {
  contexts_config file;
  if (!read_contexts(context, file))
    return exit_bad_config;
  if (file.contexts.find(name) == file.contexts.end())
    return context.fail(exit_not_found, unknown_context(file, name));
  auto path = contexts_path(context.environment.variables);
  auto text = read_input_file(path);
  if (!text)
    return context.fail(text.error());
  // Beside it and then in its place: whoever reads it meanwhile finds the one or the other.
  auto beside = path + ".new";
  auto written = static_cast<bool>(std::ofstream{beside, std::ios::binary} << with_current(*text, name) << std::flush);
  std::error_code error;
  if (written)
    std::filesystem::rename(beside, path, error);
  if (!written || error)
    return context.fail(exit_failed,
                        fmt::format("cannot write {}: {}", path, error ? error.message() : std::strerror(errno)));
  context.say(fmt::format("current context: {}", printable(name)));
  return exit_ok;
}

int show_context(command_context& context, const std::string& name) {
  contexts_config file;
  if (!read_contexts(context, file))
    return exit_bad_config;
  const auto& wanted = name.empty() ? file.current : name;
  if (wanted.empty())
    return context.fail(exit_not_found, "no context is the current one; choose one with 'astra context use NAME'");
  auto found = file.contexts.find(wanted);
  if (found == file.contexts.end())
    return context.fail(exit_not_found, unknown_context(file, wanted));
  auto shown = to_json(wanted, found->second, wanted == file.current);
  if (context.options.format == output_format::json) {
    context.out() << pretty(shown);
    return exit_ok;
  }
  for (auto key : {"name", "gateway", "certificate", "key", "ca"})
    if (auto text = text_in(shown, key); !text.empty())
      context.out() << fmt::format("{:<13}{}\n", key, printable(text));
  return exit_ok;
}

} // namespace astra
