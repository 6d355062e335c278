#pragma once

#include "p2p/content.hpp"
#include "p2p/engine.hpp"
#include "p2p/limits.hpp"
#include "p2p/punch_plan.hpp"
#include "p2p/stripes.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace astra::p2p {

/// Where a node is.  An empty part is unknown, and near nothing.
struct location {
  std::string zone;
  std::string rack;
  std::string host;
  bool operator==(const location&) const = default;
};

/// 0: the same host, 1: the same rack, 2: the same zone, 3: farther.
int distance(const location& a, const location& b);

/// Who holds and who wants what, and what each of them is to do: the thinking of a tracker.
///
/// Members report what they have about once per second and get an answer each time.  Everything that the table knows is
/// in their newest reports, so another tracker that is asked in its place knows it after a second.  Of two members that
/// should exchange pieces one is told to connect: when both connect at the same time, engines may drop both
/// connections. It is the one that reports second, as the other one would not let it in before it has heard of it.
///
/// A plain class: the time is an argument.  Members are known by numbers that its owner chooses.
class swarm_table {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using milliseconds = std::chrono::milliseconds;
  using member = std::uint64_t;

  struct options {
    /// Peers that a member gets of one content.
    std::size_t peers_max = 30;
    /// Of these so many are outside of its zone, or, where there is one zone, of its rack: a swarm must not fall into
    /// islands.
    std::size_t far_peers = 3;
    /// Who did not report for so long is gone.
    milliseconds silence{5000};
    /// Shares of a limit are good for so long.
    milliseconds share_lasts{5000};
    /// As the right to read an origin, which ends before somebody else gets it.
    milliseconds lease_lasts{4000};
    /// Nobody gets it within this time of the first report of a content, but who has it already from another tracker:
    /// by then all have reported.
    milliseconds lease_waits{1500};
    /// A NAT remembers for longer to whom a datagram was sent (30 s in Linux).
    milliseconds hole_lasts{10000};
    /// Who gets nothing for so long while it cannot meet some of those that have it needs somebody who passes it on.
    milliseconds relay_after{10000};
    /// Who passes a content on goes on with it for so long after the last one that needs it has reported; when it has
    /// not begun after this, somebody else does.
    milliseconds relay_lasts{10000};
    milliseconds relay_patience{30000};
  };

  /// What is beyond these is left out of a report.
  static constexpr std::size_t holdings_max = 4096;
  static constexpr std::size_t name_max = 128;

  /// What a member says of one content.
  struct holding {
    content_address address;
    /// Per piece; all the same length for one content.
    std::vector<bool> have;
    /// It fetches what is missing.
    bool wants = false;
    /// It could read the content from where it comes from, and does.
    bool has_origin = false;
    bool reads_origin = false;
    /// Members that it has connected to as it was told, and not lost since.
    std::vector<member> dialled;
    /// How urgent it is to whoever wants it.
    urgency how = urgency::normal;
  };

  struct report {
    peer_endpoint where;
    /// Where public nodes see its datagrams come from, as far as they have said (event::mapped).  Who listens at a
    /// public address is reached there, whatever they say; who does not is, too, as long as they have said nothing.
    std::vector<peer_endpoint> mapped;
    /// Its engine can meet others through NATs.
    bool punches = false;
    location at;
    /// Relative to others, for stripes; not positive: unknown, and taken for 1.
    double uplink = 1.0;
    /// What it would send if there were no limit, and what it goes on with when it hears nothing; bytes per second.
    rate_demand upload;
    std::vector<holding> holdings;
  };

  /// What a member is to do about one content.
  struct errand {
    content_address address;
    std::vector<std::pair<member, peer_endpoint>> connect;
    /// The same by datagrams, through NATs: engine::punch.
    std::vector<std::pair<member, peer_endpoint>> punch;
    /// Which pieces it should ask for first; empty: the rarest.
    std::optional<stripe> preferred;
    /// It is the one in its zone that reads the origin, for so long, as there are pieces that no member has; zero: it
    /// does not.
    milliseconds reads_origin{0};
  };

  struct answer {
    std::vector<errand> errands;
    /// All that it may talk to, ascending.
    std::vector<peer_endpoint> allowed;
    /// Where it is to send a datagram now, so that its NAT lets them in: engine::open_hole.
    std::vector<peer_endpoint> open;
    /// Whom it is to ask where its datagrams come from: engine::probe.  Public ones only: who is on the same side of a
    /// NAT sees nothing of it.
    std::vector<peer_endpoint> ask;
    /// What it should fetch for others, who cannot meet those that have it.
    std::vector<content_address> relay;
    /// Bytes per second, at least 1, and for how long that is good; empty: there is no limit.
    std::optional<std::pair<std::uint64_t, milliseconds>> upload;
  };

  /// How a content is doing.
  struct status {
    std::size_t complete = 0;
    std::size_t fetching = 0;
    /// Of those that fetch, the share of all their pieces that is there; 1 when nobody fetches.
    double progress = 1.0;
    /// Pieces that no member has at all.
    std::uint32_t missing = 0;
    /// To those that fetch it, the most; low when nobody does.
    urgency how = urgency::low;
  };

  explicit swarm_table(options options, std::uint64_t seed = 0) : options_(options), seed_(seed) {}

