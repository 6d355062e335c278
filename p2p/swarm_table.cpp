#include "p2p/swarm_table.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

namespace astra::p2p {
namespace {

bool same(const std::string& a, const std::string& b) {
  return !a.empty() && a == b;
}

} // namespace

int distance(const location& a, const location& b) {
  if (!same(a.zone, b.zone))
    return 3;
  if (!same(a.rack, b.rack))
    return 2;
  return same(a.host, b.host) ? 0 : 1;
}

void swarm_table::announce(const content_address& address, std::uint32_t pieces) {
  announced_[address] = pieces;
  auto found = swarms_.find(address);
  if (found == swarms_.end() || found->second.pieces == pieces)
    return;
  // They spoke of something else.
  std::vector<member> wrong;
  for (auto& [who, part] : found->second.parts)
    wrong.push_back(who);
  for (auto who : wrong)
    drop(who, address);
}

swarm_table::answer swarm_table::on_report(member who, const report& what, time_point now) {
  auto& known = members_[who];
  auto at = what.at;
  for (auto name : {&at.zone, &at.rack, &at.host})
    name->resize(std::min(name->size(), name_max));
  auto moved = !known.contents.empty() && known.at.zone != at.zone;
  // Another process under the same number has none of the former one's connections.
  auto restarted = !known.contents.empty() && known.where != what.where;
  if (moved || restarted)
    for (auto& address : std::set{known.contents})
      drop(who, address);
  known.where = what.where;
  known.at = std::move(at);
  known.uplink = std::isfinite(what.uplink) && what.uplink > 0.0 ? what.uplink : 1.0;
  known.upload = what.upload;
  known.heard = now;
  std::map<content_address, const holding*> told;
  for (auto& holding : what.holdings)
    if (told.size() < holdings_max && !told.contains(holding.address) && take(who, holding))
      told.emplace(holding.address, &holding);
  for (auto& address : std::set{known.contents})
    if (!told.contains(address))
      drop(who, address);

  answer result;
  std::set<peer_endpoint> allowed;
  for (auto& [address, holding] : told) {
    auto& of = swarms_.at(address);
    find_peers(of, who);
    auto& own = of.parts.at(who);
    errand todo{address, {}, std::nullopt, milliseconds{0}};
    std::set<member> dialled(holding->dialled.begin(), holding->dialled.end());
    for (auto& [other, seen] : own.peers) {
      auto& peer = members_.at(other);
      allowed.insert(peer.where);
      auto& theirs = of.parts.at(other);
      auto admitted = theirs.peers.at(who) == mark::admitted;
      // An engine remembers who once had all of it, and when it has all of it itself it dials nobody of these: who
      // fetches again dials.
      auto is_asked = own.held == of.pieces && theirs.wants && own.met.contains(other);
      auto asks = own.wants && theirs.held == of.pieces && theirs.met.contains(who);
      if (seen == mark::fresh)
        seen = admitted && !is_asked ? mark::dialled : mark::admitted;
      else if (seen == mark::admitted && admitted && asks)
        seen = mark::dialled;
      // Until it says that it has: an answer may be lost, and so may a connection.
      if (seen == mark::dialled && !dialled.contains(other))
        todo.connect.emplace_back(other, peer.where);
    }
    auto& zone = of.zones.at(known.at.zone);
    if (own.wants)
      todo.preferred = zone.plan.stripe_of(who);
    choose_reader(of, zone);
    if (zone.reader == who)
      todo.reads_origin = options_.lease_lasts;
    result.errands.push_back(std::move(todo));
  }
  result.allowed.assign(allowed.begin(), allowed.end());
  if (limit_)
    result.upload.emplace(grant(known), options_.share_lasts);
  return result;
}

/// A share grows only when others have heard that theirs is smaller: the sum is never above the limit.
std::uint64_t swarm_table::grant(state& to) {
  auto floor = to.upload.floor_bytes_per_s;
  auto others = granted_ - to.granted;
  auto room = *limit_ > others ? *limit_ - others : 0;
  // What it goes on with anyway, and 0 would be no limit.
  auto share = std::max<std::uint64_t>({1, floor, std::min(to.share.value_or(floor), room)});
  granted_ = others + share;
  return to.granted = share;
}

bool swarm_table::take(member who, const holding& what) {
  if (what.have.empty() || what.have.size() > pieces_max)
    return false;
  auto pieces = static_cast<std::uint32_t>(what.have.size());
  if (auto known = announced_.find(what.address); known != announced_.end() && known->second != pieces)
    return false;
  auto [found, fresh] = swarms_.try_emplace(what.address);
  auto& of = found->second;
  if (fresh)
    of.pieces = pieces;
  if (of.pieces != pieces)
    return false;
  auto& member = members_.at(who);
  auto [entry, joined] = of.parts.try_emplace(who);
  auto& part = entry->second;
  auto& zone = of.zones.try_emplace(member.at.zone, zone_state{stripe_plan{pieces}}).first->second;
  if (joined) {
    part.have.resize(pieces);
    ++zone.members;
    ++of.changes;
  } else {
    count(of, zone, who, part, false);
  }
  member.contents.insert(what.address);
  auto held = static_cast<std::uint32_t>(std::ranges::count(what.have, true));
  auto wants = what.wants && held < pieces;
  auto& plan = zone.plan;
  // What it had and has no more is somebody else's to fetch: it begins anew, as does who gave up in between.
  auto lost_some = false;
  for (std::uint32_t piece = 0; !joined && piece < pieces; ++piece)
    lost_some = lost_some || (part.have[piece] && !what.have[piece]);
  auto takes_part = part.planned && !lost_some && (wants || held == pieces);
  if (part.planned && !takes_part)
    plan.leave(who);
  auto enters = !takes_part && (wants || held == pieces);
  if (enters && held == pieces)
    plan.join_seeder(who);
  else if (enters)
    plan.join(who, member.uplink);
  for (std::uint32_t piece = 0; piece < pieces; ++piece)
    if (what.have[piece] && (enters || !part.have[piece]))
      plan.has(who, piece);
  part.planned = takes_part || enters;
  of.changes += wants != part.wants || lost_some ? 1 : 0;
  part.have = what.have;
  part.held = held;
  part.wants = wants;
  part.has_origin = what.has_origin;
  part.reads_origin = what.reads_origin;
  count(of, zone, who, part, true);
  return true;
}

void swarm_table::count(swarm& of, zone_state& zone, member who, const part& what, bool in) {
  if (what.held == of.pieces)
    in ? ++zone.complete : --zone.complete;
  if (!in) {
    of.wanting.erase(who);
    zone.readers.erase(who);
    return;
  }
  if (what.wants)
    of.wanting.insert(who);
  if (what.wants && what.has_origin)
    zone.readers.insert(who);
}

void swarm_table::drop(member who, const content_address& address) {
  auto found = swarms_.find(address);
  auto& of = found->second;
  auto& known = members_.at(who);
  auto& part = of.parts.at(who);
  auto zone = of.zones.find(known.at.zone);
  count(of, zone->second, who, part, false);
  for (auto& [other, seen] : part.peers) {
    auto& theirs = of.parts.at(other);
    theirs.peers.erase(who);
    theirs.met.insert(who);
  }
  if (part.planned)
    zone->second.plan.leave(who);
  if (zone->second.reader == who)
    zone->second.reader.reset();
  if (--zone->second.members == 0)
    of.zones.erase(zone);
  of.parts.erase(who);
  ++of.changes;
  known.contents.erase(address);
  if (of.parts.empty())
    swarms_.erase(found);
}

void swarm_table::leave(member who) {
  auto found = members_.find(who);
  if (found == members_.end())
    return;
  for (auto& address : std::set{found->second.contents})
    drop(who, address);
  granted_ -= found->second.granted;
  members_.erase(found);
}

void swarm_table::limit_all(std::optional<std::uint64_t> bytes_per_s) {
  limit_ = bytes_per_s;
  if (limit_)
    return;
  granted_ = 0;
  for (auto& [who, state] : members_)
    state.granted = 0;
}

void swarm_table::expire(time_point now) {
  std::vector<member> silent;
  for (auto& [who, state] : members_)
    if (now - state.heard >= options_.silence)
      silent.push_back(who);
  for (auto who : silent)
    leave(who);
}

bool swarm_table::useful(const part& a, const part& b) {
  return (a.wants && b.held > 0) || (b.wants && a.held > 0) || (a.wants && b.wants);
}

/// The same for both, and for every tracker with the same seed.
std::uint64_t swarm_table::draw(member a, member b) const {
  auto x = seed_ ^ (std::min(a, b) * 0x9E3779B97F4A7C15ULL) ^ (std::max(a, b) * 0xD1B54A32D192ED03ULL);
  x = (x ^ x >> 30U) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ x >> 27U) * 0x94D049BB133111EBULL;
  return x ^ x >> 31U;
}

