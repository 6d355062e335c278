#include "p2p/swarm_table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <tuple>

#include <arpa/inet.h>

namespace astra::p2p {
namespace {

/// Two tell whether a NAT gives each peer another endpoint.
constexpr std::size_t witnesses_max = 2;
constexpr std::size_t witnesses_looked_at = 16;
/// What no member has is counted this often.
constexpr std::chrono::milliseconds count_interval{500};

/// Neither private (RFC 1918, RFC 6598, RFC 4193), nor of this machine or link, nor of a group.
bool is_public(const std::string& address) {
  std::array<unsigned char, 16> bytes{};
  if (::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) {
    auto first = bytes[0];
    auto second = bytes[1];
    return first != 0 && first != 10 && first != 127 && first < 224 && !(first == 100 && second / 64 == 1)
           && !(first == 169 && second == 254) && !(first == 172 && second / 16 == 1)
           && !(first == 192 && second == 168);
  }
  return ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1 && bytes[0] / 32 == 1;
}

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
  auto restarted = !known.contents.empty() && known.seen.local != what.where;
  if (moved || restarted)
    for (auto& address : std::set{known.contents})
      drop(who, address);
  auto before = std::pair{known.seen.mapped, known.punches};
  known.punches = what.punches;
  known.seen = {what.where, what.mapped, std::nullopt};
  auto& mapped = known.seen.mapped;
  mapped.resize(std::min(mapped.size(), witnesses_max));
  auto in_public = what.punches && is_public(what.where.address);
  if (in_public) {
    mapped = {what.where};
    public_.insert(who);
  } else {
    public_.erase(who);
  }
  known.kind = what.punches ? reachability_of(known.seen) : reachability::unknown;
  // Whom it can meet may be others now.
  if (before != std::pair{mapped, known.punches})
    for (auto& address : known.contents)
      ++swarms_.at(address).changes;
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
    errand todo;
    todo.address = address;
    own.dialled = {holding->dialled.begin(), holding->dialled.end()};
    for (auto& [other, seen] : own.peers) {
      auto& peer = members_.at(other);
      auto& theirs = of.parts.at(other);
      auto how = meet(known, peer);
      allowed.insert(peer.seen.local);
      allowed.insert(peer.seen.mapped.begin(), peer.seen.mapped.end());
      auto dial = [&](auto& list, const peer_endpoint& where) {
        // Until it says that it has: an answer may be lost, and so may a connection.
        if (!own.dialled.contains(other) && !theirs.dialled.contains(who))
          list.emplace_back(other, where);
      };
      if (how.what == encounter::role::opens && !theirs.dialled.contains(who)) {
        result.open.push_back(how.where);
        own.opened[other] = now;
      }
      if (how.what == encounter::role::punches) {
        auto hole = theirs.opened.find(who);
        if (hole != theirs.opened.end() && now - hole->second >= how.after && now - hole->second < options_.hole_lasts)
          dial(todo.punch, how.where);
      }
      if (how.what == encounter::role::dials && theirs.peers.at(who) != mark::fresh)
        dial(todo.connect, how.where);
      if (how.what != encounter::role::any) {
        seen = mark::admitted;
        continue;
      }
      auto admitted = theirs.peers.at(who) == mark::admitted;
      // An engine remembers who once had all of it, and when it has all of it itself it dials nobody of these: who
      // fetches again dials.
      auto is_asked = own.held == of.pieces && theirs.wants && own.met.contains(other);
      if (seen == mark::fresh)
        seen = admitted && !is_asked ? mark::dialled : mark::admitted;
      else if (seen == mark::admitted && admitted && !is_asked)
        // The other one need not, or how they are reached has changed and neither has.
        seen = mark::dialled;
      if (seen == mark::dialled)
        dial(todo.connect, peer.seen.local);
    }
    if (own.apart && own.wants && (of.relay || now - own.grew >= options_.relay_after))
      look_for_relay(address, of, who, now);
    auto& zone = of.zones.at(known.at.zone);
    if (own.wants)
      todo.preferred = zone.plan.stripe_of(who);
    choose_reader(of, zone, now);
    if (may_read(of, zone, who, now))
      todo.reads_origin = options_.lease_lasts;
    result.errands.push_back(std::move(todo));
  }
  std::erase_if(known.relays, [&](auto& address) {
    auto of = swarms_.find(address);
    return of == swarms_.end() || of->second.relay != who || now - of->second.relay_wanted >= options_.relay_lasts;
  });
  result.relay.assign(known.relays.begin(), known.relays.end());
  if (known.punches && !in_public)
    result.ask = witnesses(who);
  result.allowed.assign(allowed.begin(), allowed.end());
  if (limit_)
    result.upload.emplace(grant(known), options_.share_lasts);
  return result;
}

swarm_table::encounter swarm_table::meet(const state& one, const state& other) {
  using role = encounter::role;
  // Where one has nothing to say of a NAT, it is reached where it listens, or not at all.
  if (one.kind == reachability::unknown || other.kind == reachability::unknown
      || (one.kind == reachability::open && other.kind == reachability::open))
    return {};
  // Those who claim to be at the same place nobody can tell apart.
  if (one.seen.local == other.seen.local && one.seen.mapped.front() == other.seen.mapped.front())
    return {role::apart, {}, milliseconds{0}};
  auto how = p2p::meet(one.seen, other.seen);
  switch (how.by) {
  case meeting::means::tcp:
    return {how.first_dials ? role::dials : role::waits, how.dials, milliseconds{0}};
  case meeting::means::punch:
    return how.first_dials ? encounter{role::punches, how.dials, how.after}
                           : encounter{role::opens, how.hole, milliseconds{0}};
  case meeting::means::relay:
    break;
  }
  return {role::apart, {}, milliseconds{0}};
}

