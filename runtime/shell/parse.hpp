#pragma once

#include "runtime/shell/syntax.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace astra::shell {

struct syntax_error {
  place at;
  /// What was expected, such as "expected a value after =".
  std::string message;
};

struct parsed_script {
  script statements;
  std::optional<syntax_error> error;
};

/// Reads a script:
///
///   statement  := call { "|" stage } ["as" NAME] | "$1" { "|" stage } ["as" NAME]
///               | "for" NAME "in" FROM ".." TO block | "every" DURATION [N "times"] block
///               | "await" VALUE STATE [DURATION] | "expect" condition
///   call       := VERB { VALUE | NAME=VALUE }
///   stage      := "where" condition | "sort" ["-"]FIELD, ... | "top" N [FIELD] | "limit" N | "select" FIELD, ...
///               | "count"
///   block      := "{" statements "}"
///   condition  := as in a filter of nodes (actors/resource/node_filter.hpp), but on keys of rows, $results and @apps
///   value      := word | "text with ${name}" | 'text as it is' | number | $1 | $name.key | @name | true | false | null
///               | {"JSON": ["object", "or", "list"]}
///
/// Statements end with their line or with ";"; # begins a comment; \ at the end of a line goes on with it.
/// @param first_line the number of the first line of `text`
parsed_script parse(std::string_view text, int first_line = 1);

struct parsed_condition {
  condition what;
  std::optional<syntax_error> error;
};

/// Reads a condition that stands alone, as behind `where`.
parsed_condition parse_condition(std::string_view text);

/// Tells whether lines belong together, without looking at any line twice: a paste of ten thousand lines is read line
/// by line.
class line_collector {
public:
  /// @param line without its line end.
  void add(std::string_view line);

  /// Whether a bracket is open, or the last line ends in | or \.
  bool wants_more() const { return depth_ > 0 || goes_on_; }

  /// Gives up what was begun.
  void clear() { *this = {}; }

private:
  int depth_ = 0;
  bool goes_on_ = false;
};

} // namespace astra::shell
