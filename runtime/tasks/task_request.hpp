#pragma once

#include "messages/http_exchange.hpp"
#include "runtime/tasks/task.hpp"
#include "runtime/tasks/task_store.hpp"

#include <chrono>
#include <string>
#include <variant>

// What clients ask about tasks, as they write it.  Each function returns what is wrong, with the cure, when something
// is.

namespace astra {

constexpr std::chrono::hours task_deadline_default{24};
constexpr std::chrono::hours task_deadline_max{30 * 24};
constexpr std::uint8_t task_priority_default = 5;
constexpr std::chrono::minutes task_wait_max{10};

/// POST /v1/apps/{app}/tasks: everything of the task but its number.
/// @param keep how long it is kept after its end at the longest, and when nothing is said
std::variant<task_record, std::string> read_task(const http_request& request, const std::string& app, task_time now,
                                                 std::chrono::milliseconds keep);

/// GET /v1/tasks
std::variant<task_query, std::string> read_task_query(const std::string& target);

/// What may follow the path of one task.
struct task_question {
  /// Wait so long for its end.
  std::chrono::milliseconds wait{0};
  /// Forget it, if it has ended.
  bool drop = false;
};
std::variant<task_question, std::string> read_task_question(const std::string& target);

} // namespace astra
