#pragma once

#include "config/expand.hpp"
#include "config/load.hpp"
#include "config/toml_tree.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace google::protobuf {
class FieldDescriptor;
class Message;
} // namespace google::protobuf

// Between a TOML tree and a Protobuf message of config/schema.proto, strictly: whatever the schema does not know, or
// knows with another type, is a problem with its place.

namespace astra {

/// Where a value came from.
struct value_origin {
  toml_place at;
  /// Environment variables put into it.
  std::vector<std::string> variables;
};

/// What reading a tree left behind, besides the message.
struct schema_findings {
  std::vector<config_problem> problems;
  /// Dotted key -> place of its value: every table, leaf, list item and map entry that was read without a problem.
  std::map<std::string, value_origin> origins;
  /// Keys that were meant but not understood: no rule needs to complain about their absence.
  std::set<std::string> failed;
};

/// The key of a field: its json_name if the schema gives one, else its name.
std::string key_of(const google::protobuf::FieldDescriptor& field);

/// Fills `message` from the table `root`.  `advice` holds keys that must not be there, in the schema or not, with what
/// to do instead.
schema_findings read_schema(google::protobuf::Message& message, const toml_value& root,
                            const environment_lookup& environment, const std::map<std::string, std::string>& advice);

/// The value of one leaf as one would write it: "200ms" with its quotes, 0.5, [ "a", "b" ], { zone = "sz3" }.
std::string render(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field);

/// Every leaf of `message` that has a value, or may have one, in schema order.  Entries of a map are leaves of
/// their own.
std::vector<effective_value> render_all(const google::protobuf::Message& message,
                                        const std::map<std::string, value_origin>& origins);

/// The broken rules as problems, without those that only follow from a key that was not understood.  A rule without a
/// place of its own is shown at a key it speaks of, else at the table around it, else at the start of `file`.
std::vector<config_problem> to_problems(const std::vector<broken_rule>& rules, const schema_findings& findings,
                                        const std::string& file);

/// The file that read_schema reads back to the same message.
/// @pre No field that is set through another one ("auto") is set, and all numbers are finite.
std::string write_schema(const google::protobuf::Message& message);

/// Takes out of `message` the single values that `other` has too; lists and maps stay.
void remove_equal(google::protobuf::Message& message, const google::protobuf::Message& other);

} // namespace astra
