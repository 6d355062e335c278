#pragma once

#include "config/options.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace astra::pb {
class AppSpec;
} // namespace astra::pb

namespace astra {

/// One thing wrong with a file: where, what, and how to put it right.
struct config_problem {
  std::string file;
  /// From 1; 0 when the place is unknown (a file that cannot be opened).
  int line = 0;
  int column = 0;
  /// Dotted path of the key, such as "node.heartbeat"; may be empty.
  std::string key;
  /// What is wrong and the cure, such as "unknown key; did you mean 'heartbeat'?".
  std::string message;
};

/// "node.toml:14:3: node.hearbeat: unknown key; did you mean 'heartbeat'?"
std::string to_string(const config_problem& problem);

/// One key of a configuration as it takes effect.
struct effective_value {
  std::string key;
  /// As one would write it in the file.
  std::string value;
  /// "default", "node.toml:14", "node.toml:14 ($HOSTNAME)", "probed (cgroup v2 cpu.max)".
  std::string origin;
};

/// Value of an environment variable, or nothing.
using environment_lookup = std::function<std::optional<std::string>(const std::string&)>;

environment_lookup process_environment();

struct process_config {
  process_options options;
  /// Sorted by place; empty: the file is good.
  std::vector<config_problem> problems;
  /// Every key of the schema, in its order; for `astra config show --effective`.
  std::vector<effective_value> values;
};

/// Reads one process's file, with its includes and ${ENV} references, and checks all of it.  Never stops at the first
/// problem.
process_config load_process_config(const std::string& path, const environment_lookup& environment);

struct app_config {
  app_config();
  app_config(app_config&&) noexcept;
  ~app_config();
  /// The app with every default filled in; null when there are problems.
  std::unique_ptr<pb::AppSpec> spec;
  std::vector<config_problem> problems;
};

app_config load_app_config(const std::string& path, const environment_lookup& environment);

/// The same for a text that came over the API; `name` stands in for the file in problems.  No includes and no
/// environment.
app_config parse_app_config(const std::string& text, const std::string& name);

/// What breaks a rule in an app, whichever way it came; keys as in the app file, no places.  Empty: good.
std::vector<config_problem> validate(const pb::AppSpec& spec);

} // namespace astra
