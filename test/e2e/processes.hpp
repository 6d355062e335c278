#pragma once

#include "test/e2e/cluster.hpp"

#include <nlohmann/json.hpp>
#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>

namespace astra::test {

/// Processes that are started from files of their own.
class processes {
public:
  processes() = default;
  ~processes();
  processes(const processes&) = delete;
  processes& operator=(const processes&) = delete;

  /// Starts one, or one that has ended again, with its name, its state directory and this text as its file.
  /// @returns what its run file says once it is up.
  nlohmann::json start(const std::string& name, const std::string& text);

  void signal(const std::string& name, int signal);

  /// @returns its exit code.
  int end(const std::string& name);

  const std::filesystem::path& path() const { return home_.path(); }

private:
  temporary_directory home_;
  std::map<std::string, pid_t> pids_;
};

} // namespace astra::test
