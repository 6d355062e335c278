#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// What a word means that Astra says of an error or of a state, and what to do about it.
struct explanation {
  /// Of what: "error", "node state"...
  std::string_view topic;
  /// As it is shown, one word for programs: "backing_off".
  std::string_view word;
  std::string_view meaning;
  /// What usually leads to it; empty: what the meaning says.
  std::string_view cause;
  /// A command, with NAME and the like for what the reader puts in; empty: there is nothing to do.
  std::string_view next;
};

/// Of the codes with which this program ends.
inline constexpr std::string_view exit_code_topic = "exit code";

/// All of them, those of one topic beside each other.
std::span<const explanation> explanations();

/// Each word once, in the order of the table.
std::vector<std::string> explained_words();

} // namespace astra
