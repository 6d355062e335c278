#pragma once

#include "p2p/content.hpp"
#include "p2p/engine.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace astra::p2p {

/// When to dial whom, for an engine that dials everybody either over TCP or by uTP and cannot do both at a time.
///
/// It is the turn of TCP unless somebody is to be dialled by uTP.  A turn lasts until all of its dials have begun, or
/// for as long as the engine may take to begin one: it does not begin those to whom it is connected already.  While
/// the other kind waits no more dials join a turn, so neither waits for longer than that.
///
/// A plain class: the time is an argument.
class dial_turns {
public:
  using time_point = std::chrono::steady_clock::time_point;

  /// libtorrent dials once per second.
  static constexpr std::chrono::milliseconds dial_takes{1500};

  enum class way : std::uint8_t { tcp, utp };

  struct dial {
    content_address address;
    peer_endpoint peer;
  };

  /// What to do now: first to change to `turn`, then to dial.
  struct step {
    std::optional<way> turn;
    std::vector<dial> dials;
  };

  step ask(way how, dial what, time_point now);
  /// The engine has begun a dial.
  step begun(const peer_endpoint& peer, time_point now);
  /// To be called when it is due.
  step go_on(time_point now);
  /// Empty: there is nothing to wait for.
  std::optional<time_point> due() const;
  /// Whether it is the turn of TCP, and nobody waits.
  bool at_rest() const { return turn_ == way::tcp && waiting_.empty(); }

private:
  way turn_ = way::tcp;
  /// Those of this turn that have not begun, and until when they may.
  std::set<peer_endpoint> dialled_;
  time_point ends_;
  /// Of the other kind, or of this kind behind those.
  struct waiter {
    way how;
    dial what;
  };
  std::vector<waiter> waiting_;
};

} // namespace astra::p2p
