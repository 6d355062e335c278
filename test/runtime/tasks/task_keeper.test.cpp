#include "runtime/tasks/task_keeper.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "runtime/tasks/task_memory.hpp"

#include <doctest/doctest.h>

#include <condition_variable>
#include <mutex>

using namespace astra;
using namespace std::chrono_literals;

namespace {

struct fixture {
  fixture() {
    auto made = std::make_unique<task_memory>();
    store = made.get();
    keeper = std::make_unique<task_keeper>(std::move(made), task_keeper::mode::by_hand);
    keeper->attach([this] { ++pokes; });
  }

  void add(const std::string& body) {
    keeper->write(
        body.size(),
        [body](task_store& to) {
          auto made = to.add({}, body);
          return made ? caf::error{} : std::move(made.error());
        },
        [this](const caf::error& failed) { told.push_back(failed ? "failed" : "good"); });
  }

  void tell() {
    for (auto& report : keeper->take_done())
      report();
  }

  task_memory* store;
  std::unique_ptr<task_keeper> keeper;
  int pokes = 0;
  std::vector<std::string> told;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "what gathers while nothing is written goes into one transaction, with one poke") {
  for (int i = 0; i < 10; ++i)
    add("x");
  CHECK(told.empty());
  CHECK(keeper->step());
  CHECK(store->commits == 1);
  CHECK(pokes == 1);
  tell();
  CHECK(told == std::vector<std::string>(10, "good"));
  CHECK_FALSE(keeper->step());
  CHECK(keeper->usage().last == 10);
  CHECK(keeper->usage().bytes == 10);
}

TEST_CASE_FIXTURE(fixture, "one that fails takes no other with it") {
  store->room_bytes = 10;
  add("1234");
  add("too much for this disk");
  add("5678");
  keeper->step();
  tell();
  CHECK(told == std::vector<std::string>{"good", "failed", "good"});
  CHECK(store->unfinished()->size() == 2);
}

TEST_CASE_FIXTURE(fixture, "a batch has a bound of bytes, and reading needs no transaction") {
  auto large = std::string(20 << 20, 'x');
  for (int i = 0; i < 4; ++i)
    add(large);
  keeper->step();
  tell();
  CHECK(told.size() == 2);
  keeper->step();
  auto commits = store->commits;
  auto read = false;
  keeper->read(
      [&](task_store&) {
        read = true;
        return caf::error{};
      },
      [](const caf::error&) {});
  keeper->step();
  CHECK(read);
  CHECK(store->commits == commits);
}

TEST_CASE_FIXTURE(fixture, "reports for an earlier owner are dropped, its writes are not") {
  add("x");
  keeper->attach([this] { ++pokes; });
  keeper->step();
  tell();
  CHECK(told.empty());
  CHECK(store->unfinished()->size() == 1);
}

TEST_CASE("a keeper with a thread tells when things are on disk, and ends with all that it was given written") {
  auto made = std::make_unique<task_memory>();
  std::mutex mutex;
  std::condition_variable poked;
  auto pokes = 0;
  task_number last = 0;
  {
    task_keeper keeper{std::move(made)};
    keeper.attach([&] {
      std::lock_guard guard{mutex};
      ++pokes;
      poked.notify_one();
    });
    auto add = [&] {
      keeper.write(
          1,
          [&](task_store& to) {
            auto added = to.add({}, "x");
            last = added ? added->task.number : last;
            return caf::error{};
          },
          [](const caf::error&) {});
    };
    add();
    std::unique_lock guard{mutex};
    poked.wait(guard, [&] { return pokes > 0; });
    guard.unlock();
    for (int i = 0; i < 100; ++i)
      add();
  }
  CHECK(last == 101);
}
