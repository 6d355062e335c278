#include "runtime/tasks/task_request.hpp"

#include "config/spelling.hpp"
#include "config/units.hpp"
#include "messages/text.hpp"
#include "runtime/gateway/routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace astra {
namespace {

constexpr std::size_t key_length_max = 255;
constexpr std::size_t list_max = 1000;

/// Reads the duration of a header; empty when it is good.
std::string read_header(const http_request& request, std::string_view header, std::string_view called,
                        std::chrono::milliseconds longest, std::chrono::milliseconds& to) {
  auto text = request.header(header);
  if (text.empty())
    return {};
  auto parsed = parse_duration(text);
  if (!parsed.value)
    return fmt::format("{}: {}", called, parsed.problem);
  if (*parsed.value <= std::chrono::milliseconds{0} || *parsed.value > longest)
    return fmt::format("{}: must be more than 0 and at most {}", called, format_duration(longest));
  to = *parsed.value;
  return {};
}

std::string no_parameter(const std::string& name, const std::vector<std::string>& known) {
  auto meant = closest(name, known);
  return fmt::format("no parameter '{}'{}", name,
                     meant ? fmt::format("; did you mean '{}'?", *meant) : fmt::format("; there are {}", [&] {
                       std::string all;
                       for (auto& one : known)
                         all += (all.empty() ? "" : ", ") + one;
                       return all;
                     }()));
}

} // namespace

std::variant<task_record, std::string> read_task(const http_request& request, const std::string& app, task_time now,
                                                 std::chrono::milliseconds keep) {
  task_record task;
  task.app = app;
  auto key = request.header("idempotency-key");
  // The draft of the header has it in quotation marks, most clients do not.
  if (key.size() >= 2 && key.front() == '"' && key.back() == '"')
    key = key.substr(1, key.size() - 2);
  if (key.size() > key_length_max || std::any_of(key.begin(), key.end(), [](char c) { return c <= ' ' || c > '~'; }))
    return fmt::format("Idempotency-Key: must be at most {} printable characters without spaces", key_length_max);
  task.key = key;
  task.priority = task_priority_default;
  if (auto priority = request.header("astra-priority"); !priority.empty()) {
    if (priority.size() != 1 || priority.front() < '0' || priority.front() > '9')
      return fmt::format("Astra-Priority: must be a number from 0 to 9, the highest first, not '{}'",
                         printable(priority, 32));
    task.priority = static_cast<std::uint8_t>(priority.front() - '0');
  }
  std::chrono::milliseconds limit = task_deadline_default;
  if (auto problem = read_header(request, "astra-deadline", "Astra-Deadline", task_deadline_max, limit);
      !problem.empty())
    return problem;
  task.keep = keep;
  if (auto problem = read_header(request, "astra-keep", "Astra-Keep", keep, task.keep); !problem.empty())
    return problem;
  task.created = now;
  task.deadline = now + limit;
  task.content_type = to_utf8(std::string{request.header("content-type")});
  task.body_bytes = request.body->size();
  return task;
}

std::variant<task_query, std::string> read_task_query(const std::string& target) {
  auto query = find_query(target);
  if (!query)
    return std::string{"the query has a broken % escape"};
  task_query result;
  for (auto& [name, value] : *query) {
    if (name == "app") {
      result.app = value;
    } else if (name == "state") {
      result.state = parse_task_state(value);
      if (!result.state)
        return fmt::format("state={}: must be queued, running, done, failed, cancelled or expired",
                           printable(value, 32));
    } else if (name == "limit") {
      auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result.limit);
      if (error != std::errc{} || end != value.data() + value.size() || result.limit == 0 || result.limit > list_max)
        return fmt::format("limit={}: must be a number of tasks from 1 to {}", printable(value, 32), list_max);
    } else if (name == "before") {
      auto id = parse_task_id(value);
      if (!id)
        return fmt::format("before={}: must be the id of a task", printable(value, 32));
      result.before = id->number;
    } else {
      return no_parameter(name, {"app", "state", "limit", "before"});
    }
  }
  return result;
}

std::variant<task_question, std::string> read_task_question(const std::string& target) {
  auto query = find_query(target);
  if (!query)
    return std::string{"the query has a broken % escape"};
  task_question result;
  for (auto& [name, value] : *query) {
    if (name == "wait") {
      auto parsed = parse_duration(value);
      if (!parsed.value)
        return fmt::format("wait={}: {}", printable(value, 32), parsed.problem);
      if (*parsed.value > task_wait_max)
        return fmt::format("wait={}: must be at most {}; ask again after that", printable(value, 32),
                           format_duration(task_wait_max));
      result.wait = *parsed.value;
    } else if (name == "drop") {
      if (value != "1" && value != "0")
        return fmt::format("drop={}: must be 1 or 0", printable(value, 32));
      result.drop = value == "1";
    } else {
      return no_parameter(name, {"wait", "drop"});
    }
  }
  return result;
}

} // namespace astra
