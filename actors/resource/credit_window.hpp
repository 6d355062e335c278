#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>

namespace astra {

/// How much one subscriber may be sent before it has acknowledged what it was sent before: `chunks_max` chunks of bulk,
/// and apart from that one chunk of what cannot wait.
///
/// Messages arrive in order, so the answer to one of them acknowledges all before it.  That answer is asked for once a
/// quarter of a chunk has gone without: who gets little is asked little, and credit returns long before the window is
/// used up.  An answer that is lost does no harm when a later one comes; `stuck` says when none will.
/// A plain class: it counts.
class credit_window {
public:
  static constexpr std::size_t chunks_max = 4;
  /// What a message costs however short it is: frames, mailbox, handling.
  static constexpr std::size_t overhead_bytes = 128;

  enum class kind : std::uint8_t { bulk, urgent };

  explicit credit_window(std::size_t chunk_bytes) : chunk_(chunk_bytes) {}

  /// A message of this size may go.
  bool fits(std::size_t bytes, kind what) const;

  /// Parts of a transfer are smaller than a chunk, and a chunk of them is under way at most: whatever else the
  /// connection carries waits for no more than that.
  std::size_t part_bytes() const;

  /// One more part of a transfer may go.
  bool fits_part() const;

  /// A message went.
  /// @returns the number of the acknowledgement to ask for; none: none is needed yet.
  std::optional<std::uint64_t> sent(std::size_t bytes, kind what);

  /// A message that is to be acknowledged went, whatever its size.
  std::uint64_t sent_and_asked(std::size_t bytes, kind what);

  void acknowledged(std::uint64_t number);

  /// No answer will come to this one: what it was about waits for the next.
  void failed(std::uint64_t number);

  /// There is no room for a part, and no acknowledgement under way that could make some.
  bool stuck() const { return asked_.empty() && !fits_part(); }

  std::size_t unacknowledged_bytes() const { return bulk_ + urgent_; }

private:
  /// All that one acknowledgement is about.
  struct batch {
    std::uint64_t number = 0;
    std::size_t bulk = 0;
    std::size_t urgent = 0;
  };

  void count(std::size_t bytes, kind what);
  std::uint64_t ask();

  std::size_t chunk_;
  /// Unacknowledged, the open batch included.
  std::size_t bulk_ = 0;
  std::size_t urgent_ = 0;
  std::deque<batch> batches_;
  batch open_;
  std::uint64_t last_number_ = 0;
  std::set<std::uint64_t> asked_;
};

} // namespace astra
