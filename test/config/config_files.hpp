#pragma once

#include "config/load.hpp"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>

#include <unistd.h>

namespace astra::test {

/// A folder for the files of one test; gone at its end.
class config_files {
public:
  config_files() {
    static std::atomic<int> next{0};
    auto name = "astra-config-" + std::to_string(getpid()) + "-" + std::to_string(next++);
    root_ = std::filesystem::temp_directory_path() / name;
    std::filesystem::create_directories(root_);
  }
  config_files(const config_files&) = delete;
  config_files& operator=(const config_files&) = delete;
  ~config_files() { std::filesystem::remove_all(root_); }

  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view text) const {
    auto path = root_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream{path, std::ios::binary} << text;
    return path.string();
  }

  std::string path(const std::string& name) const { return (root_ / name).string(); }

private:
  std::filesystem::path root_;
};

inline environment_lookup fixed_environment(std::map<std::string, std::string> variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    auto i = variables.find(name);
    return i == variables.end() ? std::nullopt : std::optional{i->second};
  };
}

inline const environment_lookup no_environment = fixed_environment({});

/// The smallest good file of a process.
inline const std::string minimal = "name = \"n1\"\nroles = [\"node\"]\nresources = [\"127.0.0.1:9700\"]\n";

inline process_config load_text(const std::string& text, const environment_lookup& environment = no_environment) {
  config_files files;
  return load_process_config(files.write("node.toml", text), environment);
}

/// All problems, one per line, with the folder of the files taken away.
inline std::string show(const std::vector<config_problem>& problems) {
  std::string result;
  for (auto problem : problems) {
    problem.file = std::filesystem::path{problem.file}.filename().string();
    result += to_string(problem) + "\n";
  }
  return result;
}

inline const effective_value* find_value(const process_config& config, std::string_view key) {
  for (auto& value : config.values)
    if (value.key == key)
      return &value;
  return nullptr;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream{path, std::ios::binary}.rdbuf();
  return text.str();
}

} // namespace astra::test
