#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace astra {

/// Bounded queue between threads that bring messages and the one that works on them.
template <class T>
class mailbox {
public:
  explicit mailbox(std::size_t room) : room_(room) {}

  enum class verdict { taken, full, closed };

  verdict put(T&& message) {
    std::lock_guard guard{mutex_};
    if (closed_)
      return verdict::closed;
    if (waiting_.size() >= room_)
      return verdict::full;
    waiting_.push_back(std::move(message));
    changed_.notify_one();
    return verdict::taken;
  }

  /// The oldest message, and how many wait behind it.  Waits for one; nothing: it is closed and empty.
  std::optional<std::pair<T, std::size_t>> take() {
    std::unique_lock guard{mutex_};
    changed_.wait(guard, [this] { return closed_ || !waiting_.empty(); });
    if (waiting_.empty())
      return std::nullopt;
    std::pair<T, std::size_t> result{std::move(waiting_.front()), waiting_.size() - 1};
    waiting_.pop_front();
    return result;
  }

  /// No more come in; those that wait can still be taken.
  void close() {
    std::lock_guard guard{mutex_};
    closed_ = true;
    changed_.notify_all();
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> waiting_;
  std::size_t room_;
  bool closed_ = false;
};

} // namespace astra
