#include "runtime/tasks/task_book.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

using namespace astra;
using namespace std::chrono_literals;
using verdict = task_book::verdict;

namespace {

task_record make(task_number number, std::uint8_t priority = 5, task_time deadline = 1h, std::uint64_t bytes = 10,
                 const std::string& app = "ocr") {
  task_record task;
  task.number = number;
  task.app = app;
  task.priority = priority;
  task.deadline = deadline;
  task.body_bytes = bytes;
  task.keep = 1h;
  return task;
}

task_attempt_end how(route_outcome outcome, std::string reason = "why") {
  task_attempt_end result;
  result.outcome = outcome;
  result.reason = std::move(reason);
  result.node = "n1";
  result.starts = outcome == route_outcome::saturated || outcome == route_outcome::unavailable ? 0 : 1;
  return result;
}

struct fixture {
  task_limits limits;
  task_book book{limits};

  explicit fixture(double window = 2.0) : limits{.window_first = window}, book{limits} { book.set_open("ocr", true); }

  /// Runs the only task that is ready to this end.
  verdict attempt(const task_attempt_end& end, task_time now) {
    auto orders = book.start(now);
    REQUIRE(orders.size() == 1);
    return book.finish(orders[0].attempt, end, now);
  }

  std::vector<task_number> started(task_time now) {
    std::vector<task_number> result;
    for (auto& order : book.start(now))
      result.push_back(order.number);
    return result;
  }
};

} // namespace

TEST_CASE("the highest priority is first, of equal ones the earliest deadline, of those the oldest") {
  fixture f{1.0};
  f.book.add(make(1, 5, 2h), 0ms);
  f.book.add(make(2, 5, 1h), 0ms);
  f.book.add(make(3, 9, 3h), 0ms);
  f.book.add(make(4, 0, 1min), 0ms);
  f.book.add(make(5, 5, 1h), 0ms);
  std::vector<task_number> order;
  for (int i = 0; i < 5; ++i) {
    auto orders = f.book.start(1ms);
    REQUIRE(orders.size() == 1);
    order.push_back(orders[0].number);
    CHECK(f.book.find(orders[0].number)->state == task_state::running);
    auto end = how(route_outcome::ok);
    end.waited = 1s; // the window stays as small as it is
    CHECK(f.book.finish(orders[0].attempt, end, 1ms) == verdict::ended);
    f.book.stored(orders[0].number);
  }
  CHECK(order == std::vector<task_number>{3, 2, 5, 1, 4});
  CHECK(f.book.size() == 0);
}

TEST_CASE("nothing of an app without a router is started, and everything once it has one") {
  fixture f;
  f.book.set_open("ocr", false);
  f.book.add(make(1), 0ms);
  CHECK(f.started(0ms).empty());
  CHECK_FALSE(f.book.is_open("ocr"));
  f.book.set_open("ocr", true);
  CHECK(f.started(0ms) == std::vector<task_number>{1});
}

TEST_CASE("a window grows by one per round while tasks hardly wait, and no further than its maximum") {
  fixture f;
  for (task_number i = 1; i <= 6000; ++i)
    f.book.add(make(i), 0ms);
  std::deque<task_book::start_order> working;
  auto start = [&] {
    auto orders = f.book.start(0ms);
    working.insert(working.end(), orders.begin(), orders.end());
  };
  start();
  // A round ends as many as work at once.
  for (int round = 0; round < 80; ++round) {
    auto before = working.size();
    for (std::size_t i = 0; i < before; ++i) {
      f.book.finish(working.front().attempt, how(route_outcome::ok), 0ms);
      f.book.stored(working.front().number);
      working.pop_front();
      start();
    }
    CHECK(working.size() <= before + 1);
    CHECK(working.size() <= 64);
  }
  CHECK(working.size() == 64);
}

TEST_CASE("a window that nobody fills does not grow") {
  fixture f{8.0};
  for (task_number i = 1; i <= 100; ++i) {
    f.book.add(make(i), 0ms);
    CHECK(f.attempt(how(route_outcome::ok), 0ms) == verdict::ended);
    f.book.stored(i);
  }
  CHECK(f.book.window("ocr") == 8.0);
}

TEST_CASE("tasks that wait for slots take back two places per round, down to one") {
  fixture f{16.0};
  for (task_number i = 1; i <= 2000; ++i)
    f.book.add(make(i), 0ms);
  auto late = how(route_outcome::ok);
  late.waited = 200ms;
  for (int round = 0; round < 40; ++round)
    for (auto& order : f.book.start(0ms)) {
      f.book.finish(order.attempt, late, 0ms);
      f.book.stored(order.number);
    }
  CHECK(f.book.window("ocr") == 1.0);
  CHECK(f.book.start(0ms).size() == 1);
}

