#pragma once

#include "messages/process.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace astra {

/// Why one process ends, and what has to be done about it.  The first cause wins: what happens on the way down, such
/// as the exit code of a process that was told to stop, does not change it.
class process_fate {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using duration = std::chrono::nanoseconds;

  /// What the caller does to the whole tree.
  enum class action { none, terminate, kill };

  struct limits {
    /// Zero: none.
    duration time{0};
    /// 0: none.
    std::uint64_t memory_bytes = 0;
    std::uint64_t output_bytes = 0;
  };

  process_fate(time_point started, const limits& limits);

  /// The command never ran.
  action on_spawn_failed(std::string reason);
  /// The first process ended; whatever it leaves behind is killed.
  /// @param code exit code, or the negative number of the signal.
  action on_exit(std::int32_t code);
  /// The tree uses this many bytes now.
  action on_memory(std::uint64_t used);
  /// The kernel killed a process of the tree because of the memory limit.
  action on_out_of_memory();
  /// The process wrote this many bytes to stdout so far.
  action on_output(std::uint64_t written);
  action on_kill(duration grace, std::string reason, time_point now);
  action on_time(time_point now);

  /// When on_time has something to say.
  std::optional<time_point> next_deadline() const;
  /// The tree has to go, at once.
  bool killing() const { return phase_ == phase::killing; }
  bool exited() const { return exited_; }

  process_end end() const { return end_; }
  std::int32_t code() const { return code_; }
  /// One sentence.
  const std::string& reason() const { return reason_; }

private:
  enum class phase { running, stopping, killing };

  action condemn(process_end end, std::string reason);

  time_point started_;
  limits limits_;
  phase phase_ = phase::running;
  bool exited_ = false;
  std::optional<time_point> grace_end_;
  process_end end_ = process_end::exited;
  std::int32_t code_ = 0;
  std::string reason_;
};

/// "1.5 s", "20 ms".
std::string format_duration(std::chrono::nanoseconds value);

/// "256.0 MiB", "12 bytes".
std::string format_bytes(std::uint64_t value);

} // namespace astra
