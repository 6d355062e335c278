#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

// Who asks for which pieces first while a content is new to a cluster.
//
// Left alone, nodes that start together ask the seeder for the same pieces, and it sends the content twice before the
// swarm has it once.  With disjoint stripes it sends each piece once, and the nodes have the rest from each other.

namespace astra::p2p {

/// Pieces a node prefers: those whose number modulo the number of slots falls on a slot of its own.
struct stripe {
  std::vector<bool> slots;

  bool has(std::uint32_t piece) const { return !slots.empty() && slots[piece % slots.size()]; }
  bool operator==(const stripe&) const = default;
};

/// Priorities of a node's pieces, from 1 to 7: high within its stripe and middling elsewhere, so that it helps with
/// others' pieces when its own are done.  Never 0: a node that wants nothing counts as finished and serves only.
std::vector<std::uint8_t> piece_priorities(const std::optional<stripe>& preferred, std::uint32_t pieces);

/// The same for an order that is random, another one for each seed: to compare with.
std::vector<std::uint8_t> shuffled_priorities(std::uint64_t seed, std::uint32_t pieces);

/// The cold start of one content at one site.
///
/// A plain class.  Members are known by numbers that its owner chooses.
class stripe_plan {
public:
  using member = std::uint64_t;

  enum class phase {
    /// Members fetch disjoint stripes.
    scattered,
    /// Each piece has two holders besides the seeders (or as many as there are members): stripes are released, the
    /// rarest come first, and no single node is needed any more.
    covered,
    /// Whoever took part has everything.  Who comes then begins anew, with them as seeders.
    steady,
  };

  /// Finer than this weights need not be.
  static constexpr std::uint32_t slots_max = 1024;
  /// A stripe of fewer pieces is not worth its while: later members have none and ask for the rarest.
  static constexpr std::uint32_t pieces_per_member_min = 8;

  explicit stripe_plan(std::uint32_t pieces);

  /// Has everything from the start; what it holds does not count as a copy.
  void join_seeder(member who);
  /// @param weight of its uplink, relative to the others'; positive.
  void join(member who, double weight);
  /// Its stripe falls to the others.
  void leave(member who);
  void has(member who, std::uint32_t piece);

  phase now() const { return phase_; }
  /// Empty: it has none, or stripes are released.
  std::optional<stripe> stripe_of(member who) const;
  /// Whose stripes are others than when this was asked last, ascending.
  std::vector<member> take_changed();
  /// Pieces of which nobody but the seeders has a copy.
  std::uint32_t uncovered() const;

private:
  struct state {
    double weight = 1.0;
    std::vector<bool> pieces;
    std::uint32_t held = 0;
    /// It came in time for a stripe.
    bool seated = false;
  };

  void count(std::uint32_t piece, bool more);
  void seat(state& who);
  void begin_anew();
  void rebalance();
  std::map<member, std::uint32_t> targets() const;
  void advance();

  std::uint32_t pieces_;
  phase phase_ = phase::scattered;
  std::set<member> seeders_;
  std::map<member, state> members_;
  /// Owner of each slot; none before the first member.
  std::vector<std::optional<member>> owners_;
  /// Holders of each piece besides the seeders; how many pieces have none, and how many one.
  std::vector<std::uint32_t> holders_;
  std::uint32_t without_ = 0;
  std::uint32_t with_one_ = 0;
  /// Members with a stripe that have not everything yet.
  std::uint32_t seated_and_busy_ = 0;
  std::set<member> changed_;
};

} // namespace astra::p2p
