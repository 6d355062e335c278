#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// Near-line requests: taken now, worked on when there is room, their results kept.

namespace astra {

/// Time of day in ms since 1970 that never jumps within the life of a process: the wall time at its start, and what its
/// actor clock has counted since.
using task_time = std::chrono::milliseconds;

/// Counts the tasks of one store from 1; never used again.
using task_number = std::uint64_t;

enum class task_state : std::uint8_t {
  /// Waits for its turn, or for its next attempt.
  queued,
  running,
  // From here on it has ended.
  done,
  failed,
  cancelled,
  expired,
};

std::string to_string(task_state state);
std::optional<task_state> parse_task_state(std::string_view name);

constexpr bool has_ended(task_state state) {
  return state >= task_state::done;
}

/// Everything about a task but its bytes.
struct task_record {
  task_number number = 0;
  std::string app;
  /// The client's own name for it, unique among the tasks of the app that are known; empty: none.
  std::string key;
  std::string content_type;
  std::uint64_t body_bytes = 0;
  /// Of body and content type.
  std::uint64_t body_hash = 0;
  /// 0 to 9, the highest first.
  std::uint8_t priority = 0;
  task_time created{0};
  task_time deadline{0};
  /// How long it is kept after its end.
  std::chrono::milliseconds keep{0};

  task_state state = task_state::queued;
  /// How often it was given to the app's router.
  std::uint32_t attempts = 0;
  /// Of those, how often the app failed at it.
  std::uint32_t failures = 0;
  /// Of its last attempt.
  task_time started{0};
  /// Of its last attempt; empty: no node answered.
  std::string node;
  /// Why it is not running or not done; empty: nothing to say.
  std::string reason;
  /// Exit code, negative signal or HTTP status of the app that failed.
  std::int32_t code = 0;
  /// What it wrote last.
  std::string stderr_tail;
  task_time ended{0};
  std::string result_type;
  std::uint64_t result_bytes = 0;

  /// When it is forgotten.
  /// @pre it has ended
  task_time kept_until() const { return ended + keep; }
};

/// A task's name towards clients: the gateway that has it, its number, and a word that nobody can guess.
struct task_id {
  std::string gateway;
  task_number number = 0;
  std::string word;
};

std::string to_string(const task_id& id);
/// Nothing for what is no id.
std::optional<task_id> parse_task_id(std::string_view text);

/// The word of a task's id.  @param secret of its store
std::string task_word(std::string_view secret, task_number number);

std::uint64_t task_body_hash(std::string_view content_type, std::string_view body);

} // namespace astra
