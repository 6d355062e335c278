#pragma once

#include "config/scenario.hpp"
#include "runtime/sim/world.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// fork() as a snapshot: a copy of a world with all its actors that costs a page table.  CAF's one idle thread is not
// there in the copy and is not missed; a copy leaves by _exit, because nothing in it may be torn down.

namespace astra::sim {

/// How work in a process of its own ended.
struct apart_end {
  enum class way {
    /// `bytes` is what it returned.
    finished,
    /// By a signal, an exit of its own, or an exception; `complaint` is what it wrote to stderr last.
    crashed,
    /// It took longer than the limit.
    hung,
  };
  way how = way::crashed;
  std::string bytes;
  std::string complaint;
};

/// Does each piece of work in a forked copy of this process, at most `jobs` at the same time, each for at most `limit`
/// of wall time.  The results are in the order of the work.  `done` is called when one more has ended.
/// Throws std::runtime_error when there is no process or pipe to be had.
/// @pre no other thread of this process holds a lock that the work needs.
std::vector<apart_end> run_apart(const std::vector<std::function<std::string()>>& work, std::uint32_t jobs,
                                 std::chrono::milliseconds limit,
                                 const std::function<void(std::size_t index)>& done = {});

/// For a forked copy: from now on signals do to it what they do by default, not what this program wants them to.
void reset_signals();

/// A run's result as bytes that decode_result reads back.
std::string encode_result(const run_result& what);
/// Throws std::runtime_error for bytes that encode_result did not make.
run_result decode_result(std::string_view bytes);

/// The result of a run apart: a crash or a hang is a failure of the "invariants" crash and hang.
run_result to_result(const apart_end& end);

/// A whole run in a process of its own.
run_result run_world_apart(const std::shared_ptr<const scenario>& what, std::uint64_t seed,
                           std::chrono::milliseconds limit);

/// Which of many equally likely futures fail.
struct branch_report {
  std::uint64_t branches = 0;
  std::uint64_t failed = 0;
  /// How many fail with each invariant.
  std::map<std::string, std::uint64_t> by_check;
  /// The earliest failure; where it comes from.
  run_result first;
};

struct branch_options {
  std::uint64_t branches = 20;
  /// Copies that run at the same time.
  std::uint32_t jobs = 1;
  /// Wall time for each of them.
  std::chrono::milliseconds run_limit{120'000};
};

/// Runs copies of a world from its present state to their ends, each with draws of its own.  The world stays as it is.
/// The seeds of the draws follow from the world's seed and its present event.
branch_report branch(world& from, const branch_options& options);

struct timeline_point {
  instant at{0};
  std::uint64_t branches = 0;
  /// How many of them failed as the run itself did.
  std::uint64_t failed = 0;

  double probability() const {
    return branches == 0 ? 0.0 : static_cast<double>(failed) / static_cast<double>(branches);
  }
};

struct timeline_report {
  /// The run itself.
  run_result run;
  std::vector<timeline_point> points;
};

/// When a failure became likely: at `points` moments, evenly from the start to just before the failure, copies of the
/// run go on with other draws.  Where the share of those that fail rises lies the cause.  A run that passes is divided
/// up to its end.  Works in processes of its own, so that the caller may have a world.
/// Throws std::runtime_error when the run cannot be repeated apart.
timeline_report timeline(const std::shared_ptr<const scenario>& what, std::uint64_t seed, std::uint32_t points,
                         const branch_options& options,
                         const std::function<void(const timeline_point&)>& progress = {});

/// One line per point with a bar; the largest rise is marked.
std::string to_text(const timeline_report& what);

// -- words between processes ----------------------------------------------------------------------------------------

/// Sends one message, with a file descriptor if that is not negative.  @returns false when nobody listens.
bool send_message(int socket, std::string_view bytes, int attached = -1);

/// Waits for one message.  @returns false when the other side is gone.
/// @param attached receives the descriptor that came with it; may be null.
bool receive_message(int socket, std::string& bytes, int* attached = nullptr);

/// Suspended copies of this process, from each of which the run can go on again.
///
/// Each copy waits at a socket.  To go back, the running process sends a copy the front's socket and where to go; the
/// copy forks the process that goes on, stays itself, and the one that sent leaves.  So there is one running process
/// at any time, and every one of them knows the copies that were made before it.
class snapshot_ring {
public:
  struct entry {
    int pid = 0;
    int socket = -1;
    instant at{0};
    std::uint64_t events = 0;
  };

  /// @param capacity at least 2: when it is reached, the oldest but the very first one goes.
  explicit snapshot_ring(std::size_t capacity) : capacity_(capacity) {}

  /// Suspends a copy of this process.  In the copy, when somebody goes back to it, `resume` is called with that one's
  /// words and the front's socket; it must not return.
  /// @param front is closed in the copy while it waits.
  /// @returns false when no process could be made.
  bool take(instant at, std::uint64_t events, int front,
            const std::function<void(const std::string& words, int front)>& resume);

  /// The latest one for which `fits` holds; null when there is none.
  const entry* latest(const std::function<bool(const entry&)>& fits) const;

  /// Hands the front over, ends the copies that are later than that one, and leaves this process.
  /// @returns only when the copy is gone, which then is no longer in the ring.
  void go_back(const entry& where, int front, std::string_view words);

  /// Ends all copies.
  void clear();

  const std::vector<entry>& entries() const { return entries_; }

private:
  void end(const entry& which);

  std::size_t capacity_;
  std::vector<entry> entries_;
};

} // namespace astra::sim
