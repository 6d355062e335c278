#pragma once

#include <chrono>

namespace astra {

/// How deaf an observer is, from how long what others sent has been waiting to be read.
///
/// On a machine that is short of CPU time, heartbeats wait in the kernel's buffers while the observer runs on time and
/// would count the silence against their senders.  Local health comes first, as in Lifeguard (Dadgar et al., 2018):
/// silence that it did not listen to proves nothing.
/// A plain class.
class hearing {
public:
  /// @param tolerated What is well: the interval at which this is called.
  explicit hearing(std::chrono::nanoseconds tolerated) : tolerated_(tolerated) {}

  /// @param unread How long the oldest of what was sent may have been waiting.
  /// @returns by how much longer than already forgiven nobody's silence counts.
  std::chrono::nanoseconds forgive(std::chrono::nanoseconds unread) {
    if (unread <= 2 * tolerated_) {
      forgiven_ = {};
      return {};
    }
    auto all = unread - tolerated_;
    auto more = all > forgiven_ ? all - forgiven_ : std::chrono::nanoseconds{0};
    forgiven_ += more;
    return more;
  }

  /// Something is being forgiven.
  bool deaf() const { return forgiven_.count() > 0; }

private:
  std::chrono::nanoseconds tolerated_;
  std::chrono::nanoseconds forgiven_{0};
};

} // namespace astra
