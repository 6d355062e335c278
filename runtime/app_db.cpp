#include "runtime/app_db.hpp"

#include "actors/scheduler/standby.hpp"
#include "messages/errc.hpp"
#include "messages/wire.hpp"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <spdlog/spdlog.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The only translation unit that knows SQLite.
//
// A rollback journal and not a write-ahead log: saves are rare, one file is easier to copy, and it works on every file
// system.  synchronous=EXTRA is FULL and also syncs the directory when the journal goes: with FULL alone a loss of
// power just after a save could bring the journal back, and with it what was before.

namespace astra {
namespace {

/// "ASTR", so that `file apps.db` and we can tell it from other databases.
constexpr int application_id = 0x41535452;

constexpr int schema_version = 1;

/// How long to wait for whoever has the database locked, such as a backup; an actor stands still meanwhile.
constexpr int busy_ms = 1000;

constexpr const char* schema = R"(
  CREATE TABLE apps (name TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE revisions (
    app TEXT NOT NULL, number INTEGER NOT NULL, wall_ms INTEGER NOT NULL, origin TEXT NOT NULL, note TEXT NOT NULL,
    spec BLOB NOT NULL, PRIMARY KEY (app, number)) WITHOUT ROWID;
)";

struct close_database {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
};
using database = std::unique_ptr<sqlite3, close_database>;

struct end_statement {
  void operator()(sqlite3_stmt* what) const { sqlite3_finalize(what); }
};
using statement = std::unique_ptr<sqlite3_stmt, end_statement>;

/// What can be done about the last failure.
std::string_view cure_of(int code) {
  switch (code & 0xff) {
  case SQLITE_FULL:
    return "free some on its file system";
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return "another program has it locked, such as a backup or sqlite3; end that and try again";
  case SQLITE_NOTADB:
    return "it is left as it is; move it away to start without its apps (they go on and are adopted), or put a backup "
           "in its place";
  case SQLITE_CORRUPT:
    return "it is left as it is; put a backup in its place, or save what can be read: sqlite3 apps.db .recover | "
           "sqlite3 new.db";
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

caf::error failure(const std::filesystem::path& path, std::string_view text, std::string_view cure) {
  return caf::make_error(errc::io_failed,
                         fmt::format("{}: {}{}{}", path.string(), text, cure.empty() ? "" : "; ", cure));
}

/// A prepared statement while it runs.
class running {
public:
  explicit running(const statement& what) : what_(what.get()) {}
  ~running() { end(); }
  running(const running&) = delete;
  running& operator=(const running&) = delete;

  running& text(const std::string& value) {
    sqlite3_bind_text(what_, ++last_, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT);
    return *this;
  }
  running& blob(const std::string& value) {
    sqlite3_bind_blob(what_, ++last_, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT);
    return *this;
  }
  running& number(std::int64_t value) {
    sqlite3_bind_int64(what_, ++last_, value);
    return *this;
  }

  /// There is a row.
  bool row() { return (code_ = sqlite3_step(what_)) == SQLITE_ROW; }
  /// For statements that have none.  Ends it at once: the end of a statement that went well, later, would hide the
  /// error of one that did not.
  bool done() {
    code_ = sqlite3_step(what_);
    end();
    return code_ == SQLITE_DONE;
  }
  /// No more rows because there are none.
  bool complete() const { return code_ == SQLITE_DONE; }

  std::int64_t number_at(int column) const { return sqlite3_column_int64(what_, column); }
  std::string bytes_at(int column) const {
    auto begin = static_cast<const char*>(sqlite3_column_blob(what_, column));
    auto size = static_cast<std::size_t>(sqlite3_column_bytes(what_, column));
    return begin ? std::string{begin, size} : std::string{};
  }

private:
  void end() {
    if (!what_)
      return;
    sqlite3_reset(what_);
    sqlite3_clear_bindings(what_);
    what_ = nullptr;
  }

  sqlite3_stmt* what_;
  int last_ = 0;
  int code_ = SQLITE_OK;
};

class app_db : public app_store {
public:
  explicit app_db(std::filesystem::path state_dir) : state_dir_(std::move(state_dir)), path_(state_dir_ / "apps.db") {}

  caf::error open(std::chrono::milliseconds now) {
    sqlite3* raw = nullptr;
    auto code = sqlite3_open_v2(path_.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                                nullptr);
    db_.reset(raw);
    if (code != SQLITE_OK)
      return last_error("open");
    sqlite3_busy_timeout(raw, busy_ms);
    // Nothing is written before it is known what this is.
    auto tables = number_of("SELECT count(*) FROM sqlite_master");
    auto program = tables ? number_of("PRAGMA application_id") : std::nullopt;
    auto version = program ? number_of("PRAGMA user_version") : std::nullopt;
    if (!version)
      return last_error("open");
    auto fresh = *tables == 0 && *program == 0 && *version == 0;
    if (!fresh && *program != application_id)
      return failure(path_, "the database of another program",
                     "it is left as it is; move it away, or give this process a state_dir of its own");
    if (*version > schema_version)
      return failure(
          path_,
          fmt::format("written by a newer version of Astra (schema {}, this one knows {})", *version, schema_version),
          "start that version");
    if (auto error = check())
      return error;
    if (!run("PRAGMA journal_mode=DELETE") || !run("PRAGMA synchronous=EXTRA"))
      return last_error("open");
    if (fresh) {
      auto make = fmt::format("BEGIN IMMEDIATE; {} PRAGMA application_id={}; PRAGMA user_version={}; COMMIT", schema,
                              application_id, schema_version);
      if (!run(make.c_str()))
        return give_up("make");
    }
    auto ready = prepare(load_, "SELECT spec FROM apps ORDER BY name")
                 && prepare(put_, "INSERT OR REPLACE INTO apps (name, spec) VALUES (?, ?)")
                 && prepare(drop_, "DELETE FROM apps WHERE name = ?")
                 && prepare(last_, "SELECT max(number) FROM revisions WHERE app = ?")
                 && prepare(add_, "INSERT INTO revisions (app, number, wall_ms, origin, note, spec) "
                                  "VALUES (?, ?, ?, ?, ?, ?)")
                 && prepare(trim_, "DELETE FROM revisions WHERE app = ?1 AND number <= ?2 AND number != (SELECT "
                                   "coalesce(max(number), 0) FROM revisions WHERE app = ?1 AND instr(note, ?3) > 0)")
                 && prepare(forget_, "DELETE FROM revisions WHERE app IN (SELECT app FROM revisions WHERE app NOT IN "
                                     "(SELECT name FROM apps) GROUP BY app ORDER BY max(wall_ms) DESC, app "
                                     "LIMIT -1 OFFSET ?)")
                 && prepare(history_, "SELECT number, wall_ms, origin, note, spec FROM revisions WHERE app = ? "
                                      "ORDER BY number");
    if (!ready)
      return last_error("open");
    return take_over(now);
  }

  caf::expected<std::vector<pb::AppSpec>> load() override {
    std::vector<pb::AppSpec> result;
    running select{load_};
    while (select.row())
      if (!decode(result.emplace_back(), select.bytes_at(0)))
        return failure(path_, "the database is damaged: one spec cannot be read", cure_of(SQLITE_CORRUPT));
    if (!select.complete())
      return last_error("load");
    return result;
  }

  caf::expected<std::uint64_t> save(const pb::AppSpec& spec, const change_note& note) override {
    if (!run("BEGIN IMMEDIATE"))
      return give_up("save app '" + spec.name() + "'");
    auto number = add(spec, note);
    if (number == 0 || !run("COMMIT"))
      return give_up("save app '" + spec.name() + "'");
    return number;
  }

  caf::expected<void> remove(const std::string& name) override {
    auto good = run("BEGIN IMMEDIATE") && running{drop_}.text(name).done()
                && running{forget_}.number(static_cast<std::int64_t>(gone_apps_kept)).done() && run("COMMIT");
    if (!good)
      return give_up("remove app '" + name + "'");
    return {};
  }

  caf::expected<std::vector<pb::AppRevision>> history(const std::string& name) override {
    std::vector<pb::AppRevision> result;
    running select{history_};
    select.text(name);
    while (select.row()) {
      auto& revision = result.emplace_back();
      revision.set_number(static_cast<std::uint64_t>(select.number_at(0)));
      revision.set_wall_ms(static_cast<std::uint64_t>(select.number_at(1)));
      revision.set_origin(select.bytes_at(2));
      revision.set_note(select.bytes_at(3));
      if (!decode(*revision.mutable_spec(), select.bytes_at(4)))
        return failure(path_, "the database is damaged: one revision cannot be read", cure_of(SQLITE_CORRUPT));
    }
    if (!select.complete())
      return last_error("read");
    return result;
  }

private:
  bool run(const char* sql) { return sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK; }

  bool prepare(statement& to, const char* sql) {
    sqlite3_stmt* raw = nullptr;
    auto good = sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) == SQLITE_OK;
    to.reset(raw);
    return good;
  }

  /// A question whose answer is a number.
  std::optional<std::int64_t> number_of(const char* sql) {
    statement what;
    if (!prepare(what, sql))
      return std::nullopt;
    running select{what};
    return select.row() ? std::optional{select.number_at(0)} : std::nullopt;
  }

  /// What SQLite itself can find wrong with the file.
  caf::error check() {
    statement what;
    if (!prepare(what, "PRAGMA quick_check(1)"))
      return last_error("check");
    running select{what};
    if (!select.row())
      return last_error("check");
    if (auto found = select.bytes_at(0); found != "ok")
      return failure(path_, "the database is damaged: " + found, cure_of(SQLITE_CORRUPT));
    return {};
  }

  /// Number of the app's last revision; 0: it has none.
  std::optional<std::int64_t> last_number(const std::string& name) {
    running select{last_};
    return select.text(name).row() ? std::optional{select.number_at(0)} : std::nullopt;
  }

  /// Within a transaction.  @returns 0 when it fails.
  std::uint64_t add(const pb::AppSpec& spec, const change_note& note) {
    auto last = last_number(spec.name());
    if (!last)
      return 0;
    auto number = *last + 1;
    auto bytes = encode(spec);
    auto kept = static_cast<std::int64_t>(revisions_kept);
    auto good = running{put_}.text(spec.name()).blob(bytes).done()
                && running{add_}
                       .text(spec.name())
                       .number(number)
                       .number(note.wall_time.count())
                       .text(note.origin)
                       .text(note.text)
                       .blob(bytes)
                       .done()
                && running{trim_}.text(spec.name()).number(number - kept).text(std::string{epoch_mark}).done();
    return good ? static_cast<std::uint64_t>(number) : 0;
  }

  caf::error last_error(std::string_view doing) const {
    auto code = db_ ? sqlite3_extended_errcode(db_.get()) : SQLITE_NOMEM;
    auto system = db_ ? sqlite3_system_errno(db_.get()) : 0;
    auto primary = code & 0xff;
    std::string text{text_of(primary)};
    if ((primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN) && system != 0)
      text += fmt::format(" ({})", std::strerror(system));
    return failure(path_, fmt::format("cannot {}: {}", doing, text), cure_of(code));
  }

  /// The last error; and what had been begun is undone.
  caf::error give_up(const std::string& doing) {
    auto error = last_error(doing);
    if (!sqlite3_get_autocommit(db_.get()))
      run("ROLLBACK");
    return error;
  }

  /// Takes over what an earlier version kept in JSON files.
  caf::error take_over(std::chrono::milliseconds now) {
    std::vector<std::filesystem::path> files;
    std::error_code ignored;
    for (auto& entry : std::filesystem::directory_iterator{state_dir_ / "apps", ignored})
      if (entry.path().extension() == ".json")
        files.push_back(entry.path());
    if (files.empty())
      return {};
    std::sort(files.begin(), files.end());
    if (!run("BEGIN IMMEDIATE"))
      return give_up("take over the JSON files");
    std::vector<std::filesystem::path> taken;
    for (auto& file : files) {
      std::ifstream in{file, std::ios::binary};
      std::string text{std::istreambuf_iterator<char>{in}, {}};
      pb::AppSpec spec;
      auto status = google::protobuf::util::JsonStringToMessage(text, &spec);
      if (!status.ok() || spec.name() != file.stem().string()) {
        set_aside(file, ".broken", status.ok() ? "the name inside is another one" : status.message().ToString());
        continue;
      }
      taken.push_back(file);
      auto last = last_number(spec.name());
      if (!last)
        return give_up("take over " + file.string());
      // They were taken over before, and could not be renamed: what has become of the app since then counts.
      if (*last != 0)
        continue;
      if (add(spec, {"earlier version", "taken over from " + file.filename().string(), now}) == 0)
        return give_up("take over " + file.string());
    }
    if (!run("COMMIT"))
      return give_up("take over the JSON files");
    for (auto& file : taken)
      set_aside(file, ".taken-over", "its app is in apps.db now");
    return {};
  }

  static void set_aside(const std::filesystem::path& file, const char* ending, std::string_view reason) {
    auto aside = file.string() + ending;
    std::error_code error;
    std::filesystem::rename(file, aside, error);
    spdlog::warn("apps.json_file file={} kept_as={} reason=\"{}\"{}", file.string(), error ? file.string() : aside,
                 reason, error ? " rename_failed=\"" + error.message() + "\"" : "");
  }

  const std::filesystem::path state_dir_;
  const std::filesystem::path path_;
  // Statements end before their database.
  database db_;
  statement load_, put_, drop_, last_, add_, trim_, forget_, history_;
};

} // namespace

caf::expected<std::unique_ptr<app_store>> open_app_db(const std::filesystem::path& state_dir,
                                                      std::chrono::milliseconds now) {
  auto result = std::make_unique<app_db>(state_dir);
  if (auto error = result->open(now))
    return error;
  return std::unique_ptr<app_store>{std::move(result)};
}

} // namespace astra
