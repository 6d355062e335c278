#include "runtime/transfer/transfer_text.hpp"

#include "messages/text.hpp"

#include <algorithm>
#include <utility>

namespace astra {
namespace {

/// A few bytes can claim very many pieces, each of which takes memory.
constexpr std::uint64_t pieces_per_report_max = 16ULL * p2p::pieces_max;
/// The longest address in digits is shorter.
constexpr std::size_t address_text_max = 64;

} // namespace

std::optional<p2p::content_address> address_of(std::string_view bytes) {
  p2p::content_address result;
  if (bytes.size() != result.bytes.size())
    return std::nullopt;
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(result.bytes.data()));
  return result;
}

std::string to_bytes(const p2p::content_address& address) {
  return {reinterpret_cast<const char*>(address.bytes.data()), address.bytes.size()};
}

std::string hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string result;
  for (auto c : bytes) {
    auto byte = static_cast<unsigned char>(c);
    result += digits[byte >> 4U];
    result += digits[byte & 0xfU];
  }
  return result;
}

std::string to_bits(const std::vector<bool>& flags) {
  std::string result((flags.size() + 7) / 8, '\0');
  for (std::size_t i = 0; i < flags.size(); ++i)
    if (flags[i])
      result[i / 8] = static_cast<char>(static_cast<unsigned char>(result[i / 8]) | (1U << (i % 8)));
  return result;
}

std::optional<std::vector<bool>> from_bits(std::string_view bits, std::size_t count) {
  if (bits.size() != (count + 7) / 8)
    return std::nullopt;
  std::vector<bool> result(count);
  for (std::size_t i = 0; i < count; ++i)
    result[i] = ((static_cast<unsigned char>(bits[i / 8]) >> (i % 8)) & 1U) != 0;
  return result;
}

pb::ContentPriority to_pb(p2p::urgency how) {
  switch (how) {
  case p2p::urgency::low:
    return pb::CONTENT_LOW;
  case p2p::urgency::high:
    return pb::CONTENT_HIGH;
  case p2p::urgency::normal:
    break;
  }
  return pb::CONTENT_NORMAL;
}

p2p::urgency to_urgency(pb::ContentPriority priority) {
  switch (priority) {
  case pb::CONTENT_LOW:
    return p2p::urgency::low;
  case pb::CONTENT_HIGH:
    return p2p::urgency::high;
  default:
    return p2p::urgency::normal;
  }
}

pb::PeerAddress to_pb(const p2p::peer_endpoint& peer) {
  pb::PeerAddress result;
  result.set_address(peer.address);
  result.set_port(peer.port);
  return result;
}

p2p::peer_endpoint to_peer(const pb::PeerAddress& peer) {
  return {peer.address(), static_cast<std::uint16_t>(peer.port())};
}

pb::SwarmErrand to_pb(const p2p::swarm_table::errand& errand, const std::optional<p2p::swarm_table::status>& status) {
  pb::SwarmErrand result;
  result.set_address(to_bytes(errand.address));
  auto add = [&](auto& peers, bool punch) {
    for (auto& [member, where] : peers) {
      auto& peer = *result.add_connect();
      peer.set_member(member);
      *peer.mutable_where() = to_pb(where);
      peer.set_punch(punch);
    }
  };
  add(errand.connect, false);
  add(errand.punch, true);
  if (errand.preferred) {
    result.set_slots(static_cast<std::uint32_t>(errand.preferred->slots.size()));
    result.set_stripe(to_bits(errand.preferred->slots));
  }
  if (status) {
    result.set_missing(status->missing);
    result.set_complete(static_cast<std::uint32_t>(status->complete));
    result.set_fetching(static_cast<std::uint32_t>(status->fetching));
    result.set_priority(to_pb(status->how));
  }
  result.set_reads_origin_ms(static_cast<std::uint64_t>(errand.reads_origin.count()));
  return result;
}

std::optional<p2p::stripe> to_stripe(const pb::SwarmErrand& errand) {
  if (errand.slots() == 0 || errand.slots() > p2p::stripe_plan::slots_max)
    return std::nullopt;
  auto slots = from_bits(errand.stripe(), errand.slots());
  if (!slots)
    return std::nullopt;
  return p2p::stripe{std::move(*slots)};
}

p2p::swarm_table::report to_report(const pb::SwarmReport& report) {
  p2p::swarm_table::report result;
  if (report.where().address().size() <= address_text_max)
    result.where = to_peer(report.where());
  for (auto& seen : report.mapped())
    if (seen.where().address().size() <= address_text_max)
      result.mapped.push_back(to_peer(seen.where()));
  result.punches = report.punches();
  result.at = {report.zone(), report.rack(), report.machine()};
  result.upload = {report.upload_wanted(), report.upload_floor(), to_urgency(report.upload_priority())};
  auto left = pieces_per_report_max;
  for (auto& one : report.holdings()) {
    auto address = address_of(one.address());
    if (!address || one.pieces() == 0 || one.pieces() > p2p::pieces_max || one.pieces() > left)
      continue;
    left -= one.pieces();
    p2p::swarm_table::holding holding;
    holding.address = *address;
    if (one.complete() || one.have().empty()) {
      holding.have.assign(one.pieces(), one.complete());
    } else {
      auto have = from_bits(one.have(), one.pieces());
      if (!have)
        continue;
      holding.have = std::move(*have);
    }
    holding.wants = one.wants();
    holding.how = to_urgency(one.priority());
    holding.has_origin = one.has_origin();
    holding.reads_origin = one.reads_origin();
    holding.dialled.assign(one.dialled().begin(), one.dialled().end());
    result.holdings.push_back(std::move(holding));
  }
  return result;
}

} // namespace astra