/// Near ones first, and some far ones; of equals those that have the fewest peers.
void swarm_table::find_peers(swarm& of, member who) {
  auto& own = of.parts.at(who);
  // Who has all needs nobody who has all.
  for (auto peer = own.peers.begin(); peer != own.peers.end();) {
    auto& other = of.parts.at(peer->first);
    if (useful(own, other)) {
      ++peer;
      continue;
    }
    other.peers.erase(who);
    other.met.insert(who);
    own.met.insert(peer->first);
    peer = own.peers.erase(peer);
  }
  // Where nothing has changed there is nobody new.
  if (own.peers.size() >= options_.peers_max || std::exchange(own.looked_at, of.changes) == of.changes)
    return;
  auto& here = members_.at(who).at;
  struct choice {
    int distance;
    std::size_t peers;
    std::uint64_t chance;
    member other;
    auto operator<=>(const choice&) const = default;
  };
  std::vector<choice> found;
  auto consider = [&](member other, const part& what) {
    if (other != who && !own.peers.contains(other) && useful(own, what) && what.peers.size() < 2 * options_.peers_max)
      found.push_back({distance(here, members_.at(other).at), what.peers.size(), draw(who, other), other});
  };
  if (own.wants)
    for (auto& [other, what] : of.parts)
      consider(other, what);
  else
    for (auto other : of.wanting)
      consider(other, of.parts.at(other));
  std::map<int, std::size_t> already;
  for (auto& [other, seen] : own.peers)
    ++already[distance(here, members_.at(other).at)];
  auto another_zone =
      already.contains(3) || std::ranges::any_of(found, [](auto& choice) { return choice.distance == 3; });
  auto far_from = another_zone ? 3 : 2;
  std::ranges::sort(found);
  auto far = std::ranges::find_if(found, [&](auto& choice) { return choice.distance >= far_from; });
  auto near_count = static_cast<std::size_t>(far - found.begin());
  auto far_count = found.size() - near_count;
  auto room = options_.peers_max - own.peers.size();
  auto far_already = already[3] + (far_from == 2 ? already[2] : 0);
  auto wanted_far = options_.far_peers > far_already ? options_.far_peers - far_already : 0;
  auto from_far = std::min({room, far_count, std::max(wanted_far, room > near_count ? room - near_count : 0)});
  auto from_near = std::min(near_count, room - from_far);
  auto connect = [&](const choice& with) {
    own.peers.emplace(with.other, mark::fresh);
    of.parts.at(with.other).peers.emplace(who, mark::fresh);
  };
  std::for_each_n(found.begin(), from_near, connect);
  std::for_each_n(far, from_far, connect);
}

