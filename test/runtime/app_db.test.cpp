#include "runtime/app_db.hpp"

#include "messages/errc.hpp"
#include "messages/wire.hpp"
#include "test/support/kept_revisions.hpp"

#include <doctest/doctest.h>
#include <google/protobuf/util/json_util.h>
#include <poll.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

using namespace astra;
using namespace std::chrono_literals;

namespace {

constexpr auto today = std::chrono::milliseconds{1'767'225'600'000};

pb::AppSpec spec_of(const std::string& name, std::uint32_t replicas) {
  pb::AppSpec spec;
  spec.set_name(name);
  spec.set_replicas(replicas);
  spec.mutable_per_request()->add_command("cat");
  return spec;
}

struct fixture {
  fixture() {
    std::filesystem::remove_all(directory);
    std::filesystem::create_directories(directory);
  }
  ~fixture() { std::filesystem::remove_all(directory); }

  std::unique_ptr<app_store> open() {
    auto store = open_app_db(directory, today);
    REQUIRE_MESSAGE(store, (store ? "" : error_text(store.error())));
    return std::move(*store);
  }

  std::string open_error() {
    auto store = open_app_db(directory, today);
    REQUIRE_FALSE(store);
    CHECK(store.error() == errc::io_failed);
    return error_text(store.error());
  }

  void write(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((directory / name).parent_path());
    std::ofstream{directory / name, std::ios::binary} << content;
  }

