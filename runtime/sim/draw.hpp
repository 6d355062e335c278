#pragma once

#include "actors/random.hpp"

#include <chrono>
#include <cstdint>

namespace astra::sim {

/// What a decision is about.  Each kind of decision has draws of its own, so that leaving out one fault shifts no
/// other: this is what lets failing runs shrink.
enum class draw_kind : std::uint64_t {
  latency = 1,
  tail,
  loss,
  duplicate,
  overtake,
  schedule,
  step_time,
  platform,
  clock,
  process_start,
  process_service,
  process_fate,
  swarm,
  load,
  client,
  interference,
  retransmit,
  split,
  content,
};

/// The random decisions of one run: draw number `counter` of a kind about `subject` (a link, a machine, a process) is
/// a function of these and the seed, and of nothing that was drawn before.
class draws {
public:
  explicit draws(std::uint64_t seed) : seed_(seed) {}

  std::uint64_t seed() const { return seed_; }

  std::uint64_t bits(draw_kind kind, std::uint64_t subject, std::uint64_t counter) const {
    random_source mixed{seed_ ^ (static_cast<std::uint64_t>(kind) * 0xd1342543de82ef95U)};
    random_source more{mixed.next() ^ subject * 0xaf251af3b0f025b5U};
    return random_source{more.next() ^ counter * 0xb564ef22ec7aece5U}.next();
  }

  /// Uniform in [0, 1).
  double unit(draw_kind kind, std::uint64_t subject, std::uint64_t counter) const {
    return static_cast<double>(bits(kind, subject, counter) >> 11) * 0x1.0p-53;
  }

  /// Uniform in [0, bound); `bound` must be positive.
  std::uint64_t below(std::uint64_t bound, draw_kind kind, std::uint64_t subject, std::uint64_t counter) const {
    __extension__ using product = unsigned __int128;
    return static_cast<std::uint64_t>((static_cast<product>(bits(kind, subject, counter)) * bound) >> 64);
  }

private:
  std::uint64_t seed_;
};

/// Log-uniform in [low, high): every order of magnitude is as likely as any other.  `u` is uniform in [0, 1); `low`
/// must be positive.  Integer steps only: std::pow differs between libraries, this does not.
inline std::chrono::nanoseconds log_uniform(std::chrono::nanoseconds low, std::chrono::nanoseconds high, double u) {
  auto span = low;
  auto doublings = 0;
  while (span < high) {
    span *= 2;
    ++doublings;
  }
  if (doublings == 0)
    return low;
  // Within a doubling the draw is linear: at most 6 % off a true log-uniform density.
  auto place = u * doublings;
  auto whole = static_cast<int>(place);
  auto start = low.count() * (std::int64_t{1} << whole);
  auto value = start + static_cast<std::int64_t>((place - whole) * static_cast<double>(start));
  return std::chrono::nanoseconds{value < high.count() ? value : high.count() - 1};
}

} // namespace astra::sim
