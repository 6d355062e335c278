#pragma once

#include <memory>

namespace spdlog {
class logger;
} // namespace spdlog

namespace astra::sim {

/// While it lives, what actors log goes to the engine of this thread as events, stamped with virtual time, and nowhere
/// else.
class log_capture {
public:
  /// @param debug whether the level debug is heard too.
  explicit log_capture(bool debug);
  ~log_capture();
  log_capture(const log_capture&) = delete;
  log_capture& operator=(const log_capture&) = delete;

private:
  std::shared_ptr<spdlog::logger> before_;
};

} // namespace astra::sim
