#include "runtime/net/session_table.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace astra {

session_table::decision session_table::judge(const hello& peer, bool dialled, time_point now) const {
  decision result;
  auto refuse = [&result](errc code, std::string reason, std::uint32_t retry_after_ms) {
    result.no = refusal{to_string(code), std::move(reason), retry_after_ms};
    result.close.clear();
    return result;
  };
  auto& name = peer.self.name;
  auto node = caf_node(peer);
  if (auto known = life_of_.find(name); known != life_of_.end() && peer.life < known->second->second)
    return refuse(errc::fenced, name + " has been started again since; a process that is fenced must stop", 0);
  if (auto known = by_node_.find(node); known != by_node_.end()) {
    auto& other = by_id_.at(known->second);
    // Both sides dialled at once: each keeps the same one.  Otherwise the peer would not dial if it still had the old
    // one, so that is dead and only this side does not know it yet.
    if (other.dialled != dialled && now - other.since <= young_) {
      auto new_by_smaller = dialled ? own_ < node : node < own_;
      if (!new_by_smaller)
        return refuse(errc::conflict, "there is a session in the other direction", 20);
    }
    result.close.push_back(other.id);
  }
  if (auto known = by_name_.find(name); known != by_name_.end()) {
    auto& other = by_id_.at(known->second);
    // An older life of the process: it is gone, or fenced from now on.
    if (caf_node(other.peer) != node)
      result.close.push_back(other.id);
  }
  if (by_id_.size() >= most_ + result.close.size())
    return refuse(errc::saturated, fmt::format("has {} sessions, as many as net.sessions_max allows", by_id_.size()),
                  1000);
  return result;
}

session_table::decision session_table::add(std::uint64_t id, const hello& peer, bool dialled, time_point now) {
  assert(by_id_.count(id) == 0);
  auto result = judge(peer, dialled, now);
  if (result.no)
    return result;
  for (auto old : result.close)
    remove(old);
  remember(peer.self.name, peer.life);
  by_id_.emplace(id, entry{id, peer, dialled, now});
  by_node_[caf_node(peer)] = id;
  by_address_[peer.address] = id;
  by_name_[peer.self.name] = id;
  return result;
}

void session_table::remove(std::uint64_t id) {
  auto found = by_id_.find(id);
  if (found == by_id_.end())
    return;
  auto drop = [id](auto& index, const auto& key) {
    if (auto entry = index.find(key); entry != index.end() && entry->second == id)
      index.erase(entry);
  };
  drop(by_node_, caf_node(found->second.peer));
  drop(by_address_, found->second.peer.address);
  drop(by_name_, found->second.peer.self.name);
  by_id_.erase(found);
}

const session_table::entry* session_table::at(const std::string& address) const {
  auto found = by_address_.find(address);
  return found == by_address_.end() ? nullptr : &by_id_.at(found->second);
}

std::vector<session_table::entry> session_table::entries() const {
  std::vector<entry> result;
  for (auto& [id, session] : by_id_)
    result.push_back(session);
  return result;
}

void session_table::remember(const std::string& name, incarnation life) {
  if (auto known = life_of_.find(name); known != life_of_.end()) {
    known->second->second = std::max(known->second->second, life);
    lives_.splice(lives_.end(), lives_, known->second);
    return;
  }
  lives_.emplace_back(name, life);
  life_of_[name] = std::prev(lives_.end());
  if (lives_.size() > lives_kept) {
    life_of_.erase(lives_.front().first);
    lives_.pop_front();
  }
}

} // namespace astra
