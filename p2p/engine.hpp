#pragma once

#include "p2p/content.hpp"
#include "p2p/outcome.hpp"
#include "p2p/stripes.hpp"

#include <chrono>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

// What moves pieces between nodes, as those see it who decide: libtorrent in a cluster, a model in a simulation.

namespace astra::p2p {

/// Where an engine listens.
struct peer_endpoint {
  /// IPv4 or IPv6, as digits.
  std::string address;
  std::uint16_t port = 0;
  auto operator<=>(const peer_endpoint&) const = default;
};

/// "10.0.0.1:6881", "[fd00::1]:6881".
std::string to_string(const peer_endpoint& endpoint);

/// Per second, over all contents and peers; 0: no limit.
struct engine_limits {
  std::uint64_t upload_bytes_per_s = 0;
  std::uint64_t download_bytes_per_s = 0;
  bool operator==(const engine_limits&) const = default;
};

struct add_request {
  std::shared_ptr<const content> what;
  /// The files lie, or will, at `place`/name/path.
  std::filesystem::path place;
  /// The store says that it is ready: it is served without being checked first, and each piece is when it is asked for.
  bool complete = false;
  /// What resume_ready brought; empty: the files are checked.
  std::vector<char> resume;
  /// Per piece, where a verification told: these are not fetched again.  Empty: unknown.  Goes before `resume`.
  std::vector<bool> good_pieces;
  std::optional<stripe> preferred;
  /// As if injected, and up to a second sooner.
  std::vector<peer_endpoint> peers;
  /// Instead of `preferred`: shuffled_priorities.
  std::optional<std::uint64_t> shuffled_by;
  /// What blocks_written brought since `resume` was made or `good_pieces` was told; without either it counts for
  /// nothing.  Pieces of it that are whole are verified first.
  std::vector<block_run> blocks;
};

struct piece_deadline {
  std::uint32_t piece = 0;
  std::chrono::milliseconds within{0};
};

namespace event {

/// The engine takes connections there.
struct listening {
  peer_endpoint where;
};

/// A node says at which endpoint it sees this engine's uTP: what a NAT has made of `listening`.
struct mapped {
  peer_endpoint by;
  peer_endpoint where;
};

/// It cannot listen, or something else is wrong that concerns no single content.
struct engine_failed {
  p2p::problem problem;
};

/// It is known which pieces are there.
struct checked {
  content_address address;
};

/// They are in the files, and no hash has covered them yet; each is told once, before the piece is finished.
struct blocks_written {
  content_address address;
  std::vector<block_run> blocks;
  /// How much of it came from peers, but for what the last blocks of files are shorter.
  std::uint64_t received_bytes = 0;
};

struct piece_finished {
  content_address address;
  std::uint32_t piece = 0;
};

/// A piece came with a wrong hash; it is fetched again.
struct piece_rejected {
  content_address address;
  std::uint32_t piece = 0;
};

/// All pieces are on the disk, and their hashes were right.
struct content_finished {
  content_address address;
};

/// What was added as complete is not: somebody asked for a piece, and its hash was wrong.
struct damaged {
  content_address address;
  /// Per piece; all were checked again.
  std::vector<bool> good;
};

struct progress {
  content_address address;
  /// Per piece.
  std::vector<bool> have;
  std::uint64_t download_bytes_per_s = 0;
  std::uint64_t upload_bytes_per_s = 0;
  /// Of payload, since it was added.
  std::uint64_t downloaded_bytes = 0;
  std::uint64_t uploaded_bytes = 0;
  /// Received twice, or with a wrong hash.
  std::uint64_t wasted_bytes = 0;
  std::uint32_t peers = 0;
};

/// It stands still until it is removed and added again.
struct failed {
  content_address address;
  p2p::problem problem;
};

struct resume_ready {
  content_address address;
  /// Empty: nothing changed since the last time.
  std::vector<char> data;
};

struct removed {
  content_address address;
};

/// Somebody is not among the peers that were named, or no endpoint at all.
struct peer_refused {
  peer_endpoint who;
};

/// It sent what was wrong.
struct peer_banned {
  content_address address;
  peer_endpoint who;
};

/// A connection ended, or did not come about; it is tried again when it is injected again.
struct peer_left {
  content_address address;
  peer_endpoint who;
  std::string reason;
};

/// More happened than was drained in time: what was missed shows in the next progress.
struct events_lost {};

} // namespace event

using engine_event =
    std::variant<event::listening, event::mapped, event::engine_failed, event::checked, event::blocks_written,
                 event::piece_finished, event::piece_rejected, event::content_finished, event::damaged, event::progress,
                 event::failed, event::resume_ready, event::removed, event::peer_refused, event::peer_banned,
                 event::peer_left, event::events_lost>;

/// Moves contents.  No call waits for the network or the disk; what comes of it arrives as events.
///
/// One thread at a time.
class engine {
public:
  virtual ~engine() = default;

  /// Begins to fetch or to serve; in the end there is `checked` or `failed`.  A content that was removed may be added
  /// at once: what happens before `removed` concerns neither.
  virtual void add(add_request request) = 0;
  /// Stops; the files stay.
  virtual void remove(const content_address& address) = 0;

  /// Names all peers that may take part.  Nobody else is talked to, whoever begins; connections to others end.  Of who
  /// connects to us the address alone can be compared: the port is any.
  virtual void set_peers(const std::vector<peer_endpoint>& allowed) = 0;
  /// Connects to a peer for one content.  Of two nodes only one is to be told of the other.
  virtual void inject(const content_address& address, const std::vector<peer_endpoint>& peers) = 0;

  /// Asks a node where it sees this engine: `mapped`, or no event when no answer comes, and where there is no uTP.  The
  /// node need not be named, and answers whoever asks; it learns nothing and sends nothing but that.
  /// @pre there was `listening`.
  virtual void probe(const peer_endpoint& node) = 0;
  /// Sends a peer one datagram from where uTP listens, so that a NAT on this side lets in what comes back from there.
  virtual void open_hole(const peer_endpoint& peer) = 0;
  /// As `inject`, by uTP instead of TCP: for peers that a NAT hides, at the endpoint where they are seen.  Without uTP
  /// they are not dialled, and have left.
  virtual void punch(const content_address& address, const peer_endpoint& peer) = 0;

  /// Takes a piece that came from elsewhere than from a peer.  `piece_finished` or `piece_rejected` tells what came of
  /// it; nothing does when it is there already, has another length than it must have, or was given before `checked`.
  virtual void add_piece(const content_address& address, std::uint32_t piece, std::vector<char> data) = 0;

  /// Which pieces are to be asked for first; empty: the rarest.
  virtual void prefer(const content_address& address, const std::optional<stripe>& preferred) = 0;
  /// What a loader waits for: goes before everything else.  Replaces the deadlines before.
  virtual void set_deadlines(const content_address& address, const std::vector<piece_deadline>& deadlines) = 0;
  /// Takes effect within a second; nothing is sent on account of a higher limit before.
  virtual void set_limits(const engine_limits& limits) = 0;

  /// The same for one content, beside the limits over all.
  virtual void set_limits(const content_address& address, const engine_limits& limits) = 0;

  /// Asks for the progress of every content that changed since.
  virtual void request_progress() = 0;
  /// Asks for what makes an add without a check possible.
  virtual void request_resume(const content_address& address) = 0;

  /// What happened since the last call.
  virtual std::vector<engine_event> drain() = 0;
};

} // namespace astra::p2p
