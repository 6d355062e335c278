#pragma once

#include "config/load.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

// The clusters that a person asks, by names of their own: ~/.config/astra/contexts.toml.
//
//   current = "prod"
//   [contexts.prod]
//   gateway = "https://gateway.example:9750"
//   certificate = "alice.pem"
//   key = "alice.key"
//   ca = "ca.pem"

namespace astra {

struct context_entry {
  /// As --gateway takes it.
  std::string gateway;
  std::string certificate;
  std::string key;
  std::string ca;
  /// Line of its table.
  int line = 0;
};

struct contexts_config {
  std::map<std::string, context_entry> contexts;
  /// The one without --context; empty: none.
  std::string current;
  /// Sorted by place; empty: the file is good, or not there.
  std::vector<config_problem> problems;
};

/// "$VARIABLE/astra/FILE", else below a directory of the home directory (XDG Base Directory Specification); empty when
/// nothing says where.
std::string xdg_path(const environment_lookup& environment, const char* variable, std::string_view below_home,
                     std::string_view file);

/// "$XDG_CONFIG_HOME/astra/contexts.toml", else below ~/.config; empty when nothing says where.
std::string contexts_path(const environment_lookup& environment);

/// A file that is not there has no contexts.
contexts_config load_contexts(const std::string& path, const environment_lookup& environment);
contexts_config parse_contexts(const std::string& text, const std::string& name, const environment_lookup& environment);

/// The text with another `current`, all else as it is.
std::string with_current(const std::string& text, std::string_view name);

} // namespace astra
