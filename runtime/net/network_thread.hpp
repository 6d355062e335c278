#pragma once

#include <caf/io/network/multiplexer.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace astra {

/// Runs tasks on CAF's network thread, in their order, however many there are.
///
/// The multiplexer takes what it is given through a pipe, of which each entry takes eight bytes: when some 8,000 wait
/// in it, whoever adds one blocks until the thread has read.  A worker that makes a proxy adds one while it holds the
/// lock of CAF's proxy registry, which the thread wants for the next frame: then neither goes on, ever.  So whatever
/// comes in numbers, such as a task for each session, must wait here and not in the pipe, which has at most one entry
/// of ours at a time.
class network_thread {
public:
  /// @pre `loop` outlives the last call of `post` and what it started.
  explicit network_thread(caf::io::network::multiplexer& loop) : loop_(loop), state_(std::make_shared<state>()) {}

  /// From any thread; never blocks for longer than it takes to lock.
  void post(std::function<void()> task) {
    {
      std::lock_guard guard{state_->mutex};
      state_->waiting.push_back(std::move(task));
      if (std::exchange(state_->under_way, true))
        return;
    }
    go(loop_, state_);
  }

private:
  struct state {
    std::mutex mutex;
    std::deque<std::function<void()>> waiting;
    bool under_way = false;
  };

  static void go(caf::io::network::multiplexer& loop, const std::shared_ptr<state>& of) {
    loop.post([&loop, of] {
      std::deque<std::function<void()>> now;
      {
        std::lock_guard guard{of->mutex};
        now.swap(of->waiting);
      }
      for (auto& task : now)
        task();
      {
        std::lock_guard guard{of->mutex};
        of->under_way = !of->waiting.empty();
        if (!of->under_way)
          return;
      }
      // Sockets have their turn first.
      go(loop, of);
    });
  }

  caf::io::network::multiplexer& loop_;
  std::shared_ptr<state> state_;
};

} // namespace astra
