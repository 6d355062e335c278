#pragma once

#include <caf/error.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

// What Astra's databases have in common: statements, and errors that say what is wrong and what can be done.

namespace astra::sqlite {

struct end_statement {
  void operator()(sqlite3_stmt* what) const;
};
using statement = std::unique_ptr<sqlite3_stmt, end_statement>;

/// A prepared statement while it runs.
class running {
public:
  explicit running(const statement& what) : what_(what.get()) {}
  ~running() { end(); }
  running(const running&) = delete;
  running& operator=(const running&) = delete;

  running& text(std::string_view value);
  running& blob(std::string_view value);
  running& number(std::int64_t value);
  running& null();

  /// There is a row.
  bool row();
  /// For statements that have none.  Ends it at once: the end of a statement that went well, later, would hide the
  /// error of one that did not.
  bool done();
  /// No more rows because there are none.
  bool complete() const;

  std::int64_t number_at(int column) const;
  std::string bytes_at(int column) const;

private:
  void end();

  sqlite3_stmt* what_;
  int last_ = 0;
  int code_ = 0;
};

/// What is different about a kind of database.
struct kind {
  /// Written into the file, so that it can be told from the databases of other programs.
  std::int32_t application_id = 0;
  std::int32_t schema_version = 0;
  const char* schema = "";
  /// Run each time it is opened, before anything is written.
  const char* settings = "";
  /// What to do about a file that is no database, and about a damaged one.
  std::string_view cure_of_foreign;
  std::string_view cure_of_damage;
  /// Whether all of it is read through when it is opened.
  bool checked = false;
};

/// An open database.  For one thread at a time.
class database {
public:
  database(std::filesystem::path path, const kind& what);

  /// Opens it, or makes it when it is not there.  Fails with io_failed, what is wrong and the cure; a file that is no
  /// database, another program's, damaged or of a newer version stays as it is.
  caf::error open(std::chrono::milliseconds busy_timeout);

  bool run(const char* sql);
  bool prepare(statement& to, const char* sql);
  /// A question whose answer is a number.
  std::optional<std::int64_t> number_of(const char* sql);
  /// Of the row that was added last.
  std::int64_t last_row() const;

  /// The last failure, with its cure.
  caf::error last_error(std::string_view doing) const;
  /// The same; and what had been begun is undone.
  caf::error give_up(std::string_view doing);
  caf::error damaged(std::string_view what) const;

private:
  caf::error check();
  std::string_view cure_of(int code) const;
  caf::error failure(std::string_view text, std::string_view cure) const;

  struct close {
    void operator()(sqlite3* db) const;
  };
  const std::filesystem::path path_;
  const kind& kind_;
  std::unique_ptr<sqlite3, close> db_;
};

} // namespace astra::sqlite
