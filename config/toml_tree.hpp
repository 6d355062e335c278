#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// A TOML file as a plain tree in which every key and value knows its place.  The parser, toml++, is included in one
// translation unit only.

namespace astra {

struct toml_place {
  std::string file;
  /// From 1.
  int line = 1;
  int column = 1;
};

struct toml_entry;

struct toml_value {
  enum class kind { text, integer, real, boolean, time, list, table };

  kind type = kind::table;
  toml_place at;
  std::string text;
  std::int64_t integer = 0;
  double real = 0;
  bool boolean = false;
  std::vector<toml_value> items;
  /// Sorted by key.
  std::vector<toml_entry> entries;

  const toml_entry* find(std::string_view key) const;
};

struct toml_entry {
  std::string key;
  toml_place at;
  toml_value value;
};

struct toml_error {
  toml_place at;
  /// What is wrong and the cure.
  std::string message;
};

struct toml_document {
  /// On a syntax error: what stands before the line of the error, as far as that is complete.
  toml_value root;
  std::optional<toml_error> error;
};

/// Parses `text`, which came from `file`.  A parser cannot go on after a syntax error, so there is at most one.
toml_document parse_toml(std::string_view text, const std::string& file);

/// Lays `over` on `base`: tables are joined key by key, everything else is replaced.
void overlay(toml_value& base, const toml_value& over);

/// Text in quotes, as TOML writes it.
std::string quote(std::string_view text);

/// A name as it stands between the dots of a key, quoted where TOML wants that.
std::string key_part(std::string_view name);

} // namespace astra
