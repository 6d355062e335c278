#include "p2p/link_meter.hpp"

#include <algorithm>
#include <utility>

namespace astra::p2p {
namespace {

constexpr int flat_looks = 2;
/// More than this above the best so far is growth.
constexpr double growth = 1.1;
/// Of another limit: whoever moves so much may be held down by it.  What libtorrent moves is up to a quarter below.
constexpr double held_from = 0.6;
/// Of the cap: whoever moves so much would move more.
constexpr double full_from = 0.85;
/// Of the cap: whoever never comes there has a slower link than was thought.
constexpr double doubt_below = 0.6;

double part(std::uint64_t rate, std::uint64_t of) {
  return static_cast<double>(rate) / static_cast<double>(of);
}

} // namespace

std::optional<std::uint64_t> link_meter::cap() const {
  if (share_ <= 0.0 || let_go_ || !measured_)
    return std::nullopt;
  return std::max(least_cap_bytes_per_s, static_cast<std::uint64_t>(static_cast<double>(*measured_) * share_));
}

void link_meter::look(std::uint64_t moved, std::uint64_t other, std::chrono::milliseconds time_of_day) {
  if (share_ <= 0.0)
    return;
  auto in_window = time_of_day % period < window;
  let_go_ = let_go_ && in_window;
  // An engine tells of its bytes in lumps, so that one look may see those of two.
  auto rate = (moved + std::exchange(last_, moved)) / 2;
  auto limit = cap();
  auto held = other > 0 && part(rate, other) >= held_from && (!limit || other < *limit);
  if (moved < least_bytes_per_s || held)
    return;
  if (!measured_)
    return first(rate);
  if (!limit) {
    measured_ = std::max(*measured_, rate);
    return;
  }
  if (part(rate, *limit) >= full_from) {
    seen_ = 0;
    seen_looks_ = 0;
    let_go_ = in_window;
    return;
  }
  seen_ = std::max(seen_, rate);
  if (++seen_looks_ < doubt_looks)
    return;
  if (part(seen_, *limit) < doubt_below)
    measured_ = seen_;
  seen_ = 0;
  seen_looks_ = 0;
}

void link_meter::first(std::uint64_t rate) {
  flat_ = part(rate, std::max<std::uint64_t>(best_, 1)) > growth ? 0 : flat_ + 1;
  best_ = std::max(best_, rate);
  if (++looks_ >= test_looks_max || flat_ >= flat_looks)
    measured_ = best_;
}

} // namespace astra::p2p
