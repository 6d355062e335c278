#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

// What the processes of one `astra bench view` know in common.  They have the memory in common, and the steady clock,
// which is the machine's: so a subscriber knows when what it is told of was sent.

namespace astra::bench {

/// Nanoseconds of the steady clock; never 0.
inline std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

/// Durations in steps of half a millisecond; one writer, any readers.
class histogram {
public:
  static constexpr std::size_t buckets = 16'384;
  static constexpr std::int64_t step_ns = 500'000;

  /// What is longer than the last bucket counts as that; what is negative, as 0.
  void add(std::int64_t duration_ns) {
    auto bucket = duration_ns <= 0 ? std::size_t{0} : static_cast<std::size_t>(duration_ns / step_ns);
    counts_[bucket < buckets ? bucket : buckets - 1].fetch_add(1, std::memory_order_relaxed);
  }

  void clear() {
    for (auto& count : counts_)
      count.store(0, std::memory_order_relaxed);
  }

  std::uint64_t count(std::size_t bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }

private:
  std::atomic<std::uint32_t> counts_[buckets];
};

/// What several histograms say together.
struct summary {
  std::uint64_t samples = 0;
  /// In milliseconds, rounded up to a step.
  double p50 = 0.0;
  double p99 = 0.0;
  double max = 0.0;
};

/// What one subscriber sees.
struct subscriber_report {
  /// Members by their liveness in its view.
  std::atomic<std::uint32_t> online;
  std::atomic<std::uint32_t> suspect;
  std::atomic<std::uint32_t> offline;
  /// Members that it saw offline while they beat.
  std::atomic<std::uint32_t> wronged;
  /// Members whose profile it has had.
  std::atomic<std::uint32_t> described;
  /// Of those that died: not online any more, and offline; and when the last one was.
  std::atomic<std::uint32_t> dead_doubted;
  std::atomic<std::uint32_t> dead_out;
  std::atomic<std::int64_t> last_doubted_ns;
  std::atomic<std::int64_t> last_out_ns;
  std::atomic<std::uint64_t> deltas;
  /// From a goodbye to the row that says offline: since it was sent, and since the Resource had answered it.
  histogram liveness;
  histogram liveness_known;
  /// From a profile's leaving to its being seen.
  histogram claims;
  /// Now and then: how old the load is that it has of a node.
  histogram load_age;
};

class view_board {
public:
  static constexpr std::size_t subscribers_max = 32;
  /// Members whose loads and profiles are followed.
  static constexpr std::uint32_t followed_max = 256;
  /// Steps of a load's utilisation (node_load).
  static constexpr std::size_t load_steps = 200;
  static constexpr std::size_t profiles_kept = 256;

  struct member_note {
    /// Its last goodbye: sent, answered; 0: none.
    std::atomic<std::int64_t> left_ns;
    std::atomic<std::int64_t> told_ns;
  };

  struct followed_note {
    /// When the last beat with this utilisation, and the profile of this version, were sent.
    std::atomic<std::int64_t> beat_ns[load_steps];
    std::atomic<std::int64_t> profile_ns[profiles_kept];
  };

  /// For this process and those that it forks.  @pre members > 0
  view_board(std::uint32_t members, double dying);
  ~view_board();
  view_board(const view_board&) = delete;
  view_board& operator=(const view_board&) = delete;

  std::uint32_t members() const { return members_; }
  std::uint32_t followed() const { return followed_; }

  /// The place of a member among those that are followed.
  std::optional<std::uint32_t> place_of(std::uint32_t member) const {
    if (member % stride_ != 0 || member / stride_ >= followed_)
      return std::nullopt;
    return member / stride_;
  }

  /// Whether the member is one of those that die.  Nobody who is followed does.
  bool doomed(std::uint32_t member) const;

  /// Members that are doomed.
  std::uint32_t doomed_count() const { return doomed_; }

  member_note& member(std::uint32_t number) { return notes_[number]; }
  followed_note& followed(std::uint32_t place) { return followed_notes_[place]; }
  subscriber_report& subscriber(std::size_t number) { return head_->subscribers[number]; }

  /// Swarms and subscribers that have all they need to begin.
  std::atomic<std::uint32_t>& ready() { return head_->ready; }
  /// When the first member may speak; 0: not yet.
  std::atomic<std::int64_t>& begin_ns() { return head_->begin_ns; }
  /// What is seen counts.
  std::atomic<bool>& measuring() { return head_->measuring; }
  /// When the doomed fell silent; 0: not yet.
  std::atomic<std::int64_t>& die_ns() { return head_->die_ns; }
  std::atomic<std::uint64_t>& beats_sent() { return head_->beats_sent; }
  std::atomic<std::uint64_t>& beats_answered() { return head_->beats_answered; }

private:
  struct head {
    std::atomic<std::uint32_t> ready;
    std::atomic<std::int64_t> begin_ns;
    std::atomic<bool> measuring;
    std::atomic<std::int64_t> die_ns;
    std::atomic<std::uint64_t> beats_sent;
    std::atomic<std::uint64_t> beats_answered;
    subscriber_report subscribers[subscribers_max];
  };

  std::uint32_t members_;
  std::uint32_t followed_;
  std::uint32_t stride_;
  double dying_;
  std::uint32_t doomed_ = 0;
  std::size_t bytes_ = 0;
  void* memory_ = nullptr;
  head* head_ = nullptr;
  member_note* notes_ = nullptr;
  followed_note* followed_notes_ = nullptr;
};

/// Name of the crowd of a swarm process; its members' names are this with "/1" and so on behind it.
std::string crowd_name(std::uint32_t swarm);

} // namespace astra::bench
