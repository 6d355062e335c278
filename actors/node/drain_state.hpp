#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>

namespace astra {

/// How far a node is on its way out: serving, draining (asked to take no more work), leaving (asked to stop, and all
/// work is done or out of time).  It never goes back.
class drain_state {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Begins the drain.
  /// @returns false when it had begun before; the first reason stays.
  bool begin(std::string reason) {
    if (draining_)
      return false;
    draining_ = true;
    reason_ = std::move(reason);
    return true;
  }

  /// The node shall be gone: work in progress has until `deadline`.  Of two deadlines the earlier one counts.
  void stop_by(time_point deadline) {
    if (!deadline_ || deadline < *deadline_)
      deadline_ = deadline;
  }

  bool draining() const { return draining_; }

  const std::string& reason() const { return reason_; }

  bool stopping() const { return deadline_.has_value(); }

  /// Whether the work that is left must be killed now.
  bool out_of_time(time_point now) const { return deadline_ && now >= *deadline_; }

  /// Begins to leave when the node shall stop and nothing is left to do.
  /// @returns true once, when it is time to say goodbye.
  bool leave(bool idle) {
    if (leaving_ || !stopping() || !idle)
      return false;
    leaving_ = true;
    return true;
  }

  bool leaving() const { return leaving_; }

private:
  bool draining_ = false;
  bool leaving_ = false;
  std::string reason_;
  std::optional<time_point> deadline_;
};

} // namespace astra
