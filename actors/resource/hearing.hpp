#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

namespace astra {

/// Until when an observer has listened, from how long what others sent has been waiting to be read.
///
/// On a machine that is short of CPU time heartbeats wait in the kernel's buffers while the observer runs on time and
/// would count the silence against their senders.  Local health comes first, as in Lifeguard (Dadgar et al., 2018): of
/// what was sent later than what was read nothing is known, so silence is judged as of then.
/// A plain class.
class hearing {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// @param tolerated The interval at which this is called: as much is always waiting.
  explicit hearing(std::chrono::nanoseconds tolerated) : tolerated_(tolerated) {}

  /// @param unread How long the oldest of what was sent may have been waiting.
  /// @returns the moment as of which silence counts: what was sent before has been handled.
  time_point listened_until(time_point now, std::chrono::nanoseconds unread) {
    // What has been read by now is in the mailbox, and handled by the next time.
    auto handled = std::exchange(read_until_, now - std::chrono::duration_cast<time_point::duration>(unread));
    auto well = unread <= 2 * tolerated_ && now - handled <= 4 * tolerated_;
    until_ = std::max(until_, well ? now : std::min(handled, now));
    deaf_ = unread > 5 * tolerated_;
    return until_;
  }

  /// So much is waiting that an operator should know.
  bool deaf() const { return deaf_; }

private:
  std::chrono::nanoseconds tolerated_;
  time_point read_until_{};
  time_point until_{};
  bool deaf_ = false;
};

} // namespace astra
