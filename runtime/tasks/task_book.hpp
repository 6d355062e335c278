#pragma once

#include "messages/route.hpp"
#include "runtime/tasks/task.hpp"

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace astra {

struct task_limits {
  /// Tasks of one app that have not ended.
  std::size_t unfinished_per_app_max = 200'000;
  /// Of everything that is kept, bodies and results included.
  std::uint64_t store_bytes_max = 4ull << 30;
  /// How long one is kept after its end when its client says nothing else; and the longest.
  std::chrono::milliseconds keep{std::chrono::hours{24}};
  /// Bodies of tasks in progress, which are in memory: no more is started beyond this.
  std::uint64_t running_bytes_max = 256ull << 20;
  /// Attempts at which the app itself may fail.
  std::uint32_t failures_max = 3;

  /// Tasks of one app in progress: the window begins with the first and stays below the second.
  double window_first = 2.0;
  double window_max = 64.0;
  /// A task that waited longer than this for a slot stood in the way of somebody, or somebody in its.
  std::chrono::milliseconds wait_target{50};
  /// A window is halved at most once in this time, however many requests are refused.
  std::chrono::milliseconds cut_interval{1000};

  /// Before the next attempt at the same task; doubles up to the second.
  std::chrono::milliseconds retry_min{200};
  std::chrono::milliseconds retry_max{30'000};
  /// Before the next task of an app for which nothing is there; doubles up to the second.
  std::chrono::milliseconds pause_min{250};
  std::chrono::milliseconds pause_max{10'000};
};

/// How an attempt went, as its router says.
struct task_attempt_end {
  route_outcome outcome = route_outcome::unavailable;
  std::string reason;
  std::string node;
  std::int32_t code = 0;
  std::string stderr_tail;
  /// How often work was started.
  std::uint32_t starts = 0;
  /// What of the time went by before the work.
  std::chrono::milliseconds waited{0};
  std::chrono::milliseconds retry_after{0};
};

/// All tasks of a gateway that have not ended: whose turn it is, how many may be in progress, what follows from the end
/// of an attempt.  What has ended stays until it is stored.
///
/// The window of an app is that of a scavenger (as LEDBAT, RFC 6817, has it for bytes): one more per round of tasks
/// that hardly waited for a slot, two less per round of those that did, half when the app is saturated.  So tasks take
/// what requests leave, and make way within a few tasks' time.
class task_book {
public:
  using attempt_number = std::uint64_t;

  explicit task_book(const task_limits& limits) : limits_(limits) {}

  /// Takes a place for a task that is on its way to the store.  @returns false when the app has none left.
  bool take_place(const std::string& app);
  void give_place_back(const std::string& app);

  /// A task that is in the store.  One that was running when the process died waits for its turn again.
  void add(task_record task, task_time now);

  /// Whether the app has a router.
  void set_open(const std::string& app, bool open);
  bool is_open(const std::string& app) const;

  struct start_order {
    task_number number = 0;
    attempt_number attempt = 0;
  };
  /// Those that begin now, each with the number of its attempt.
  std::vector<start_order> start(task_time now);

  enum class verdict {
    /// It waits for its next attempt.
    again,
    /// It has ended, and is to be stored.
    ended,
    /// It had ended before.
    ignored,
  };
  verdict finish(attempt_number attempt, const task_attempt_end& how, task_time now);

  /// What is to be stored has a result of this kind.
  void set_result(task_number number, std::string type, std::uint64_t bytes);

  /// The attempt came to nothing before it reached the router.
  void put_back(attempt_number attempt, const std::string& reason, task_time now);

  struct ending {
    task_number number = 0;
    /// In progress at the router; 0: none.
    attempt_number attempt = 0;
  };
  /// Ends a task as cancelled.  @returns nothing when there is none that has not ended.
  std::optional<ending> cancel(task_number number, task_time now);

  /// Ends those whose deadline is over.
  std::vector<ending> expire(task_time now);

  /// It has ended, and that is stored.
  void stored(task_number number);

  /// Null: there is none, or its end is stored.
  const task_record* find(task_number number) const;
  /// Of one that waits: not before this.
  task_time next_try(task_number number) const;

  /// When start or expire has something to do again; nothing: not before something happens.
  std::optional<task_time> next_time(task_time now) const;

  std::size_t size() const { return entries_.size(); }
  std::size_t unfinished(const std::string& app) const;
  std::size_t in_progress() const { return attempts_.size(); }
  double window(const std::string& app) const;
  /// Attempts that are at the router, for cancelling.
  std::optional<attempt_number> attempt_of(task_number number) const;
  std::map<std::string, std::size_t> unfinished_by_app() const;

private:
  /// Who is first.
  struct turn {
    std::uint8_t behind = 0;
    task_time deadline{0};
    task_number number = 0;
    auto operator<=>(const turn&) const = default;
  };

  struct lane {
    std::set<turn> ready;
    std::size_t in_progress = 0;
    /// Those on their way to the store, and those that have not ended.
    std::size_t places = 0;
    std::size_t unfinished = 0;
    double window = 1.0;
    bool open = false;
    task_time paused_until{0};
    std::chrono::milliseconds pause{0};
    task_time last_cut{0};
  };

  struct entry {
    task_record task;
    task_time not_before{0};
    /// In progress, or done and not yet stored; 0: none.
    attempt_number attempt = 0;
    std::uint32_t losses = 0;
  };

  struct attempt {
    task_number number = 0;
    std::string app;
    std::uint64_t bytes = 0;
  };

  lane& lane_of(const std::string& app);
  bool may_start(const lane& where, task_time now) const;
  void wait(entry& what, task_time not_before, task_time now);
  void leave_queue(const entry& what);
  void end(entry& what, task_state state, std::string reason, task_time now);
  void release(attempt_number number);
  static turn turn_of(const task_record& task);
  std::chrono::milliseconds backoff(task_number number, std::uint32_t times) const;
  void widen(lane& where, const task_attempt_end& how);
  void cut(lane& where, task_time now);
  void pause(lane& where, std::chrono::milliseconds at_least, task_time now);

  const task_limits limits_;
  std::map<task_number, entry> entries_;
  std::map<std::string, lane> lanes_;
  std::map<attempt_number, attempt> attempts_;
  /// Those that wait for their next attempt, and the deadlines of all that have not ended.
  std::set<std::pair<task_time, task_number>> delayed_;
  std::set<std::pair<task_time, task_number>> deadlines_;
  attempt_number last_attempt_ = 0;
  std::uint64_t bytes_in_progress_ = 0;
  /// The app whose turn is next.
  std::string next_app_;
};

} // namespace astra
