#pragma once

#include "p2p/engine.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// How two nodes meet of which one or both are behind a NAT.  The classes are those of RFC 3489, section 5, as far as
// they make a difference here; what is done about them is UDP hole punching (Ford, Srisuresh and Kegel, 2005) with one
// change: of two nodes one opens a hole and only the other one dials, as libtorrent drops both of two connections that
// cross.

namespace astra::p2p {

/// How a node looks from outside.
enum class reachability : std::uint8_t {
  /// No public node has told where it saw it: no datagram comes through.
  unknown,
  /// At its own endpoint, by anybody.
  open,
  /// At another endpoint, by anybody.
  full_cone,
  /// At one endpoint, by those to whom it has sent something before.
  port_restricted,
  /// At an endpoint per peer, which nobody knows beforehand.
  symmetric,
};

std::string_view to_string(reachability kind);

/// What is known of how a node looks from outside.
struct vantage {
  /// Where its engine listens, or where it is configured to be reached.
  peer_endpoint local;
  /// What public nodes at different addresses told it, see event::mapped.
  std::vector<peer_endpoint> mapped;
  /// Whether a datagram got in at `mapped[0]` from a public node to which the node had sent nothing; empty: nobody
  /// tried.  It may only be tried before the node sends something there: a NAT can take what it did not expect for its
  /// own, and give the node another port afterwards.
  std::optional<bool> reached;
};

/// With one answer alone what kept its port counts as port_restricted and what did not as symmetric.
reachability reachability_of(const vantage& node);

/// How two nodes meet.
struct meeting {
  enum class means : std::uint8_t {
    /// One dials the other over TCP: engine::inject.
    tcp,
    /// One sends a datagram, engine::open_hole, and the other one dials by uTP: engine::punch.
    punch,
    /// They cannot: a third node has to pass on what they exchange.
    relay,
  };

  means by = means::relay;
  /// Whether it is the first of the two that dials.
  bool first_dials = false;
  /// Where it dials.
  peer_endpoint dials;
  /// Where the other one sends its datagram.
  peer_endpoint hole;
  /// How long after the datagram was sent it dials.
  std::chrono::milliseconds after{0};
  /// Why they cannot.
  std::string reason;

  bool operator==(const meeting&) const = default;
};

/// The same for (b, a) as for (a, b), but for `first_dials`.
///
/// Nodes that are seen at the same address are taken to be behind the same NAT, and to see each other where they
/// listen.
/// @pre they do not listen at the same endpoint while they are seen at the same.
meeting meet(const vantage& first, const vantage& second);

} // namespace astra::p2p
