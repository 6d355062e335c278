#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace astra::shell {

/// The words that there are, asked for only when they could stand at the cursor.
struct vocabulary {
  /// Words that a line can go on with, by what stands before: {} -> verbs, {"node"} -> "list", "show", ...
  std::function<std::vector<std::string>(const std::vector<std::string>& before)> subcommands;
  /// "--where" and such, of the command that these words name.
  std::function<std::vector<std::string>(const std::vector<std::string>& before)> options;
  std::function<std::vector<std::string>()> apps;
  std::function<std::vector<std::string>()> nodes;
  /// Messages of an app's actor, by the word that stands for the app, such as "@c"; null: none are known.
  std::function<std::vector<std::string>(const std::string& app)> messages;
  /// "amount=" and such, of one message.
  std::function<std::vector<std::string>(const std::string& app, const std::string& message)> fields;
  /// Of $name.
  std::function<std::vector<std::string>()> variables;
  /// Keys that rows may have which come from the statement of these words: {"node", "list"}, {"$c"}.
  std::function<std::vector<std::string>(const std::vector<std::string>& source)> keys;
  /// Paths that begin so; directories end in "/".
  std::function<std::vector<std::string>(const std::string& begin)> files;
};

struct completion {
  /// Where the word at the cursor begins, in bytes.
  std::size_t begin = 0;
  /// What could stand there, sorted; each begins with what stands there already.
  std::vector<std::string> candidates;

  /// What all candidates begin with.
  std::string common() const;
};

/// What could stand at the end of `line`, the part of a line up to the cursor.
completion complete(std::string_view line, const vocabulary& known);

} // namespace astra::shell
