#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace astra {

/// Whether a Resource may believe that many of its nodes died at once.  One death is likelier than deafness; many in
/// one window are not, so then two peers are asked first: whoever hears none of those it asks is deaf itself, and
/// waits. A plain class: the time is an argument.
class mass_loss {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// Losses up to this number, or up to this share of all, are believed at once.
  static constexpr std::size_t believed = 3;
  static constexpr double believed_share = 0.1;
  /// Peers that are asked.
  static constexpr std::size_t witnesses = 2;

  /// @param longest How long nodes may be kept for want of a witness.
  explicit mass_loss(std::chrono::milliseconds longest) : longest_(longest) {}

  /// @param due Nodes that would go offline now.  @param alive All that are not offline.
  /// @param peers Other Resources that are known.  @param answering Those that answered lately.
  /// @returns true when the nodes must wait.
  bool doubted(std::size_t due, std::size_t alive, std::size_t peers, std::size_t answering, time_point now) {
    auto few = due <= std::max(believed, static_cast<std::size_t>(believed_share * static_cast<double>(alive)));
    auto heard = answering >= std::min(witnesses, std::max<std::size_t>(peers, 1));
    // Without peers nobody can be asked.
    if (few || peers == 0 || heard) {
      if (due == 0 || heard)
        since_ = {};
      return false;
    }
    if (since_ == time_point{})
      since_ = now;
    return now - since_ < longest_;
  }

private:
  std::chrono::milliseconds longest_;
  time_point since_{};
};

} // namespace astra
