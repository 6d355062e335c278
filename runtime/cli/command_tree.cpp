#include "runtime/cli/command_tree.hpp"

#include <algorithm>
#include <iterator>

namespace astra {
namespace {

struct argument_row {
  /// The command or one above it; empty: any.
  std::string_view path;
  std::string_view name;
  value_kind kind;
};

// The first row that fits.
constexpr argument_row argument_rows[] = {
    {"node", "NAME", value_kind::node},
    {"app new", "NAME", value_kind::any},
    {"app new", "DIR", value_kind::directory},
    {"worker", "ARGUMENT", value_kind::any},
    {"app", "NAME", value_kind::app},
    {"model publish", "NAME", value_kind::model_name},
    {"model", "NAME", value_kind::model},
    {"model", "RATE", value_kind::any},
    {"why", "WHAT", value_kind::why_target},
    {"wait", "WHAT", value_kind::wait_target},
    {"explain", "CODE", value_kind::code},
    {"completion", "SHELL", value_kind::any},
    {"context", "NAME", value_kind::any},
    {"", "APP", value_kind::app},
    {"", "APP|FILE", value_kind::app_or_file},
    {"", "COMMAND", value_kind::command},
    {"", "FILE", value_kind::file},
    {"", "PATH", value_kind::file},
    {"task", "ID", value_kind::task},
};

struct option_row {
  /// Empty: any.
  std::string_view name;
  /// Empty: any.
  std::string_view value;
  value_kind kind;
};

constexpr option_row option_rows[] = {
    {"--node", "NAME", value_kind::node}, {"--app", "APP", value_kind::app},        {"--trace", "", value_kind::file},
    {"--html", "", value_kind::file},     {"--output", "", value_kind::file},       {"", "FILE", value_kind::file},
    {"", "DIR", value_kind::directory},   {"", "DIRECTORY", value_kind::directory},
};

bool is_within(std::string_view path, std::string_view above) {
  return above.empty() || path == above || (path.starts_with(above) && path[above.size()] == ' ');
}

} // namespace

const command_node* command_node::find(std::string_view word) const {
  auto i = std::find_if(below.begin(), below.end(), [&](const auto& one) { return one.name == word; });
  return i == below.end() ? nullptr : &*i;
}

const value_kind* kind_of_argument(std::string_view path, std::string_view name) {
  for (const auto& row : argument_rows)
    if (row.name == name && is_within(path, row.path))
      return &row.kind;
  return nullptr;
}

value_kind kind_of_option(const std::vector<std::string>& names, std::string_view value) {
  if (value.empty())
    return value_kind::any;
  for (const auto& row : option_rows)
    if ((row.name.empty() || std::find(names.begin(), names.end(), row.name) != names.end())
        && (row.value.empty() || row.value == value))
      return row.kind;
  return value_kind::any;
}

} // namespace astra
