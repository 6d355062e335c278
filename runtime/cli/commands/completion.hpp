#pragma once

#include "runtime/cli/command_context.hpp"
#include "runtime/cli/command_tree.hpp"
#include "runtime/cli/commands/commands.hpp"

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra {

extern const command_text completion_text;

/// "bash", "zsh", "fish"
const std::vector<std::string>& completion_shells();

/// Prints the script that has a shell ask `astra __complete`.
int print_completion(command_context& context, const std::string& shell);

/// What may stand for the last word of a command line that is being typed.
struct completion {
  struct candidate {
    std::string word;
    /// What it is, in a few words; may be empty.
    std::string help;
  };
  std::vector<candidate> candidates;
  /// The shell adds names of files, or of directories only.
  bool files = false;
  bool directories = false;
};

/// Names of things of one kind that the cluster has now.
/// @param start only those that begin so are needed.
using live_names = std::function<std::vector<completion::candidate>(value_kind kind, std::string_view start)>;

/// @param words behind "astra", the last one as far as it is typed, which may be nothing.
completion complete(const command_node& root, const std::vector<std::string>& words, const live_names& names);

/// Options of the root that the words give a value: they say which gateway knows the names.
std::vector<std::pair<std::string, std::string>> root_options_in(const command_node& root,
                                                                 const std::vector<std::string>& words);

/// All the questions of one completion together: whoever types waits for no gateway.
constexpr std::chrono::milliseconds completion_patience{300};

/// Asks the gateway that the context names, for `completion_patience` at most.  No answer is no names.
live_names names_of_gateway(command_context& context);

/// One candidate per line, a tab before its help; then ":file" or ":directory".
int print_candidates(command_context& context, const completion& found);

} // namespace astra
