#include "runtime/tasks/task_db.hpp"
#include "runtime/tasks/task_memory.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <doctest/doctest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

using namespace astra;
using namespace std::chrono_literals;

namespace {

constexpr task_time today{1'767'225'600'000};

task_record make(const std::string& app, const std::string& key = "", std::string_view body = "page") {
  task_record task;
  task.app = app;
  task.key = key;
  task.content_type = "text/plain";
  task.body_bytes = body.size();
  task.body_hash = task_body_hash(task.content_type, body);
  task.priority = 7;
  task.created = today;
  task.deadline = today + 1h;
  task.keep = 10min;
  return task;
}

task_record ended(task_record task, task_state state, task_time when = today) {
  task.state = state;
  task.ended = when;
  task.attempts = 2;
  task.node = "n1";
  return task;
}

struct fixture {
  fixture() {
    std::filesystem::remove_all(directory);
    std::filesystem::create_directories(directory);
  }
  ~fixture() { std::filesystem::remove_all(directory); }

  std::unique_ptr<task_store> open() {
    auto store = open_task_db(directory);
    REQUIRE_MESSAGE(store, (store ? "" : error_text(store.error())));
    return std::move(*store);
  }

  std::string open_error() {
    auto store = open_task_db(directory);
    REQUIRE_FALSE(store);
    CHECK(store.error() == errc::io_failed);
    return error_text(store.error());
  }

