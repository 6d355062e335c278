#pragma once

#include "runtime/tasks/task.hpp"

#include <caf/error.hpp>
#include <caf/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// What a store has.
struct task_usage {
  /// Taken by what it holds.
  std::uint64_t bytes = 0;
  /// The last number that was given.
  task_number last = 0;
};

/// Which tasks a listing wants, the newest first.
struct task_query {
  /// Empty: of all apps.
  std::string app;
  std::optional<task_state> state;
  std::size_t limit = 100;
  /// Only those with a lower number; 0: all.
  task_number before = 0;
};

/// Where a gateway keeps its tasks.  Everything between begin and commit is kept together or not at all, and is there
/// after any end of the process once commit has returned.  For one thread at a time.
/// Fails with io_failed, what is wrong and the cure.
class task_store {
public:
  virtual ~task_store() = default;

  /// For the words of ids; made with the store.
  virtual const std::string& secret() const = 0;

  virtual caf::error begin() = 0;
  virtual caf::error commit() = 0;
  virtual void roll_back() = 0;

  struct added {
    task_record task;
    /// False: the app has a task of this key, which is that one.
    bool fresh = true;
  };
  /// Gives it a number.
  virtual caf::expected<added> add(const task_record& task, std::string_view body) = 0;

  /// Nothing: the app has no task of this key.
  virtual caf::expected<std::optional<task_record>> by_key(const std::string& app, const std::string& key) = 0;

  /// State, attempts, failures, times, node and reason of a task that has not ended.
  virtual caf::error update(const task_record& task) = 0;

  /// The same of one that has ended; its body is forgotten.
  /// @param result of one that is done
  virtual caf::error end(const task_record& task, std::string_view result) = 0;

  /// All that have not ended, the oldest first.
  virtual caf::expected<std::vector<task_record>> unfinished() = 0;

  /// Nothing: there is none of this number, or its bytes are gone.
  virtual caf::expected<std::optional<task_record>> find(task_number number) = 0;
  virtual caf::expected<std::optional<std::string>> body(task_number number) = 0;
  virtual caf::expected<std::optional<std::string>> result(task_number number) = 0;

  virtual caf::expected<std::vector<task_record>> list(const task_query& query) = 0;

  virtual caf::error drop(task_number number) = 0;
  /// Drops tasks whose time is over, at most so many.  @returns how many.
  virtual caf::expected<std::size_t> drop_due(task_time now, std::size_t most) = 0;

  virtual caf::expected<task_usage> usage() = 0;
};

} // namespace astra
