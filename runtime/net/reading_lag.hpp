#pragma once

#include <caf/io/network/multiplexer.hpp>

#include <chrono>
#include <memory>
#include <mutex>

namespace astra {

/// How long what peers sent waits in sockets until the multiplexer reads it.  A probe goes through its event loop like
/// the bytes of a socket; what arrived before a probe was posted has been read when it comes out.
class reading_lag {
public:
  explicit reading_lag(caf::io::network::multiplexer& loop) : loop_(loop), state_(std::make_shared<state>()) {
    state_->read_until = clock::now();
  }

  /// To be called at regular intervals, from any thread: the answer is as fresh as the last call.
  /// @returns the age of the last moment up to which all is known to have been read.
  std::chrono::nanoseconds measure() {
    auto now = clock::now();
    std::unique_lock guard{state_->mutex};
    auto result = now - state_->read_until;
    if (state_->under_way)
      return result;
    state_->under_way = true;
    guard.unlock();
    loop_.post([state = state_, now] {
      std::lock_guard there{state->mutex};
      state->read_until = now;
      state->under_way = false;
    });
    return result;
  }

private:
  using clock = std::chrono::steady_clock;

  struct state {
    std::mutex mutex;
    clock::time_point read_until;
    bool under_way = false;
  };

  caf::io::network::multiplexer& loop_;
  std::shared_ptr<state> state_;
};

} // namespace astra