  std::string read(const std::string& name) {
    std::ifstream in{directory / name, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
  }

  void execute(const std::string& sql) {
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open((directory / "tasks.db").c_str(), &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
  }

  std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("astra-task-db-" + std::to_string(::getpid()));
};

task_number add(task_store& store, const task_record& task, std::string_view body = "page") {
  REQUIRE_FALSE(store.begin());
  auto made = store.add(task, body);
  REQUIRE(made);
  REQUIRE_FALSE(store.commit());
  return made->task.number;
}

void end(task_store& store, const task_record& task, std::string_view result = "") {
  REQUIRE_FALSE(store.begin());
  REQUIRE_FALSE(store.end(task, result));
  REQUIRE_FALSE(store.commit());
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// What each store promises.
void check_contract(task_store& store) {
  auto first = add(store, make("ocr", "k1"));
  auto second = add(store, make("ocr"), std::string("\0bytes\xff", 7));
  CHECK(second == first + 1);
  CHECK((**store.body(second)).front() == '\0');
  CHECK((*store.body(second))->size() == 7);

  // One task per key and app.
  REQUIRE_FALSE(store.begin());
  auto again = store.add(make("ocr", "k1", "other"), "other");
  REQUIRE(again);
  CHECK_FALSE(again->fresh);
  CHECK(again->task.number == first);
  CHECK(again->task.body_hash == make("ocr", "k1").body_hash);
  CHECK(store.add(make("echo", "k1"), "page")->fresh);
  CHECK_FALSE(store.commit());
  CHECK((*store.by_key("ocr", "k1"))->number == first);
  CHECK_FALSE(*store.by_key("ocr", "k2"));
  CHECK_FALSE(*store.by_key("ocr", ""));

  // What is rolled back was never there.
  REQUIRE_FALSE(store.begin());
  auto gone = store.add(make("ocr", "k9"), "page");
  REQUIRE(gone);
  store.roll_back();
  CHECK_FALSE(*store.find(gone->task.number));
  CHECK_FALSE(*store.by_key("ocr", "k9"));

  auto task = **store.find(first);
  CHECK(task.app == "ocr");
  CHECK(task.key == "k1");
  CHECK(task.content_type == "text/plain");
  CHECK(task.body_bytes == 4);
  CHECK(task.priority == 7);
  CHECK(task.created == today);
  CHECK(task.deadline == today + 1h);
  CHECK(task.keep == 10min);
  CHECK(task.state == task_state::queued);

  task.state = task_state::running;
  task.attempts = 1;
  task.reason = "x";
  REQUIRE_FALSE(store.begin());
  CHECK_FALSE(store.update(task));
  CHECK_FALSE(store.commit());
  CHECK((*store.find(first))->attempts == 1);
  CHECK(store.unfinished()->size() == 3);
  CHECK(store.unfinished()->front().number == first);

  auto done = ended(task, task_state::done);
  done.result_type = "text/html";
  done.result_bytes = 6;
  end(store, done, "result");
  CHECK(**store.result(first) == "result");
  CHECK_FALSE(*store.body(first));
  CHECK((*store.find(first))->node == "n1");
  CHECK((*store.find(first))->result_type == "text/html");
  auto failed = ended(**store.find(second), task_state::failed, today + 1min);
  failed.code = -9;
  failed.stderr_tail = "tail";
  end(store, failed);
  CHECK_FALSE(*store.result(second));
  CHECK((*store.find(second))->code == -9);
  CHECK((*store.find(second))->stderr_tail == "tail");
  CHECK(store.unfinished()->size() == 1);

  CHECK(store.list({})->front().number > second);
  CHECK(store.list({"ocr", std::nullopt, 100})->size() == 2);
  CHECK(store.list({"", task_state::failed, 100})->front().number == second);
  CHECK(store.list({"ocr", std::nullopt, 1})->size() == 1);
  CHECK(store.list({"", std::nullopt, 100, second + 1})->front().number == second);
  auto older = store.list({"", std::nullopt, 100, second});
  CHECK(std::all_of(older->begin(), older->end(), [&](auto& one) { return one.number < second; }));
  CHECK_FALSE(older->empty());

  REQUIRE_FALSE(store.begin());
  CHECK(*store.drop_due(today + 10min - 1ms, 10) == 0);
  CHECK(*store.drop_due(today + 10min, 10) == 1);
  CHECK(*store.drop_due(today + 2h, 10) == 1);
  CHECK_FALSE(store.commit());
  CHECK_FALSE(*store.find(first));
  CHECK_FALSE(*store.result(first));
  CHECK(store.list({})->size() == 1);
  // A number is never given again, and a key that is forgotten may be.
  CHECK(add(store, make("ocr", "k1")) > second + 1);
  CHECK(store.usage()->last > second + 1);
}

} // namespace

TEST_CASE("a store in memory keeps tasks, keys, bodies and results as it promises") {
  task_memory store;
  check_contract(store);
}

TEST_CASE_FIXTURE(fixture, "a store on disk keeps tasks, keys, bodies and results as it promises") {
  auto store = open();
  check_contract(*store);
}

TEST_CASE_FIXTURE(fixture, "the next life has the same tasks, secret and numbers") {
  std::string secret;
  task_number number = 0;
  {
    auto store = open();
    secret = store->secret();
    CHECK(secret.size() == 32);
    add(*store, make("ocr", "k1"));
    number = add(*store, make("ocr"));
    REQUIRE_FALSE(store->begin());
    REQUIRE_FALSE(store->drop(number));
    REQUIRE_FALSE(store->commit());
  }
  auto store = open();
  CHECK(store->secret() == secret);
  CHECK(store->unfinished()->size() == 1);
  CHECK(**store->body(1) == "page");
  CHECK(store->usage()->last == number);
  CHECK(add(*store, make("ocr")) == number + 1);
}

TEST_CASE_FIXTURE(fixture, "what was committed is there after a kill at any moment, and nothing of what was not") {
  task_number acknowledged_before = 0;
  for (int round = 0; round < 6; ++round) {
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    auto child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto store = open_task_db(directory);
      for (;;) {
        // Three at a time: all or none.
        task_number last = 0;
        auto good = store && !(*store)->begin();
        for (int i = 0; good && i < 3; ++i) {
          auto made = (*store)->add(make("ocr"), std::string(5000, 'x'));
          good = static_cast<bool>(made);
          last = good ? made->task.number : 0;
        }
        if (!good || (*store)->commit() || ::write(pipe_ends[1], &last, sizeof last) != sizeof last)
          break;
      }
      ::_exit(1);
    }
    ::close(pipe_ends[1]);
    task_number acknowledged = acknowledged_before;
    auto read_one = [&] { return ::read(pipe_ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged; };
    for (int i = 0; i < 5; ++i)
      REQUIRE(read_one());
    std::this_thread::sleep_for(2ms * round);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (read_one()) {
    }
    ::close(pipe_ends[0]);
    auto store = open();
    auto tasks = store->unfinished();
    REQUIRE(tasks);
    CHECK(tasks->size() % 3 == 0);
    CHECK(tasks->back().number >= acknowledged);
    CHECK(tasks->back().number <= acknowledged + 3);
    CHECK(tasks->size() == tasks->back().number);
    for (auto& task : *tasks)
      CHECK((*store->body(task.number))->size() == 5000);
    acknowledged_before = acknowledged;
  }
}

TEST_CASE_FIXTURE(fixture, "a process that dies at the very write that would make a file longer loses nothing") {
  // SIGXFSZ kills it in the middle of a commit, each time at another byte.
  for (rlim_t step = 0; step < 24; ++step) {
    std::filesystem::remove_all(directory);
    std::filesystem::create_directories(directory);
    open();
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    auto child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      rlimit core{0, 0};
      ::setrlimit(RLIMIT_CORE, &core);
      auto store = open_task_db(directory);
      rlimit limit{};
      ::getrlimit(RLIMIT_FSIZE, &limit);
      limit.rlim_cur = 65'536 + step * 4'001;
      ::setrlimit(RLIMIT_FSIZE, &limit);
      for (std::uint32_t i = 1; store; ++i) {
        auto made = (*store)->begin() ? caf::expected<task_store::added>{caf::make_error(errc::io_failed)}
                                      : (*store)->add(make("ocr", std::to_string(i)), std::string(i * 100, 'x'));
        if (!made || (*store)->commit()
            || ::write(pipe_ends[1], &made->task.number, sizeof(task_number)) != sizeof(task_number))
          break;
      }
      ::_exit(1);
    }
    ::close(pipe_ends[1]);
    task_number acknowledged = 0;
    while (::read(pipe_ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged) {
    }
    ::close(pipe_ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    CAPTURE(step);
    auto store = open();
    auto tasks = store->unfinished();
    REQUIRE(tasks);
    CHECK(acknowledged > 0);
    CHECK(tasks->size() >= acknowledged);
    CHECK(tasks->size() <= acknowledged + 1);
    for (auto& task : *tasks)
      CHECK((*store->body(task.number))->size() == task.number * 100);
  }
}

TEST_CASE_FIXTURE(fixture, "a full disk fails a write with the cure, loses nothing, and is over when there is room") {
  add(*open(), make("ocr"));
  auto child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    auto store = open_task_db(directory);
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 100'000;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto big = std::string(1'000'000, 'x');
    auto failed = (*store)->begin();
    auto made = (*store)->add(make("ocr", "big", big), big);
    if (!made) {
      failed = made.error();
      (*store)->roll_back();
    } else {
      failed = (*store)->commit();
    }
    auto good = failed == errc::io_failed && contains(error_text(failed), "tasks.db: cannot ")
                && contains(error_text(failed), "ulimit -f") && (*store)->unfinished()->size() == 1
                && !*(*store)->by_key("ocr", "big");
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto later = !(*store)->begin() && (*store)->add(make("ocr", "big", big), big) && !(*store)->commit();
    ::_exit(good && later ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(open()->unfinished()->size() == 2);
}

TEST_CASE_FIXTURE(fixture, "a file that is no database, another program's or of a newer version stays as it is") {
  std::ofstream{directory / "tasks.db"} << std::string(5000, 'x');
  CHECK(contains(open_error(), "it is left as it is"));
  CHECK(read("tasks.db") == std::string(5000, 'x'));
  std::filesystem::remove(directory / "tasks.db");
  execute("CREATE TABLE songs (title TEXT)");
  CHECK(contains(open_error(), "the database of another program"));
  std::filesystem::remove(directory / "tasks.db");
  add(*open(), make("ocr"));
  execute("PRAGMA user_version=2");
  CHECK(contains(open_error(), "written by a newer version of Astra (schema 2, this one knows 1); start that version"));
  execute("PRAGMA user_version=1");
  CHECK(open()->unfinished()->size() == 1);
}

TEST_CASE_FIXTURE(fixture, "what is dropped makes room for what comes") {
  auto store = open();
  auto empty = store->usage()->bytes;
  for (int i = 0; i < 50; ++i)
    end(*store, ended(**store->find(add(*store, make("ocr"), std::string(100'000, 'x'))), task_state::done),
        std::string(100'000, 'y'));
  auto full = store->usage()->bytes;
  CHECK(full > empty + 5'000'000);
  REQUIRE_FALSE(store->begin());
  CHECK(*store->drop_due(today + 1h, 100) == 50);
  REQUIRE_FALSE(store->commit());
  CHECK(store->usage()->bytes < empty + 100'000);
}
