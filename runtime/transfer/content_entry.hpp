#pragma once

#include "messages/ids.hpp"
#include "messages/wire/transfer.pb.h"
#include "p2p/engine.hpp"
#include "p2p/store.hpp"
#include "p2p/swarm_table.hpp"
#include "runtime/transfer/fetch_text.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// A content that is on a node, or on its way there, as the keeper of its contents sees it.
struct content_entry {
  using time_point = std::chrono::steady_clock::time_point;

  explicit content_entry(p2p::content_address what_for) : address(what_for) {}

  p2p::content_address address;
  /// Null: nobody has told yet what it consists of.
  std::shared_ptr<const p2p::content> what;
  p2p::content_state state = p2p::content_state::absent;
  std::uint64_t size = 0;
  /// Directory of its files, when it is ready.
  std::string path;
  /// Where the engine has them, from when it was added there first.
  std::string place;
  bool pinned = false;
  /// Somebody wants it here.
  bool wanted = false;
  /// So many jobs of the store, and questions to a tracker, are under way for it.
  int busy = 0;
  bool in_engine = false;
  /// The engine knows what is there.
  bool known = false;
  /// It is to be removed when nobody holds it any more.
  bool doomed = false;
  /// It is to be verified.
  bool doubtful = false;
  /// Why it does not go on; empty: it does.
  std::string reason;
  time_point retry_at{};
  /// Of its .torrent, what was told so far; `fresh_manifest`: what was told before was wrong.
  std::string manifest;
  bool fresh_manifest = false;

  /// Per piece.
  std::vector<bool> have;
  std::uint64_t pieces_done = 0;
  std::uint64_t bytes_done = 0;
  smooth_rate download;
  /// Bytes that came since the last tick.
  std::uint64_t fresh = 0;
  /// As the engine said last: bytes per second, and bytes since it was added there.
  std::uint64_t download_now = 0;
  std::uint64_t upload_now = 0;
  std::uint64_t downloaded = 0;
  std::uint64_t uploaded = 0;
  std::uint64_t wasted = 0;
  std::uint32_t peers = 0;
  /// Whom it was told to connect to, and has not lost since.
  std::map<p2p::swarm_table::member, p2p::peer_endpoint> dialled;
  std::optional<p2p::stripe> preferred;
  /// As the tracker said last: members that have all of it and that fetch it, and pieces that none has.
  std::uint32_t complete = 0;
  std::uint32_t fetching = 0;
  std::uint32_t missing = 0;
  /// Replicas that hold it, and when they asked last.
  std::map<claim_token, time_point> holders;
  /// It is here for other nodes only, and a tracker asked for that last then.
  std::optional<time_point> relayed;
  /// How urgent it was to whoever wanted it, apart from holders; and how urgent it is to others in its swarm.
  p2p::urgency wish = p2p::urgency::normal;
  p2p::urgency others = p2p::urgency::low;
  /// What it may take of the node's links, as the engine was told.
  p2p::engine_limits share;
  /// The store has been told that it is held.
  bool held = false;

  /// Of the place outside of the cluster that has its files, too.
  struct origin {
    /// Until when this node reads it.
    time_point until{};
    /// Why it cannot be read, how often in a row it could not, and when that is tried again.
    std::string problem;
    std::uint32_t failures = 0;
    time_point retry_at{};
  };
  origin from;

  /// How urgent it is to this node.
  p2p::urgency how() const {
    if (!holders.empty())
      return p2p::urgency::high;
    return relayed ? p2p::urgency::low : wish;
  }
  bool whole() const { return known && what && bytes_done == what->size; }
  /// Brings `bytes_done` up to date with `have`.
  void count_bytes();
  /// The engine has one more piece.
  void add_piece(std::uint32_t piece);
  /// The engine has it no more.
  void leave_engine();
};

/// What a tracker is told of it.
/// @param text What it is doing, for people.
pb::Holding to_holding(const content_entry& one, std::string text);

/// What it is doing, for people.
std::string text_of(const content_entry& one, const fetch_progress& progress);

} // namespace astra
