#pragma once

#include "messages/http_exchange.hpp"

#include <functional>
#include <string>
#include <utility>

namespace astra {

/// A stream for exchanges without a connection: takes every piece at once, and answers with all of them at the end.
class collected_stream final : public http_stream {
public:
  using on_end = std::function<void(http_response)>;

  /// @param done called once with the whole answer, or with a 500 when the stream is dropped before its end.
  collected_stream(http_response head, on_end done) : answer_(std::move(head)), done_(std::move(done)) {
    answer_.body.clear();
  }

  ~collected_stream() override {
    if (!done_)
      return;
    answer_.status = 500;
    done_(std::move(answer_));
  }

  void write(std::string piece, std::function<void()> taken) override {
    answer_.body += piece;
    if (taken)
      taken();
  }

  void end() override { std::exchange(done_, nullptr)(std::move(answer_)); }

private:
  http_response answer_;
  on_end done_;
};

} // namespace astra
