#include "runtime/tasks/task_book.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace astra {

using std::chrono::milliseconds;

task_book::lane& task_book::lane_of(const std::string& app) {
  auto [found, fresh] = lanes_.try_emplace(app);
  if (fresh)
    found->second.window = limits_.window_first;
  return found->second;
}

bool task_book::take_place(const std::string& app) {
  auto& where = lane_of(app);
  if (where.places + where.unfinished >= limits_.unfinished_per_app_max)
    return false;
  ++where.places;
  return true;
}

void task_book::give_place_back(const std::string& app) {
  auto& where = lane_of(app);
  assert(where.places > 0);
  --where.places;
}

task_book::turn task_book::turn_of(const task_record& task) {
  return {static_cast<std::uint8_t>(9 - std::min<std::uint8_t>(task.priority, 9)), task.deadline, task.number};
}

void task_book::add(task_record task, task_time now) {
  assert(!has_ended(task.state));
  auto number = task.number;
  auto [found, fresh] = entries_.try_emplace(number);
  if (!fresh)
    return;
  auto& what = found->second;
  if (task.state == task_state::running)
    task.reason = "its gateway ended while it was in progress; it is started again";
  what.task = std::move(task);
  ++lane_of(what.task.app).unfinished;
  deadlines_.emplace(what.task.deadline, number);
  wait(what, now, now);
}

void task_book::set_open(const std::string& app, bool open) {
  auto& where = lane_of(app);
  // What was there before a router came says nothing about it.
  if (open && !where.open)
    where.paused_until = task_time{0};
  where.open = open;
}

bool task_book::is_open(const std::string& app) const {
  auto found = lanes_.find(app);
  return found != lanes_.end() && found->second.open;
}

void task_book::wait(entry& what, task_time not_before, task_time now) {
  what.task.state = task_state::queued;
  what.attempt = 0;
  what.not_before = not_before;
  if (not_before > now)
    delayed_.emplace(not_before, what.task.number);
  else
    lane_of(what.task.app).ready.insert(turn_of(what.task));
}

void task_book::leave_queue(const entry& what) {
  delayed_.erase({what.not_before, what.task.number});
  lane_of(what.task.app).ready.erase(turn_of(what.task));
}

bool task_book::may_start(const lane& where, task_time now) const {
  if (!where.open || where.ready.empty() || where.paused_until > now)
    return false;
  if (static_cast<double>(where.in_progress) + 1.0 > where.window)
    return false;
  auto bytes = entries_.at(where.ready.begin()->number).task.body_bytes;
  return bytes_in_progress_ == 0 || bytes_in_progress_ + bytes <= limits_.running_bytes_max;
}

std::vector<task_book::start_order> task_book::start(task_time now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    auto& what = entries_.at(delayed_.begin()->second);
    delayed_.erase(delayed_.begin());
    lane_of(what.task.app).ready.insert(turn_of(what.task));
  }
  std::vector<start_order> result;
  // One of each app in turn: none takes all the room for bodies.
  auto idle = std::size_t{0};
  auto at = lanes_.lower_bound(next_app_);
  while (idle < lanes_.size()) {
    if (at == lanes_.end())
      at = lanes_.begin();
    auto& [app, where] = *at;
    ++at;
    if (!may_start(where, now)) {
      ++idle;
      continue;
    }
    idle = 0;
    auto number = where.ready.begin()->number;
    where.ready.erase(where.ready.begin());
    auto& what = entries_.at(number);
    what.task.state = task_state::running;
    what.task.started = now;
    what.task.reason.clear();
    what.task.node.clear();
    ++what.task.attempts;
    what.attempt = ++last_attempt_;
    attempts_.emplace(what.attempt, attempt{number, app, what.task.body_bytes});
    ++where.in_progress;
    bytes_in_progress_ += what.task.body_bytes;
    result.push_back({number, what.attempt});
  }
  next_app_ = at == lanes_.end() ? std::string{} : at->first;
  return result;
}

