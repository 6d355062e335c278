#include "runtime/tasks/task_memory.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <utility>

namespace astra {

caf::error task_memory::begin() {
  if (broken)
    return broken;
  before_ = now_;
  return {};
}

caf::error task_memory::commit() {
  if (broken) {
    roll_back();
    return broken;
  }
  ++commits;
  before_.reset();
  return {};
}

void task_memory::roll_back() {
  if (before_)
    now_ = std::move(*before_);
  before_.reset();
}

caf::error task_memory::may_write(std::uint64_t bytes) const {
  if (broken)
    return broken;
  if (bytes_of(now_) + bytes > room_bytes)
    return caf::make_error(errc::io_failed, "no space left on device; free some on its file system");
  return {};
}

std::uint64_t task_memory::bytes_of(const content& what) {
  std::uint64_t bytes = 0;
  for (auto& [number, entry] : what.tasks)
    bytes += entry.body.size() + entry.result.size();
  return bytes;
}

caf::expected<task_store::added> task_memory::add(const task_record& task, std::string_view body) {
  if (auto same = by_key(task.app, task.key); *same)
    return added{**same, false};
  if (auto error = may_write(body.size()))
    return error;
  auto& made = now_.tasks[++now_.last];
  made.task = task;
  made.task.number = now_.last;
  made.body = body;
  return added{made.task, true};
}

caf::expected<std::optional<task_record>> task_memory::by_key(const std::string& app, const std::string& key) {
  std::optional<task_record> result;
  for (auto& [number, entry] : now_.tasks)
    if (!key.empty() && entry.task.app == app && entry.task.key == key)
      result = entry.task;
  return result;
}

caf::error task_memory::update(const task_record& task) {
  if (auto error = may_write(0))
    return error;
  if (auto found = now_.tasks.find(task.number); found != now_.tasks.end())
    found->second.task = task;
  return {};
}

caf::error task_memory::end(const task_record& task, std::string_view result) {
  auto found = now_.tasks.find(task.number);
  if (found == now_.tasks.end())
    return {};
  if (auto error = may_write(result.size()))
    return error;
  found->second = {task, {}, std::string{result}};
  return {};
}

caf::expected<std::vector<task_record>> task_memory::unfinished() {
  std::vector<task_record> result;
  for (auto& [number, entry] : now_.tasks)
    if (!has_ended(entry.task.state))
      result.push_back(entry.task);
  return result;
}

caf::expected<std::optional<task_record>> task_memory::find(task_number number) {
  auto found = now_.tasks.find(number);
  return found == now_.tasks.end() ? std::nullopt : std::optional{found->second.task};
}

caf::expected<std::optional<std::string>> task_memory::body(task_number number) {
  auto found = now_.tasks.find(number);
  return found == now_.tasks.end() || has_ended(found->second.task.state) ? std::nullopt
                                                                          : std::optional{found->second.body};
}

caf::expected<std::optional<std::string>> task_memory::result(task_number number) {
  auto found = now_.tasks.find(number);
  return found == now_.tasks.end() || found->second.task.state != task_state::done
             ? std::nullopt
             : std::optional{found->second.result};
}

caf::expected<std::vector<task_record>> task_memory::list(const task_query& query) {
  std::vector<task_record> result;
  for (auto i = now_.tasks.rbegin(); i != now_.tasks.rend() && result.size() < query.limit; ++i) {
    auto& task = i->second.task;
    if (query.before != 0 && task.number >= query.before)
      continue;
    if ((query.app.empty() || task.app == query.app) && (!query.state || task.state == *query.state))
      result.push_back(task);
  }
  return result;
}

caf::error task_memory::drop(task_number number) {
  if (auto error = may_write(0))
    return error;
  now_.tasks.erase(number);
  return {};
}

caf::expected<std::size_t> task_memory::drop_due(task_time now, std::size_t most) {
  if (auto error = may_write(0))
    return error;
  std::size_t dropped = 0;
  for (auto i = now_.tasks.begin(); i != now_.tasks.end() && dropped < most;) {
    auto due = has_ended(i->second.task.state) && i->second.task.kept_until() <= now;
    dropped += due ? 1 : 0;
    i = due ? now_.tasks.erase(i) : std::next(i);
  }
  return dropped;
}

caf::expected<task_usage> task_memory::usage() {
  return task_usage{bytes_of(now_), now_.last};
}

} // namespace astra
