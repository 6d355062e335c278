#pragma once

#include <string>
#include <string_view>

namespace astra::pb {
class LabelExpression;
class Toleration;
} // namespace astra::pb

namespace astra {

// What an app says of the labels of nodes: `zone in (a, b)`, `disk != hdd`, `gpu exists`.
//
//   expression := key operator
//   operator   := ("==" | "!=") value | ["not"] "in" "(" value ("," value)* ")" | ["not"] "exists"
//   value      := word | "text" | 'text'
//
// A word is of letters, digits and ._-/:@+; in a text in quotes \ stands before a quotation mark or a \ that is meant.

/// @returns what is wrong with the text, and the cure; empty: nothing, and `out` is what it says.
std::string parse_label_expression(std::string_view text, pb::LabelExpression& out);

/// What parse_label_expression reads back.
std::string to_text(const pb::LabelExpression& expression);

/// The rules that an expression must keep that came another way; empty: it does.
std::string problem_of(const pb::LabelExpression& expression);

/// "spot" tolerates a taint whatever its value is, "dedicated=db" only this one.  Problems as above.
std::string parse_toleration(std::string_view text, pb::Toleration& out);
std::string to_text(const pb::Toleration& toleration);

} // namespace astra
