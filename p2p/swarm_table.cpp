#include "p2p/swarm_table.hpp"

#include <algorithm>
#include <cmath>
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

swarm_table::answer swarm_table::on_report(member who, const report& what, time_point now) {
  auto& known = members_[who];
  auto moved = !known.contents.empty() && known.at.zone != what.at.zone;
  // Another process under the same number has none of the former one's connections.
  auto restarted = !known.contents.empty() && known.where != what.where;
  if (moved || restarted)
    for (auto& address : std::set{known.contents})
      drop(who, address);
  known.where = what.where;
  known.at = what.at;
  known.uplink = std::isfinite(what.uplink) && what.uplink > 0.0 ? what.uplink : 1.0;
  known.upload = what.upload;
  known.heard = now;
  std::set<content_address> told;
  for (auto& holding : what.holdings)
    if (!holding.have.empty() && !told.contains(holding.address) && take(who, holding))
      told.insert(holding.address);
  for (auto& address : std::set{known.contents})
    if (!told.contains(address))
      drop(who, address);

  answer result;
  std::set<peer_endpoint> allowed;
  for (auto& address : known.contents) {
    auto& of = swarms_.at(address);
    find_peers(of, who);
    auto& own = of.parts.at(who);
    errand todo{address, {}, std::nullopt, false};
    for (auto& [other, connected] : own.peers) {
      auto& peer = members_.at(other);
      allowed.insert(peer.where);
      // Of both only one has the mark.
      if (!connected && !of.parts.at(other).peers.at(who)) {
        connected = true;
        todo.connect.emplace_back(other, peer.where);
      }
    }
    auto& zone = known.at.zone;
    if (auto plan = of.plans.find(zone); plan != of.plans.end() && own.wants)
      todo.preferred = plan->second.stripe_of(who);
    choose_reader(of, zone);
    if (auto reader = of.readers.find(zone); reader != of.readers.end())
      todo.reads_origin = reader->second == who;
    result.errands.push_back(std::move(todo));
  }
  result.allowed.assign(allowed.begin(), allowed.end());
  if (limit_)
    result.upload.emplace(known.share.value_or(known.upload.floor_bytes_per_s), options_.share_lasts);
  return result;
}

bool swarm_table::take(member who, const holding& what) {
  auto [found, fresh] = swarms_.try_emplace(what.address);
  auto& of = found->second;
  auto pieces = static_cast<std::uint32_t>(what.have.size());
  if (fresh)
    of.pieces = pieces;
  if (of.pieces != pieces)
    return false;
  auto& member = members_.at(who);
  auto [entry, joined] = of.parts.try_emplace(who);
  auto& part = entry->second;
  if (joined)
    part.have.resize(pieces);
  member.contents.insert(what.address);
  auto held = static_cast<std::uint32_t>(std::ranges::count(what.have, true));
  auto wants = what.wants && held < pieces;
  auto& plan = plan_for(of, member.at.zone);
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
  part.have = what.have;
  part.held = held;
  part.wants = wants;
  part.has_origin = what.has_origin;
  for (auto other : what.lost)
    if (auto peer = part.peers.find(other); peer != part.peers.end())
      peer->second = false;
  return true;
}

stripe_plan& swarm_table::plan_for(swarm& of, const std::string& zone) {
  return of.plans.try_emplace(zone, of.pieces).first->second;
}

void swarm_table::drop(member who, const content_address& address) {
  auto found = swarms_.find(address);
  auto& of = found->second;
  for (auto& [other, connected] : of.parts.at(who).peers)
    of.parts.at(other).peers.erase(who);
  of.parts.erase(who);
  auto& known = members_.at(who);
  known.contents.erase(address);
  auto& zone = known.at.zone;
  auto others = std::ranges::any_of(of.parts, [&](auto& entry) { return members_.at(entry.first).at.zone == zone; });
  if (auto plan = of.plans.find(zone); plan != of.plans.end() && others)
    plan->second.leave(who);
  else
    of.plans.erase(zone);
  std::erase_if(of.readers, [who](auto& reader) { return reader.second == who; });
  if (of.parts.empty())
    swarms_.erase(found);
}