TEST_CASE("a saturated app halves its window once, waits, and counts no failure") {
  fixture f{16.0};
  for (task_number i = 1; i <= 20; ++i)
    f.book.add(make(i), 10s);
  auto orders = f.book.start(10s);
  REQUIRE(orders.size() == 16);
  auto full = how(route_outcome::saturated, "all slots are taken");
  full.retry_after = 2s;
  for (auto& order : orders)
    CHECK(f.book.finish(order.attempt, full, 10s) == verdict::again);
  CHECK(f.book.window("ocr") == 8.0);
  CHECK(f.book.start(11s).empty());
  CHECK(f.book.next_time(11s) == 12s);
  CHECK(f.book.next_try(1) == 12s);
  CHECK(f.book.find(1)->reason == "all slots are taken");
  CHECK(f.book.start(12s).size() == 8);
  CHECK(f.book.find(1)->failures == 0);
  CHECK(f.book.find(1)->attempts == 2);
}

TEST_CASE("when nothing can serve the app one task asks at a time, less and less often, and never ends for it") {
  fixture f{16.0};
  for (task_number i = 1; i <= 20; ++i)
    f.book.add(make(i, 5, 24h), 10s);
  auto none = how(route_outcome::unavailable, "no replica is ready");
  for (auto& order : f.book.start(10s))
    f.book.finish(order.attempt, none, 10s);
  task_time now = 10s;
  std::vector<task_time> gaps;
  for (int i = 0; i < 10; ++i) {
    auto next = f.book.next_time(now);
    REQUIRE(next);
    gaps.push_back(*next - now);
    now = *next;
    CHECK(f.attempt(none, now) == verdict::again);
  }
  CHECK(gaps.front() == 250ms);
  CHECK(gaps[1] == 500ms);
  CHECK(gaps.back() == 10s);
  // A router that is new is asked at once.
  f.book.set_open("ocr", false);
  f.book.set_open("ocr", true);
  CHECK(f.book.start(now).size() == 1);
}

TEST_CASE("the app may fail at a task three times, after growing pauses; losses and full queues do not count") {
  fixture f;
  f.book.add(make(1), 0ms);
  task_time now = 0ms;
  auto go = [&](const task_attempt_end& end) {
    now = std::max(now, f.book.next_try(1));
    return f.attempt(end, now);
  };
  CHECK(go(how(route_outcome::app_failed)) == verdict::again);
  CHECK(f.book.start(now + 199ms).empty());
  for (int i = 0; i < 5; ++i) {
    CHECK(go(how(route_outcome::lost, "node n1 was lost")) == verdict::again);
    CHECK(go(how(route_outcome::saturated)) == verdict::again);
    CHECK(go(how(route_outcome::unavailable)) == verdict::again);
  }
  CHECK(f.book.find(1)->failures == 1);
  CHECK(go(how(route_outcome::app_failed)) == verdict::again);
  auto last = how(route_outcome::app_failed, "exit code 3");
  last.code = 3;
  last.stderr_tail = "no such page";
  CHECK(go(last) == verdict::ended);
  auto& task = *f.book.find(1);
  CHECK(task.state == task_state::failed);
  CHECK(task.reason == "the app failed 3 times, at last: exit code 3");
  CHECK(task.code == 3);
  CHECK(task.stderr_tail == "no such page");
  CHECK(task.attempts == 18);
  CHECK(task.failures == 3);
}

TEST_CASE("an attempt that was not finished in time is the app's failure, one that found no slot is not") {
  fixture f;
  f.book.add(make(1), 0ms);
  auto queue = how(route_outcome::timed_out, "no slot was free within 100 ms");
  queue.starts = 0;
  CHECK(f.attempt(queue, 0ms) == verdict::again);
  CHECK(f.book.find(1)->failures == 0);
  CHECK(f.attempt(how(route_outcome::timed_out, "not finished within 100 ms"), 10s) == verdict::again);
  CHECK(f.book.find(1)->failures == 1);
}