/// Exactly one, as long as nobody in the zone has all: who reads already, else who has the most.
void swarm_table::choose_reader(const swarm& of, zone_state& zone) {
  if (zone.complete > 0)
    zone.reader.reset();
  if (zone.complete > 0 || (zone.reader && zone.readers.contains(*zone.reader)))
    return;
  zone.reader.reset();
  std::optional<std::pair<bool, std::uint32_t>> best;
  for (auto who : zone.readers) {
    auto& part = of.parts.at(who);
    std::pair here{part.reads_origin, part.held};
    if (!best || here > *best) {
      best = here;
      zone.reader = who;
    }
  }
}

void swarm_table::divide() {
  if (!limit_)
    return;
  std::vector<rate_demand> demands;
  for (auto& [who, state] : members_)
    demands.push_back(state.upload);
  auto shares = share_limit(*limit_, demands);
  std::size_t i = 0;
  for (auto& [who, state] : members_)
    state.share = shares[i++];
}

std::optional<swarm_table::status> swarm_table::look_at(const content_address& address) const {
  auto found = swarms_.find(address);
  if (found == swarms_.end())
    return std::nullopt;
  auto& of = found->second;
  status result;
  std::uint64_t there = 0;
  for (auto& [who, part] : of.parts) {
    result.complete += part.held == of.pieces ? 1 : 0;
    result.fetching += part.wants ? 1 : 0;
    there += part.wants ? part.held : 0;
  }
  if (result.fetching > 0)
    result.progress = static_cast<double>(there) / (static_cast<double>(result.fetching) * of.pieces);
  if (result.complete > 0)
    return result;
  std::vector<bool> any(of.pieces);
  for (auto& [who, part] : of.parts)
    for (std::uint32_t piece = 0; piece < of.pieces; ++piece)
      any[piece] = any[piece] || part.have[piece];
  result.missing = static_cast<std::uint32_t>(std::ranges::count(any, false));
  return result;
}

std::vector<content_address> swarm_table::contents() const {
  std::vector<content_address> result;
  for (auto& [address, of] : swarms_)
    result.push_back(address);
  return result;
}

std::optional<swarm_table::member> swarm_table::keeper_of(const content_address& address) const {
  auto found = swarms_.find(address);
  if (found == swarms_.end())
    return std::nullopt;
  std::uint64_t salt = 0;
  std::memcpy(&salt, address.bytes.data(), sizeof salt);
  std::optional<member> best;
  for (auto& [who, part] : found->second.parts)
    if (part.held == found->second.pieces && (!best || draw(salt, who) < draw(salt, *best)))
      best = who;
  return best;
}

} // namespace astra::p2p
