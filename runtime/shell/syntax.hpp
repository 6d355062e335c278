#pragma once

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What a script of the shell says, as a tree.  A plain value: it knows no terminal, no cluster and no clock.

namespace astra::shell {

/// Keeps the order in which keys were written.
using json = nlohmann::ordered_json;

/// Where something stands in a script; both from 1, the column in characters.
struct place {
  int line = 1;
  int column = 1;

  /// Trees are compared by what they say, wherever it stands.
  friend bool operator==(const place&, const place&) { return true; }
};

/// $3, $name.key.0, @name.key; in conditions also a bare key of a row.
struct reference {
  /// '$': an earlier result or a variable; '@': an app; 0: a key of the row at hand.
  char sigil = '$';
  /// Digits: number of a result; empty: the last result, or the row.
  std::string name;
  /// Keys of objects, indexes of lists.
  std::vector<std::string> path;
  place at;

  friend bool operator==(const reference&, const reference&) = default;
};

/// A part of a text: characters, or a value put into it.
struct piece {
  std::string text;
  std::optional<reference> inserted;

  friend bool operator==(const piece&, const piece&) = default;
};

struct value {
  enum class kind : std::uint8_t {
    /// A word or a text in quotes.
    text,
    /// As written, such as 1.50.
    number,
    /// A number with a unit, such as 10s, 8GiB, 80%; only in conditions.
    quantity,
    /// true, false, null, or a list or an object.
    literal,
    reference,
  };

  kind what = kind::text;
  /// Of a text.  No two neighbours are characters, and none are empty.
  std::vector<piece> pieces;
  /// Of a number or quantity.
  std::string written;
  json literal;
  reference source;
  place at;

  friend bool operator==(const value&, const value&) = default;
};

struct argument {
  /// Empty: it has none.
  std::string name;
  value what;

  friend bool operator==(const argument&, const argument&) = default;
};

struct call {
  std::string verb;
  std::vector<argument> arguments;
  place at;

  friend bool operator==(const call&, const call&) = default;
};

enum class comparison : std::uint8_t { equal, not_equal, less, less_equal, greater, greater_equal, glob, in, not_in };

struct condition {
  enum class kind : std::uint8_t { all_of, any_of, negation, test };

  kind what = kind::test;
  /// Of all_of, any_of (two or more) and negation (one).
  std::vector<condition> parts;
  // A test.
  reference operand;
  comparison how = comparison::equal;
  /// One, but for in and not_in.
  std::vector<value> values;

  friend bool operator==(const condition&, const condition&) = default;
};

struct field_choice {
  std::vector<std::string> path;
  /// Of sort: the largest first.
  bool falling = false;
  place at;

  friend bool operator==(const field_choice&, const field_choice&) = default;
};

/// What happens to a list between two |.
struct stage {
  enum class kind : std::uint8_t { where, sort, top, limit, select, count };

  kind what = kind::count;
  condition filter;
  /// Of sort and select; of top at most one.
  std::vector<field_choice> fields;
  /// Of top and limit.
  std::uint64_t most = 0;
  place at;

  friend bool operator==(const stage&, const stage&) = default;
};

struct statement {
  enum class kind : std::uint8_t { pipeline, loop, every, await, expect };

  kind what = kind::pipeline;
  place at;
  // A pipeline begins with one of the two.
  std::optional<call> source_call;
  std::optional<reference> source_value;
  std::vector<stage> stages;
  /// The name that its result gets; empty: none.
  std::string bind;
  /// Name of the loop's number.
  std::string variable;
  value from;
  value to;
  std::chrono::nanoseconds period{0};
  /// Of every; unset: without end.
  std::optional<std::uint64_t> times;
  std::vector<statement> body;
  /// Of await: what for, the state that it is to be in, and how long at most.
  value awaited;
  std::string state;
  std::optional<std::chrono::nanoseconds> patience;
  condition expected;

  friend bool operator==(const statement&, const statement&) = default;
};

using script = std::vector<statement>;

/// Text that parses to the same tree, one statement per line.
std::string to_text(const script& what);
std::string to_text(const statement& what);
std::string to_text(const condition& what);
std::string to_text(const reference& what);

/// "a.b.0"
std::string joined(const std::vector<std::string>& path);

} // namespace astra::shell
