#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

// The commands with their arguments and options as data, for whoever writes about them: completion, manual pages.
// command_line.cpp makes it of what it parses with, so nothing can be in one and not in the other.

namespace astra {

/// What stands for an argument or for the value of an option.
enum class value_kind {
  /// Anything; nothing can be offered for it.
  any,
  file,
  directory,
  node,
  app,
  /// NAME@VERSION
  model,
  /// Without a version.
  model_name,
  task,
  /// app/NAME, node/NAME, replica/APP/INDEX
  why_target,
  /// app/NAME, node/NAME, model/NAME@VERSION, task/ID
  wait_target,
  /// An app's name, or a file.
  app_or_file,
  /// The words of a command.
  command,
  /// What `astra explain` knows.
  code,
};

struct command_option {
  /// "-o", "--follow"; the short one first.
  std::vector<std::string> names;
  /// What stands for its value, such as FILE; empty: it has none.
  std::string value;
  std::string help;
  bool required = false;
  bool repeatable = false;
  /// The value may be left out, and follows only behind "=".
  bool value_optional = false;
  value_kind kind = value_kind::any;
  /// All values that there are; empty: more than can be listed.
  std::vector<std::string> choices;
};

struct command_argument {
  std::string name;
  std::string help;
  bool required = false;
  bool many = false;
  value_kind kind = value_kind::any;
  std::vector<std::string> choices;
  /// Nobody has said what it is (`kind_of_argument`).
  bool unknown = false;
};

struct command_node {
  /// "list"; of the root "astra".
  std::string name;
  /// "node list"; of the root "".
  std::string path;
  std::string_view summary;
  std::string_view details;
  std::string_view examples;
  std::vector<command_argument> arguments;
  /// Its own.  Those of the root may stand with every command.
  std::vector<command_option> options;
  std::vector<command_node> below;

  const command_node* find(std::string_view word) const;
};

/// What an argument of a command stands for.  Nothing is known of one that is in no table.
/// @param path of its command
const value_kind* kind_of_argument(std::string_view path, std::string_view name);

/// The same of an option's value.  One that is in no table may be anything.
/// @param value what stands for it, such as FILE
value_kind kind_of_option(const std::vector<std::string>& names, std::string_view value);

} // namespace astra
