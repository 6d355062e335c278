#pragma once

#include "messages/http_exchange.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace astra::test {

/// What came of an answer in pieces; its client takes them when the test says so.
struct stream_log {
  std::string text;
  std::vector<std::function<void()>> taken;
  bool ended = false;
  /// Dropped before its end: the client sees that something is missing.
  bool cut = false;

  bool take() {
    auto told = std::exchange(taken, {});
    for (auto& tell : told)
      tell();
    return !told.empty();
  }

  std::vector<nlohmann::json> lines() const {
    std::vector<nlohmann::json> result;
    for (std::size_t begin = 0; begin < text.size();) {
      auto end = text.find('\n', begin);
      if (end > begin)
        result.push_back(nlohmann::json::parse(text.substr(begin, end - begin)));
      begin = end + 1;
    }
    return result;
  }
};

class recorded_stream : public http_stream {
public:
  explicit recorded_stream(std::shared_ptr<stream_log> log) : log_(std::move(log)) {}
  ~recorded_stream() override { log_->cut = !log_->ended; }

  void write(std::string piece, std::function<void()> taken) override {
    log_->text += piece;
    if (taken)
      log_->taken.push_back(std::move(taken));
  }
  void end() override { log_->ended = true; }

private:
  std::shared_ptr<stream_log> log_;
};

/// An exchange whose answers a test can read.
class recorded_exchange : public http_exchange {
public:
  explicit recorded_exchange(http_request request) : request_(std::move(request)) {}

  const http_request& request() const override { return request_; }

  bool answer(http_response response) override {
    answers.push_back(std::move(response));
    return answers.size() == 1;
  }

  http_stream_ptr begin(http_response head) override {
    answers.push_back(std::move(head));
    return answers.size() == 1 ? std::make_shared<recorded_stream>(stream) : nullptr;
  }

  void on_gone(std::function<void()> what) override { gone = std::move(what); }

  std::string header(std::string_view name) const {
    for (auto& [key, value] : answers.at(0).headers)
      if (key == name)
        return value;
    return {};
  }

  nlohmann::json body() const { return nlohmann::json::parse(answers.at(0).body); }
  std::string code() const { return body()["error"]["code"]; }
  std::string message() const { return body()["error"]["message"]; }

  std::vector<http_response> answers;
  std::shared_ptr<stream_log> stream = std::make_shared<stream_log>();
  std::function<void()> gone;

private:
  http_request request_;
};

} // namespace astra::test
