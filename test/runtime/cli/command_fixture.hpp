#pragma once

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/cli/command_line.hpp"
#include "runtime/cli/exit_code.hpp"
#include "runtime/http/fetch.hpp"

#include <caf/error.hpp>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace astra::test {

struct command_result {
  int code = -1;
  std::string out;
  std::string err;
};

/// Runs commands without a terminal, a network or a clock: answers come from `answers`, sleeping moves `time`.
class command_fixture {
public:
  command_fixture() {
    environment.variables = [this](const std::string& name) -> std::optional<std::string> {
      auto i = variables.find(name);
      return i == variables.end() ? std::nullopt : std::optional{i->second};
    };
    environment.fetch = [this](const http_call& call) -> caf::expected<http_answer> {
      calls.push_back(call);
      auto i = answers.find(call.method + " " + call.target);
      if (i == answers.end())
        return caf::make_error(errc::unreachable, "connection refused");
      return i->second;
    };
    environment.fetch_pieces = [this](const http_call& call, const fetch_door&,
                                      const std::function<bool(std::string_view)>& sink) -> caf::expected<http_answer> {
      auto answer = environment.fetch(call);
      if (!answer || answer->status != 200)
        return answer;
      // In pieces that end anywhere.
      for (std::size_t begin = 0; begin < answer->body.size(); begin += 7)
        if (!sink(std::string_view{answer->body}.substr(begin, 7)))
          return caf::make_error(errc::cancelled, "nobody wants the rest");
      answer->body.clear();
      if (cut_pieces)
        return caf::make_error(errc::io_failed, "the server closed the connection before its answer was complete");
      return answer;
    };
    environment.now = [this] { return time; };
    environment.sleep = [this](std::chrono::milliseconds duration) {
      time += duration;
      if (on_sleep)
        on_sleep();
    };
    environment.interrupted = [this] { return interrupted; };
    environment.machine = [] { return std::string{"machine-1"}; };
    environment.err_columns = [] { return std::size_t{100}; };
    environment.run_process = [this](process_options options) {
      started = std::move(options);
      return 0;
    };
    environment.run_dev = [this](dev_options options) {
      started_dev = std::move(options);
      return 0;
    };
    environment.run_view_bench = [this](view_bench_options options) {
      started_bench = std::move(options);
      return 0;
    };
    environment.in_is_terminal = environment.out_is_terminal = environment.err_is_terminal = false;
    std::filesystem::create_directories(directory);
  }

  ~command_fixture() { std::filesystem::remove_all(directory); }

  command_fixture(const command_fixture&) = delete;
  command_fixture& operator=(const command_fixture&) = delete;

  command_result run(std::vector<const char*> words, const std::string& input = {}) {
    std::istringstream in{input};
    std::ostringstream out, err;
    environment.in = &in;
    environment.out = &out;
    environment.err = &err;
    words.insert(words.begin(), "astra");
    auto code = run_command_line(static_cast<int>(words.size()), words.data(), environment);
    return {code, out.str(), err.str()};
  }

  void answer(const std::string& call, std::uint16_t status, std::string body, http_headers headers = {}) {
    answers[call] = {status, std::move(body), "application/json", std::move(headers)};
  }

  /// Path of a new file with this content.
  std::string file(const std::string& name, const std::string& content) {
    auto path = directory / name;
    std::ofstream{path, std::ios::binary} << content;
    return path.string();
  }

  command_environment environment;
  std::map<std::string, std::string> variables;
  std::map<std::string, http_answer> answers;
  std::vector<http_call> calls;
  std::chrono::steady_clock::time_point time;
  std::function<void()> on_sleep;
  /// ^C was pressed.
  bool interrupted = false;
  /// Answers in pieces end before their end.
  bool cut_pieces = false;
  std::optional<process_options> started;
  std::optional<dev_options> started_dev;
  std::optional<view_bench_options> started_bench;
  std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("astra-cli-test-" + std::to_string(getpid()));
};

} // namespace astra::test