void task_book::release(attempt_number number) {
  auto found = attempts_.find(number);
  if (found == attempts_.end())
    return;
  auto& gone = found->second;
  --lane_of(gone.app).in_progress;
  bytes_in_progress_ -= gone.bytes;
  attempts_.erase(found);
}

void task_book::end(entry& what, task_state state, std::string reason, task_time now) {
  deadlines_.erase({what.task.deadline, what.task.number});
  what.task.state = state;
  what.task.reason = std::move(reason);
  what.task.ended = now;
  --lane_of(what.task.app).unfinished;
}

milliseconds task_book::backoff(task_number number, std::uint32_t times) const {
  auto doublings = std::min<std::uint32_t>(std::max<std::uint32_t>(times, 1) - 1, 20);
  auto pause = std::min(limits_.retry_min * (std::int64_t{1} << doublings), limits_.retry_max);
  // Those that were lost together do not all come back together.
  return pause + pause * static_cast<std::int64_t>(number % 16) / 32;
}

void task_book::widen(lane& where, const task_attempt_end& how) {
  where.pause = milliseconds{0};
  if (how.waited > limits_.wait_target)
    where.window = std::max(1.0, where.window - 2.0 / where.window);
  // A window that is not used is not known to fit.
  else if (static_cast<double>(where.in_progress) + 1.0 >= std::floor(where.window))
    where.window = std::min(limits_.window_max, where.window + 1.0 / where.window);
}

void task_book::cut(lane& where, task_time now) {
  if (now - where.last_cut < limits_.cut_interval)
    return;
  where.last_cut = now;
  where.window = std::max(1.0, where.window / 2.0);
}

void task_book::pause(lane& where, milliseconds at_least, task_time now) {
  // Those that were in progress together fail together: one step for all of them.
  if (where.paused_until > now)
    return;
  where.pause = std::clamp(where.pause * 2, limits_.pause_min, limits_.pause_max);
  where.paused_until = now + std::clamp(at_least, where.pause, std::max(where.pause, limits_.pause_max));
}

task_book::verdict task_book::finish(attempt_number number, const task_attempt_end& how, task_time now) {
  auto found = attempts_.find(number);
  if (found == attempts_.end())
    return verdict::ignored;
  auto& where = lane_of(found->second.app);
  auto not_started = how.outcome == route_outcome::timed_out && how.starts == 0;
  if (how.outcome == route_outcome::saturated || not_started) {
    cut(where, now);
    pause(where, how.retry_after, now);
  } else if (how.outcome == route_outcome::unavailable) {
    where.window = 1.0;
    pause(where, how.retry_after, now);
  } else if (how.outcome == route_outcome::ok) {
    widen(where, how);
  }
  auto holder = entries_.find(found->second.number);
  if (holder == entries_.end() || holder->second.attempt != number) {
    release(number);
    return verdict::ignored;
  }
  if (holder->second.task.state != task_state::running)
    return verdict::ignored;
  auto& what = holder->second;
  what.task.node = how.node;
  if (how.outcome == route_outcome::ok) {
    what.task.code = 0;
    what.task.stderr_tail.clear();
    end(what, task_state::done, {}, now);
    return verdict::ended; // Its place is free when the result is out of memory.
  }
  auto failed = how.outcome == route_outcome::app_failed || (how.outcome == route_outcome::timed_out && !not_started);
  if (failed) {
    where.pause = milliseconds{0};
    ++what.task.failures;
    what.task.code = how.code;
    what.task.stderr_tail = how.stderr_tail;
  }
  release(number);
  if (now >= what.task.deadline) {
    end(what, task_state::expired, fmt::format("its deadline passed; the last attempt: {}", how.reason), now);
    return verdict::ended;
  }
  if (failed && what.task.failures >= limits_.failures_max) {
    end(what, task_state::failed, fmt::format("the app failed {} times, at last: {}", what.task.failures, how.reason),
        now);
    return verdict::ended;
  }
  what.task.reason = how.reason;
  if (failed)
    wait(what, now + backoff(what.task.number, what.task.failures), now);
  else if (how.outcome == route_outcome::lost || how.outcome == route_outcome::cancelled)
    wait(what, now + backoff(what.task.number, ++what.losses), now);
  else
    wait(what, now, now);
  return verdict::again;
}

