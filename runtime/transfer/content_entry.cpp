#include "runtime/transfer/content_entry.hpp"

#include "runtime/transfer/transfer_text.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

using p2p::content_state;

pb::ContentState to_pb_state(content_state state) {
  switch (state) {
  case content_state::absent:
    return pb::CONTENT_ABSENT;
  case content_state::fetching:
    return pb::CONTENT_FETCHING;
  case content_state::verifying:
    return pb::CONTENT_VERIFYING;
  case content_state::ready:
    return pb::CONTENT_READY;
  case content_state::condemned:
    return pb::CONTENT_CONDEMNED;
  }
  return pb::CONTENT_ABSENT;
}

/// Near enough while pieces are missing: the last one of each file is shorter.
std::uint64_t bytes_of(std::uint64_t pieces, const p2p::content& what) {
  return pieces == what.piece_hashes.size() ? what.size : std::min(pieces * what.piece_size, what.size - 1);
}

} // namespace

void content_entry::count_bytes() {
  pieces_done = static_cast<std::uint64_t>(std::count(have.begin(), have.end(), true));
  bytes_done = bytes_of(pieces_done, *what);
}

void content_entry::add_piece(std::uint32_t piece) {
  if (piece >= have.size() || have[piece])
    return;
  have[piece] = true;
  bytes_done = bytes_of(++pieces_done, *what);
}

void content_entry::leave_engine() {
  in_engine = known = false;
  peers = 0;
  download_now = upload_now = 0;
  dialled.clear();
  share = {};
}

pb::Holding to_holding(const content_entry& one, std::string text) {
  pb::Holding result;
  result.set_address(to_bytes(one.address));
  result.set_pieces(static_cast<std::uint32_t>(one.what->piece_hashes.size()));
  result.set_state(to_pb_state(one.state));
  // What it has is told once the engine knows: a tracker would plan on less.
  result.set_complete(one.whole());
  if (!one.whole() && one.known && one.bytes_done > 0)
    result.set_have(to_bits(one.have));
  result.set_priority(to_pb(one.how()));
  result.set_wants(one.wanted && one.in_engine && !one.whole());
  for (auto& [other, where] : one.dialled)
    result.add_dialled(other);
  result.set_size(one.size);
  result.set_bytes_done(one.bytes_done);
  result.set_download_bytes_per_s(one.state == content_state::ready ? 0 : one.download.value());
  result.set_upload_bytes_per_s(one.upload_now);
  result.set_uploaded_bytes(one.uploaded);
  result.set_wasted_bytes(one.wasted);
  result.set_peers(one.peers);
  result.set_pinned(one.pinned);
  result.set_users(static_cast<std::uint32_t>(one.holders.size()));
  result.set_reason(std::move(text));
  return result;
}

std::string text_of(const content_entry& one, const fetch_progress& progress) {
  if (!one.reason.empty())
    return one.reason;
  if (!one.what)
    return "asks what it consists of";
  if (!one.in_engine)
    return one.busy ? "prepares the store" : "waits";
  if (!one.known)
    return "looks at what is there already";
  if (one.whole())
    return "100 %, makes it ready";
  return fetch_text(progress);
}

} // namespace astra