/// Somebody whom everybody reaches.
void swarm_table::look_for_relay(const content_address& address, swarm& of, member who, time_point now) {
  of.relay_wanted = now;
  if (of.relay && !public_.contains(*of.relay))
    of.relay.reset();
  auto idle = !of.relay || !of.parts.contains(*of.relay);
  if (idle && (of.relay_since == time_point{} || now - of.relay_since >= options_.relay_patience)) {
    // Each time another one.
    auto chance = draw(who, static_cast<member>(now.time_since_epoch().count()));
    auto before = std::exchange(of.relay, std::nullopt);
    of.relay_since = now;
    for (auto other : public_)
      if (!of.parts.contains(other) && (other != before || public_.size() == 1)
          && (!of.relay || draw(chance, other) < draw(chance, *of.relay)))
        of.relay = other;
  }
  if (of.relay)
    members_.at(*of.relay).relays.insert(address);
}

/// Two at different addresses, neither its own, of some that chance names.
std::vector<peer_endpoint> swarm_table::witnesses(member who) const {
  auto& own = members_.at(who).seen.local;
  std::vector<peer_endpoint> result;
  auto next = public_.lower_bound(draw(who, who));
  for (std::size_t looked = 0; looked < std::min(public_.size(), witnesses_looked_at); ++looked, ++next) {
    if (next == public_.end())
      next = public_.begin();
    auto& where = members_.at(*next).seen.local;
    if (where.port != 0 && where.address != own.address && result.size() < witnesses_max
        && std::ranges::none_of(result, [&](auto& one) { return one.address == where.address; }))
      result.push_back(where);
  }
  return result;
}

reachability swarm_table::reach_of(member who) const {
  auto found = members_.find(who);
  return found == members_.end() ? reachability::unknown : found->second.kind;
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
  if (fresh) {
    of.pieces = pieces;
    of.since = members_.at(who).heard;
  }
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
  if (joined || held > part.held)
    part.grew = member.heard;
  part.have = what.have;
  part.held = held;
  part.wants = wants;
  part.how = what.how;
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
    theirs.opened.erase(who);
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
  public_.erase(who);
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
    auto apart = meet(members_.at(who), members_.at(peer->first)).what == encounter::role::apart;
    own.apart = own.apart || apart;
    if (useful(own, other) && !apart) {
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
  auto& self = members_.at(who);
  auto& here = self.at;
  own.apart = false;
  struct choice {
    int distance;
    std::size_t peers;
    std::uint64_t chance;
    member other;
    auto operator<=>(const choice&) const = default;
  };
  std::vector<choice> found;
  auto consider = [&](member other, const part& what) {
    if (other == who || own.peers.contains(other) || !useful(own, what))
      return;
    auto& theirs = members_.at(other);
    if (meet(self, theirs).what == encounter::role::apart)
      own.apart = true;
    else if (what.peers.size() < 2 * options_.peers_max)
      found.push_back({distance(here, theirs.at), what.peers.size(), draw(who, other), other});
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

/// Exactly one: who reads already, else who has the most.
void swarm_table::choose_reader(const swarm& of, zone_state& zone, time_point now) const {
  auto known = zone.reader && zone.readers.contains(*zone.reader);
  // Another tracker may have chosen another one.
  auto settled = now - of.since >= options_.lease_waits;
  if (known && (settled || of.parts.at(*zone.reader).reads_origin))
    return;
  std::optional<std::tuple<bool, bool, std::uint32_t>> best;
  std::optional<member> chosen;
  for (auto who : zone.readers) {
    auto& part = of.parts.at(who);
    std::tuple here{part.reads_origin, known && who == *zone.reader, part.held};
    if (!best || here > *best) {
      best = here;
      chosen = who;
    }
  }
  zone.reader = chosen;
}

/// What members have they get from each other: an origin is far, and somebody may pay for what is read of it.
bool swarm_table::may_read(swarm& of, const zone_state& zone, member who, time_point now) const {
  if (zone.reader != who)
    return false;
  if (now - of.since < options_.lease_waits && !of.parts.at(who).reads_origin)
    return false;
  if (std::ranges::any_of(of.zones, [](auto& entry) { return entry.second.complete > 0; }))
    return false;
  // To look at all pieces of all members takes long.
  if (of.counted != time_point{} && now - of.counted < count_interval)
    return of.lacks;
  of.counted = now;
  return of.lacks = missing_of(of) > 0;
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
    if (part.wants)
      result.how = std::max(result.how, part.how);
  }
  if (result.fetching > 0)
    result.progress = static_cast<double>(there) / (static_cast<double>(result.fetching) * of.pieces);
  if (result.complete > 0)
    return result;
  result.missing = missing_of(of);
  return result;
}

std::uint32_t swarm_table::missing_of(const swarm& of) {
  std::vector<bool> any(of.pieces);
  for (auto& [who, part] : of.parts)
    for (std::uint32_t piece = 0; part.held > 0 && piece < of.pieces; ++piece)
      if (part.have[piece])
        any[piece] = true;
  return static_cast<std::uint32_t>(std::ranges::count(any, false));
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