void task_book::set_result(task_number number, std::string type, std::uint64_t bytes) {
  auto found = entries_.find(number);
  if (found == entries_.end())
    return;
  found->second.task.result_type = std::move(type);
  found->second.task.result_bytes = bytes;
}

void task_book::put_back(attempt_number number, const std::string& reason, task_time now) {
  auto found = attempts_.find(number);
  if (found == attempts_.end())
    return;
  auto holder = entries_.find(found->second.number);
  release(number);
  if (holder == entries_.end() || holder->second.attempt != number || has_ended(holder->second.task.state))
    return;
  auto& what = holder->second;
  --what.task.attempts;
  what.task.reason = reason;
  wait(what, now + backoff(what.task.number, ++what.losses), now);
}

std::optional<task_book::ending> task_book::cancel(task_number number, task_time now) {
  auto found = entries_.find(number);
  if (found == entries_.end() || has_ended(found->second.task.state))
    return std::nullopt;
  auto& what = found->second;
  auto attempt = what.attempt;
  leave_queue(what);
  end(what, task_state::cancelled, "cancelled by its client", now);
  what.attempt = 0;
  return ending{number, attempt};
}

std::vector<task_book::ending> task_book::expire(task_time now) {
  std::vector<ending> result;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    auto& what = entries_.at(deadlines_.begin()->second);
    auto attempt = what.attempt;
    leave_queue(what);
    auto reason = what.attempt != 0          ? std::string{"its deadline passed while it was in progress"}
                  : what.task.reason.empty() ? std::string{"its deadline passed before its turn came"}
                                             : "its deadline passed; " + what.task.reason;
    end(what, task_state::expired, std::move(reason), now);
    what.attempt = 0;
    result.push_back({what.task.number, attempt});
  }
  return result;
}

void task_book::stored(task_number number) {
  auto found = entries_.find(number);
  if (found == entries_.end() || !has_ended(found->second.task.state))
    return;
  if (found->second.attempt != 0)
    release(found->second.attempt);
  entries_.erase(found);
}

const task_record* task_book::find(task_number number) const {
  auto found = entries_.find(number);
  return found == entries_.end() ? nullptr : &found->second.task;
}

task_time task_book::next_try(task_number number) const {
  auto found = entries_.find(number);
  if (found == entries_.end())
    return task_time{0};
  auto where = lanes_.find(found->second.task.app);
  return std::max(found->second.not_before, where->second.paused_until);
}

std::optional<task_time> task_book::next_time(task_time now) const {
  std::optional<task_time> result;
  auto take = [&](task_time when) { result = result ? std::min(*result, when) : when; };
  if (!delayed_.empty())
    take(delayed_.begin()->first);
  if (!deadlines_.empty())
    take(deadlines_.begin()->first);
  for (auto& [app, where] : lanes_)
    if (where.open && !where.ready.empty() && where.paused_until > now)
      take(where.paused_until);
  return result;
}

std::size_t task_book::unfinished(const std::string& app) const {
  auto found = lanes_.find(app);
  return found == lanes_.end() ? 0 : found->second.unfinished;
}

double task_book::window(const std::string& app) const {
  auto found = lanes_.find(app);
  return found == lanes_.end() ? limits_.window_first : found->second.window;
}

std::optional<task_book::attempt_number> task_book::attempt_of(task_number number) const {
  auto found = entries_.find(number);
  if (found == entries_.end() || found->second.attempt == 0 || has_ended(found->second.task.state))
    return std::nullopt;
  return found->second.attempt;
}

std::map<std::string, std::size_t> task_book::unfinished_by_app() const {
  std::map<std::string, std::size_t> result;
  for (auto& [app, where] : lanes_)
    if (where.unfinished > 0)
      result.emplace(app, where.unfinished);
  return result;
}

} // namespace astra
