#pragma once

#include <functional>
#include <memory>

#include <ucontext.h>

namespace astra::sim {

/// A stack of its own for code that waits in the middle of a call: what blocks a thread in a live process blocks only
/// this, and virtual time goes on meanwhile.  At most one is entered at a time per thread.
class fiber {
public:
  fiber();
  ~fiber();
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  /// Runs `what` until it ends or blocks.  @pre neither running nor blocked.
  void run(std::function<void()> what);

  /// Continues what has blocked, until it ends or blocks again.  @pre blocked.
  void go_on();

  /// Called by what runs: returns to who called run or go_on, and comes back with the next go_on.  @pre inside.
  void block();

  bool blocked() const { return blocked_; }
  /// Whether the caller runs on this stack.
  bool inside() const { return inside_; }

private:
  struct stack;

  static void main();
  void enter();

  std::unique_ptr<stack> stack_;
  std::function<void()> what_;
  ucontext_t caller_{};
  ucontext_t own_{};
  bool blocked_ = false;
  bool inside_ = false;
};

} // namespace astra::sim