void swarm_table::leave(member who) {
  auto found = members_.find(who);
  if (found == members_.end())
    return;
  for (auto& address : std::set{found->second.contents})
    drop(who, address);
  members_.erase(found);
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

/// Near ones first, and some far ones; those that have the fewest peers before others.
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
    peer = own.peers.erase(peer);
  }
  if (own.peers.size() >= options_.peers_max)
    return;
  auto& here = members_.at(who).at;
  struct choice {
    int distance;
    /// Whether it has what the swarm may lack: a seeder should have peers enough, and not be everybody's.
    std::size_t peers;
    std::uint64_t chance;
    member other;
    auto operator<=>(const choice&) const = default;
  };
  std::vector<choice> near;
  std::vector<choice> far;
  std::size_t far_already = 0;
  for (auto& [other, connected] : own.peers)
    far_already += distance(here, members_.at(other).at) == 3 ? 1 : 0;
  for (auto& [other, part] : of.parts) {
    if (other == who || own.peers.contains(other) || !useful(own, part) || part.peers.size() >= 2 * options_.peers_max)
      continue;
    auto apart = distance(here, members_.at(other).at);
    (apart == 3 ? far : near).push_back({apart, part.peers.size(), draw(who, other), other});
  }
  std::ranges::sort(near);
  std::ranges::sort(far);
  auto connect = [&](const choice& with) {
    own.peers.emplace(with.other, false);
    of.parts.at(with.other).peers.emplace(who, false);
  };
  auto room = options_.peers_max - own.peers.size();
  auto wanted_far = options_.far_peers > far_already ? options_.far_peers - far_already : 0;
  auto from_far = std::min({room, far.size(), std::max(wanted_far, room > near.size() ? room - near.size() : 0)});
  auto from_near = std::min(near.size(), room - from_far);
  for (std::size_t i = 0; i < from_near; ++i)
    connect(near[i]);
  for (std::size_t i = 0; i < from_far; ++i)
    connect(far[i]);
}

/// Exactly one, as long as nobody in the zone has all; when it is lost, the one that has the most.
void swarm_table::choose_reader(swarm& of, const std::string& zone) {
  std::optional<std::pair<std::uint32_t, member>> best;
  for (auto& [who, part] : of.parts) {
    if (members_.at(who).at.zone != zone)
      continue;
    if (part.held == of.pieces) {
      of.readers.erase(zone);
      return;
    }
    if (part.has_origin && part.wants && (!best || part.held > best->first))
      best = {part.held, who};
  }
  auto reader = of.readers.find(zone);
  auto able = reader != of.readers.end() && of.parts.at(reader->second).has_origin && of.parts.at(reader->second).wants;
  if (able)
    return;
  if (best)
    of.readers[zone] = best->second;
  else
    of.readers.erase(zone);
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
  std::vector<bool> any(of.pieces);
  for (auto& [who, part] : of.parts) {
    result.complete += part.held == of.pieces ? 1 : 0;
    result.fetching += part.wants ? 1 : 0;
    there += part.wants ? part.held : 0;
    for (std::uint32_t piece = 0; piece < of.pieces; ++piece)
      any[piece] = any[piece] || part.have[piece];
  }
  if (result.fetching > 0)
    result.progress = static_cast<double>(there) / (static_cast<double>(result.fetching) * of.pieces);
  result.missing = static_cast<std::uint32_t>(std::ranges::count(any, false));
  return result;
}

std::vector<content_address> swarm_table::contents() const {
  std::vector<content_address> result;
  for (auto& [address, of] : swarms_)
    result.push_back(address);
  return result;
}

bool swarm_table::is_last_copy(member who, const content_address& address) const {
  auto found = swarms_.find(address);
  if (found == swarms_.end())
    return false;
  auto& of = found->second;
  auto own = of.parts.find(who);
  return own != of.parts.end() && own->second.held == of.pieces && std::ranges::none_of(of.parts, [&](auto& entry) {
           return entry.first != who && entry.second.held == of.pieces;
         });
}

} // namespace astra::p2p
