#pragma once

#include "runtime/http/server.hpp"

#include <doctest/doctest.h>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace astra::test {

/// An HTTP server with the files of a directory, which remembers what was read of them.
class file_origin {
public:
  struct request {
    std::string path;
    std::uint64_t begin = 0;
    std::uint64_t length = 0;
    bool ranged = false;
  };

  /// @param knows_ranges else the answer is always all of the file
  /// @param tls set: HTTPS
  explicit file_origin(std::filesystem::path directory, bool knows_ranges = true,
                       std::shared_ptr<tls_context> tls = nullptr)
    : directory_(std::move(directory)), knows_ranges_(knows_ranges), tls_(tls != nullptr) {
    http_server_options options;
    options.tls = std::move(tls);
    auto started = http_server::start(options, [this](http_exchange_ptr exchange) { answer(*exchange); });
    REQUIRE(started);
    server_ = std::move(*started);
  }

  /// With its '/' at the end.
  std::string url() const { return (tls_ ? "https://" : "http://") + server_->address() + "/"; }

  /// In place of the file, for those paths for which it says something.
  void instead(std::function<std::optional<http_response>(const std::string& path)> says) {
    std::scoped_lock guard{mutex_};
    instead_ = std::move(says);
  }

  std::vector<request> requests() const {
    std::scoped_lock guard{mutex_};
    return requests_;
  }

  /// Of files, as far as they were answered.
  std::uint64_t bytes() const {
    std::uint64_t result = 0;
    for (auto& one : requests())
      result += one.length;
    return result;
  }

  /// No byte was answered twice.
  bool each_byte_once() const {
    std::map<std::string, std::map<std::uint64_t, std::uint64_t>> read;
    for (auto& one : requests()) {
      auto& of = read[one.path];
      if (!of.emplace(one.begin, one.length).second)
        return false;
    }
    for (auto& [path, of] : read) {
      std::uint64_t end = 0;
      for (auto& [begin, length] : of) {
        if (begin < end)
          return false;
        end = begin + length;
      }
    }
    return true;
  }

private:
  static std::string decoded(const std::string& text) {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i)
      if (text[i] == '%' && i + 2 < text.size()) {
        result += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
        i += 2;
      } else {
        result += text[i];
      }
    return result;
  }

  void answer(http_exchange& exchange) {
    auto path = decoded(exchange.request().target.substr(1));
    std::scoped_lock guard{mutex_};
    if (auto other = instead_ ? instead_(path) : std::nullopt) {
      exchange.answer(std::move(*other));
      return;
    }
    http_response response;
    response.content_type = "application/octet-stream";
    std::ifstream in{directory_ / path, std::ios::binary};
    if (!in) {
      response.status = 404;
      exchange.answer(std::move(response));
      return;
    }
    std::string bytes{std::istreambuf_iterator<char>{in}, {}};
    request one{path, 0, bytes.size(), false};
    if (auto range = exchange.request().header("range"); knows_ranges_ && range.starts_with("bytes=")) {
      std::uint64_t begin = 0;
      std::uint64_t last = 0;
      auto dash = range.find('-');
      std::from_chars(range.data() + 6, range.data() + dash, begin);
      std::from_chars(range.data() + dash + 1, range.data() + range.size(), last);
      one = {path, begin, last + 1 - begin, true};
      response.status = 206;
      response.headers.emplace_back("Content-Range", "bytes " + std::to_string(begin) + "-" + std::to_string(last) + "/"
                                                         + std::to_string(bytes.size()));
      bytes = bytes.substr(begin, one.length);
    }
    requests_.push_back(one);
    response.body = std::move(bytes);
    exchange.answer(std::move(response));
  }

  const std::filesystem::path directory_;
  const bool knows_ranges_;
  const bool tls_;
  mutable std::mutex mutex_;
  std::function<std::optional<http_response>(const std::string&)> instead_;
  std::vector<request> requests_;
  /// Last: its thread uses the others.
  std::unique_ptr<http_server> server_;
};

} // namespace astra::test
