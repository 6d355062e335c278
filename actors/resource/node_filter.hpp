#pragma once

#include "actors/resource/cluster_view.hpp"
#include "actors/resource/posting_list.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace astra {

/// Which nodes an operator means: `util > 0.8 and zone == "a"`.
///
///   filter     := term ( ("or" | "||") term )*
///   term       := factor ( ("and" | "&&") factor )*
///   factor     := ("not" | "!") factor | "(" filter ")" | field operator
///   operator   := ("==" | "!=" | "<" | "<=" | ">" | ">=") value | "=~" glob | ["not"] "in" "(" value ("," value)* ")"
///   field      := a field of the table, label("KEY"), accelerators("KIND"), or the bare key of a label
///   value      := "text" or 'text' | number | number% | size such as 8GiB | duration such as 3s
///
/// A label that a node does not have equals nothing and matches no glob.  Of a field with many values (app,
/// accelerator) one that fits is enough; != and "not in" are the opposite of == and in.  In a glob * stands for any
/// text, ? for one character, and a text takes as long to match as it is long, so no filter can hold a Resource up. A
/// plain class.
class node_filter {
public:
  /// What is wrong with a text, and the cure.
  struct problem {
    /// In characters (bytes), from 1.
    std::size_t column = 1;
    std::string message;
  };

  /// A bare word that is no field: a label, if any node has it.
  struct bare_label {
    std::size_t column = 1;
    std::string key;
  };

  /// An empty text (or blanks) matches every node.
  static std::variant<node_filter, problem> parse(std::string_view text);

  node_filter();
  node_filter(node_filter&&) noexcept;
  node_filter& operator=(node_filter&&) noexcept;
  ~node_filter();

  /// @param node an entry of the view.
  /// @param home name of the node's Resource.
  bool matches(const cluster_view& view, const node_entry& node, std::string_view home,
               cluster_view::time_point now) const;

  /// Where to look: a node that is not in it does not match.  None: anywhere.
  std::optional<posting_union> candidates(const view_index& index) const;

  const std::vector<bare_label>& bare_labels() const { return bare_labels_; }

  /// For a bare label that no node has.
  /// @param known keys of labels that nodes have
  static problem unknown_label(const bare_label& label, std::vector<std::string> known = {});

  struct expression;

private:
  /// Null: everything matches.
  std::unique_ptr<expression> root_;
  std::vector<bare_label> bare_labels_;
};

/// Whether `text` is what the glob stands for.
bool glob_matches(std::string_view glob, std::string_view text);

/// Every field, for help: name and meaning.
struct filter_field {
  std::string_view name;
  std::string_view meaning;
};
const std::vector<filter_field>& filter_fields();

} // namespace astra
