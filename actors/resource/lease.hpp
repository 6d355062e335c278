#pragma once

#include <chrono>
#include <cstdio>
#include <string>

namespace astra {

/// Until when somebody who should be heard regularly is believed to be there.
struct lease {
  using time_point = std::chrono::steady_clock::time_point;

  /// When it was last heard.
  time_point heard;
  /// Where silence counts from: `heard`, or later when the observer itself was not listening for a while.
  time_point start;

  void renew(time_point now) { heard = start = now; }

  /// The observer slept for `gap` up to `now`: silence of others during it proves nothing.
  void extend(std::chrono::nanoseconds gap, time_point now) {
    start += std::chrono::duration_cast<time_point::duration>(gap);
    if (start > now)
      start = now;
  }

  std::chrono::nanoseconds silence(time_point now) const { return now - start; }
};

/// When somebody with a lease is suspected and given up.
struct patience {
  std::chrono::milliseconds suspect_after{1500};
  std::chrono::milliseconds evict_after{3000};
};

inline std::string silence_text(std::chrono::nanoseconds silence) {
  char text[64];
  std::snprintf(text, sizeof(text), "no heartbeat for %.1f s", std::chrono::duration<double>(silence).count());
  return text;
}

} // namespace astra
