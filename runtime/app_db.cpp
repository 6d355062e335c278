#include "runtime/app_db.hpp"

#include "actors/scheduler/standby.hpp"
#include "messages/errc.hpp"
#include "messages/wire.hpp"
#include "runtime/sqlite.hpp"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// A rollback journal and not a write-ahead log: saves are rare, one file is easier to copy, and it works on every file
// system.  synchronous=EXTRA is FULL and also syncs the directory when the journal goes: with FULL alone a loss of
// power just after a save could bring the journal back, and with it what was before.

namespace astra {
namespace {

using sqlite::running;
using sqlite::statement;

/// How long to wait for whoever has the database locked, such as a backup; an actor stands still meanwhile.
constexpr auto busy_timeout = std::chrono::milliseconds{1000};

constexpr const char* schema = R"(
  CREATE TABLE apps (name TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE revisions (
    app TEXT NOT NULL, number INTEGER NOT NULL, wall_ms INTEGER NOT NULL, origin TEXT NOT NULL, note TEXT NOT NULL,
    spec BLOB NOT NULL, PRIMARY KEY (app, number)) WITHOUT ROWID;
)";

constexpr sqlite::kind app_database = {
    // "ASTR", so that `file apps.db` and we can tell it from other databases.
    .application_id = 0x41535452,
    .schema_version = 1,
    .schema = schema,
    .settings = "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA",
    .cure_of_foreign = "it is left as it is; move it away to start without its apps (they go on and are adopted), or "
                       "put a backup in its place",
    .cure_of_damage = "it is left as it is; put a backup in its place, or save what can be read: sqlite3 apps.db "
                      ".recover | sqlite3 new.db",
    .checked = true,
};

class app_db : public app_store {
public:
  explicit app_db(std::filesystem::path state_dir)
    : state_dir_(std::move(state_dir)), db_(state_dir_ / "apps.db", app_database) {}

  caf::error open(std::chrono::milliseconds now) {
    if (auto error = db_.open(busy_timeout))
      return error;
    auto ready =
        db_.prepare(load_, "SELECT spec FROM apps ORDER BY name")
        && db_.prepare(put_, "INSERT OR REPLACE INTO apps (name, spec) VALUES (?, ?)")
        && db_.prepare(drop_, "DELETE FROM apps WHERE name = ?")
        && db_.prepare(last_, "SELECT max(number) FROM revisions WHERE app = ?")
        && db_.prepare(add_, "INSERT INTO revisions (app, number, wall_ms, origin, note, spec) "
                             "VALUES (?, ?, ?, ?, ?, ?)")
        && db_.prepare(trim_, "DELETE FROM revisions WHERE app = ?1 AND number <= ?2 AND number != (SELECT "
                              "coalesce(max(number), 0) FROM revisions WHERE app = ?1 AND instr(note, ?3) > 0)")
        && db_.prepare(forget_, "DELETE FROM revisions WHERE app IN (SELECT app FROM revisions WHERE app NOT IN "
                                "(SELECT name FROM apps) GROUP BY app ORDER BY max(wall_ms) DESC, app "
                                "LIMIT -1 OFFSET ?)")
        && db_.prepare(history_, "SELECT number, wall_ms, origin, note, spec FROM revisions WHERE app = ? "
                                 "ORDER BY number");
    if (!ready)
      return db_.last_error("open");
    return take_over(now);
  }

  caf::expected<std::vector<pb::AppSpec>> load() override {
    std::vector<pb::AppSpec> result;
    running select{load_};
    while (select.row())
      if (!decode(result.emplace_back(), select.bytes_at(0)))
        return db_.damaged("one spec cannot be read");
    if (!select.complete())
      return db_.last_error("load");
    return result;
  }

  caf::expected<std::uint64_t> save(const pb::AppSpec& spec, const change_note& note) override {
    if (!db_.run("BEGIN IMMEDIATE"))
      return db_.give_up("save app '" + spec.name() + "'");
    auto number = add(spec, note);
    if (number == 0 || !db_.run("COMMIT"))
      return db_.give_up("save app '" + spec.name() + "'");
    return number;
  }

  caf::expected<void> remove(const std::string& name) override {
    auto good = db_.run("BEGIN IMMEDIATE") && running{drop_}.text(name).done()
                && running{forget_}.number(static_cast<std::int64_t>(gone_apps_kept)).done() && db_.run("COMMIT");
    if (!good)
      return db_.give_up("remove app '" + name + "'");
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
        return db_.damaged("one revision cannot be read");
    }
    if (!select.complete())
      return db_.last_error("read");
    return result;
  }

private:
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
    if (!db_.run("BEGIN IMMEDIATE"))
      return db_.give_up("take over the JSON files");
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
        return db_.give_up("take over " + file.string());
      // They were taken over before, and could not be renamed: what has become of the app since then counts.
      if (*last != 0)
        continue;
      if (add(spec, {"earlier version", "taken over from " + file.filename().string(), now}) == 0)
        return db_.give_up("take over " + file.string());
    }
    if (!db_.run("COMMIT"))
      return db_.give_up("take over the JSON files");
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
  // Statements end before their database.
  sqlite::database db_;
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
