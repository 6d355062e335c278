#pragma once

#include "runtime/tasks/task.hpp"

#include <string>
#include <utility>
#include <vector>

// What the HTTP API says of tasks.  What is not UTF-8 comes out as U+FFFD.

namespace astra {

/// @param next_try of a task that waits for its next attempt; 0: it waits for its turn
std::string task_json(const task_record& task, const std::string& id, task_time next_try = task_time{0});

/// @param more whether there are older ones than these
std::string tasks_json(const std::vector<std::pair<std::string, task_record>>& tasks, bool more);

/// One event of a stream of server-sent events.
std::string task_event(const task_record& task, const std::string& id, task_time next_try = task_time{0});

} // namespace astra
