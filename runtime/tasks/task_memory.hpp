#pragma once

#include "runtime/tasks/task_store.hpp"

#include <map>

namespace astra {

/// A store that lives as long as this object: for tests.
class task_memory : public task_store {
public:
  const std::string& secret() const override { return secret_; }
  caf::error begin() override;
  caf::error commit() override;
  void roll_back() override;
  caf::expected<added> add(const task_record& task, std::string_view body) override;
  caf::expected<std::optional<task_record>> by_key(const std::string& app, const std::string& key) override;
  caf::error update(const task_record& task) override;
  caf::error end(const task_record& task, std::string_view result) override;
  caf::expected<std::vector<task_record>> unfinished() override;
  caf::expected<std::optional<task_record>> find(task_number number) override;
  caf::expected<std::optional<std::string>> body(task_number number) override;
  caf::expected<std::optional<std::string>> result(task_number number) override;
  caf::expected<std::vector<task_record>> list(const task_query& query) override;
  caf::error drop(task_number number) override;
  caf::expected<std::size_t> drop_due(task_time now, std::size_t most) override;
  caf::expected<task_usage> usage() override;

  /// Everything that writes fails with this while it is set.
  caf::error broken;
  /// Writes of more than so many bytes fail with io_failed.
  std::uint64_t room_bytes = UINT64_MAX;
  std::size_t commits = 0;

private:
  struct entry {
    task_record task;
    std::string body;
    std::string result;
  };
  struct content {
    std::map<task_number, entry> tasks;
    task_number last = 0;
  };
  caf::error may_write(std::uint64_t bytes) const;
  static std::uint64_t bytes_of(const content& what);

  const std::string secret_ = "not secret";
  content now_;
  /// As it was before the transaction.
  std::optional<content> before_;
};

} // namespace astra
