#include "p2p/link_meter.hpp"

#include <algorithm>

namespace astra::p2p {
namespace {

constexpr int flat_looks = 2;
constexpr int full_looks = 2;
/// More than this above the best so far is growth.
constexpr double growth = 1.1;
/// Of a limit: whoever moves so much is held down by it.
constexpr double full_from = 0.85;
/// Of the cap: whoever never comes there has a slower link than was thought.
constexpr double doubt_below = 0.6;

double part(std::uint64_t rate, std::uint64_t of) {
  return static_cast<double>(rate) / static_cast<double>(of);
}

} // namespace

std::optional<std::uint64_t> link_meter::cap() const {
  if (share_ <= 0.0 || testing_ || !measured_)
    return std::nullopt;
  return std::max(least_bytes_per_s, static_cast<std::uint64_t>(static_cast<double>(*measured_) * share_));
}

void link_meter::look(std::uint64_t moved_per_s, std::uint64_t other, time_point now) {
  if (share_ <= 0.0 || moved_per_s < least_bytes_per_s || (other > 0 && part(moved_per_s, other) >= full_from))
    return;
  if (testing_)
    return test(moved_per_s, now);
  auto limit = *cap();
  if (part(moved_per_s, limit) >= full_from) {
    seen_ = 0;
    seen_looks_ = 0;
    if (++full_ >= full_looks && now >= next_test_)
      begin_test();
    return;
  }
  full_ = 0;
  seen_ = std::max(seen_, moved_per_s);
  if (++seen_looks_ < doubt_looks)
    return;
  if (part(seen_, limit) < doubt_below) {
    measured_ = seen_;
    // It may have been the peers: once they fill the new cap, it is looked at again at once.
    next_test_ = now;
    pause_ = pause_min;
  }
  seen_ = 0;
  seen_looks_ = 0;
}

void link_meter::begin_test() {
  testing_ = true;
  best_ = 0;
  looks_ = flat_ = full_ = seen_looks_ = 0;
  seen_ = 0;
}

void link_meter::test(std::uint64_t rate, time_point now) {
  flat_ = part(rate, std::max<std::uint64_t>(best_, 1)) > growth ? 0 : flat_ + 1;
  best_ = std::max(best_, rate);
  if (++looks_ < test_looks_max && flat_ < flat_looks)
    return;
  testing_ = false;
  auto more = !measured_ || part(best_, *measured_) > growth;
  pause_ = more ? pause_min : std::min(2 * pause_, pause_max);
  next_test_ = now + pause_;
  measured_ = std::max(best_, measured_.value_or(0));
}

} // namespace astra::p2p
