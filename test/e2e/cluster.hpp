#pragma once

#include "messages/http_call.hpp"

#include <nlohmann/json.hpp>
#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace astra::test {

using namespace std::chrono_literals;

/// A directory of one test, removed at its end.
class temporary_directory {
public:
  temporary_directory();
  ~temporary_directory();
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;
  const std::filesystem::path& path() const { return path_; }

private:
  std::filesystem::path path_;
};

/// How a program that was run to its end did.
struct finished {
  int code = 0;
  std::string out;
  std::string err;
};

/// Runs `astra` with these arguments, feeding `input`, for at most a minute.
finished run_astra(const std::vector<std::string>& arguments, const std::string& input = {});

/// Starts `astra` in the background; its output goes to `log`.
pid_t start_astra(const std::vector<std::string>& arguments, const std::filesystem::path& log);

/// Waits for the end of a child; nothing when it lives on.
std::optional<int> wait_for_end(pid_t pid, std::chrono::milliseconds patience);

/// Waits until `condition` holds, asking every 20 ms.
bool eventually(std::chrono::milliseconds patience, const std::function<bool()>& condition);

bool alive(pid_t pid);

/// Processes whose command line contains `text`.
std::vector<pid_t> processes_with(const std::string& text);

/// A cluster of real processes, from `astra dev`.
class cluster {
public:
  /// @param arguments for `astra dev`, such as {"--nodes", "3"}
  explicit cluster(std::vector<std::string> arguments);
  ~cluster();
  cluster(const cluster&) = delete;
  cluster& operator=(const cluster&) = delete;

  const std::string& gateway() const { return gateway_; }
  pid_t dev() const { return dev_; }
  pid_t pid(const std::string& name) const { return pids_.at(name); }
  const std::filesystem::path& directory() const { return directory_; }
  std::vector<std::string> names() const;
  std::string log_of(const std::string& name) const;
  /// Starts a process of the cluster again after it ended, with the same configuration.
  void start_again(const std::string& name);
  void signal(const std::string& name, int signal) const;

  finished cli(std::vector<std::string> arguments, const std::string& input = {}) const;
  http_answer call(const std::string& method, const std::string& target, const std::string& body = {},
                   std::chrono::milliseconds timeout = 60s, const std::string& content_type = {}) const;
  nlohmann::json get(const std::string& target) const;
  /// One node's row; null when it is not listed.
  nlohmann::json node(const std::string& name) const;

  /// Applies an app file and waits until it is ready.
  void apply(const std::string& toml);
  bool ready(const std::string& app, unsigned replicas) const;

  /// Ends the cluster as ^C would; returns the exit code of `astra dev`.
  int end();

private:
  temporary_directory home_;
  std::filesystem::path directory_;
  pid_t dev_ = -1;
  std::string gateway_;
  std::map<std::string, pid_t> pids_;
  std::map<std::string, pid_t> restarted_;
};

/// Sends requests from several threads until it is stopped, and keeps what came back.
class load {
public:
  struct answer {
    std::chrono::steady_clock::time_point began;
    std::chrono::steady_clock::time_point end;
    int status = 0;
    std::string node;
    std::string body;
    int starts = 0;
  };

  load(const cluster& target, std::string app, std::string body, unsigned clients);
  ~load();
  load(const load&) = delete;
  load& operator=(const load&) = delete;

  /// Answers so far.
  std::size_t count() const;
  std::vector<answer> stop();

private:
  struct shared;
  std::shared_ptr<shared> shared_;
  std::vector<std::thread> threads_;
};

} // namespace astra::test