TEST_CASE("a deadline ends a task in every state, and what its attempt says later changes nothing") {
  fixture f{2.0};
  f.book.add(make(1, 5, 10s), 0ms);
  f.book.add(make(2, 5, 10s), 0ms);
  f.book.add(make(3, 5, 10s), 0ms);
  f.book.add(make(4, 5, 20s), 0ms);
  auto orders = f.book.start(0ms);
  REQUIRE(orders.size() == 2);
  CHECK(f.book.finish(orders[1].attempt, how(route_outcome::lost, "its node was lost"), 9900ms) == verdict::again);
  CHECK(f.book.expire(9999ms).empty());
  CHECK(f.book.next_time(9999ms) <= 10s);
  auto ended = f.book.expire(10s);
  REQUIRE(ended.size() == 3);
  CHECK(ended[0].attempt == orders[0].attempt);
  CHECK(ended[1].attempt == 0);
  CHECK(f.book.find(1)->reason == "its deadline passed while it was in progress");
  CHECK(f.book.find(2)->reason == "its deadline passed; its node was lost");
  CHECK(f.book.find(3)->reason == "its deadline passed before its turn came");
  for (auto& one : ended)
    CHECK(f.book.find(one.number)->state == task_state::expired);
  CHECK(f.book.finish(orders[0].attempt, how(route_outcome::ok), 11s) == verdict::ignored);
  CHECK(f.book.find(1)->state == task_state::expired);
  f.book.stored(1);
  f.book.stored(2);
  f.book.stored(3);
  CHECK(f.started(11s) == std::vector<task_number>{4});
  CHECK(f.book.in_progress() == 1);
}

TEST_CASE("a task is cancelled while it waits, is in progress or waits again, and not when it has ended") {
  fixture f{1.0};
  f.book.add(make(1), 0ms);
  f.book.add(make(2), 0ms);
  auto orders = f.book.start(0ms);
  REQUIRE(orders.size() == 1);
  CHECK(f.book.cancel(2, 1s)->attempt == 0);
  CHECK_FALSE(f.book.cancel(2, 1s));
  auto running = f.book.cancel(1, 1s);
  REQUIRE(running);
  CHECK(running->attempt == orders[0].attempt);
  // Its place is free when the router has let go of it.
  f.book.stored(1);
  f.book.add(make(3), 1s);
  CHECK(f.book.start(1s).empty());
  CHECK(f.book.finish(orders[0].attempt, how(route_outcome::cancelled), 2s) == verdict::ignored);
  CHECK(f.attempt(how(route_outcome::lost), 2s) == verdict::again);
  CHECK(f.book.cancel(3, 2s));
  CHECK(f.book.find(3)->state == task_state::cancelled);
  CHECK(f.book.start(10s).empty());
  CHECK_FALSE(f.book.cancel(99, 1s));
  f.book.add(make(4), 2s);
  CHECK(f.attempt(how(route_outcome::ok), 3s) == verdict::ended);
  CHECK_FALSE(f.book.cancel(4, 3s));
}

TEST_CASE("an app has a bound of tasks that have not ended, those on their way to the store included") {
  task_limits limits;
  limits.unfinished_per_app_max = 2;
  task_book book{limits};
  CHECK(book.take_place("ocr"));
  CHECK(book.take_place("ocr"));
  CHECK_FALSE(book.take_place("ocr"));
  CHECK(book.take_place("echo"));
  book.give_place_back("ocr");
  book.add(make(1), 0ms);
  CHECK_FALSE(book.take_place("ocr"));
  book.cancel(1, 0ms);
  CHECK(book.take_place("ocr"));
}

TEST_CASE("bodies in progress have a bound, which one that is larger than it may exceed alone") {
  task_limits limits;
  limits.window_first = 10.0;
  limits.running_bytes_max = 100;
  task_book book{limits};
  book.set_open("a", true);
  book.set_open("b", true);
  for (task_number i = 1; i <= 4; ++i)
    book.add(make(i, 5, 1h, 40, i % 2 == 0 ? "a" : "b"), 0ms);
  book.add(make(5, 0, 1h, 400, "a"), 0ms);
  auto orders = book.start(0ms);
  REQUIRE(orders.size() == 2);
  CHECK(orders[0].number == 2); // one of each app
  CHECK(orders[1].number == 1);
  for (auto& order : orders) {
    book.finish(order.attempt, how(route_outcome::ok), 0ms);
    CHECK(book.start(0ms).empty()); // the result is still in memory
    if (order.number == 1)
      break;
  }
  book.stored(2);
  CHECK(book.start(0ms).size() == 1);
}

TEST_CASE("a task that was running when its gateway died waits for its turn and says so") {
  fixture f;
  auto task = make(1);
  task.state = task_state::running;
  task.attempts = 4;
  task.failures = 2;
  f.book.add(task, 0ms);
  CHECK(f.book.find(1)->state == task_state::queued);
  CHECK(f.book.find(1)->reason.find("its gateway ended") == 0);
  CHECK(f.attempt(how(route_outcome::app_failed), 0ms) == verdict::ended);
  CHECK(f.book.find(1)->attempts == 5);
}

