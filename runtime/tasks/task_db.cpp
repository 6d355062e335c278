#include "runtime/tasks/task_db.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/sqlite.hpp"

#include <fmt/format.h>

#include <utility>

// A write-ahead log and not a rollback journal: many tasks are taken per second, and a commit costs one sync of one
// file however many tasks are in it.  synchronous=FULL syncs the log at each commit; without it, a commit is what the
// next loss of power may take back.
//
// Bytes have tables of their own, so that a change of state does not write them again, and a walk over tasks does not
// read them.

namespace astra {
namespace {

using sqlite::running;
using sqlite::statement;

constexpr auto busy_timeout = std::chrono::milliseconds{1000};

constexpr sqlite::kind task_database = {
    // "ASTT".
    .application_id = 0x41535454,
    .schema_version = 1,
    .schema = R"(
  CREATE TABLE store (secret BLOB NOT NULL);
  INSERT INTO store VALUES (randomblob(32));
  CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, key TEXT, content_type TEXT NOT NULL,
    body_bytes INTEGER NOT NULL, body_hash INTEGER NOT NULL, priority INTEGER NOT NULL, created INTEGER NOT NULL,
    deadline INTEGER NOT NULL, keep INTEGER NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL, started INTEGER NOT NULL, node TEXT NOT NULL, reason TEXT NOT NULL,
    code INTEGER NOT NULL, stderr_tail TEXT NOT NULL, ended INTEGER NOT NULL, result_type TEXT NOT NULL,
    result_bytes INTEGER NOT NULL);
  CREATE UNIQUE INDEX keys ON tasks (app, key) WHERE key IS NOT NULL;
  CREATE INDEX unfinished ON tasks (number) WHERE state < 2;
  CREATE INDEX due ON tasks (ended + keep) WHERE state >= 2;
  CREATE TABLE bodies (task INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
  CREATE TABLE results (task INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
)",
    // The first one counts only before there is any table.
    .settings = "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
                "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-16384",
    .cure_of_foreign = "it is left as it is; move it away to start without its tasks, or put a backup in its place",
    .cure_of_damage = "it is left as it is; put a backup in its place, or save what can be read: sqlite3 tasks.db "
                      ".recover | sqlite3 new.db",
};

static_assert(static_cast<int>(task_state::done) == 2, "the indices know which states are ends");

#define TASK_COLUMNS                                                                                                   \
  "number, app, key, content_type, body_bytes, body_hash, priority, created, deadline, keep, state, attempts, "        \
  "failures, started, node, reason, code, stderr_tail, ended, result_type, result_bytes"

/// Pages that are given back to the file system at a time.
constexpr const char* give_back = "PRAGMA incremental_vacuum(256)";

std::int64_t signed_of(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

/// What changes of a task, in the order of the statements.
running& with_state(running& statement, const task_record& task) {
  return statement.number(static_cast<std::int64_t>(task.state))
      .number(task.attempts)
      .number(task.failures)
      .number(task.started.count())
      .text(task.node)
      .text(task.reason)
      .number(task.code)
      .text(task.stderr_tail)
      .number(task.ended.count())
      .text(task.result_type)
      .number(signed_of(task.result_bytes));
}

class task_db final : public task_store {
public:
  explicit task_db(const std::filesystem::path& state_dir) : db_(state_dir / "tasks.db", task_database) {}

  caf::error open() {
    if (auto error = db_.open(busy_timeout))
      return error;
    auto ready =
        db_.prepare(secret_row_, "SELECT secret FROM store")
        && db_.prepare(by_key_, "SELECT " TASK_COLUMNS " FROM tasks WHERE app = ? AND key = ?")
        && db_.prepare(add_, "INSERT INTO tasks (app, key, content_type, body_bytes, body_hash, priority, created, "
                             "deadline, keep, state, attempts, failures, started, node, reason, code, stderr_tail, "
                             "ended, result_type, result_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                             "?, ?, ?, ?, ?)")
        && db_.prepare(update_, "UPDATE tasks SET state = ?, attempts = ?, failures = ?, started = ?, node = ?, "
                                "reason = ?, code = ?, stderr_tail = ?, ended = ?, result_type = ?, result_bytes = ? "
                                "WHERE number = ? AND state < 2")
        && db_.prepare(add_body_, "INSERT INTO bodies (task, bytes) VALUES (?, ?)")
        && db_.prepare(add_result_, "INSERT OR REPLACE INTO results (task, bytes) VALUES (?, ?)")
        && db_.prepare(drop_body_, "DELETE FROM bodies WHERE task = ?")
        && db_.prepare(drop_result_, "DELETE FROM results WHERE task = ?")
        && db_.prepare(drop_, "DELETE FROM tasks WHERE number = ?")
        && db_.prepare(unfinished_, "SELECT " TASK_COLUMNS " FROM tasks WHERE state < 2 ORDER BY number")
        && db_.prepare(find_, "SELECT " TASK_COLUMNS " FROM tasks WHERE number = ?")
        && db_.prepare(body_, "SELECT bytes FROM bodies WHERE task = ?")
        && db_.prepare(result_, "SELECT bytes FROM results WHERE task = ?")
        && db_.prepare(list_, "SELECT " TASK_COLUMNS " FROM tasks WHERE (?1 = '' OR app = ?1) AND (?2 < 0 OR state = "
                              "?2) AND (?4 = 0 OR number < ?4) ORDER BY number DESC LIMIT ?3")
        && db_.prepare(due_, "SELECT number FROM tasks WHERE state >= 2 AND ended + keep <= ? ORDER BY ended + keep "
                             "LIMIT ?");
    if (!ready)
      return db_.last_error("open");
    running select{secret_row_};
    if (!select.row())
      return db_.damaged("it has no secret");
    secret_ = select.bytes_at(0);
    return {};
  }

  const std::string& secret() const override { return secret_; }

  caf::error begin() override {
    if (!db_.run("BEGIN IMMEDIATE"))
      return db_.give_up("write");
    return {};
  }

  caf::error commit() override {
    if (!db_.run("COMMIT"))
      return db_.give_up("write");
    return {};
  }

  void roll_back() override { db_.run("ROLLBACK"); }

  caf::expected<added> add(const task_record& task, std::string_view body) override {
    if (!task.key.empty()) {
      auto same = by_key(task.app, task.key);
      if (!same)
        return std::move(same.error());
      if (*same)
        return added{**same, false};
    }
    running insert{add_};
    insert.text(task.app);
    if (task.key.empty())
      insert.null();
    else
      insert.text(task.key);
    insert.text(task.content_type)
        .number(signed_of(task.body_bytes))
        .number(signed_of(task.body_hash))
        .number(task.priority)
        .number(task.created.count())
        .number(task.deadline.count())
        .number(task.keep.count());
    if (!with_state(insert, task).done())
      return db_.last_error("keep a task");
    added result{task, true};
    result.task.number = static_cast<task_number>(db_.last_row());
    if (!running{add_body_}.number(signed_of(result.task.number)).blob(body).done())
      return db_.last_error("keep the body of a task");
    return result;
  }

  caf::error update(const task_record& task) override {
    running change{update_};
    return with_state(change, task).number(signed_of(task.number)).done() ? caf::error{}
                                                                          : db_.last_error("keep the state of a task");
  }

  caf::error end(const task_record& task, std::string_view result) override {
    if (auto error = update(task))
      return error;
    if (!running{drop_body_}.number(signed_of(task.number)).done())
      return db_.last_error("forget the body of a task");
    if (task.state == task_state::done && !running{add_result_}.number(signed_of(task.number)).blob(result).done())
      return db_.last_error("keep the result of a task");
    return {};
  }

  caf::expected<std::vector<task_record>> unfinished() override {
    running select{unfinished_};
    return all_of(select);
  }

  caf::expected<std::optional<task_record>> by_key(const std::string& app, const std::string& key) override {
    running select{by_key_};
    select.text(app).text(key);
    return one_of(select);
  }

  caf::expected<std::optional<task_record>> find(task_number number) override {
    running select{find_};
    select.number(signed_of(number));
    return one_of(select);
  }

  caf::expected<std::optional<std::string>> body(task_number number) override { return bytes_of(body_, number); }

  caf::expected<std::optional<std::string>> result(task_number number) override { return bytes_of(result_, number); }

  caf::expected<std::vector<task_record>> list(const task_query& query) override {
    running select{list_};
    select.text(query.app).number(query.state ? static_cast<std::int64_t>(*query.state) : -1);
    select.number(signed_of(query.limit)).number(signed_of(query.before));
    return all_of(select);
  }

  caf::error drop(task_number number) override {
    auto key = signed_of(number);
    auto good = running{drop_body_}.number(key).done() && running{drop_result_}.number(key).done()
                && running{drop_}.number(key).done();
    return good ? caf::error{} : db_.last_error("drop a task");
  }

  caf::expected<std::size_t> drop_due(task_time now, std::size_t most) override {
    std::vector<task_number> numbers;
    {
      running select{due_};
      select.number(now.count()).number(signed_of(most));
      while (select.row())
        numbers.push_back(static_cast<task_number>(select.number_at(0)));
      if (!select.complete())
        return db_.last_error("read");
    }
    for (auto number : numbers)
      if (auto error = drop(number))
        return error;
    // Tasks come and go: only when far more is free than needed, some of it is given back.
    auto pages = db_.number_of("PRAGMA page_count");
    auto free_pages = db_.number_of("PRAGMA freelist_count");
    if (pages && free_pages && *free_pages > 4096 && *free_pages > *pages / 2 && !db_.run(give_back))
      return db_.last_error("give room back");
    return numbers.size();
  }

  caf::expected<task_usage> usage() override {
    auto pages = db_.number_of("PRAGMA page_count");
    auto free_pages = pages ? db_.number_of("PRAGMA freelist_count") : std::nullopt;
    auto page = free_pages ? db_.number_of("PRAGMA page_size") : std::nullopt;
    if (!page)
      return db_.last_error("read");
    task_usage result;
    result.bytes = static_cast<std::uint64_t>((*pages - *free_pages) * *page);
    // No row: there was no task yet.
    result.last = static_cast<task_number>(
        db_.number_of("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'tasks'").value_or(0));
    return result;
  }

private:
  static task_record record_in(const running& row) {
    auto time_at = [&](int column) { return std::chrono::milliseconds{row.number_at(column)}; };
    task_record task;
    task.number = static_cast<task_number>(row.number_at(0));
    task.app = row.bytes_at(1);
    task.key = row.bytes_at(2);
    task.content_type = row.bytes_at(3);
    task.body_bytes = static_cast<std::uint64_t>(row.number_at(4));
    task.body_hash = static_cast<std::uint64_t>(row.number_at(5));
    task.priority = static_cast<std::uint8_t>(row.number_at(6));
    task.created = time_at(7);
    task.deadline = time_at(8);
    task.keep = time_at(9);
    task.state = static_cast<task_state>(row.number_at(10));
    task.attempts = static_cast<std::uint32_t>(row.number_at(11));
    task.failures = static_cast<std::uint32_t>(row.number_at(12));
    task.started = time_at(13);
    task.node = row.bytes_at(14);
    task.reason = row.bytes_at(15);
    task.code = static_cast<std::int32_t>(row.number_at(16));
    task.stderr_tail = row.bytes_at(17);
    task.ended = time_at(18);
    task.result_type = row.bytes_at(19);
    task.result_bytes = static_cast<std::uint64_t>(row.number_at(20));
    return task;
  }

  caf::expected<std::optional<task_record>> one_of(running& select) {
    std::optional<task_record> result;
    if (select.row())
      result = record_in(select);
    else if (!select.complete())
      return db_.last_error("read");
    return result;
  }

  caf::expected<std::vector<task_record>> all_of(running& select) {
    std::vector<task_record> result;
    while (select.row())
      result.push_back(record_in(select));
    if (!select.complete())
      return db_.last_error("read");
    return result;
  }

  caf::expected<std::optional<std::string>> bytes_of(const statement& what, task_number number) {
    running select{what};
    select.number(signed_of(number));
    std::optional<std::string> result;
    if (select.row())
      result = select.bytes_at(0);
    else if (!select.complete())
      return db_.last_error("read");
    return result;
  }

  std::string secret_;
  // Statements end before their database.
  sqlite::database db_;
  statement secret_row_, by_key_, add_, update_, add_body_, add_result_, drop_body_, drop_result_, drop_, unfinished_,
      find_, body_, result_, list_, due_;
};

} // namespace

caf::expected<std::unique_ptr<task_store>> open_task_db(const std::filesystem::path& state_dir) {
  auto result = std::make_unique<task_db>(state_dir);
  if (auto error = result->open())
    return error;
  return std::unique_ptr<task_store>{std::move(result)};
}

} // namespace astra
