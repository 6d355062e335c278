#include "runtime/tasks/task_json.hpp"

#include "runtime/gateway/json.hpp"

#include <nlohmann/json.hpp>

namespace astra {
namespace {

using json = nlohmann::ordered_json;

json object_of(const task_record& task, const std::string& id, task_time next_try) {
  auto time = [](task_time when) { return utc(static_cast<std::uint64_t>(when.count())); };
  json out = {{"id", id}, {"app", task.app}, {"state", to_string(task.state)}};
  if (!task.reason.empty())
    out["reason"] = task.reason;
  if (!task.key.empty())
    out["key"] = task.key;
  out["priority"] = task.priority;
  out["attempts"] = task.attempts;
  out["failures"] = task.failures;
  if (!task.node.empty())
    out["node"] = task.node;
  if (task.code != 0)
    out["code"] = task.code;
  if (!task.stderr_tail.empty())
    out["stderr"] = task.stderr_tail;
  out["body_bytes"] = task.body_bytes;
  out["created"] = time(task.created);
  if (task.started.count() > 0)
    out["started"] = time(task.started);
  if (next_try.count() > 0)
    out["next_try"] = time(next_try);
  out["deadline"] = time(task.deadline);
  if (!has_ended(task.state))
    return out;
  out["ended"] = time(task.ended);
  out["kept_until"] = time(task.kept_until());
  if (task.state == task_state::done) {
    out["result_bytes"] = task.result_bytes;
    if (!task.result_type.empty())
      out["result_type"] = task.result_type;
  }
  return out;
}

std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace

std::string task_json(const task_record& task, const std::string& id, task_time next_try) {
  return text_of(object_of(task, id, next_try)) + "\n";
}

std::string tasks_json(const std::vector<std::pair<std::string, task_record>>& tasks, bool more) {
  json out = {{"tasks", json::array()}};
  for (auto& [id, task] : tasks)
    out["tasks"].push_back(object_of(task, id, task_time{0}));
  if (more && !tasks.empty())
    out["next"] = tasks.back().first;
  return text_of(out) + "\n";
}

std::string task_event(const task_record& task, const std::string& id, task_time next_try) {
  return "event: " + to_string(task.state) + "\ndata: " + task_json(task, id, next_try) + "\n";
}

} // namespace astra