TEST_CASE("what came to nothing before the router is no attempt") {
  fixture f;
  f.book.add(make(1), 0ms);
  auto orders = f.book.start(0ms);
  f.book.put_back(orders[0].attempt, "the disk is full", 0ms);
  CHECK(f.book.find(1)->attempts == 0);
  CHECK(f.book.find(1)->reason == "the disk is full");
  CHECK(f.book.in_progress() == 0);
  CHECK(f.book.start(100ms).empty());
  CHECK(f.started(1s) == std::vector<task_number>{1});
}

TEST_CASE("every task that is taken ends exactly once, whatever happens to its attempts") {
  rc::check([] {
    task_limits limits;
    limits.window_first = *rc::gen::inRange(1, 8);
    limits.running_bytes_max = 100;
    task_book book{limits};
    const std::vector<std::string> apps = {"a", "b", "c"};
    std::map<task_number, int> ends;
    std::vector<task_book::start_order> at_router;
    std::vector<task_number> unstored;
    std::map<std::string, std::size_t> in_progress;
    task_number last = 0;
    task_time now = 0ms;
    auto steps = *rc::gen::inRange(1, 200);
    auto end_of = [&](const std::vector<task_book::ending>& some) {
      for (auto& one : some) {
        ++ends[one.number];
        unstored.push_back(one.number);
      }
    };
    auto finish_one = [&](route_outcome outcome) {
      auto order = at_router.front();
      at_router.erase(at_router.begin());
      if (book.finish(order.attempt, how(outcome), now) == verdict::ended) {
        ++ends[order.number];
        unstored.push_back(order.number);
      }
      // Said twice, it counts once.
      RC_ASSERT(book.finish(order.attempt, how(route_outcome::app_failed), now) == verdict::ignored);
    };
    for (int step = 0; step < steps; ++step) {
      switch (*rc::gen::inRange(0, 8)) {
      case 0:
      case 1: {
        auto app = *rc::gen::elementOf(apps);
        if (!book.take_place(app))
          break;
        book.give_place_back(app);
        book.add(make(++last, static_cast<std::uint8_t>(*rc::gen::inRange(0, 10)),
                      now + std::chrono::milliseconds{*rc::gen::inRange(1, 20'000)},
                      static_cast<std::uint64_t>(*rc::gen::inRange(0, 60)), app),
                 now);
        break;
      }
      case 2:
        book.set_open(*rc::gen::elementOf(apps), *rc::gen::arbitrary<bool>());
        break;
      case 3:
        now += std::chrono::milliseconds{*rc::gen::inRange(0, 5'000)};
        break;
      case 4:
        if (last > 0) {
          auto number = static_cast<task_number>(*rc::gen::inRange<std::uint64_t>(1, last + 1));
          if (auto ending = book.cancel(number, now))
            end_of({*ending});
        }
        break;
      case 5:
        if (!unstored.empty()) {
          book.stored(unstored.back());
          unstored.pop_back();
        }
        break;
      default:
        if (!at_router.empty())
          finish_one(*rc::gen::element(route_outcome::ok, route_outcome::app_failed, route_outcome::timed_out,
                                       route_outcome::saturated, route_outcome::unavailable, route_outcome::lost,
                                       route_outcome::cancelled));
      }
      end_of(book.expire(now));
      for (auto& order : book.start(now)) {
        RC_ASSERT(ends[order.number] == 0);
        at_router.push_back(order);
      }
      for (auto& [number, count] : ends)
        RC_ASSERT(count <= 1);
    }
    // From here on everything goes well.
    for (auto& app : apps)
      book.set_open(app, true);
    for (int round = 0; round < 10'000 && book.size() > 0; ++round) {
      now = std::max(now, book.next_time(now).value_or(now));
      end_of(book.expire(now));
      for (auto& order : book.start(now))
        at_router.push_back(order);
      while (!at_router.empty())
        finish_one(route_outcome::ok);
      for (auto number : unstored)
        book.stored(number);
      unstored.clear();
    }
    RC_ASSERT(book.size() == 0u);
    RC_ASSERT(book.in_progress() == 0u);
    for (task_number number = 1; number <= last; ++number)
      RC_ASSERT(ends[number] == 1);
    for (auto& app : apps)
      RC_ASSERT(book.unfinished(app) == 0u);
  });
}
