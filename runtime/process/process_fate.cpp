#include "runtime/process/process_fate.hpp"

#include <cassert>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <utility>

namespace astra {

process_fate::process_fate(time_point started, const limits& limits) : started_(started), limits_(limits) {}

process_fate::action process_fate::on_spawn_failed(std::string reason) {
  exited_ = true;
  return condemn(process_end::spawn_failed, std::move(reason));
}

process_fate::action process_fate::on_exit(std::int32_t code) {
  assert(!exited_);
  exited_ = true;
  code_ = code;
  if (code < 0)
    return condemn(process_end::signalled,
                   "ended by signal " + std::to_string(-code) + " (" + ::strsignal(-code) + ")");
  return condemn(process_end::exited, "exited with code " + std::to_string(code));
}

process_fate::action process_fate::on_memory(std::uint64_t used) {
  if (limits_.memory_bytes == 0 || used <= limits_.memory_bytes)
    return action::none;
  return condemn(process_end::memory_limit, "killed at " + format_bytes(used) + " of resident memory (memory limit "
                                                + format_bytes(limits_.memory_bytes) + ")");
}

process_fate::action process_fate::on_out_of_memory() {
  return condemn(process_end::memory_limit,
                 "killed for want of memory (memory limit " + format_bytes(limits_.memory_bytes) + ")");
}

process_fate::action process_fate::on_output(std::uint64_t written) {
  if (written <= limits_.output_bytes)
    return action::none;
  auto reason = "wrote more than " + format_bytes(limits_.output_bytes) + " to stdout (output limit)";
  // Found in the pipe after the process had ended by itself: its answer is not whole all the same.
  if (end_ == process_end::exited && exited_) {
    end_ = process_end::output_limit;
    reason_ = std::move(reason);
    return action::none;
  }
  return condemn(process_end::output_limit, std::move(reason));
}

process_fate::action process_fate::on_kill(duration grace, std::string reason, time_point now) {
  if (phase_ == phase::killing)
    return action::none;
  if (phase_ == phase::running) {
    end_ = process_end::killed;
    reason_ = reason.empty() ? "killed" : "killed: " + std::move(reason);
  }
  if (grace <= duration{0}) {
    phase_ = phase::killing;
    return action::kill;
  }
  auto end = now + grace;
  if (!grace_end_ || end < *grace_end_)
    grace_end_ = end;
  return std::exchange(phase_, phase::stopping) == phase::running ? action::terminate : action::none;
}

process_fate::action process_fate::on_time(time_point now) {
  if (phase_ == phase::killing)
    return action::none;
  if (phase_ == phase::stopping && now >= *grace_end_) {
    phase_ = phase::killing;
    return action::kill;
  }
  if (limits_.time > duration{0} && now >= started_ + limits_.time)
    return condemn(process_end::time_limit, "killed after " + format_duration(limits_.time) + " (time limit)");
  return action::none;
}

std::optional<process_fate::time_point> process_fate::next_deadline() const {
  if (phase_ == phase::killing)
    return std::nullopt;
  std::optional<time_point> result = grace_end_;
  if (limits_.time > duration{0} && (!result || started_ + limits_.time < *result))
    result = started_ + limits_.time;
  return result;
}

process_fate::action process_fate::condemn(process_end end, std::string reason) {
  if (phase_ == phase::killing)
    return action::none;
  if (phase_ == phase::running) {
    end_ = end;
    reason_ = std::move(reason);
  }
  phase_ = phase::killing;
  return action::kill;
}

std::string format_duration(std::chrono::nanoseconds value) {
  auto seconds = std::chrono::duration<double>(value).count();
  char text[32];
  if (seconds < 1.0)
    std::snprintf(text, sizeof text, "%g ms", seconds * 1e3);
  else
    std::snprintf(text, sizeof text, "%g s", seconds);
  return text;
}

std::string format_bytes(std::uint64_t value) {
  if (value < 1024)
    return std::to_string(value) + " bytes";
  static constexpr const char* units[] = {"KiB", "MiB", "GiB", "TiB"};
  auto scaled = static_cast<double>(value) / 1024.0;
  std::size_t unit = 0;
  for (; scaled >= 1024.0 && unit + 1 < std::size(units); ++unit)
    scaled /= 1024.0;
  char text[32];
  std::snprintf(text, sizeof text, "%.4g %s", scaled, units[unit]);
  return text;
}

} // namespace astra
