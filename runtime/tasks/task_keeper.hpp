#pragma once

#include "runtime/tasks/task_store.hpp"

#include <caf/error.hpp>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace astra {

/// The only one who touches a task store, on a thread of its own: a disk takes its time, and an event loop has none.
///
/// Group commit: while one transaction is synced, what else is to be written gathers, and goes into the next one as a
/// whole.  So a sync is paid once for many tasks when there are many, and a single one never waits for company.
class task_keeper {
public:
  /// What is to be done with the store; its error is the store's own.  Done again when the transaction that it was in
  /// came to nothing, so it must not care.
  using work = std::function<caf::error(task_store&)>;
  /// Told when that is on disk, or why it is not.
  using report = std::function<void(const caf::error&)>;

  enum class mode {
    thread,
    /// Whoever owns it calls step.
    by_hand,
  };

  explicit task_keeper(std::unique_ptr<task_store> store, mode how = mode::thread);
  /// Does what is still to be done.
  ~task_keeper();
  task_keeper(const task_keeper&) = delete;
  task_keeper& operator=(const task_keeper&) = delete;

  const std::string& secret() const { return secret_; }

  /// From now on `poke` is called, on the keeper's thread, when there is something to take; reports of what was asked
  /// for before are dropped.
  void attach(std::function<void()> poke);

  void read(work what, report then) { post({std::move(what), std::move(then), 0, false, 0}); }
  /// @param bytes that it writes: the size of a batch is bounded
  void write(std::uint64_t bytes, work what, report then) { post({std::move(what), std::move(then), bytes, true, 0}); }

  /// Reports of what is done, to be called in this order.
  std::vector<std::function<void()>> take_done();

  /// As it was after the last batch.
  task_usage usage() const;

  /// Does the next batch.  @returns false when there is nothing to do.
  bool step();

private:
  struct job {
    work what;
    report then;
    std::uint64_t bytes = 0;
    bool writes = false;
    /// Of attach.
    std::uint64_t generation = 0;
  };

  void post(job what);
  void run();
  std::vector<caf::error> perform(const std::vector<job>& batch);
  caf::error perform_all(const std::vector<job>& batch);

  const std::unique_ptr<task_store> store_;
  const std::string secret_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<job> jobs_;
  std::vector<std::function<void()>> done_;
  std::function<void()> poke_;
  std::uint64_t generation_ = 0;
  task_usage usage_;
  bool stopping_ = false;
  std::thread thread_;
};

} // namespace astra
