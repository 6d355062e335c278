#include "runtime/sqlite.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstring>
#include <utility>

// The only translation unit that knows SQLite.

namespace astra::sqlite {
namespace {

std::string_view text_of(int code) {
  switch (code & 0xff) {
  case SQLITE_FULL:
    return "no space left on device";
  case SQLITE_NOTADB:
    return "not an SQLite database";
  case SQLITE_CORRUPT:
    return "the database is damaged";
  default:
    return sqlite3_errstr(code);
  }
}

} // namespace

void end_statement::operator()(sqlite3_stmt* what) const {
  sqlite3_finalize(what);
}

running& running::text(std::string_view value) {
  // An empty text is a text, too: no null pointer.
  sqlite3_bind_text64(what_, ++last_, value.empty() ? "" : value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

running& running::blob(std::string_view value) {
  sqlite3_bind_blob64(what_, ++last_, value.empty() ? "" : value.data(), value.size(), SQLITE_TRANSIENT);
  return *this;
}

running& running::number(std::int64_t value) {
  sqlite3_bind_int64(what_, ++last_, value);
  return *this;
}

running& running::null() {
  sqlite3_bind_null(what_, ++last_);
  return *this;
}

bool running::row() {
  return (code_ = sqlite3_step(what_)) == SQLITE_ROW;
}

bool running::done() {
  code_ = sqlite3_step(what_);
  end();
  return code_ == SQLITE_DONE;
}

bool running::complete() const {
  return code_ == SQLITE_DONE;
}

std::int64_t running::number_at(int column) const {
  return sqlite3_column_int64(what_, column);
}

std::string running::bytes_at(int column) const {
  auto begin = static_cast<const char*>(sqlite3_column_blob(what_, column));
  auto size = static_cast<std::size_t>(sqlite3_column_bytes(what_, column));
  return begin ? std::string{begin, size} : std::string{};
}

void running::end() {
  if (!what_)
    return;
  sqlite3_reset(what_);
  sqlite3_clear_bindings(what_);
  what_ = nullptr;
}

void database::close::operator()(sqlite3* db) const {
  sqlite3_close(db);
}

database::database(std::filesystem::path path, const kind& what) : path_(std::move(path)), kind_(what) {}

caf::error database::open(std::chrono::milliseconds busy_timeout) {
  sqlite3* raw = nullptr;
  auto code =
      sqlite3_open_v2(path_.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  db_.reset(raw);
  if (code != SQLITE_OK)
    return last_error("open");
  sqlite3_busy_timeout(raw, static_cast<int>(busy_timeout.count()));
  // Nothing is written before it is known what this is.
  auto tables = number_of("SELECT count(*) FROM sqlite_master");
  auto program = tables ? number_of("PRAGMA application_id") : std::nullopt;
  auto version = program ? number_of("PRAGMA user_version") : std::nullopt;
  if (!version)
    return last_error("open");
  auto fresh = *tables == 0 && *program == 0 && *version == 0;
  if (!fresh && *program != kind_.application_id)
    return failure("the database of another program",
                   "it is left as it is; move it away, or give this process a state_dir of its own");
  if (*version > kind_.schema_version)
    return failure(fmt::format("written by a newer version of Astra (schema {}, this one knows {})", *version,
                               kind_.schema_version),
                   "start that version");
  if (kind_.checked)
    if (auto error = check())
      return error;
  if (!run(kind_.settings))
    return last_error("open");
  if (fresh) {
    auto make = fmt::format("BEGIN IMMEDIATE; {} PRAGMA application_id={}; PRAGMA user_version={}; COMMIT",
                            kind_.schema, kind_.application_id, kind_.schema_version);
    if (!run(make.c_str()))
      return give_up("make");
  }
  return {};
}

bool database::run(const char* sql) {
  return sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK;
}

bool database::prepare(statement& to, const char* sql) {
  sqlite3_stmt* raw = nullptr;
  auto good = sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) == SQLITE_OK;
  to.reset(raw);
  return good;
}

std::optional<std::int64_t> database::number_of(const char* sql) {
  statement what;
  if (!prepare(what, sql))
    return std::nullopt;
  running select{what};
  return select.row() ? std::optional{select.number_at(0)} : std::nullopt;
}

std::int64_t database::last_row() const {
  return sqlite3_last_insert_rowid(db_.get());
}

caf::error database::check() {
  statement what;
  if (!prepare(what, "PRAGMA quick_check(1)"))
    return last_error("check");
  running select{what};
  if (!select.row())
    return last_error("check");
  if (auto found = select.bytes_at(0); found != "ok")
    return damaged(found);
  return {};
}

std::string_view database::cure_of(int code) const {
  switch (code & 0xff) {
  case SQLITE_FULL:
    return "free some on its file system";
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return "another program has it locked, such as a backup or sqlite3; end that and try again";
  case SQLITE_NOTADB:
    return kind_.cure_of_foreign;
  case SQLITE_CORRUPT:
    return kind_.cure_of_damage;
  case SQLITE_READONLY:
  case SQLITE_PERM:
  case SQLITE_AUTH:
  case SQLITE_CANTOPEN:
    return "let this process read and write it and its directory";
  case SQLITE_IOERR:
    return "look at its file system, and at the limits of this process (ulimit -f)";
  default:
    return "";
  }
}

caf::error database::failure(std::string_view text, std::string_view cure) const {
  return caf::make_error(errc::io_failed,
                         fmt::format("{}: {}{}{}", path_.string(), text, cure.empty() ? "" : "; ", cure));
}

caf::error database::last_error(std::string_view doing) const {
  auto code = db_ ? sqlite3_extended_errcode(db_.get()) : SQLITE_NOMEM;
  auto system = db_ ? sqlite3_system_errno(db_.get()) : 0;
  auto primary = code & 0xff;
  std::string text{text_of(primary)};
  if ((primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN) && system != 0)
    text += fmt::format(" ({})", std::strerror(system));
  return failure(fmt::format("cannot {}: {}", doing, text), cure_of(code));
}

caf::error database::give_up(std::string_view doing) {
  auto error = last_error(doing);
  if (!sqlite3_get_autocommit(db_.get()))
    run("ROLLBACK");
  return error;
}

caf::error database::damaged(std::string_view what) const {
  return failure(fmt::format("the database is damaged: {}", what), kind_.cure_of_damage);
}

} // namespace astra::sqlite