  /// How many pieces a content has, from whoever has its manifest; else the first who reports it is believed.
  void announce(const content_address& address, std::uint32_t pieces);

  /// Takes the newest word of a member, and tells what it is to do.  A holding whose length differs from what is known
  /// of the content counts as none.
  answer on_report(member who, const report& what, time_point now);
  /// It said goodbye, or is known to be lost.
  void leave(member who);
  /// Drops who is silent.
  void expire(time_point now);

  /// Over all members together, bytes per second; empty: none.  Takes effect with the next `divide`.
  void limit_all(std::optional<std::uint64_t> bytes_per_s);
  /// Divides the limit by what members want.  To be called about once per second.
  void divide();

  std::optional<status> look_at(const content_address& address) const;
  std::vector<content_address> contents() const;
  /// Of those that have all of it the one that has to keep it, whatever the others do; empty: nobody has.  Stays the
  /// same as long as that one is there.
  std::optional<member> keeper_of(const content_address& address) const;
  /// How others reach a member; unknown where nobody has said yet how it looks.
  reachability reach_of(member who) const;
  std::size_t size() const { return members_.size(); }

private:
  struct state {
    vantage seen;
    /// Behind a NAT it is one of those that are; unknown: where it listens.
    reachability kind = reachability::unknown;
    bool punches = false;
    /// What it is to fetch for others.
    std::set<content_address> relays;
    location at;
    double uplink = 1.0;
    rate_demand upload;
    std::optional<std::uint64_t> share;
    /// What it was told last.
    std::uint64_t granted = 0;
    time_point heard;
    std::set<content_address> contents;
  };

  /// Of the other one of a pair.
  enum class mark : std::uint8_t {
    /// It has not been told of.
    fresh,
    /// It may connect, as it is known here.
    admitted,
    /// It is to be connected to.
    dialled,
  };

  struct part {
    std::vector<bool> have;
    std::uint32_t held = 0;
    bool wants = false;
    urgency how = urgency::normal;
    bool has_origin = false;
    bool reads_origin = false;
    /// It is in the plan of its zone.
    bool planned = false;
    /// Members that it exchanges pieces with.
    std::map<member, mark> peers;
    /// Members that it exchanged pieces with before.
    std::set<member> met;
    /// Members that it says it is connected to as it was told.
    std::set<member> dialled;
    /// When it was told to let others in.
    std::map<member, time_point> opened;
    /// There are some whom it needs and cannot meet.
    bool apart = false;
    /// When it got a piece last.
    time_point grew{};
    /// `swarm::changes` when peers were looked for last.
    std::uint64_t looked_at = 0;
  };

  struct zone_state {
    stripe_plan plan;
    std::size_t members = 0;
    std::size_t complete = 0;
    /// Those that want and could read the origin.
    std::set<member> readers;
    /// Who reads it, when there is something to read; stays the same as long as it is there and could.
    std::optional<member> reader;
  };

  struct swarm {
    std::uint32_t pieces = 0;
    std::map<member, part> parts;
    std::set<member> wanting;
    /// Each byte should come into a zone once.
    std::map<std::string, zone_state> zones;
    /// Grows when somebody comes, goes, or begins or ends to want.
    std::uint64_t changes = 1;
    /// Of the first report.
    time_point since{};
    /// There are pieces that no member has; as of `counted`.
    bool lacks = true;
    time_point counted{};
    /// Who passes it on to those that cannot meet anybody who has it, since when somebody has been looked for, and when
    /// one of these reported last.
    std::optional<member> relay;
    time_point relay_since{};
    time_point relay_wanted{};
  };

  /// What the first of a pair is to do that its own rule (who reports second connects) does not say.
  struct encounter {
    enum class role : std::uint8_t {
      /// Either may connect.
      any,
      /// It connects, and the other one does not.
      dials,
      waits,
      /// It sends a datagram, and the other one punches.
      opens,
      punches,
      /// They cannot meet.
      apart,
    };
    role what = role::any;
    peer_endpoint where;
    milliseconds after{0};
  };

  static encounter meet(const state& one, const state& other);
  void look_for_relay(const content_address& address, swarm& of, member who, time_point now);
  std::vector<peer_endpoint> witnesses(member who) const;
  std::uint64_t grant(state& to);
  bool take(member who, const holding& what);
  void drop(member who, const content_address& address);
  void find_peers(swarm& of, member who);
  std::uint64_t draw(member a, member b) const;
  void choose_reader(const swarm& of, zone_state& zone, time_point now) const;
  /// Pieces that no member has.
  static std::uint32_t missing_of(const swarm& of);
  bool may_read(swarm& of, const zone_state& zone, member who, time_point now) const;
  /// Counts the part in, or out, of what its swarm and zone know of their members.
  void count(swarm& of, zone_state& zone, member who, const part& what, bool in);
  /// At least one of them has what the other wants.
  static bool useful(const part& a, const part& b);

  options options_;
  std::uint64_t seed_;
  std::map<member, state> members_;
  /// Those that listen at public addresses and tell others how they look from there.
  std::set<member> public_;
  std::map<content_address, swarm> swarms_;
  std::map<content_address, std::uint32_t> announced_;
  std::optional<std::uint64_t> limit_;
  /// The sum of what members were told.
  std::uint64_t granted_ = 0;
};

} // namespace astra::p2p
