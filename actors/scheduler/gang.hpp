#pragma once

#include "actors/random.hpp"
#include "messages/ids.hpp"
#include "messages/wire/claim.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace astra {

struct gang_options {
  /// A place is reserved for this long, and renewed after half of it.
  std::chrono::milliseconds hold{3000};
  /// Places are held for at most this long while others are missing; then all go, so that others may use them.
  std::chrono::milliseconds limit{10000};
  /// Then nothing is held for half of this to one and a half, at random.
  std::chrono::milliseconds pause{1000};
};

/// The places that an app which is to be placed all together or not at all has reserved so far.
///
/// Each place is held at its node's Resource; what is refused is topped up elsewhere, and when all are held they are
/// committed.  Of two gangs the one that has waited longer takes what the other one only holds (wound-wait:
/// Rosenkrantz, Stearns, Lewis, "System level concurrency control for distributed database systems", 1978), so gangs
/// cannot block each other in a ring, and the oldest one makes progress.
///
/// A plain class: time and randomness are arguments.
class gang {
public:
  using time_point = std::chrono::steady_clock::time_point;

  explicit gang(gang_options options = {}) : options_(options) {}

  struct place {
    std::uint64_t sequence = 0;
    std::uint32_t index = 0;
    node_id node;
    std::uint64_t incarnation = 0;
    /// Replicas that are to make room.
    std::vector<std::uint64_t> preempt;
    /// The Resource has said so, and when it had been asked.
    std::optional<time_point> held_since;
    /// A question is under way since then.
    std::optional<time_point> asked;
  };

  /// It waits from now on; the first call sets its place in the order.
  void begin(std::uint64_t wall_ms);

  /// @param app Its name.
  pb::GangOrder order(const std::string& app) const;

  /// All of it was placed; what is lost later is placed anew one by one.
  bool placed() const { return placed_; }
  bool begun() const { return since_wall_ms_ != 0; }
  void set_placed();

  /// A Resource is asked to hold a place.
  void ask(claim_token token, place what, time_point now);
  /// @returns false when the token is not of this gang, as in the next.
  bool on_held(claim_token token);
  bool forget(claim_token token) { return places_.erase(token) != 0; }

  /// Marks as asked, and returns, what has to be renewed.
  std::vector<claim_token> renew(time_point now);

  /// Every index of `missing` has a place that is held, and nothing is asked: a late answer could not be told from that
  /// to the commit.
  bool complete(const std::set<std::uint32_t>& missing, time_point now) const;

  /// All places are to be claimed now.
  /// @returns them.
  std::map<claim_token, place> commit(time_point now);

  /// It has held places for as long as it may.
  bool late(time_point now) const { return holding_since_ && now - *holding_since_ >= options_.limit; }
  /// Gives everything back and holds nothing for a while.
  void pause(time_point now, random_source& random);
  bool paused(time_point now) const { return now < paused_until_; }

  std::size_t held() const;
  /// Questions under way.
  bool asks() const;
  const std::map<claim_token, place>& places() const { return places_; }
  std::chrono::milliseconds hold_time() const { return options_.hold; }

private:
  gang_options options_;
  std::uint64_t since_wall_ms_ = 0;
  bool placed_ = false;
  bool committing_ = false;
  std::map<claim_token, place> places_;
  std::optional<time_point> holding_since_;
  time_point paused_until_;
};

} // namespace astra