  std::string read(const std::string& name) {
    std::ifstream in{directory / name, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
  }

  /// What another program does with the database.
  void execute(const std::string& sql) {
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open((directory / "apps.db").c_str(), &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
  }

  std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("astra-app-db-" + std::to_string(::getpid()));
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string names_of(app_store& store) {
  auto all = store.load();
  REQUIRE(all);
  std::string text;
  for (auto& spec : *all)
    text += spec.name() + ":" + std::to_string(spec.replicas()) + " ";
  return text;
}

std::string json_of(const pb::AppSpec& spec) {
  std::string text;
  CHECK(google::protobuf::util::MessageToJsonString(spec, &text).ok());
  return text;
}

} // namespace

TEST_CASE_FIXTURE(fixture, "what was saved and removed is so in the next life, sorted by name") {
  {
    auto store = open();
    CHECK(names_of(*store).empty());
    CHECK(*store->save(spec_of("web", 2), {}) == 1);
    CHECK(*store->save(spec_of("echo", 1), {}) == 1);
    CHECK(*store->save(spec_of("web", 5), {}) == 2);
    CHECK(*store->save(spec_of("ocr", 1), {}) == 1);
    CHECK(store->remove("ocr"));
    CHECK(store->remove("never-there"));
  }
  auto store = open();
  CHECK(names_of(*store) == "echo:1 web:5 ");
  CHECK(encode(store->load()->back()) == encode(spec_of("web", 5)));
}

TEST_CASE_FIXTURE(fixture, "each save is a revision with who, when and why; the last 50 stay and the numbers go on") {
  {
    auto store = open();
    CHECK(store->save(spec_of("web", 1), {"alice", "", today}));
    CHECK(store->save(spec_of("web", 2), {"bob", "rollback to 1", today + 1s}));
  }
  auto store = open();
  auto history = store->history("web");
  REQUIRE(history);
  REQUIRE(history->size() == 2);
  CHECK(history->at(0).origin() == "alice");
  CHECK(history->at(1).number() == 2);
  CHECK(history->at(1).origin() == "bob");
  CHECK(history->at(1).note() == "rollback to 1");
  CHECK(history->at(1).wall_ms() == static_cast<std::uint64_t>((today + 1s).count()));
  CHECK(history->at(1).spec().replicas() == 2);
  for (std::uint32_t i = 3; i <= 120; ++i)
    CHECK(*store->save(spec_of("web", i), {}) == i);
  history = store->history("web");
  CHECK(history->size() == app_store::revisions_kept);
  CHECK(history->front().number() == 71);
  CHECK(history->back().number() == 120);
  CHECK(store->history("ocr")->empty());
}

TEST_CASE_FIXTURE(fixture, "the newest revision that tells who has the app stays, however many follow") {
  test::check_kept_revisions(*open());
}

TEST_CASE_FIXTURE(fixture, "the history of a deleted app stays and goes on, that of the 257th last one does not") {
  auto store = open();
  for (std::size_t i = 0; i <= app_store::gone_apps_kept; ++i) {
    auto name = "app" + std::to_string(i);
    CHECK(store->save(spec_of(name, 1), {"", "", today + i * 1s}));
    CHECK(store->remove(name));
  }
  CHECK(store->history("app0")->empty());
  CHECK(store->history("app1")->size() == 1);
  CHECK(*store->save(spec_of("app1", 2), {}) == 2);
  CHECK(*store->save(spec_of("app0", 2), {}) == 1);
}

TEST_CASE_FIXTURE(fixture, "of a process killed in the middle of its saves the last acknowledged one is there") {
  for (int round = 0; round < 3; ++round) {
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    auto child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto store = open_app_db(directory, today);
      for (std::uint32_t i = 1; store; ++i) {
        auto number = (*store)->save(spec_of("web", i), {});
        if (!number || ::write(pipe_ends[1], &*number, sizeof(*number)) != sizeof(*number))
          break;
      }
      ::_exit(1);
    }
    ::close(pipe_ends[1]);
    std::uint64_t acknowledged = 0;
    auto read_one = [&] { return ::read(pipe_ends[0], &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged); };
    for (int i = 0; i < 20; ++i)
      REQUIRE(read_one());
    std::this_thread::sleep_for(3ms * round);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (read_one()) {
    }
    ::close(pipe_ends[0]);
    auto store = open();
    auto history = store->history("web");
    REQUIRE(history);
    auto last = history->back().number();
    CHECK(last >= acknowledged);
    CHECK(last <= acknowledged + 1);
    CHECK(store->load()->front().replicas() == history->back().spec().replicas());
  }
}

TEST_CASE_FIXTURE(fixture, "a full disk fails a save with the cure, loses nothing, and is over when there is room") {
  open()->save(spec_of("web", 1), {});
  auto child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // Files of this process cannot grow beyond what the database has now.
    std::signal(SIGXFSZ, SIG_IGN);
    auto store = open_app_db(directory, today);
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = std::filesystem::file_size(directory / "apps.db");
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto big = spec_of("big", 1);
    big.mutable_per_request()->add_command(std::string(100'000, 'x'));
    auto saved = (*store)->save(big, {});
    auto good = !saved && saved.error() == errc::io_failed
                && contains(error_text(saved.error()), "cannot save app 'big'")
                && contains(error_text(saved.error()), "ulimit -f") && (*store)->load()->size() == 1
                && (*store)->history("big")->empty();
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::_exit(good && (*store)->save(big, {}) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(names_of(*open()) == "big:1 web:1 ");
}

TEST_CASE_FIXTURE(fixture, "a file that is no database of ours is an error with the cure and stays as it is") {
  auto garbage = std::string{"this is not a database\n"};
  SUBCASE("short text") {}
  SUBCASE("long text") {
    garbage += std::string(10'000, 'x');
  }
  SUBCASE("a broken header") {
    garbage = "SQLite format 3" + std::string(5'000, '\xff');
  }
  write("apps.db", garbage);
  auto error = open_error();
  CHECK(contains(error, "apps.db: "));
  CHECK(contains(error, "it is left as it is"));
  CHECK(read("apps.db") == garbage);
}

TEST_CASE_FIXTURE(fixture, "the database of another program or of a newer version is left alone") {
  execute("CREATE TABLE songs (title TEXT)");
  CHECK(contains(open_error(), "the database of another program"));
  std::filesystem::remove(directory / "apps.db");
  open()->save(spec_of("web", 1), {});
  execute("PRAGMA user_version=2");
  CHECK(contains(open_error(), "written by a newer version of Astra (schema 2, this one knows 1); start that version"));
  execute("PRAGMA user_version=1");
  CHECK(names_of(*open()) == "web:1 ");
}

TEST_CASE_FIXTURE(fixture, "a damaged database is found when it is opened") {
  {
    auto store = open();
    for (std::uint32_t i = 1; i <= 50; ++i) {
      auto spec = spec_of("web", i);
      spec.mutable_per_request()->add_command(std::string(2'000, 'x'));
      CHECK(store->save(spec, {}));
    }
  }
  auto bytes = read("apps.db");
  REQUIRE(bytes.size() > 40'000);
  for (std::size_t i = 8'192; i < 28'672; ++i)
    bytes[i] = static_cast<char>(i * 7);
  write("apps.db", bytes);
  CHECK(contains(open_error(), "the database is damaged"));
  CHECK(read("apps.db") == bytes);
}

TEST_CASE_FIXTURE(fixture, "a locked database fails a save after a second, with the cure") {
  auto store = open();
  CHECK(store->save(spec_of("web", 1), {}));
  sqlite3* other = nullptr;
  REQUIRE(sqlite3_open((directory / "apps.db").c_str(), &other) == SQLITE_OK);
  REQUIRE(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
  auto saved = store->save(spec_of("web", 2), {});
  REQUIRE_FALSE(saved);
  CHECK(contains(error_text(saved.error()), "locked"));
  CHECK(store->history("web")->size() == 1);
  sqlite3_close(other);
  CHECK(*store->save(spec_of("web", 2), {}) == 2);
}

TEST_CASE_FIXTURE(fixture, "the JSON files of an earlier version are taken over once and kept under another name") {
  write("apps/web.json", json_of(spec_of("web", 3)));
  write("apps/echo.json", json_of(spec_of("echo", 1)));
  write("apps/other.json", json_of(spec_of("misnamed", 1)));
  write("apps/half.json", R"({"name": "half", "repl)");
  {
    auto store = open();
    CHECK(names_of(*store) == "echo:1 web:3 ");
    auto history = store->history("web");
    REQUIRE(history->size() == 1);
    CHECK(history->front().note() == "taken over from web.json");
    CHECK(history->front().wall_ms() == static_cast<std::uint64_t>(today.count()));
    CHECK(store->remove("echo"));
    CHECK(store->save(spec_of("web", 4), {}));
  }
  CHECK(read("apps/web.json.taken-over") == json_of(spec_of("web", 3)));
  CHECK(read("apps/half.json.broken") == R"({"name": "half", "repl)");
  CHECK(std::filesystem::exists(directory / "apps/other.json.broken"));
  CHECK_FALSE(std::filesystem::exists(directory / "apps/web.json"));
  CHECK(names_of(*open()) == "web:4 ");
  // As if the renaming had failed: nothing comes back.
  write("apps/web.json", json_of(spec_of("web", 3)));
  write("apps/echo.json", json_of(spec_of("echo", 1)));
  CHECK(names_of(*open()) == "web:4 ");
}
